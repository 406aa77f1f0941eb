//! The SQL that the operator would run in an empty database.

use anyhow::Context;
use jiff::civil::Date;
use trunkline_operator::build::desired_source;
use trunkline_operator::validate::{DatabaseAccess, Roles, Validated};
use trunkline_pgconn::Target;
use trunkline_warehouse::{EmptyDatabase, describe, role_of};

use super::Sql;

/// `database` is the name where the files do not tell it.
pub(super) fn sql(
    validated: &Validated,
    base_url: &str,
    database: &str,
    today: Date,
) -> anyhow::Result<Sql> {
    let cluster = &validated.cluster;
    let database = match &cluster.database {
        DatabaseAccess::Login(login) => Target::parse(login)
            .context("the Secret of spec.database.secretRef holds no usable URL")?
            .database()
            .to_owned(),
        DatabaseAccess::Absent { .. } => database.to_owned(),
    };
    let (roles, assumption) = roles(&cluster.roles)?;
    let desired: Vec<_> = validated
        .valid()
        .map(|source| desired_source(source, base_url, &cluster.readers))
        .collect();
    let empty = EmptyDatabase {
        name: &database,
        today,
        has_lz4: true,
    };
    Ok(Sql {
        statements: describe(&cluster.name, &desired, &roles, empty),
        database,
        assumption,
    })
}

/// Who makes the roles, and what was assumed about it.
fn roles(wanted: &Roles) -> anyhow::Result<(trunkline_warehouse::Roles, Option<String>)> {
    Ok(match wanted {
        Roles::Default => (
            trunkline_warehouse::Roles::Managed,
            Some(
                "spec.database.roles is not set: this is for an owner that may create roles; \
                 for another, no roles are made (roles: Owner)"
                    .to_owned(),
            ),
        ),
        Roles::Managed => (trunkline_warehouse::Roles::Managed, None),
        Roles::Owner => (trunkline_warehouse::Roles::Owner, None),
        Roles::Provided(DatabaseAccess::Login(login)) => {
            let ingest_role = role_of(login)
                .context("the Secret of spec.database.ingestSecretRef holds no usable URL")?;
            (trunkline_warehouse::Roles::Provided { ingest_role }, None)
        }
        Roles::Provided(DatabaseAccess::Absent { secret, .. }) => (
            trunkline_warehouse::Roles::Provided {
                ingest_role: "the user of the ingest Secret".to_owned(),
            },
            Some(format!(
                "the Secret {secret:?} is not among the files, so the ingesters' role is not known"
            )),
        ),
    })
}
