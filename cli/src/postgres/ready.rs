//! When a server that was started takes connections, and the database in it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::data_dir::DataDir;
use super::postmaster::Postmaster;
use super::{DATABASE, Error, SUPERUSER};

/// How often is looked. A start on a clean directory takes about 100 ms.
const POLL: Duration = Duration::from_millis(10);

/// How long a server that says it is ready may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits until the server says that it is ready, and creates the database when it is not there.
///
/// The server's word is the last line of its `postmaster.pid`, as `pg_ctl --wait` reads it: an
/// answer on the port could come from another server that was quicker to take it.
///
/// # Errors
/// [`Error::EndedEarly`], [`Error::NotReady`] after `within`, or what the server answered.
pub(crate) async fn wait(
    postmaster: &mut Postmaster,
    data_dir: &DataDir,
    port: u16,
    within: Duration,
) -> Result<(), Error> {
    let pid_file = data_dir.cluster().join("postmaster.pid");
    let deadline = Instant::now() + within;
    loop {
        let (log, tail) = (data_dir.log_path(), || data_dir.log_tail());
        if let Some(status) = postmaster.try_wait()? {
            return Err(Error::EndedEarly {
                status,
                log,
                tail: tail(),
            });
        }
        if says_ready(
            &std::fs::read_to_string(&pid_file).unwrap_or_default(),
            postmaster.pid(),
        ) {
            return ensure_database(data_dir, port).await;
        }
        if Instant::now() >= deadline {
            return Err(Error::NotReady {
                within,
                log,
                tail: tail(),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether this is the `postmaster.pid` of the process `pid`, ready. Since PostgreSQL 10 the state
/// stands on line 8, padded with spaces.
fn says_ready(pid_file: &str, pid: u32) -> bool {
    let mut lines = pid_file.lines();
    lines
        .next()
        .is_some_and(|line| line.trim() == pid.to_string())
        && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

async fn ensure_database(data_dir: &DataDir, port: u16) -> Result<(), Error> {
    let refused = |source| Error::LoginRefused {
        pgpass: data_dir.pgpass(),
        source,
    };
    match connect(data_dir, port, DATABASE).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => {
            let client = connect(data_dir, port, "postgres").await.map_err(refused)?;
            let create = format!("CREATE DATABASE {DATABASE}");
            client
                .batch_execute(&create)
                .await
                .map_err(Error::CreateDatabase)
        }
        Err(error) => Err(refused(error)),
    }
}

async fn connect(
    data_dir: &DataDir,
    port: u16,
    database: &str,
) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = Config::new()
        .host("127.0.0.1")
        .port(port)
        .user(SUPERUSER)
        .password(&data_dir.credentials().password)
        .dbname(database)
        .application_name("trunkline")
        .connect_timeout(CONNECT_TIMEOUT)
        .connect(NoTls)
        .await?;
    // It ends with the client, and its errors reach the client's calls.
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::says_ready;

    #[test]
    fn only_the_own_server_in_its_last_state_is_ready() {
        let file =
            |state: &str| format!("42\n/data\n1700000000\n5432\n\n127.0.0.1\n 1 2\n{state}\n");
        assert!(says_ready(&file("ready   "), 42));
        assert!(!says_ready(&file("starting"), 42));
        assert!(!says_ready(&file("stopping"), 42));
        assert!(!says_ready(&file("ready   "), 43));
        assert!(!says_ready("42\n/data\n1700000000\n5432\n", 42));
        assert!(!says_ready("", 42));
    }
}
