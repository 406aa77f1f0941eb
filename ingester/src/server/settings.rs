//! How long a connection may take for what.

use std::time::Duration;

/// Deadlines of connections. The default is what the program runs with; tests shorten it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From a connection's begin to the end of its TLS handshake.
    pub handshake: Duration,
    /// From a connection's begin, or its handshake's end, to the end of its first request's headers,
    /// and from the first byte of a later request to the end of its headers.
    pub headers: Duration,
    /// Between two requests of a connection.
    ///
    /// Above the 60 s after which nginx and the clouds' load balancers close an idle connection of
    /// theirs: whoever sends must be the one who closes, or a request meets a closed connection.
    pub idle: Duration,
    /// From the headers of a request to the end of its body, whatever its pace.
    pub body: Duration,
    /// From the headers of a request until its body is asked for a pace.
    pub body_grace: Duration,
    /// The pace: bytes of a body a second, on average since the end of `body_grace`.
    pub body_bytes_per_second: u32,
}

impl Timeouts {
    /// How long after its headers a body may go on that has `received` bytes so far.
    pub(crate) fn body_patience(&self, received: usize) -> Duration {
        let paid = received.saturating_mul(1_000) / self.body_bytes_per_second.max(1) as usize;
        let paid = Duration::from_millis(u64::try_from(paid).unwrap_or(u64::MAX));
        self.body_grace.saturating_add(paid).min(self.body)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(30),
            body_grace: Duration::from_secs(5),
            body_bytes_per_second: 8 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_body_win_it_time_up_to_a_bound() {
        let timeouts = Timeouts::default();
        let patience = |bytes| timeouts.body_patience(bytes).as_secs_f64();
        for (bytes, seconds) in [
            (0, 5.0),
            (8 << 10, 6.0),
            (12 << 10, 6.5),
            (200 << 10, 30.0),
            (6 << 20, 30.0),
            (usize::MAX, 30.0),
        ] {
            assert!((patience(bytes) - seconds).abs() < 0.002, "{bytes}");
        }
    }
}
