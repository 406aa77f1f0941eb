//! A port that is kept for a program is given to nobody else.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use trunkline_tests::{OwnNetwork, ReservedPort};

/// Set in the second process.
const SECOND: &str = "TRUNKLINE_TEST_SECOND_PROCESS";

/// Begins the line in which the second process says its ports.
const RESERVED: &str = "reserved by the second process:";

/// What anyone who asks for any port has to share with the others.
const PORTS: usize = 64;

#[test]
fn a_reserved_port_is_given_to_nobody_else() {
    let test = "ports::a_reserved_port_is_given_to_nobody_else";
    let Some(_network) = OwnNetwork::enter(test) else {
        return;
    };
    if std::env::var_os(SECOND).is_some() {
        let numbers: Vec<_> = reserve(8)
            .iter()
            .map(|port| port.number().to_string())
            .collect();
        println!("\n{RESERVED} {}", numbers.join(" "));
        return;
    }
    let range = format!("40000 {}", 40_000 + PORTS - 1);
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();

    let reserved: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| reserve(6))).collect();
        let ports = threads.into_iter().map(|thread| thread.join().unwrap());
        ports.flatten().collect()
    });
    let ours: BTreeSet<_> = reserved.iter().map(ReservedPort::number).collect();
    assert_eq!(ours.len(), reserved.len());
    let theirs = reserved_by_a_second_process(test);
    assert!(theirs.len() == 8 && ours.is_disjoint(&theirs), "{theirs:?}");

    let others: Vec<_> =
        std::iter::from_fn(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()).collect();
    assert_eq!(others.len(), PORTS - ours.len());
    for other in &others {
        let port = other.local_addr().unwrap().port();
        assert!(!ours.contains(&port), "{port}");
    }
    let outgoing = TcpStream::connect(others[0].local_addr().unwrap());
    assert_eq!(outgoing.unwrap_err().kind(), ErrorKind::AddrNotAvailable);

    // The program that it is kept for may listen there, alone, and again after its end.
    for _ in 0..2 {
        let _program = TcpListener::bind(reserved[0].address()).unwrap();
        let another = TcpListener::bind(reserved[0].address());
        assert_eq!(another.unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}

fn reserve(count: usize) -> Vec<ReservedPort> {
    (0..count).map(|_| ReservedPort::any().unwrap()).collect()
}

/// Runs the same test once more in this network.
fn reserved_by_a_second_process(test: &str) -> BTreeSet<u16> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(SECOND, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix(RESERVED));
    line.expect(&said)
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect()
}
