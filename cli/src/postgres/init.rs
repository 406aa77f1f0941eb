//! Fills an empty data directory, with `initdb` or by a copy, completely or not at all.

use std::process::{Command, Output};

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
        let output = run(command, data_dir.account()).await?;
        failure = (!output.status.success()).then(|| Error::InitFailed {
            status: output.status,
            output: complaint(&output),
        });
        if failure.is_none() {
            break;
        }
    }
    std::fs::remove_file(&password_file)
        .map_err(Error::io(format!("removing {}", password_file.display())))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    complete(data_dir)
}

/// Copies what another server has left, and takes over its password.
///
/// # Errors
/// [`Error::CopyFailed`] with what `cp` printed.
pub(crate) async fn copy(template: &DataDir, data_dir: &mut DataDir) -> Result<(), Error> {
    remove_unfinished(data_dir)?;
    let mut command = Command::new("cp");
    command
        .arg("-a")
        .arg(template.cluster())
        .arg(data_dir.unfinished_cluster());
    let output = run(command, data_dir.account()).await?;
    if !output.status.success() {
        return Err(Error::CopyFailed {
            status: output.status,
            output: complaint(&output),
        });
    }
    data_dir.take_password(template)?;
    complete(data_dir)
}

/// Gives the finished cluster its name.
fn complete(data_dir: &DataDir) -> Result<(), Error> {
    let (unfinished, cluster) = (data_dir.unfinished_cluster(), data_dir.cluster());
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

/// Runs a program to its end.
async fn run(mut command: Command, account: &Account) -> Result<Output, Error> {
    account.apply(&mut command);
    // A folder that every user may be in, whatever folder we were started from.
    command
        .env("LC_ALL", "C")
        .env_remove("PGDATA")
        .current_dir("/");
    let program = command.get_program().to_string_lossy().into_owned();
    tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::io(format!("running {program}")))
}

/// What a program said about its failure.
fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
