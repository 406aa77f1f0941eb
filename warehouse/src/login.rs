//! The ingesters' login: made once, its password changed when it is another one.
//!
//! Invariant: whether the password is the right one is found out by logging in with it, which works
//! for every owner (only a superuser may read verifiers) and leaves the verifier alone, of which
//! PgBouncer may hold a copy.

use tokio_postgres::{Client, Config};
use trunkline_model::secret::SecretBytes;

use crate::apply::{run_needed, run_or_fail};
use crate::catalog;
use crate::connection;
use crate::error::Error;
use crate::preflight::Preflight;
use crate::roles::{self, Role};
use crate::step::Report;
use crate::url;

/// Makes the group, its rights and the login, and returns the login's URL.
pub(crate) async fn ensure(
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

    let mut report = run_needed(client, &roles::ingest_group(database)).await?;
    let created = if marks.contains_key(&login.name) {
        Report::default()
    } else {
        run_or_fail(client, &roles::create_ingest_login(database, password)).await?
    };
    let has_password = !created.changed.is_empty();
    report.absorb(created);
    report.absorb(run_needed(client, &[roles::join_ingest_group(database)]).await?);
    if let Some(step) = report.pending.into_iter().next() {
        return Err(Error::Locked { doing: step.step });
    }

    let url = url::for_login(owner, &login.name, password, database);
    if !has_password && is_other_password(&url).await? {
        run_or_fail(client, &roles::change_ingest_password(database, password)).await?;
    }
    Ok(url)
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
