//! Stops a server whose owner was killed.
//!
//! A shell waits for the end of a pipe that only this process holds. The kernel closes that pipe
//! however this process ends, `kill -9` included, and the shell then stops the server. Nothing that
//! needs `unsafe` (`PR_SET_PDEATHSIG`) would reach as far, and no other system than Linux has it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::account::Account;

/// `$1` the process id of the server, `$2` its `postmaster.pid`, `$3` a folder to remove or empty.
const SCRIPT: &str = r#"
read -r _
running() { [ "$(head -n 1 "$2" 2>/dev/null)" = "$1" ]; }
running "$1" "$2" && kill -INT "$1"
if [ -n "$3" ]; then
    tries=0
    while running "$1" "$2" && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
    rm -rf -- "$3"
fi
"#;

/// The waiting shell. Dropping it dismisses it: the server is left alone.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Watches over the server `pid`, and over its folder when that is temporary.
    pub(crate) fn start(
        pid: u32,
        pid_file: &Path,
        temporary: Option<&Path>,
        account: &Account,
    ) -> std::io::Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "trunkline-watchdog"])
            .arg(pid.to_string())
            .arg(pid_file)
            .arg(temporary.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Out of the terminal's reach, whose Ctrl-C is for us to answer.
            .process_group(0);
        account.apply(&mut command);
        command.spawn().map(Self)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed before its pipe closes, or it would do its work now. Both calls fail only when it
        // has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// A stand-in for a server: a process and the file that names it.
    struct Server {
        process: Child,
        folder: tempfile::TempDir,
    }

    impl Server {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let process = Command::new("sleep").arg("60").spawn().unwrap();
            std::fs::write(
                folder.path().join("postmaster.pid"),
                format!("{}\n/data\n", process.id()),
            )
            .unwrap();
            Self { process, folder }
        }

        fn watched(&self, temporary: bool) -> Watchdog {
            Watchdog::start(
                self.process.id(),
                &self.folder.path().join("postmaster.pid"),
                temporary.then(|| self.folder.path()),
                &Account::Ourselves,
            )
            .unwrap()
        }

        /// Whether the process ends soon.
        fn ends(&mut self) -> bool {
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline {
                if self.process.try_wait().unwrap().is_some() {
                    // A server removes its own file.
                    let _ = std::fs::remove_file(self.folder.path().join("postmaster.pid"));
                    return true;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            false
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// What the kernel does when the owner is killed; waits for the shell's last step.
    fn lose_owner(watchdog: &mut Watchdog) {
        drop(watchdog.0.stdin.take());
    }

    #[test]
    fn a_server_whose_owner_is_gone_is_stopped_and_its_temporary_folder_removed() {
        let mut server = Server::start();
        let mut watchdog = server.watched(true);
        lose_owner(&mut watchdog);
        assert!(server.ends());
        watchdog.0.wait().unwrap();
        assert!(!server.folder.path().exists());
    }

    #[test]
    fn a_folder_of_the_caller_stays() {
        let mut server = Server::start();
        let mut watchdog = server.watched(false);
        lose_owner(&mut watchdog);
        assert!(server.ends());
        watchdog.0.wait().unwrap();
        assert!(server.folder.path().exists());
    }

    #[test]
    fn a_server_of_a_later_start_is_left_alone() {
        let mut server = Server::start();
        let mut watchdog = server.watched(false);
        std::fs::write(server.folder.path().join("postmaster.pid"), "1\n/data\n").unwrap();
        lose_owner(&mut watchdog);
        watchdog.0.wait().unwrap();
        assert!(server.process.try_wait().unwrap().is_none());
    }

    #[test]
    fn a_dismissed_watchdog_does_nothing() {
        let mut server = Server::start();
        drop(server.watched(true));
        std::thread::sleep(Duration::from_millis(100));
        assert!(server.process.try_wait().unwrap().is_none());
        assert!(server.folder.path().exists());
    }
}
