//! Who may read relations: whoever was given the right to read the source's `events`, by its group or
//! one by one, and nobody else.

use trunkline_model::names::{quote_identifier, quote_literal};

use crate::apply::CURRENT_ROLE;
use crate::roles::Role;
use crate::step::{Step, Test};

/// Lets the readers of a source read one of its relations, which is new.
pub(super) fn grant_one(number: i32, group: &Role, relation: &str) -> String {
    let grant = format!(
        "DECLARE reader text; BEGIN FOR reader IN SELECT rolname FROM pg_roles \
         WHERE rolname = {} AND shobj_description(oid, 'pg_authid') = {} \
         OR rolname IN (SELECT role FROM trunkline.readers WHERE bucket = {number} \
         AND NOT by_group) LOOP \
         EXECUTE format('GRANT SELECT ON %s TO %I', {}, reader); END LOOP; END",
        quote_literal(&group.name),
        quote_literal(group.mark()),
        quote_literal(relation)
    );
    format!("DO {}", quote_literal(&grant))
}

/// Lets a role read all relations of a source: one that has become a reader since they were made.
pub(crate) fn grant_all(number: i32, schema: &str, role: &str) -> Step {
    Step {
        what: format!("let role {role} read the relations of {schema}"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.relations l \
             JOIN trunkline.sources s ON s.bucket = l.source_number \
             JOIN pg_namespace n ON n.nspname = s.schema \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = l.relation \
             JOIN pg_roles r ON r.rolname = $2 WHERE l.source_number = $1::integer \
             AND NOT has_table_privilege(r.oid, c.oid, 'SELECT'))",
            [&number.to_string(), role],
        ),
        sql: for_each(number, "GRANT SELECT ON", "TO", role),
        fix: format!(
            "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}",
            quote_identifier(schema),
            quote_identifier(role)
        ),
    }
}

/// Takes that right back.
pub(crate) fn revoke(number: i32, role: &str) -> String {
    for_each(number, "REVOKE SELECT ON", "FROM", role)
}

/// A statement for each relation of a source that there is.
fn for_each(number: i32, before: &str, behind: &str, role: &str) -> String {
    let each = format!(
        "DECLARE relation regclass; BEGIN FOR relation IN SELECT c.oid FROM trunkline.relations l \
         JOIN trunkline.sources s ON s.bucket = l.source_number \
         JOIN pg_namespace n ON n.nspname = s.schema \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = l.relation \
         WHERE l.source_number = {number} LOOP \
         EXECUTE format('{before} %s {behind} %I', relation, {}); END LOOP; END",
        quote_literal(role)
    );
    format!("DO {}", quote_literal(&each))
}

/// The owner of a relation that the owner of the database may not change.
pub(super) fn own(relation: &str) -> String {
    format!("ALTER VIEW {relation} OWNER TO {CURRENT_ROLE}")
}
