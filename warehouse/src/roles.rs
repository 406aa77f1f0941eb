//! Roles that we make, and what those who insert may do. What readers may is in
//! [`crate::reader_rights`].
//!
//! Invariants:
//! - Roles that Trunkline makes belong to the whole server, so that their names carry the database's, and each bears a
//!   mark; a role without it is never granted anything.
//! - Rights go to groups that cannot log in. Whoever logs in is a member.
//! - A password reaches the server as a SCRAM verifier only: statements end up in logs.

use postgres_protocol::password::scram_sha_256;
use trunkline_model::names::{bounded_identifier, quote_identifier, quote_literal};
use trunkline_model::secret::SecretBytes;

use crate::apply::CURRENT_ROLE;
use crate::catalog::Marks;
use crate::error::{Error, ForeignRole};
use crate::layout::EVENTS;
use crate::preflight::Preflight;
use crate::rejections::REJECTIONS;
use crate::repeats;
use crate::seen_keys;
use crate::shapes::SHAPES;
use crate::step::{Step, Test};

/// Who makes the PostgreSQL roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roles {
    /// We do: a login for the ingesters and a group of readers for each source. The owner needs
    /// CREATEROLE.
    Managed,
    /// Whoever administers the database: the ingesters' role and the readers exist, and are given
    /// what they need.
    Provided {
        /// What the ingesters log in as.
        ingest_role: String,
    },
    /// Nobody: the ingesters log in as the owner, and readers are given what they need.
    Owner,
}

impl Roles {
    /// What is in effect on a server: without a wish, what the owner may do.
    pub(crate) fn in_effect(wanted: Option<&Self>, server: &Preflight) -> Result<Self, Error> {
        match wanted {
            Some(Self::Managed) if !server.can_create_roles => Err(Error::NeedsCreateRole {
                role: server.role.clone(),
                fix: may_create_roles(&server.role),
            }),
            Some(roles) => Ok(roles.clone()),
            None if server.can_create_roles => Ok(Self::Managed),
            None => Ok(Self::Owner),
        }
    }
}

fn may_create_roles(role: &str) -> String {
    format!("ALTER ROLE {} CREATEROLE", quote_identifier(role))
}

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

    /// Who may insert events, report refusals and note shapes, and nothing else.
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

    /// Who may find out which sources there are for them: everybody who may read one.
    pub(crate) fn readers(database: &str) -> Self {
        Self::new(
            &format!("trunkline_{database}_readers"),
            "readers",
            database,
        )
    }

    /// Who may read one source.
    pub(crate) fn reader(database: &str, schema: &str) -> Self {
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

    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    pub(crate) fn quoted(&self) -> String {
        quote_identifier(&self.name)
    }

    /// Makes the role unless it exists, with `settings` as statements of their own.
    pub(crate) fn create(&self, options: &str, settings: &str) -> Step {
        let name = self.quoted();
        Step {
            what: format!("create role {}", self.name),
            needed: Test::new(
                "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
                [&self.name],
            ),
            sql: format!(
                "CREATE ROLE {name} {options};\n{settings}COMMENT ON ROLE {name} IS {}",
                quote_literal(&self.mark)
            ),
            fix: format!("ALTER ROLE {CURRENT_ROLE} CREATEROLE"),
        }
    }
}

/// The group of the ingesters and its rights.
pub(crate) fn ingest_group(database: &str) -> Vec<Step> {
    let group = Role::ingest(database);
    let mut steps = vec![group.create("NOLOGIN", "")];
    steps.extend(insert_rights(&group.name, database));
    steps
}

/// What a role needs to insert events, to tell which of them are repeats, to report refusals and to
/// note shapes. INSERT on the parent is enough for COPY into any partition, and opens none of them.
pub(crate) fn insert_rights(role: &str, database: &str) -> [Step; 2] {
    let (name, quoted_database) = (quote_identifier(role), quote_identifier(database));
    let grants = format!(
        "GRANT USAGE ON SCHEMA trunkline TO {name};\n\
         GRANT INSERT ON {EVENTS}, {REJECTIONS}, {SHAPES} TO {name};\n\
         {};\n\
         {}",
        repeats::grant(&name),
        seen_keys::grant(&name),
    );
    let connect = format!("GRANT CONNECT ON DATABASE {quoted_database} TO {name}");
    [
        Step {
            what: format!("let role {role} insert into {EVENTS}"),
            needed: Test::new(
                "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 \
                 AND has_schema_privilege(oid, 'trunkline', 'USAGE') \
                 AND has_table_privilege(oid, $2, 'INSERT') \
                 AND has_table_privilege(oid, to_regclass($3), 'INSERT') \
                 AND has_table_privilege(oid, to_regclass($4), 'INSERT') \
                 AND has_function_privilege(oid, to_regprocedure($5), 'EXECUTE') \
                 AND has_function_privilege(oid, to_regprocedure($6), 'EXECUTE'))",
                [
                    role,
                    EVENTS,
                    REJECTIONS,
                    SHAPES,
                    &repeats::function(),
                    &seen_keys::function(),
                ],
            ),
            fix: grants.replace('\n', " "),
            sql: grants,
        },
        // PUBLIC has it unless an administrator took it away.
        Step {
            what: format!("let role {role} connect"),
            needed: Test::new(
                "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 \
                 AND has_database_privilege(oid, current_database(), 'CONNECT'))",
                [role],
            ),
            sql: connect.clone(),
            fix: connect,
        },
    ]
}

/// The login of the ingesters, with `password` unless it exists. Without a password nobody can log
/// in as it yet.
pub(crate) fn create_ingest_login(database: &str, password: Option<&SecretBytes>) -> Step {
    let login = Role::ingest_login(database);
    let name = login.quoted();
    let verifier = password.map_or_else(
        || "NULL".to_owned(),
        |password| quote_literal(&scram_sha_256(password.expose())),
    );
    login.create(
        &format!("LOGIN PASSWORD {verifier}"),
        // Names are resolved as written: a schema that someone else may write to cannot put its
        // own objects in the way.
        &format!("ALTER ROLE {name} SET search_path = '';\n"),
    )
}

/// Puts the login into its group.
pub(crate) fn join_ingest_group(database: &str) -> Step {
    join(&Role::ingest_login(database), &Role::ingest(database))
}

/// Lets a role of ours have what a group of ours may.
pub(crate) fn join(role: &Role, group: &Role) -> Step {
    Step {
        what: format!("make role {} a member of {}", role.name, group.name),
        needed: Test::new(
            "NOT EXISTS (SELECT FROM pg_roles r, pg_roles g WHERE r.rolname = $1 \
             AND g.rolname = $2 AND pg_has_role(r.oid, g.oid, 'USAGE'))",
            [&role.name, &group.name],
        ),
        sql: format!("GRANT {} TO {}", group.quoted(), role.quoted()),
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
        needed: Test::new("true", []),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::tests::good;

    #[test]
    fn the_default_is_what_the_owner_may() {
        let server = |can_create_roles| Preflight {
            can_create_roles,
            ..good()
        };
        let effect = |wanted: Option<&Roles>, can| Roles::in_effect(wanted, &server(can)).ok();
        let provided = Roles::Provided {
            ingest_role: "loader".to_owned(),
        };
        assert_eq!(effect(None, true), Some(Roles::Managed));
        assert_eq!(effect(None, false), Some(Roles::Owner));
        for can in [true, false] {
            for roles in [&Roles::Owner, &provided] {
                assert_eq!(effect(Some(roles), can).as_ref(), Some(roles));
            }
        }
        assert_eq!(effect(Some(&Roles::Managed), true), Some(Roles::Managed));
        let refused = Roles::in_effect(Some(&Roles::Managed), &server(false)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "role \"owner\" may not create roles, which roles: Managed needs; run as an \
             administrator: ALTER ROLE \"owner\" CREATEROLE, or set spec.database.roles: Owner"
        );
    }

    #[test]
    fn a_role_is_named_after_its_database() {
        assert_eq!(Role::ingest("app").name, "trunkline_app_ingest");
        assert_eq!(Role::ingest_login("app").name, "trunkline_app_ingest_a");
        assert_eq!(
            Role::reader("app", "shop").name,
            "trunkline_app_shop_reader"
        );
        let long = Role::reader(&"d".repeat(40), &"s".repeat(40));
        assert_eq!(long.name.len(), 63);
    }

    #[test]
    fn two_databases_whose_role_names_meet_do_not_share_the_role() {
        let one = Role::reader("app", "eu_shop");
        let two = Role::reader("app_eu", "shop");
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
            create_ingest_login("app", Some(&password)),
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
                "GRANT INSERT ON trunkline.events, trunkline.rejections, trunkline.shapes \
                 TO \"trunkline_app_ingest\"",
                "GRANT EXECUTE ON FUNCTION trunkline.repeats(integer, text[], text[]) \
                 TO \"trunkline_app_ingest\"",
                "GRANT EXECUTE ON FUNCTION trunkline.unseen(uuid[], integer[]) \
                 TO \"trunkline_app_ingest\"",
                "GRANT CONNECT ON DATABASE \"app\" TO \"trunkline_app_ingest\"",
            ]
        );
    }
}
