//! How ingesters log in: as a role that we make, as one that exists, or as the owner.
//!
//! Invariant: whether the password of our login is the right one is found out by logging in with
//! it, which works for every owner (only a superuser may read verifiers) and leaves the verifier
//! alone, of which PgBouncer may hold a copy.

use tokio_postgres::Client;
use trunkline_model::database::DatabaseLogin;
use trunkline_model::secret::SecretBytes;
use trunkline_pgconn::Target;

use crate::apply::{run_needed, run_or_fail};
use crate::catalog;
use crate::connection;
use crate::error::Error;
use crate::preflight::Preflight;
use crate::roles::{self, Role, Roles};
use crate::step::{Report, Step};

/// How ingesters log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// Who makes the roles, as it turned out.
    pub roles: Roles,
    /// What to connect with. None for [`Roles::Provided`], as the caller knows it.
    pub login: Option<DatabaseLogin>,
}

/// Brings the ingesters' role to what it needs.
pub(crate) async fn ensure(
    client: &Client,
    owner: &Target,
    server: &Preflight,
    wanted: Option<&Roles>,
    password: &SecretBytes,
) -> Result<Ingest, Error> {
    let roles = Roles::in_effect(wanted, server)?;
    let login = match &roles {
        Roles::Managed => Some(ensure_login(client, owner, server, password).await?),
        Roles::Provided { ingest_role } => {
            let names = [ingest_role.as_str()];
            if catalog::role_marks(client, &names).await?.is_empty() {
                let role = ingest_role.clone();
                return Err(Error::NoIngestRole { role });
            }
            complete(run_needed(client, &steps(&roles, &server.database)).await?)?;
            None
        }
        Roles::Owner => Some(owner.login().clone()),
    };
    Ok(Ingest { roles, login })
}

/// Everything that ingesters need to log in and to write, but for the password of our login.
pub(crate) fn steps(roles: &Roles, database: &str) -> Vec<Step> {
    match roles {
        Roles::Managed => {
            let mut steps = roles::ingest_group(database);
            steps.push(roles::create_ingest_login(database, None));
            steps.push(roles::join_ingest_group(database));
            steps
        }
        Roles::Provided { ingest_role } => roles::insert_rights(ingest_role, database).to_vec(),
        Roles::Owner => Vec::new(),
    }
}

/// Makes the group, its rights and the login, and returns how to log in.
async fn ensure_login(
    client: &Client,
    owner: &Target,
    server: &Preflight,
    password: &SecretBytes,
) -> Result<DatabaseLogin, Error> {
    if password.expose().is_empty() || password.expose().contains(&0) {
        return Err(Error::UnusablePassword);
    }
    let database = &server.database;
    let (group, role) = (Role::ingest(database), Role::ingest_login(database));
    let marks = catalog::role_marks(client, &[&group.name, &role.name]).await?;
    group.refuse_foreign(&marks)?;
    role.refuse_foreign(&marks)?;

    complete(run_needed(client, &roles::ingest_group(database)).await?)?;
    let created = if marks.contains_key(&role.name) {
        Report::default()
    } else {
        run_or_fail(
            client,
            &roles::create_ingest_login(database, Some(password)),
        )
        .await?
    };
    complete(run_needed(client, &[roles::join_ingest_group(database)]).await?)?;

    let login = owner.as_role(&role.name, password, database);
    let has_password = !created.changed.is_empty();
    if !has_password && is_other_password(&login).await? {
        run_or_fail(client, &roles::change_ingest_password(database, password)).await?;
    }
    Ok(login)
}

/// Nobody can write before all of it is done.
fn complete(report: Report) -> Result<(), Error> {
    match report.pending.into_iter().next() {
        Some(step) => Err(Error::Locked { doing: step.step }),
        None => Ok(()),
    }
}

/// Whether the server refuses the password of `login`.
async fn is_other_password(login: &DatabaseLogin) -> Result<bool, Error> {
    match connection::open(&Target::parse(login)?).await {
        Ok(_) => Ok(false),
        Err(error) if connection::is_wrong_password(&error) => Ok(true),
        // pg_hba.conf may let the role in from the ingesters' addresses and not from here. Then
        // nothing is known, and changing the password of a login that works would be worse than
        // leaving it.
        Err(error @ (Error::Refused { .. } | Error::NotAllowed { .. })) => {
            tracing::warn!(%error, "cannot check the ingest login from here");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
