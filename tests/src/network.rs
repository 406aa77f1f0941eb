//! [`OwnNetwork`]: a network in which packets can be dropped, and nobody else's are.

use crate::namespace::{is_inside, run};

/// A network namespace with nothing but a loopback device. It ends with the process.
#[derive(Debug)]
pub struct OwnNetwork(());

impl OwnNetwork {
    /// Runs the calling test once more, in a process with a network of its own, and panics when it
    /// fails there. None in the process that was called, which then has nothing left to do.
    ///
    /// `test` is the test's name.
    #[must_use]
    pub fn enter(test: &str) -> Option<Self> {
        if !is_inside("--net", test) {
            return None;
        }
        run("ip", &["link", "set", "lo", "up"]);
        Some(Self(()))
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
