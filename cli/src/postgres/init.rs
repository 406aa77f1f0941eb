//! Fills an empty data directory with `initdb`, completely or not at all.

use std::process::Command;

use super::account::Account;
use super::data_dir::{DataDir, write_private};
use super::{Error, Installation, SUPERUSER};

/// Tried in this order. C.UTF-8 sorts by code point as C does, and knows the letters of the world
/// in `lower()` and regular expressions; not every system has it.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// Runs `initdb` beside the final place and moves the result there.
///
/// # Errors
/// [`Error::InitFailed`] with what `initdb` printed.
pub(crate) async fn init(installation: &Installation, data_dir: &DataDir) -> Result<(), Error> {
    let unfinished = data_dir.unfinished_cluster();
    let password_file = data_dir.path().join("initdb-password");
    write_private(
        &password_file,
        &data_dir.credentials().password,
        data_dir.account(),
    )?;
    let mut failure = None;
    for locale in LOCALES {
        remove_unfinished(data_dir)?;
        let mut command = Command::new(installation.program("initdb"));
        command
            .arg("--pgdata")
            .arg(&unfinished)
            .arg("--pwfile")
            .arg(&password_file)
            .args([
                "--username",
                SUPERUSER,
                "--encoding",
                "UTF8",
                "--locale",
                locale,
            ])
            .args(["--auth", "scram-sha-256", "--no-instructions"]);
        if data_dir.temporary().is_some() {
            // A power cut would take a temporary folder with it; this saves the wait for the disk.
            command.arg("--no-sync");
        }
        failure = run(command, data_dir.account()).await?;
        if failure.is_none() {
            break;
        }
    }
    std::fs::remove_file(&password_file)
        .map_err(Error::io(format!("removing {}", password_file.display())))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let cluster = data_dir.cluster();
    std::fs::rename(&unfinished, &cluster).map_err(Error::io(format!(
        "moving the new cluster to {}",
        cluster.display()
    )))
}

/// Clears what an interrupted `initdb` left.
fn remove_unfinished(data_dir: &DataDir) -> Result<(), Error> {
    let unfinished = data_dir.unfinished_cluster();
    match std::fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(format!(
            "removing {}",
            unfinished.display()
        ))(error)),
        _ => Ok(()),
    }
}

/// Runs a program to its end; an exit status other than 0 comes back as the failure it is.
async fn run(mut command: Command, account: &Account) -> Result<Option<Error>, Error> {
    account.apply(&mut command);
    // A folder that every user may be in, whatever folder we were started from.
    command
        .env("LC_ALL", "C")
        .env_remove("PGDATA")
        .current_dir("/");
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::io("running initdb"))?;
    Ok((!output.status.success()).then(|| Error::InitFailed {
        status: output.status,
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }))
}
