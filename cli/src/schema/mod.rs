//! `trunkline schema`: which relations for analysts there are, and what changed in them.
//!
//! `place` finds the database, `text` prints.

mod args;
mod place;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};
use trunkline_model::names::SourceName;
use trunkline_warehouse::{Error, SchemaChange, ShownRelation, Warehouse};

pub(crate) use args::SchemaArgs;
use args::SchemaCommand;
use place::Place;

use crate::send::OutputFormat;

/// Prints what was asked for.
pub(crate) async fn run(args: SchemaArgs) -> anyhow::Result<ExitCode> {
    let text = match args.command {
        SchemaCommand::Diff(args) => {
            let since = args.since.map(Timestamp::as_microsecond);
            let (warehouse, source) = open(&args.at).await?;
            let changes = warehouse.schema_changes(source.as_ref(), since).await;
            let changes = changes.map_err(explain)?;
            match args.at.output {
                OutputFormat::Text => text::changes(&changes),
                OutputFormat::Json => format!("{}\n", changes_as_json(&changes)),
            }
        }
        SchemaCommand::Show(args) => {
            let (warehouse, source) = open(&args.at).await?;
            let relations = warehouse.shown_relations(source.as_ref()).await;
            let relations = relations.map_err(explain)?;
            match args.at.output {
                OutputFormat::Text => text::relations(&relations),
                OutputFormat::Json => format!("{}\n", relations_as_json(&relations)),
            }
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).context("standard output")?;
    out.flush().context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// The database, and the source in it that is asked for.
async fn open(at: &args::At) -> anyhow::Result<(Warehouse, Option<SourceName>)> {
    let Place { login, source } = place::find(at).await?;
    let warehouse = Warehouse::connect(login).await?;
    if let Some(source) = &source {
        let names = warehouse.source_names().await.map_err(explain)?;
        anyhow::ensure!(
            names.contains(&source.to_string()),
            "SOURCE: there is no {source} in this database; there are: {}",
            names.join(", ")
        );
    }
    Ok((warehouse, source))
}

fn explain(error: Error) -> anyhow::Error {
    match error {
        Error::NoLayout => anyhow::anyhow!(
            "no trunkline keeps relations in this database yet; look at the database's name, or \
             wait until the WebhookCluster's DatabaseReady is True"
        ),
        error => error.into(),
    }
}

fn changes_as_json(changes: &[SchemaChange]) -> Value {
    let change = |it: &SchemaChange| {
        json!({
            "changed_at": text::time(it.changed_at),
            "source": it.source,
            "relation": it.relation,
            "column": it.column,
            "change": it.change,
            "detail": it.detail,
        })
    };
    json!({"changes": changes.iter().map(change).collect::<Vec<_>>()})
}

fn relations_as_json(relations: &[ShownRelation]) -> Value {
    let relation = |it: &ShownRelation| {
        let columns = it.columns.iter().map(
            |column| json!({"name": column.name, "type": column.sql_type, "paths": column.paths}),
        );
        json!({
            "source": it.source,
            "schema": it.schema,
            "relation": it.relation,
            "columns": columns.collect::<Vec<_>>(),
        })
    };
    json!({"relations": relations.iter().map(relation).collect::<Vec<_>>()})
}
