//! `trunkline dev` as the README has it: manifests in, rows out, from one command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{Client, binary, events, seed, signed_single};

/// The secret of `examples/secret.yaml`.
const SECRET: &str = "demo-only-not-a-secret";

/// A running `trunkline dev -o json`. Dropping it stops it.
struct Dev {
    child: Child,
    lines: Receiver<Value>,
    address: SocketAddr,
}

impl Dev {
    fn start(manifests: &Path, data: &Path, arguments: &[&str]) -> Self {
        let ports = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [address, admin] = ports.map(|port| port.local_addr().unwrap());
        let mut child = Command::new(binary("trunkline"))
            .args(["dev", "-o", "json", "-f"])
            .arg(manifests)
            .arg("--data-dir")
            .arg(data)
            .args([
                "--listen",
                &address.to_string(),
                "--admin-listen",
                &admin.to_string(),
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let value =
                    serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            address,
        }
    }

    /// The next line of this event that has `value` in `field`.
    fn line(&self, event: &str, field: &str, value: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {event} with {field}={value} among {seen:?}");
            };
            if line["event"] == event && (field.is_empty() || line[field] == value) {
                return line;
            }
            seen.push(line);
        }
    }

    async fn post(&self, path: &str, secret: &str, seed: u64) -> u16 {
        let (body, signature) = signed_single(secret.as_bytes(), &events(seed, 1)[0].json);
        let headers = [(SIGNATURE_HEADER, signature.as_str())];
        Client::new(self.address)
            .post(path, &headers, body)
            .await
            .unwrap()
            .status
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(exit) = self.child.try_wait().unwrap() {
                return exit;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("trunkline dev does not end");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its server goes with it: a watchdog sees to that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy of the examples that a test can edit.
fn examples() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for entry in std::fs::read_dir(examples).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_works_and_edits_are_served_without_a_restart() {
    let (manifests, data) = (examples(), tempfile::tempdir().unwrap());
    let data = data.path().join("data");
    let seed = seed();
    let dev = Dev::start(manifests.path(), &data, &[]);
    let database = dev.line("database", "", "")["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let ready = dev.line("ready", "source", "default/segment");
    let path = "/webhooks/default/segment";
    assert_eq!(ready["url"], format!("http://{}{path}", dev.address));
    assert_eq!(ready["relation"], "segment.events");
    assert_eq!(
        dev.post(path, SECRET, seed).await,
        200,
        "the first POST after ready"
    );
    assert_eq!(dev.post(path, "another", seed).await, 400);

    let (client, connection) = tokio_postgres::connect(&database, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let id = &events(seed, 1)[0].message_id;
    let row = client
        .query_one(
            "SELECT message_id, headers->>'user-agent', event_type FROM segment.events",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), id);

    // A second source appears beside the first.
    let source = std::fs::read_to_string(manifests.path().join("source.yaml")).unwrap();
    let second = source
        .replace("name: segment\n", "name: second\n")
        .replace("  path: /webhooks/default/segment # the default\n", "")
        .replace("  schema: segment # the default\n", "");
    std::fs::write(manifests.path().join("second.yaml"), &second).unwrap();
    assert_eq!(
        dev.line("ready", "source", "default/second")["relation"],
        "second.events"
    );
    assert_eq!(
        dev.post("/webhooks/default/second", SECRET, seed).await,
        200
    );

    // A mistake is said and changes nothing.
    std::fs::write(
        manifests.path().join("second.yaml"),
        second.replace("format: Json", "format: Jsn"),
    )
    .unwrap();
    let invalid = dev.line("invalid", "", "")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(invalid.contains("second.yaml"), "{invalid}");
    assert_eq!(
        dev.post("/webhooks/default/second", SECRET, seed).await,
        200
    );

    // It goes away again.
    std::fs::remove_file(manifests.path().join("second.yaml")).unwrap();
    dev.line("removed", "source", "default/second");
    assert_eq!(
        dev.post("/webhooks/default/second", SECRET, seed).await,
        404
    );
    assert_eq!(dev.post(path, SECRET, seed + 1).await, 200);

    // Another secret replaces the one there was.
    let secret = std::fs::read_to_string(manifests.path().join("secret.yaml")).unwrap();
    std::fs::write(
        manifests.path().join("secret.yaml"),
        secret.replace(SECRET, "a new one"),
    )
    .unwrap();
    let start = Instant::now();
    while dev.post(path, "a new one", seed + 2).await != 200 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the new secret is not served"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(dev.post(path, SECRET, seed).await, 400);

    assert!(dev.end(Signal::SIGINT).success());
    assert!(
        tokio_postgres::connect(&database, tokio_postgres::NoTls)
            .await
            .is_err()
    );

    // The rows are there after another start of the same folder.
    let dev = Dev::start(manifests.path(), &data, &[]);
    let database = dev.line("database", "", "")["url"]
        .as_str()
        .unwrap()
        .to_owned();
    dev.line("ready", "source", "default/segment");
    let (client, connection) = tokio_postgres::connect(&database, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let count: i64 = client
        .query_one("SELECT count(*) FROM segment.events", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 3);
    assert!(dev.end(Signal::SIGTERM).success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_shows_every_type_counted() {
    let (manifests, data) = (examples(), tempfile::tempdir().unwrap());
    let dev = Dev::start(
        manifests.path(),
        &data.path().join("data"),
        &["--send", "200"],
    );
    let counted = dev.line("counted", "relation", "segment.events");
    let types = counted["types"].as_object().unwrap();
    assert_eq!(types.len(), 7, "{types:?}");
    assert_eq!(types.values().filter_map(Value::as_i64).sum::<i64>(), 200);
    assert!(dev.end(Signal::SIGINT).success());
}
