//! The binary `trunkline`.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = trunkline_cli::Cli::parse();
    trunkline_cli::run(cli).await
}
