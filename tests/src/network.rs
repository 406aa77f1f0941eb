//! [`OwnNetwork`]: a network in which packets can be dropped, and nobody else's are.

use std::process::Command;

/// Set in the process that runs within a network of its own.
const INSIDE: &str = "TRUNKLINE_TEST_OWN_NETWORK";

/// A network namespace with nothing but a loopback device. It ends with the process.
#[derive(Debug)]
pub struct OwnNetwork(());

impl OwnNetwork {
    /// Runs the calling test once more, in a process with a network of its own, and panics when it
    /// fails there. None in the process that was called, which then has nothing left to do.
    ///
    /// `test` is the test's name. Root needs nothing else; other users need a kernel that lets
    /// them make user namespaces.
    #[must_use]
    pub fn enter(test: &str) -> Option<Self> {
        if std::env::var_os(INSIDE).is_some() {
            run("ip", &["link", "set", "lo", "up"]);
            return Some(Self(()));
        }
        let rights: &[&str] = match nix::unistd::geteuid().is_root() {
            true => &[],
            // PostgreSQL refuses to run as root, even as one that is root nowhere else.
            false => &["--user", "--map-current-user", "--keep-caps"],
        };
        let output = Command::new("unshare")
            .args(rights)
            .arg("--net")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "yes")
            .output()
            .expect("unshare, of the package util-linux");
        let (out, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        println!("{out}{errors}");
        assert!(
            output.status.success(),
            "the test failed in its own network, or there was none: run it as root, or let users \
             make namespaces (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0)"
        );
        // A wrong name would run no test and succeed.
        assert!(out.contains("test result: ok. 1 passed"), "no test {test}");
        None
    }

    /// Drops every packet to or from a port, of connections old and new, without a word to either
    /// side.
    pub fn drop_packets(&self, port: u16) {
        rule("-I", port);
    }

    /// Lets them pass again.
    pub fn pass_packets(&self, port: u16) {
        rule("-D", port);
    }
}

fn rule(action: &str, port: u16) {
    let port = port.to_string();
    for side in ["--dport", "--sport"] {
        let dropped = ["INPUT", "-p", "tcp", side, &port, "-j", "DROP"];
        run("iptables", &[&[action][..], &dropped].concat());
    }
}

fn run(program: &str, arguments: &[&str]) {
    // Both are in /usr/sbin, which is not on every user's PATH. The lock file is not everyone's to
    // write, and two who change tables of different networks need none.
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("XTABLES_LOCKFILE", "/dev/null")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/install test installs it"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}
