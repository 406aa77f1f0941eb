//! Roles that manifests list as readers of a source. Pure: who is to read and what was given in,
//! steps out.
//!
//! Invariants:
//! - A right that we give is recorded in `trunkline.readers` in the same transaction, and nothing
//!   that is not recorded there is ever taken back: who reads because an administrator said so goes
//!   on reading, listed or not.
//! - What cannot be given or taken is a warning. The source takes events all the same.

use std::collections::BTreeSet;

use trunkline_model::names::{RelationName, quote_identifier, quote_literal};

use crate::apply::CURRENT_ROLE;
use crate::catalog::{Marks, ReaderRow};
use crate::reader_rights::{read, see_rejections, see_sources};
use crate::relations::revoke as revoke_relations;
use crate::roles::Role;
use crate::step::{Step, Test};

/// Who is to read a source, and what is known of the roles involved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readers<'a> {
    /// The source's.
    pub(crate) number: i32,
    pub(crate) relation: &'a RelationName,
    /// The group that gives the rights; None where we make no roles, and readers are granted them
    /// one by one.
    pub(crate) group: Option<&'a Role>,
    /// The roles that the manifests list.
    pub(crate) listed: &'a [String],
    /// Names of the source's own views that are there: who reads it reads them too.
    pub(crate) views: &'a [String],
}

impl Readers<'_> {
    /// Lets every role read that is listed and exists.
    pub(crate) fn grants(&self, existing: &Marks) -> Vec<Step> {
        let listed: BTreeSet<_> = self.listed.iter().collect();
        let listed = listed
            .into_iter()
            .filter(|role| existing.contains_key(*role));
        listed
            .flat_map(|role| {
                // Members of the group have them by it.
                let of_everybody = || [see_sources(role), see_rejections(role)];
                let alone = self.group.is_none().then(of_everybody);
                alone.into_iter().flatten().chain([self.grant(role)])
            })
            .collect()
    }

    /// Whom rights are granted to: the group, or every role that is listed and exists.
    pub(crate) fn grantees(&self, existing: &Marks) -> Vec<String> {
        if let Some(group) = self.group {
            return vec![group.name.clone()];
        }
        let listed: BTreeSet<_> = self.listed.iter().collect();
        let listed = listed
            .into_iter()
            .filter(|role| existing.contains_key(*role));
        listed.cloned().collect()
    }

    /// Takes back what was given to roles that are not listed any more.
    ///
    /// Of rights granted one by one, USAGE on schema `trunkline`, the list of sources and the log of
    /// refusals stay: the role may need them for other sources or to insert, and they show it nothing
    /// of what it may not read.
    pub(crate) fn revocations(&self, given: &[ReaderRow], database: &str) -> Vec<Step> {
        let group = Role::reader(database, self.relation.schema.as_str());
        given
            .iter()
            .filter(|row| row.number == self.number && !self.listed.contains(&row.role))
            .map(|row| self.revoke(row, &group))
            .collect()
    }

    /// What there is to say of roles that are listed and do not exist.
    pub(crate) fn warnings(&self, existing: &Marks) -> Vec<String> {
        let listed: BTreeSet<_> = self.listed.iter().collect();
        let missing = listed
            .into_iter()
            .filter(|role| !existing.contains_key(*role));
        missing
            .map(|role| {
                format!(
                    "role {role:?} of the readers does not exist; run: CREATE ROLE {}",
                    quote_identifier(role)
                )
            })
            .collect()
    }

    fn grant(&self, role: &str) -> Step {
        let mut step = match self.group {
            Some(group) => join(role, group),
            None => read(role, self.relation),
        };
        step.sql = format!(
            "{};\nINSERT INTO trunkline.readers (bucket, role, by_group) VALUES ({}, {}, {}) \
             ON CONFLICT DO NOTHING",
            step.sql,
            self.number,
            quote_literal(role),
            self.group.is_some()
        );
        step
    }

    fn revoke(&self, row: &ReaderRow, group: &Role) -> Step {
        let ReaderRow { number, role, .. } = row;
        let (name, relation) = (quote_identifier(role), self.relation.quoted());
        let views = self.views.iter().map(|view| {
            let schema = self.relation.schema.as_str();
            format!(", {}.{}", quote_identifier(schema), quote_identifier(view))
        });
        let relations = format!("{relation}{}", views.collect::<String>());
        let revoke = match row {
            // With the role went its rights.
            ReaderRow { exists: false, .. } => String::new(),
            ReaderRow { by_group: true, .. } => format!("REVOKE {} FROM {name};\n", group.quoted()),
            ReaderRow { .. } => format!(
                "REVOKE SELECT ON {relations} FROM {name};\n{};\n\
                 REVOKE USAGE ON SCHEMA {} FROM {name};\n",
                revoke_relations(*number, role),
                quote_identifier(self.relation.schema.as_str())
            ),
        };
        Step {
            what: format!("let role {role} read {relation} no longer"),
            needed: Test::new(
                "EXISTS (SELECT FROM trunkline.readers WHERE bucket = $1::integer AND role = $2 \
                 AND by_group = $3::boolean)",
                [&number.to_string(), role, &row.by_group.to_string()],
            ),
            sql: format!(
                "{revoke}DELETE FROM trunkline.readers WHERE bucket = {number} AND role = {} \
                 AND by_group = {}",
                quote_literal(role),
                row.by_group
            ),
            fix: revoke.replace('\n', " "),
        }
    }
}

/// Makes a role a member of a group. A member by way of another role is one already, and so is a
/// superuser.
fn join(role: &str, group: &Role) -> Step {
    Step {
        what: format!("make role {role} a member of {}", group.name),
        needed: Test::new(
            "NOT EXISTS (SELECT FROM pg_roles r, pg_roles g WHERE r.rolname = $1 \
             AND g.rolname = $2 AND pg_has_role(r.oid, g.oid, 'MEMBER'))",
            [role, &group.name],
        ),
        sql: format!("GRANT {} TO {}", group.quoted(), quote_identifier(role)),
        fix: format!(
            "GRANT {} TO {CURRENT_ROLE} WITH ADMIN OPTION",
            group.quoted()
        ),
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::names::SchemaName;

    use super::*;

    fn listed(roles: &[&str]) -> Vec<String> {
        roles.iter().map(|role| (*role).to_owned()).collect()
    }

    fn with<T>(group: bool, roles: &[&str], then: impl FnOnce(Readers<'_>) -> T) -> T {
        let schema: SchemaName = "shop".parse().unwrap();
        let role = Role::reader("app", "shop");
        then(Readers {
            number: 7,
            relation: &schema.events(),
            group: group.then_some(&role),
            listed: &listed(roles),
            views: &["orders".to_owned()],
        })
    }

    fn given(role: &str, by_group: bool, exists: bool) -> ReaderRow {
        ReaderRow {
            number: 7,
            role: role.to_owned(),
            by_group,
            exists,
        }
    }

    fn sql(steps: &[Step]) -> Vec<&str> {
        steps.iter().map(|step| step.sql.as_str()).collect()
    }

    #[test]
    fn a_listed_role_joins_the_group_or_is_granted_the_rights_and_that_is_recorded() {
        let existing = Marks::from([("Bi \"x\"".to_owned(), None)]);
        let roles = ["Bi \"x\"", "nobody", "Bi \"x\""];
        let steps = with(true, &roles, |readers| readers.grants(&existing));
        assert_eq!(
            sql(&steps),
            ["GRANT \"trunkline_app_shop_reader\" TO \"Bi \"\"x\"\"\";\n\
              INSERT INTO trunkline.readers (bucket, role, by_group) \
              VALUES (7, 'Bi \"x\"', true) ON CONFLICT DO NOTHING"]
        );
        let steps = with(false, &roles, |readers| readers.grants(&existing));
        assert_eq!(
            sql(&steps),
            [
                "GRANT USAGE ON SCHEMA trunkline TO \"Bi \"\"x\"\"\";\n\
                 GRANT SELECT ON trunkline.webhook_sources TO \"Bi \"\"x\"\"\"",
                "GRANT SELECT ON trunkline.rejections TO \"Bi \"\"x\"\"\"",
                "GRANT USAGE ON SCHEMA \"shop\" TO \"Bi \"\"x\"\"\";\n\
                 GRANT SELECT ON \"shop\".\"events\" TO \"Bi \"\"x\"\"\";\n\
                 INSERT INTO trunkline.readers (bucket, role, by_group) \
                 VALUES (7, 'Bi \"x\"', false) ON CONFLICT DO NOTHING",
            ]
        );
        assert_eq!(
            with(true, &roles, |readers| readers.warnings(&existing)),
            ["role \"nobody\" of the readers does not exist; run: CREATE ROLE \"nobody\""]
        );
    }

    #[test]
    fn only_what_is_recorded_of_this_source_and_not_listed_is_taken_back() {
        let mut records = vec![
            given("stays", true, true),
            given("left", true, true),
            given("left", false, true),
            given("gone", true, false),
        ];
        records.push(ReaderRow {
            number: 8,
            ..given("left", true, true)
        });
        let steps = with(false, &["stays", "new"], |readers| {
            readers.revocations(&records, "app")
        });
        let delete = |role: &str, by_group: bool| {
            format!(
                "DELETE FROM trunkline.readers WHERE bucket = 7 AND role = '{role}' \
                 AND by_group = {by_group}"
            )
        };
        assert_eq!(
            sql(&steps),
            [
                format!(
                    "REVOKE \"trunkline_app_shop_reader\" FROM \"left\";\n{}",
                    delete("left", true)
                ),
                format!(
                    "REVOKE SELECT ON \"shop\".\"events\", \"shop\".\"orders\" FROM \"left\";\n{};\n\
                     REVOKE USAGE ON SCHEMA \"shop\" FROM \"left\";\n{}",
                    revoke_relations(7, "left"),
                    delete("left", false)
                ),
                delete("gone", true),
            ]
        );
    }
}
