//! [`Network`]: how a node in its own namespace and this machine reach each other.
//!
//! A pair of connected interfaces, one on each side, and a route to the run's own /20. So the test
//! process speaks to the API server, to pods and to Services by their addresses, as a program in the
//! cluster would, and so does whoever looks from a second terminal. The alternative, to run the tests
//! inside the namespace, would need a special start for every test and every tool.
//!
//! The interfaces end with the namespace, and the route with them.

use std::net::Ipv4Addr;
use std::process::Command;

use super::enclosure::Enclosure;

/// The addresses of one run: a /20, split into the link (/22), Services (/22) and pods (/21).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    first: u32,
}

impl Network {
    /// The addresses of an enclosure.
    pub(crate) fn of(enclosure: &Enclosure) -> Self {
        Self {
            first: enclosure.network().into(),
        }
    }

    /// This machine's, as pods see it.
    pub(crate) fn machine(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The node's.
    pub(crate) fn node(self) -> Ipv4Addr {
        self.address(2)
    }

    /// The range of Services.
    pub(crate) fn services(self) -> String {
        format!("{}/22", self.address(4 << 8))
    }

    /// The Service that pods ask for names.
    pub(crate) fn dns(self) -> Ipv4Addr {
        self.address((4 << 8) + 10)
    }

    /// The range of pods.
    pub(crate) fn pods(self) -> String {
        format!("{}/21", self.address(8 << 8))
    }

    fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first + offset)
    }

    /// Connects the two sides.
    ///
    /// # Panics
    /// When the enclosure is not isolated, or the machine already has the route.
    pub(crate) fn connect(self, enclosure: &Enclosure) {
        let name = enclosure.name();
        let holder = enclosure
            .holder()
            .expect("namespaces of our own")
            .to_string();
        let (machine, node) = (self.machine(), self.node());
        // The kernel takes its time over a namespace that has ended, and removes its link last.
        let _ = Command::new("ip").args(["link", "delete", &name]).output();
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", &holder];
        ip(&[&["link", "add", &name], &peer[..]].concat());
        ip(&["address", "add", &format!("{machine}/30"), "dev", &name]);
        ip(&["link", "set", &name, "up"]);

        let inside = |arguments: &[&str]| enclosure.run("ip", arguments);
        inside(&["link", "set", "lo", "up"]);
        inside(&["address", "add", &format!("{node}/30"), "dev", "eth0"]);
        inside(&["link", "set", "eth0", "up"]);
        inside(&["route", "add", "default", "via", &machine.to_string()]);
        enclosure
            .inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))
            .expect("forwarding between pods");
        // A packet to a Service that kube-proxy does not know yet would leave by the default route,
        // and its connection be remembered without a translation: its repetitions would go the same
        // way. Refused, it is not remembered, and a client that tries again gets through.
        for chain in ["FORWARD", "OUTPUT"] {
            let services = self.services();
            let rule = ["--wait", "-A", chain, "-d", &services, "-j", "REJECT"];
            enclosure.run("iptables", &rule);
        }

        let all = format!("{}/20", self.address(0));
        ip(&["route", "add", &all, "via", &node.to_string()]);
    }
}

/// Runs `ip` on this machine.
fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("iproute2; run scripts/install e2e");
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_apart_and_start_at_a_boundary() {
        let network = Network {
            first: Ipv4Addr::new(198, 18, 16, 0).into(),
        };
        assert_eq!(network.node(), Ipv4Addr::new(198, 18, 16, 2));
        assert_eq!(network.services(), "198.18.20.0/22");
        assert_eq!(network.dns(), Ipv4Addr::new(198, 18, 20, 10));
        assert_eq!(network.pods(), "198.18.24.0/21");
    }
}
