//! Writes `docs/metrics.md`. `cargo run -p trunkline-tests --bin generate-metrics-page` from anywhere
//! in the workspace.

use trunkline_tests::{metrics_page, repository};

fn main() -> std::io::Result<()> {
    std::fs::write(repository().join("docs/metrics.md"), metrics_page())
}
