//! A server that outlived the process which started it.
//!
//! Only called while the lock on the data directory is held, so a server found here belongs to
//! nobody who is still alive.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;

/// How long an orphan may take for each way of stopping, the gentle one first.
const PATIENCE: [(Signal, Duration); 2] = [
    (Signal::SIGINT, Duration::from_secs(10)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
];

/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(20);

/// Stops the server of this cluster if one is running.
///
/// # Errors
/// [`Error::OrphanStays`] when it does not end.
pub(crate) async fn stop(cluster: &Path) -> Result<(), Error> {
    let pid_file = cluster.join("postmaster.pid");
    let Some(pid) = recorded_pid(&pid_file) else {
        return Ok(());
    };
    if !serves(pid, cluster) {
        // After a reboot the number may belong to any process, and PostgreSQL would take that one
        // for its predecessor. Of a number that nobody has, it judges better than we could.
        if kill(pid, None).is_ok() {
            std::fs::remove_file(&pid_file)
                .map_err(Error::io(format!("removing {}", pid_file.display())))?;
        }
        return Ok(());
    }
    for (signal, patience) in PATIENCE {
        // It may end between the look and the signal; the loop finds out.
        let _ = kill(pid, signal);
        let deadline = tokio::time::Instant::now() + patience;
        while tokio::time::Instant::now() < deadline {
            if !serves(pid, cluster) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Err(Error::OrphanStays { pid: pid.as_raw() })
}

/// The process id on the first line of `postmaster.pid`. It is negative for a server in
/// single-user mode, which nothing here starts.
fn recorded_pid(pid_file: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    (pid > 1).then(|| Pid::from_raw(pid))
}

/// Whether this process is a server that [`super::postmaster`] started on this cluster.
fn serves(pid: Pid, cluster: &Path) -> bool {
    command_line(pid).contains(&format!("/postgres -D {} -p ", cluster.display()))
}

/// The arguments of a process with a space between them; empty when there is no such process.
#[cfg(target_os = "linux")]
fn command_line(pid: Pid) -> String {
    // World-readable, unlike `cwd` and `exe`, which a container's root may not follow.
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .unwrap_or_default()
}

/// The arguments of a process with a space between them; empty when there is no such process.
#[cfg(not(target_os = "linux"))]
fn command_line(pid: Pid) -> String {
    std::process::Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}
