//! Roles that Trunkline makes, where the owner may make any: who inserts and who reads.
//!
//! Invariants:
//! - Roles belong to the whole server, so that their names carry the database's, and each bears a
//!   mark; a role without it is never granted anything.
//! - Rights go to groups that cannot log in. Whoever logs in is a member.
//! - A password reaches the server as a SCRAM verifier only: statements end up in logs.

use postgres_protocol::password::scram_sha_256;
use trunkline_model::names::{SchemaName, bounded_identifier, quote_identifier, quote_literal};
use trunkline_model::secret::SecretBytes;

use crate::apply::CURRENT_ROLE;
use crate::catalog::Marks;
use crate::error::ForeignRole;
use crate::layout::EVENTS;
use crate::step::Step;

/// A role of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    /// Its name.
    pub(crate) name: String,
    /// Its comment, which says that it is ours and what it is for.
    mark: String,
}

impl Role {
    fn new(name: &str, purpose: &str, database: &str) -> Self {
        Self {
            name: bounded_identifier(name),
            mark: format!("trunkline: {purpose} of database {database}"),
        }
    }

    /// Who may insert events, and nothing else.
    pub(crate) fn ingest(database: &str) -> Self {
        Self::new(
            &format!("trunkline_{database}_ingest"),
            "ingest group",
            database,
        )
    }

    /// What the ingesters log in as. The name leaves room for a second login beside it, for
    /// changes of the password without a moment at which neither works.
    pub(crate) fn ingest_login(database: &str) -> Self {
        Self::new(
            &format!("trunkline_{database}_ingest_a"),
            "ingest login a",
            database,
        )
    }

    /// Who may read one source.
    pub(crate) fn reader(database: &str, schema: &SchemaName) -> Self {
        let purpose = format!("reader group of schema {schema}");
        Self::new(
            &format!("trunkline_{database}_{schema}_reader"),
            &purpose,
            database,
        )
    }

    /// Refuses to use a role that someone else made.
    pub(crate) fn refuse_foreign(&self, marks: &Marks) -> Result<(), ForeignRole> {
        match marks.get(&self.name) {
            Some(mark) if mark.as_ref() != Some(&self.mark) => Err(ForeignRole {
                role: self.name.clone(),
                mark: self.mark.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn quoted(&self) -> String {
        quote_identifier(&self.name)
    }

    fn create(&self, options: &str, settings: &str) -> Step {
        let name = self.quoted();
        Step {
            what: format!("create role {}", self.name),
            needed: format!(
                "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {})",
                quote_literal(&self.name)
            ),
            sql: format!(
                "CREATE ROLE {name} {options};\n{settings}COMMENT ON ROLE {name} IS {}",
                quote_literal(&self.mark)
            ),
            fix: format!("ALTER ROLE {CURRENT_ROLE} CREATEROLE"),
        }
    }
}

/// The group of the ingesters and its rights. INSERT on the parent is enough for COPY into any
/// partition, and opens none of them.
pub(crate) fn ingest_group(database: &str) -> Vec<Step> {
    let group = Role::ingest(database);
    let (name, quoted_database) = (group.quoted(), quote_identifier(database));
    vec![
        group.create("NOLOGIN", ""),
        Step {
            what: format!("let role {} insert into {EVENTS}", group.name),
            needed: format!(
                "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {} \
                 AND has_schema_privilege(oid, 'trunkline', 'USAGE') \
                 AND has_table_privilege(oid, '{EVENTS}', 'INSERT'))",
                quote_literal(&group.name)
            ),
            sql: format!(
                "GRANT USAGE ON SCHEMA trunkline TO {name};\nGRANT INSERT ON {EVENTS} TO {name}"
            ),
            fix: format!(
                "GRANT USAGE ON SCHEMA trunkline TO {name}; GRANT INSERT ON {EVENTS} TO {name}"
            ),
        },
        // PUBLIC has it unless an administrator took it away.
        Step {
            what: format!("let role {} connect", group.name),
            needed: format!(
                "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {} \
                 AND has_database_privilege(oid, current_database(), 'CONNECT'))",
                quote_literal(&group.name)
            ),
            sql: format!("GRANT CONNECT ON DATABASE {quoted_database} TO {name}"),
            fix: format!("GRANT CONNECT ON DATABASE {quoted_database} TO {name}"),
        },
    ]
}

/// The login of the ingesters, with `password` unless it exists.
pub(crate) fn create_ingest_login(database: &str, password: &SecretBytes) -> Step {
    let login = Role::ingest_login(database);
    let name = login.quoted();
    let verifier = scram_sha_256(password.expose());
    login.create(
        &format!("LOGIN PASSWORD {}", quote_literal(&verifier)),
        // Names are resolved as written: a schema that someone else may write to cannot put its
        // own objects in the way.
        &format!("ALTER ROLE {name} SET search_path = '';\n"),
    )
}

/// Puts the login into its group.
pub(crate) fn join_ingest_group(database: &str) -> Step {
    let (login, group) = (Role::ingest_login(database), Role::ingest(database));
    Step {
        what: format!("make role {} a member of {}", login.name, group.name),
        needed: format!(
            "NOT EXISTS (SELECT FROM pg_roles l, pg_roles g WHERE l.rolname = {} \
             AND g.rolname = {} AND pg_has_role(l.oid, g.oid, 'USAGE'))",
            quote_literal(&login.name),
            quote_literal(&group.name)
        ),
        sql: format!("GRANT {} TO {}", group.quoted(), login.quoted()),
        fix: format!(
            "GRANT {} TO {CURRENT_ROLE} WITH ADMIN OPTION",
            group.quoted()
        ),
    }
}

/// Gives the login another password.
pub(crate) fn change_ingest_password(database: &str, password: &SecretBytes) -> Step {
    let login = Role::ingest_login(database);
    let verifier = scram_sha_256(password.expose());
    Step {
        what: format!("change the password of role {}", login.name),
        needed: "true".to_owned(),
        sql: format!(
            "ALTER ROLE {} PASSWORD {}",
            login.quoted(),
            quote_literal(&verifier)
        ),
        fix: format!(
            "GRANT {} TO {CURRENT_ROLE} WITH ADMIN OPTION",
            login.quoted()
        ),
    }
}

/// The group of one source's readers, and its rights on `relation` and on the list of sources.
pub(crate) fn reader_group(database: &str, schema: &SchemaName, relation: &str) -> Vec<Step> {
    let group = Role::reader(database, schema);
    let (name, quoted_schema) = (group.quoted(), quote_identifier(schema.as_str()));
    let grants = format!(
        "GRANT USAGE ON SCHEMA trunkline, {quoted_schema} TO {name};\n\
         GRANT SELECT ON {relation}, trunkline.webhook_sources TO {name}"
    );
    vec![
        group.create("NOLOGIN", ""),
        Step {
            what: format!("let role {} read {relation}", group.name),
            needed: format!(
                "NOT EXISTS (SELECT FROM pg_roles r, pg_namespace n WHERE r.rolname = {} \
                 AND n.nspname = {} AND has_schema_privilege(r.oid, n.oid, 'USAGE') \
                 AND has_schema_privilege(r.oid, 'trunkline', 'USAGE') \
                 AND has_table_privilege(r.oid, to_regclass({}), 'SELECT') \
                 AND has_table_privilege(r.oid, 'trunkline.webhook_sources', 'SELECT'))",
                quote_literal(&group.name),
                quote_literal(schema.as_str()),
                quote_literal(relation)
            ),
            fix: grants.replace('\n', " "),
            sql: grants,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str) -> SchemaName {
        name.parse().unwrap()
    }

    #[test]
    fn a_role_is_named_after_its_database() {
        assert_eq!(Role::ingest("app").name, "trunkline_app_ingest");
        assert_eq!(Role::ingest_login("app").name, "trunkline_app_ingest_a");
        assert_eq!(
            Role::reader("app", &schema("shop")).name,
            "trunkline_app_shop_reader"
        );
        let long = Role::reader(&"d".repeat(40), &schema(&"s".repeat(40)));
        assert_eq!(long.name.len(), 63);
    }

    #[test]
    fn two_databases_whose_role_names_meet_do_not_share_the_role() {
        let one = Role::reader("app", &schema("eu_shop"));
        let two = Role::reader("app_eu", &schema("shop"));
        assert_eq!(one.name, two.name);
        let marks = Marks::from([(one.name.clone(), Some(one.mark.clone()))]);
        assert_eq!(one.refuse_foreign(&marks), Ok(()));
        assert!(
            two.refuse_foreign(&marks)
                .unwrap_err()
                .to_string()
                .contains("of database app_eu")
        );
        let unmarked = Marks::from([(one.name.clone(), None)]);
        assert!(one.refuse_foreign(&unmarked).is_err());
        assert_eq!(one.refuse_foreign(&Marks::new()), Ok(()));
    }

    #[test]
    fn a_password_travels_as_a_verifier() {
        let password = SecretBytes::new("hunter2");
        for step in [
            create_ingest_login("app", &password),
            change_ingest_password("app", &password),
        ] {
            assert!(
                step.sql.contains("PASSWORD 'SCRAM-SHA-256$4096:"),
                "{}",
                step.sql
            );
            assert!(!format!("{step:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_ingest_group_may_insert_and_nothing_else() {
        let granted: Vec<_> = ingest_group("app")
            .iter()
            .flat_map(|step| step.sql.split(";\n").map(str::to_owned).collect::<Vec<_>>())
            .filter(|sql| sql.starts_with("GRANT"))
            .collect();
        assert_eq!(
            granted,
            [
                "GRANT USAGE ON SCHEMA trunkline TO \"trunkline_app_ingest\"",
                "GRANT INSERT ON trunkline.events TO \"trunkline_app_ingest\"",
                "GRANT CONNECT ON DATABASE \"app\" TO \"trunkline_app_ingest\"",
            ]
        );
    }

    #[test]
    fn a_reader_group_sees_its_view_and_the_list_of_sources() {
        let shop = schema("shop");
        let [_, grant] = &reader_group("app", &shop, &shop.events().quoted())[..] else {
            panic!("two steps")
        };
        assert_eq!(
            grant.sql,
            "GRANT USAGE ON SCHEMA trunkline, \"shop\" TO \"trunkline_app_shop_reader\";\n\
             GRANT SELECT ON \"shop\".\"events\", trunkline.webhook_sources \
             TO \"trunkline_app_shop_reader\""
        );
    }
}
