//! What the server says of its durability.
//!
//! Pure: the answer to a query in, a judgement out.

/// Asked on every connect and every few seconds, because `fsync` and its like change by a reload.
pub(super) const QUERY: &str = "SELECT current_setting('server_version_num'), \
     current_setting('fsync'), current_setting('full_page_writes'), \
     current_setting('synchronous_commit'), pg_is_in_recovery()";

/// Settings of a server that takes our writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSettings {
    /// `server_version_num`, 150004 for 15.4.
    pub version_num: u32,
    /// Whether a commit reaches the disk. Without it nothing is acknowledged.
    pub fsync: bool,
    /// Whether a page that a crash left half written can be mended. Without it the file system
    /// must rule such pages out.
    pub full_page_writes: bool,
    /// The server's default. Where it is weaker than `on`, each of our transactions sets `on`.
    pub synchronous_commit: SynchronousCommit,
}

/// Levels of `synchronous_commit`, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SynchronousCommit {
    /// A commit can be lost for a moment after it is acknowledged.
    Off,
    /// On this server's disk.
    Local,
    /// Also in the memory of a synchronous standby.
    RemoteWrite,
    /// Also on the disk of a synchronous standby.
    On,
    /// Also visible to the readers of a synchronous standby.
    RemoteApply,
}

impl SynchronousCommit {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "off" => Self::Off,
            "local" => Self::Local,
            "remote_write" => Self::RemoteWrite,
            "on" => Self::On,
            "remote_apply" => Self::RemoteApply,
            _ => return None,
        })
    }

    /// The value in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Local => "local",
            Self::RemoteWrite => "remote_write",
            Self::On => "on",
            Self::RemoteApply => "remote_apply",
        }
    }

    /// The level of our transactions: never weaker than `on`, never weaker than the server's.
    #[must_use]
    pub fn of_commits(self) -> Self {
        self.max(Self::On)
    }
}

/// The answer to [`QUERY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) settings: ServerSettings,
    pub(super) in_recovery: bool,
}

/// Reads the one row of [`QUERY`].
pub(super) fn read(rows: &[Vec<Option<String>>]) -> Option<Answer> {
    let [row] = rows else { return None };
    let [version, fsync, full_page_writes, level, in_recovery] = row.as_slice() else {
        return None;
    };
    Some(Answer {
        settings: ServerSettings {
            version_num: version.as_ref()?.parse().ok()?,
            fsync: fsync.as_ref()? == "on",
            full_page_writes: full_page_writes.as_ref()? == "on",
            synchronous_commit: SynchronousCommit::parse(level.as_ref()?)?,
        },
        in_recovery: in_recovery.as_ref()? == "t",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: [&str; 5]) -> Option<Answer> {
        read(&[values.iter().map(|&value| Some(value.to_owned())).collect()])
    }

    #[test]
    fn a_commit_is_never_weaker_than_on() {
        let cases = [
            ("off", "on"),
            ("local", "on"),
            ("remote_write", "on"),
            ("on", "on"),
            ("remote_apply", "remote_apply"),
        ];
        for (server, ours) in cases {
            let answer = answer(["150004", "on", "off", server, "f"]).unwrap();
            let level = answer.settings.synchronous_commit;
            assert_eq!(
                (level.as_str(), level.of_commits().as_str()),
                (server, ours)
            );
            assert!(answer.settings.fsync && !answer.settings.full_page_writes);
        }
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        assert_eq!(answer(["x", "on", "on", "on", "f"]), None);
        assert_eq!(answer(["150004", "on", "on", "sometimes", "f"]), None);
        assert_eq!(read(&[]), None);
        assert!(
            answer(["150004", "off", "on", "on", "t"])
                .unwrap()
                .in_recovery
        );
    }
}
