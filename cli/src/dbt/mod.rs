//! `trunkline dbt init`: a dbt project for the sources that a role may read.
//!
//! `catalog` asks the database, as a plain reader; `project` and `sources` make texts of the answer;
//! `write` puts them into a folder. The models are under `templates/`, the same for everybody: what
//! differs are variables in dbt_project.yml.
//!
//! Invariants: nothing that a sender chose is run by dbt, which takes descriptions for templates; no
//! password is written; a file that differs is replaced with `--force` alone.

mod args;
mod catalog;
mod project;
mod relations;
mod sources;
mod text;
mod write;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use trunkline_pgconn::{Target, read_files};

pub(crate) use args::DbtArgs;
use args::{DbtCommand, InitArgs};
use project::Connection;
use relations::has_models;

/// Runs the subcommand.
pub(crate) async fn run(args: DbtArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DbtCommand::Init(args) => init(&args).await,
    }
}

/// Prints each file with what became of it, and the next step.
async fn init(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let login = read_files(&args.database_url).context("--database-url")?;
    let target = Target::parse(login)
        .context("--database-url")?
        .named("trunkline dbt");
    let sources = catalog::read(&target, &args.schemas).await?;
    let files = if args.only_sources {
        vec![project::sources_file(&sources)]
    } else {
        project::files(&sources, &Connection::of(&target))
    };
    let mut out = io::stdout().lock();
    for planned in write::plan(&args.output, files, args.force)? {
        let said = if planned.is_there {
            "unchanged"
        } else {
            write::write(&planned)?;
            "wrote"
        };
        writeln!(out, "{said} {}", planned.path.display()).context("standard output")?;
    }
    if args.only_sources {
        return Ok(ExitCode::SUCCESS);
    }
    let mut errors = io::stderr().lock();
    if !has_models(&sources) {
        writeln!(
            errors,
            "there are no models: no source has the relations that spec.warehouse.layout makes"
        )?;
    }
    writeln!(
        errors,
        "next: cd {} && DBT_ENV_SECRET_PASSWORD=… dbt build",
        args.output.display()
    )?;
    Ok(ExitCode::SUCCESS)
}
