//! Waiting for what becomes true some time after it was asked for.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(25);

/// Tries until it succeeds and returns what came out.
///
/// # Panics
/// When it takes longer than `patience`, with the last reason.
pub async fn eventually<T, E: std::fmt::Display>(
    what: &str,
    patience: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) if started.elapsed() > patience => {
                panic!("{what}: not within {patience:?}: {error}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
