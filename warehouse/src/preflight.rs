//! What has to be known of a server before anything is promised about it.

use tokio_postgres::Client;

use crate::apply::{field, read};
use crate::error::Error;

/// The server and the role, as they present themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// `server_version_num`: 150018 is 15.18.
    pub server_version: i32,
    /// The database.
    pub database: String,
    /// The owner's role.
    pub role: String,
    /// Whether the owner may create roles (CREATEROLE or superuser), as [`crate::Roles::Managed`]
    /// needs.
    pub can_create_roles: bool,
    /// Whether the server is a standby.
    pub in_recovery: bool,
    /// `fsync`.
    pub fsync: bool,
    /// `full_page_writes`.
    pub full_page_writes: bool,
    /// `synchronous_commit`, as the owner's sessions have it.
    pub synchronous_commit: String,
    /// `synchronous_standby_names`; empty: commits wait for no standby.
    pub synchronous_standby_names: String,
    /// Standbys that follow this server now.
    pub standbys: i64,
    /// Whether the server compresses with lz4 (`--with-lz4`, as packages are built).
    pub has_lz4: bool,
}

/// Standbys that a failover may go to, and that commits do not wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "PostgreSQL has {standbys} standbys and waits for none of them (synchronous_standby_names is \
     empty), so a failover can lose committed events; name a standby there, or accept the loss"
)]
pub struct FailoverLoses {
    /// How many there are.
    pub standbys: i64,
}

/// Whether a commit on this server survives a failover to a standby.
///
/// # Errors
/// [`FailoverLoses`], for the owner to read.
pub fn failover(preflight: &Preflight) -> Result<(), FailoverLoses> {
    let standbys = preflight.standbys;
    if standbys > 0 && preflight.synchronous_standby_names.trim().is_empty() {
        return Err(FailoverLoses { standbys });
    }
    Ok(())
}

/// A setting under which a committed row can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL has {setting}=off, so a crash of the server can lose committed events; {fix}")]
pub struct NotDurable {
    /// The setting.
    pub setting: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// Whether ingesters set it themselves in every commit, so that it is only worth a warning.
    pub overridden: bool,
}

/// Whether a commit on this server survives a crash of it. The gravest finding comes first.
///
/// Asynchronous standbys are no finding here, since this is about one server: see [`failover`].
///
/// # Errors
/// [`NotDurable`], for the owner to read.
pub fn durability(preflight: &Preflight) -> Result<(), NotDurable> {
    let on_server = |setting, fix| NotDurable {
        setting,
        fix,
        overridden: false,
    };
    if !preflight.fsync {
        return Err(on_server(
            "fsync",
            "set it to on in postgresql.conf and reload the server",
        ));
    }
    // Some file systems never tear a page, but the server cannot tell, and neither can we.
    if !preflight.full_page_writes {
        return Err(on_server(
            "full_page_writes",
            "set it to on in postgresql.conf and reload the server",
        ));
    }
    if preflight.synchronous_commit == "off" {
        return Err(NotDurable {
            setting: "synchronous_commit",
            fix: "ingesters set it to on in every commit of theirs; set it to on for the others",
            overridden: true,
        });
    }
    Ok(())
}

/// Asks the server.
pub(crate) async fn preflight(client: &Client) -> Result<Preflight, Error> {
    let doing = "read the server's settings";
    let sql = "SELECT current_setting('server_version_num')::int4, current_database()::text, \
               current_user::text, \
               EXISTS (SELECT FROM pg_roles WHERE rolname = current_user \
                       AND (rolsuper OR rolcreaterole)), \
               pg_is_in_recovery(), current_setting('fsync')::boolean, \
               current_setting('full_page_writes')::boolean, \
               current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), \
               (SELECT count(*) FROM pg_stat_replication r WHERE NOT EXISTS \
                   (SELECT FROM pg_replication_slots s \
                    WHERE s.active_pid = r.pid AND s.slot_type = 'logical')), \
               EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' \
                       AND 'lz4' = ANY (enumvals))";
    let rows = read(client, doing, sql, &[]).await?;
    let row = rows.first().ok_or_else(|| Error::NoRow {
        doing: doing.to_owned(),
    })?;
    Ok(Preflight {
        server_version: field(row, doing, 0)?,
        database: field(row, doing, 1)?,
        role: field(row, doing, 2)?,
        can_create_roles: field(row, doing, 3)?,
        in_recovery: field(row, doing, 4)?,
        fsync: field(row, doing, 5)?,
        full_page_writes: field(row, doing, 6)?,
        synchronous_commit: field(row, doing, 7)?,
        synchronous_standby_names: field(row, doing, 8)?,
        standbys: field(row, doing, 9)?,
        has_lz4: field(row, doing, 10)?,
    })
}

/// Refuses a server that lacks what the layout uses.
pub(crate) fn refuse_old(server: &Preflight) -> Result<(), Error> {
    let major = server.server_version / 10_000;
    if major < crate::OLDEST_MAJOR {
        Err(Error::TooOld(major))
    } else {
        Ok(())
    }
}

/// Refuses a server that takes no writes. It can become one, or cease to be one, at any time.
pub(crate) fn refuse_standby(server: &Preflight) -> Result<(), Error> {
    if server.in_recovery {
        Err(Error::ReadOnly(None))
    } else {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn good() -> Preflight {
        Preflight {
            server_version: 150_018,
            database: "app".to_owned(),
            role: "owner".to_owned(),
            can_create_roles: true,
            in_recovery: false,
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".to_owned(),
            synchronous_standby_names: String::new(),
            standbys: 0,
            has_lz4: true,
        }
    }

    #[test]
    fn the_gravest_setting_is_named_first() {
        assert_eq!(durability(&good()), Ok(()));
        let asynchronous = Preflight {
            synchronous_commit: "off".to_owned(),
            ..good()
        };
        let torn = Preflight {
            full_page_writes: false,
            ..asynchronous.clone()
        };
        let unsynced = Preflight {
            fsync: false,
            ..torn.clone()
        };
        let finding = |preflight| durability(preflight).map_err(|e| (e.setting, e.overridden));
        assert_eq!(finding(&asynchronous), Err(("synchronous_commit", true)));
        assert_eq!(finding(&torn), Err(("full_page_writes", false)));
        assert_eq!(finding(&unsynced), Err(("fsync", false)));
    }

    #[test]
    fn a_standby_that_nobody_waits_for_is_a_finding() {
        assert_eq!(failover(&good()), Ok(()));
        let followed = Preflight {
            standbys: 2,
            ..good()
        };
        assert_eq!(failover(&followed), Err(FailoverLoses { standbys: 2 }));
        let waiting = Preflight {
            synchronous_standby_names: "ANY 1 (a, b)".to_owned(),
            ..followed
        };
        assert_eq!(failover(&waiting), Ok(()));
    }

    #[test]
    fn an_old_server_or_a_standby_is_refused() {
        assert!(refuse_old(&good()).is_ok() && refuse_standby(&good()).is_ok());
        let old = Preflight {
            server_version: 130_022,
            ..good()
        };
        assert!(matches!(refuse_old(&old), Err(Error::TooOld(13))));
        let standby = Preflight {
            in_recovery: true,
            ..good()
        };
        assert!(matches!(
            refuse_standby(&standby),
            Err(Error::ReadOnly(None))
        ));
    }
}
