//! [`Dev`]: a running `trunkline dev -o json`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use trunkline_cli::ReservedPort;
use trunkline_cli::segment::SIGNATURE_HEADER;

use crate::binaries::binary;
use crate::client::Client;
use crate::segment::{events, signed_single};

/// The real binary, with ports of its own. Dropping it kills it, and its server goes with it.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    lines: Receiver<Value>,
    port: ReservedPort,
    admin: ReservedPort,
}

impl Dev {
    /// The repository's folder of examples, which are the manifests of its documentation.
    #[must_use]
    pub fn examples() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
    }

    /// The secret in them.
    pub const SECRET: &str = "demo-only-not-a-secret";

    /// Starts it; nothing is ready when this returns.
    #[must_use]
    pub fn start(manifests: &Path, data: &Path, arguments: &[&str]) -> Self {
        let [port, admin] = [(); 2].map(|()| ReservedPort::any().unwrap());
        let mut child = Command::new(binary("trunkline"))
            .args(["dev", "-o", "json", "-f"])
            .arg(manifests)
            .arg("--data-dir")
            .arg(data)
            .args([
                "--listen",
                &port.address().to_string(),
                "--admin-listen",
                &admin.address().to_string(),
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
            port,
            admin,
        }
    }

    /// Where senders post to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Where `/config` and its like are.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The next line of this event that has `value` in `field`; any, when `field` is empty.
    #[must_use]
    pub fn line(&self, event: &str, field: &str, value: &str) -> Value {
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

    /// Posts the first event of a seed and returns the status of the answer.
    pub async fn post(&self, path: &str, secret: &str, seed: u64) -> u16 {
        let (body, signature) = signed_single(secret.as_bytes(), &events(seed, 1)[0].json);
        let headers = [(SIGNATURE_HEADER, signature.as_str())];
        Client::new(self.address())
            .post(path, &headers, body)
            .await
            .unwrap()
            .status
    }

    /// Ends it by a signal.
    #[must_use]
    pub fn end(mut self, signal: Signal) -> ExitStatus {
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
        // Only fails for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
