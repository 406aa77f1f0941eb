//! [`Proxy`]: what can happen on the way between the ingester and PostgreSQL.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use trunkline_cli::ReservedPort;

/// What the proxy does with connections, existing and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Passes everything on.
    Pass,
    /// Takes packets and passes none on, as a network that drops them: nobody hears of it.
    BlackHole,
    /// Resets what is open and refuses what is new.
    Refuse,
    /// Ends a connection instead of passing the server's answer to every nth COMMIT on: the commit
    /// has happened and nobody hears of it.
    LoseCommitAnswer {
        /// How many answers pass for one that does not.
        every: u64,
    },
}

/// `CommandComplete` of a COMMIT, from its length on.
const COMMITTED: &[u8] = b"\0\0\0\x0bCOMMIT\0";

/// A TCP proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// On the machine's own address others look for ports, too.
    _reserved: Option<ReservedPort>,
    behaviour: watch::Sender<Behaviour>,
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts to pass connections on to a port of 127.0.0.1.
    pub async fn start(upstream: u16) -> Self {
        let port = ReservedPort::any().unwrap();
        let listener = TcpListener::bind(port.address()).await.unwrap();
        let upstream = SocketAddr::new(port.address().ip(), upstream);
        Self::serve(listener, Some(port), upstream)
    }

    /// Starts to pass connections to `listen`, an address that nobody else listens at, on to a
    /// server.
    pub async fn at(listen: IpAddr, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((listen, 0)).await.unwrap();
        Self::serve(listener, None, upstream)
    }

    fn serve(listener: TcpListener, reserved: Option<ReservedPort>, upstream: SocketAddr) -> Self {
        let address = listener.local_addr().unwrap();
        let (behaviour, seen) = watch::channel(Behaviour::Pass);
        let counters = Arc::new(Counters {
            commits: AtomicU64::new(0),
            lost: Arc::default(),
        });
        let lost = Arc::clone(&counters.lost);
        let task = tokio::spawn(serve(listener, upstream, seen, counters));
        Self {
            address,
            _reserved: reserved,
            behaviour,
            lost,
            task,
        }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes what happens from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// How many answers to a COMMIT were not passed on.
    #[must_use]
    pub fn lost_answers(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Counters {
    commits: AtomicU64,
    lost: Arc<AtomicU64>,
}

async fn serve(
    listener: TcpListener,
    upstream: SocketAddr,
    mut behaviour: watch::Receiver<Behaviour>,
    counters: Arc<Counters>,
) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let now = *behaviour.borrow_and_update();
        if now == Behaviour::Refuse {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.unwrap());
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = behaviour.changed() => if changed.is_err() { return },
            accepted = accept => {
                let (down, _) = accepted.unwrap();
                connections.spawn(relay(down, upstream, behaviour.clone(), Arc::clone(&counters)));
            }
        }
    }
}

/// Passes one connection on until either side ends it, or an answer is lost.
async fn relay(
    down: TcpStream,
    upstream: SocketAddr,
    behaviour: watch::Receiver<Behaviour>,
    counters: Arc<Counters>,
) {
    let mut seen = behaviour.clone();
    if seen
        .wait_for(|now| *now != Behaviour::BlackHole)
        .await
        .is_err()
    {
        return;
    }
    let Ok(up) = TcpStream::connect(upstream).await else {
        return;
    };
    for stream in [&down, &up] {
        // Batching packets would only delay both.
        let _ = stream.set_nodelay(true);
    }
    let ((from_down, to_down), (from_up, to_up)) = (down.into_split(), up.into_split());
    tokio::select! {
        () = pump(from_down, to_up, behaviour.clone(), None) => {}
        () = pump(from_up, to_down, behaviour, Some(&counters)) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut behaviour: watch::Receiver<Behaviour>,
    commits: Option<&Counters>,
) {
    let mut buffer = vec![0; 64 << 10];
    // The end of what passed before, in case an answer is cut in two.
    let mut window = Vec::new();
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let chunk = &buffer[..count];
        if behaviour
            .wait_for(|now| *now != Behaviour::BlackHole)
            .await
            .is_err()
        {
            return;
        }
        if let Some(counters) = commits {
            window.extend_from_slice(chunk);
            let found = window
                .windows(COMMITTED.len())
                .any(|bytes| bytes == COMMITTED);
            if found && is_lost(*behaviour.borrow(), counters) {
                return;
            }
            let kept = if found {
                0
            } else {
                window.len().min(COMMITTED.len() - 1)
            };
            window.drain(..window.len() - kept);
        }
        if to.write_all(chunk).await.is_err() {
            return;
        }
    }
}

fn is_lost(behaviour: Behaviour, counters: &Counters) -> bool {
    let Behaviour::LoseCommitAnswer { every } = behaviour else {
        return false;
    };
    let is_lost = counters.commits.fetch_add(1, Ordering::Relaxed) % every == every - 1;
    counters
        .lost
        .fetch_add(u64::from(is_lost), Ordering::Relaxed);
    is_lost
}
