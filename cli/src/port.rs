//! [`ReservedPort`]: a port that is known before the program that listens on it runs.
//!
//! To look for a free port and let it go again is a race: until the program listens, the system
//! gives the port to anyone who asks for any, outgoing connections among them. A socket that is
//! bound and does not listen keeps it. Linux hands the port of such a socket to nobody by itself,
//! and lets a program that names it listen there, as long as both have set `SO_REUSEADDR`
//! (socket(7)), which PostgreSQL, PgBouncer, tokio and node do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port on 127.0.0.1 that the system gives to nobody else while this value lives, whether
/// something listens on it meanwhile or not.
///
/// On other systems than Linux a program could not listen beside the socket that keeps the port.
/// There it was free a moment ago, and no more is promised.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _socket: Option<TcpSocket>,
}

impl ReservedPort {
    /// Any port that nobody has.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn any() -> io::Result<Self> {
        Self::at(0)
    }

    /// This port, or any for 0.
    ///
    /// # Errors
    /// When something listens on it.
    pub(crate) fn at(port: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        Ok(Self {
            number: socket.local_addr()?.port(),
            _socket: cfg!(target_os = "linux").then_some(socket),
        })
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
