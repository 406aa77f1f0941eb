//! [`Janitor`]: clears up what the kernel does not, however the run ends.
//!
//! A shell waits for the end of a pipe that only the test process holds. The kernel closes it when
//! that process ends, `kill -9` included; so there is one way of clearing up, and it is used every
//! time. It holds the run's slot until it is done.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::slot::Slot;

/// `$1` the folder to remove, `$2` the name of the cgroups, `$3` the process that all others of the
/// run end with, if there is one.
const SCRIPT: &str = r#"
read -r _
tries=0
wait_a_bit() { tries=$((tries + 1)); [ "$tries" -lt 200 ] && sleep 0.05; }
# A zombie has ended; whether anybody reaps it is not our business.
running() { [ -n "$3" ] && grep -qs '^State:[[:space:]]*[^Z]' "/proc/$3/status"; }
while running "$@" && wait_a_bit; do :; done
cgroups() { find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "$2" -prune 2>/dev/null; }
while [ -n "$(cgroups "$@")" ] && wait_a_bit; do
    cgroups "$@" | while read -r cgroup; do
        find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
    done
done
while ! rm -rf -- "$1" 2>/dev/null && wait_a_bit; do :; done
"#;

/// The waiting shell. Dropping it lets it work and waits until it is done.
#[derive(Debug)]
pub(crate) struct Janitor(Child);

impl Janitor {
    /// Waits for the end of the run in `slot`, and then of the process `last`.
    pub(crate) fn start(slot: &Slot, last: Option<u32>) -> Self {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "trunkline-janitor"])
            .arg(slot.directory())
            .arg(slot.name())
            .arg(last.map(|pid| pid.to_string()).unwrap_or_default())
            .stdin(Stdio::piped())
            // Nothing is printed: this is how it comes to hold the slot.
            .stdout(slot.lock())
            .stderr(Stdio::null())
            .current_dir("/")
            // Out of the terminal's reach, whose Ctrl-C is for us to answer.
            .process_group(0)
            .spawn()
            .expect("a shell");
        Self(child)
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Fails only when it has been waited for.
        let _ = self.0.wait();
    }
}
