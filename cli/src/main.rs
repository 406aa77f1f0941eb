//! The binary `trunkline`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = trunkline_cli::Cli::of_process();
    trunkline_cli::run(cli).await
}
