//! What readers may do.
//!
//! Invariant: where we make roles, what every reader may is granted to one group, of which the
//! group of each source is a member. PostgreSQL keeps all rights on a schema or a table in one row
//! of its catalog, which has to fit into a page: with a right for each source, some 1,900 of them
//! are the most.

use trunkline_model::names::{RelationName, quote_identifier};

use crate::rejections::REJECTIONS;
use crate::roles::{Role, join};
use crate::step::{Step, Test};

/// The group of all readers, and what every one of them may.
pub(crate) fn of_everybody(database: &str) -> [Step; 3] {
    let group = Role::readers(database);
    [
        group.create("NOLOGIN", ""),
        see_sources(&group.name),
        see_rejections(&group.name),
    ]
}

/// The group of one source's readers, and its rights, once there is the group of all readers.
pub(crate) fn of_group(database: &str, relation: &RelationName) -> [Step; 3] {
    let group = Role::reader(database, relation.schema.as_str());
    [
        group.create("NOLOGIN", ""),
        join(&group, &Role::readers(database)),
        read(&group.name, relation),
    ]
}

/// Lets a role see what was refused of the sources that it may read. Apart from the right to read,
/// because who has that by an administrator may still lack this.
pub(crate) fn see_rejections(role: &str) -> Step {
    let grant = format!("GRANT SELECT ON {REJECTIONS} TO {}", quote_identifier(role));
    Step {
        what: format!("let role {role} read {REJECTIONS}"),
        needed: Test::new(
            "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 \
             AND has_table_privilege(oid, to_regclass($2), 'SELECT'))",
            [role, REJECTIONS],
        ),
        sql: grant.clone(),
        fix: grant,
    }
}

/// Lets a role find in the list of sources those that it may read.
pub(crate) fn see_sources(role: &str) -> Step {
    let name = quote_identifier(role);
    let grants = format!(
        "GRANT USAGE ON SCHEMA trunkline TO {name};\n\
         GRANT SELECT ON trunkline.webhook_sources TO {name}"
    );
    Step {
        what: format!("let role {role} read trunkline.webhook_sources"),
        needed: Test::new(
            "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 \
             AND has_schema_privilege(oid, 'trunkline', 'USAGE') \
             AND has_table_privilege(oid, 'trunkline.webhook_sources', 'SELECT'))",
            [role],
        ),
        fix: grants.replace('\n', " "),
        sql: grants,
    }
}

/// What a role needs to read `relation`, besides what every reader may.
pub(crate) fn read(role: &str, relation: &RelationName) -> Step {
    let (name, quoted) = (quote_identifier(role), relation.quoted());
    let schema = relation.schema.as_str();
    let grants = format!(
        "GRANT USAGE ON SCHEMA {} TO {name};\nGRANT SELECT ON {quoted} TO {name}",
        quote_identifier(schema)
    );
    Step {
        what: format!("let role {role} read {quoted}"),
        needed: Test::new(
            "NOT EXISTS (SELECT FROM pg_roles r, pg_namespace n WHERE r.rolname = $1 \
             AND n.nspname = $2 AND has_schema_privilege(r.oid, n.oid, 'USAGE') \
             AND has_table_privilege(r.oid, to_regclass($3), 'SELECT'))",
            [role, schema, &quoted],
        ),
        fix: grants.replace('\n', " "),
        sql: grants,
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::names::SchemaName;

    use super::*;

    #[test]
    fn a_source_adds_no_right_to_what_all_share() {
        let shop: SchemaName = "shop".parse().unwrap();
        let granted = |steps: &[Step]| -> Vec<String> {
            let sql = steps.iter().flat_map(|step| step.sql.split(";\n"));
            let grants = sql.filter(|sql| sql.starts_with("GRANT"));
            grants.map(str::to_owned).collect()
        };
        assert_eq!(
            granted(&of_everybody("app")),
            [
                "GRANT USAGE ON SCHEMA trunkline TO \"trunkline_app_readers\"",
                "GRANT SELECT ON trunkline.webhook_sources TO \"trunkline_app_readers\"",
                "GRANT SELECT ON trunkline.rejections TO \"trunkline_app_readers\"",
            ]
        );
        assert_eq!(
            granted(&of_group("app", &shop.events())),
            [
                "GRANT \"trunkline_app_readers\" TO \"trunkline_app_shop_reader\"",
                "GRANT USAGE ON SCHEMA \"shop\" TO \"trunkline_app_shop_reader\"",
                "GRANT SELECT ON \"shop\".\"events\" TO \"trunkline_app_shop_reader\"",
            ]
        );
    }
}
