//! How ingesters log in: as a role that we make, as one that exists, or as the owner.
//!
//! Invariant: whether the password of our login is the right one is found out by logging in with
//! it, which works for every owner (only a superuser may read verifiers) and leaves the verifier
//! alone, of which PgBouncer may hold a copy.

use tokio_postgres::{Client, Config};
use trunkline_model::secret::SecretBytes;

use crate::apply::{run_needed, run_or_fail};
use crate::catalog;
use crate::connection;
use crate::error::Error;
use crate::preflight::Preflight;
use crate::roles::{self, Role, Roles};
use crate::step::{Report, Step};
use crate::url;

/// How ingesters log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// Who makes the roles, as it turned out.
    pub roles: Roles,
    /// What to connect with. None for [`Roles::Provided`], as the caller knows it.
    pub url: Option<SecretBytes>,
}

/// The owner's side of the database: how it logs in, in both forms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) url: &'a SecretBytes,
    pub(crate) config: &'a Config,
}

/// Brings the ingesters' role to what it needs.
pub(crate) async fn ensure(
    client: &Client,
    owner: Owner<'_>,
    server: &Preflight,
    wanted: Option<&Roles>,
    password: &SecretBytes,
) -> Result<Ingest, Error> {
    let roles = Roles::in_effect(wanted, server)?;
    let url = match &roles {
        Roles::Managed => Some(ensure_login(client, owner.config, server, password).await?),
        Roles::Provided { ingest_role } => {
            let names = [ingest_role.as_str()];
            if catalog::role_marks(client, &names).await?.is_empty() {
                let role = ingest_role.clone();
                return Err(Error::NoIngestRole { role });
            }
            complete(run_needed(client, &steps(&roles, &server.database)).await?)?;
            None
        }
        Roles::Owner => Some(owner.url.clone()),
    };
    Ok(Ingest { roles, url })
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

/// Makes the group, its rights and the login, and returns the login's URL.
async fn ensure_login(
    client: &Client,
    owner: &Config,
    server: &Preflight,
    password: &SecretBytes,
) -> Result<SecretBytes, Error> {
    if password.expose().is_empty() || password.expose().contains(&0) {
        return Err(Error::UnusablePassword);
    }
    let database = &server.database;
    let (group, login) = (Role::ingest(database), Role::ingest_login(database));
    let marks = catalog::role_marks(client, &[&group.name, &login.name]).await?;
    group.refuse_foreign(&marks)?;
    login.refuse_foreign(&marks)?;

    complete(run_needed(client, &roles::ingest_group(database)).await?)?;
    let created = if marks.contains_key(&login.name) {
        Report::default()
    } else {
        run_or_fail(
            client,
            &roles::create_ingest_login(database, Some(password)),
        )
        .await?
    };
    complete(run_needed(client, &[roles::join_ingest_group(database)]).await?)?;

    let url = url::for_login(owner, &login.name, password, database);
    let has_password = !created.changed.is_empty();
    if !has_password && is_other_password(&url).await? {
        run_or_fail(client, &roles::change_ingest_password(database, password)).await?;
    }
    Ok(url)
}

/// Nobody can write before all of it is done.
fn complete(report: Report) -> Result<(), Error> {
    match report.pending.into_iter().next() {
        Some(step) => Err(Error::Locked { doing: step.step }),
        None => Ok(()),
    }
}

/// Whether the server refuses the password of `url`.
async fn is_other_password(url: &SecretBytes) -> Result<bool, Error> {
    match connection::open(&url::parse(url)?).await {
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
