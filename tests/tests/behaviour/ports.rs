//! A port that is kept for a program is given to nobody else.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use trunkline_tests::{Database, OwnNetwork, ReservedPort};

/// Set in the second process.
const SECOND: &str = "TRUNKLINE_TEST_SECOND_PROCESS";

/// Begins the line in which the second process says its ports.
const RESERVED: &str = "reserved by the second process:";

/// What anyone who asks for any port has to share with the others.
const PORTS: usize = 64;

#[test]
fn a_reserved_port_is_given_to_nobody_else() {
    let test = "ports::a_reserved_port_is_given_to_nobody_else";
    let Some(_network) = small_network(test) else {
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
    let reserved: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| reserve(6))).collect();
        let ports = threads.into_iter().map(|thread| thread.join().unwrap());
        ports.flatten().collect()
    });
    let ours: BTreeSet<_> = reserved.iter().map(ReservedPort::number).collect();
    assert_eq!(ours.len(), reserved.len());
    let theirs = reserved_by_a_second_process(test);
    assert!(theirs.len() == 8 && ours.is_disjoint(&theirs), "{theirs:?}");

    let others = take_what_is_left();
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

#[tokio::test]
async fn the_port_of_a_database_that_is_down_stays_its_own() {
    let test = "ports::the_port_of_a_database_that_is_down_stays_its_own";
    let Some(_network) = small_network(test) else {
        return;
    };
    let mut database = Database::start().await;
    database.shut_down().await;
    let others = take_what_is_left();
    assert!(others.len() > PORTS / 2, "{others:?}");
    for other in others {
        assert_ne!(other.local_addr().unwrap().port(), database.port());
    }
    database.start_again().await;
    assert_eq!(database.count("SELECT 1::bigint").await, 1);
}

/// A network with [`PORTS`] of them, in which a connection that has ended keeps none.
fn small_network(test: &str) -> Option<OwnNetwork> {
    let network = OwnNetwork::enter(test)?;
    let range = format!("40000 {}", 40_000 + PORTS - 1);
    let settings = [
        ("ip_local_port_range", range.as_str()),
        ("tcp_max_tw_buckets", "0"),
    ];
    for (name, value) in settings {
        std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value).unwrap();
    }
    Some(network)
}

fn take_what_is_left() -> Vec<TcpListener> {
    std::iter::from_fn(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()).collect()
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
