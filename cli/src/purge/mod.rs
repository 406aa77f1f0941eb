//! `trunkline purge`: deletes the rows of a person from all partitions, and writes down that it did.
//!
//! Invariant: it asks nobody. Whoever wants to see first what would go says `--dry-run`, which writes
//! nothing.

mod args;
mod database;
mod progress;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use trunkline_warehouse::{Erased, Erasure, Error, Identity, IdentityKind, Warehouse};

use crate::send::OutputFormat;

pub(crate) use args::PurgeArgs;
use progress::Ticker;

/// Deletes or counts, then prints a line for each identity.
pub(crate) async fn run(args: PurgeArgs) -> anyhow::Result<ExitCode> {
    let login = database::owner(&args).await?;
    let warehouse = Warehouse::connect(login).await.context("the database")?;
    let erasure = erasure(&args, &warehouse).await.map_err(explain)?;
    if erasure.identities.is_empty() {
        writeln!(io::stderr(), "no delete event is stored that names anyone")?;
    }
    let mut ticker = Ticker::new();
    let erased = warehouse.erase(&erasure, |progress| ticker.tick(progress));
    let erased = erased.await.map_err(explain)?;
    let mut out = Vec::new();
    print(&erased, args.output, &mut out)?;
    io::stdout().write_all(&out).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Whose rows, from which sources.
async fn erasure(args: &PurgeArgs, warehouse: &Warehouse) -> Result<Erasure, Error> {
    let identity = |kind| {
        move |id: &String| Identity {
            kind,
            id: id.clone(),
        }
    };
    let mut identities: Vec<_> = args
        .users
        .iter()
        .map(identity(IdentityKind::User))
        .collect();
    identities.extend(args.anonymous.iter().map(identity(IdentityKind::Anonymous)));
    let mut sources = args.sources.clone();
    if let Some(source) = &args.from_deletes {
        let mut ticker = Ticker::new();
        let named = warehouse.deletions(source, |progress| ticker.tick(progress));
        identities.extend(named.await?);
        // Its delete events go with the rest, and so do not ask for it again.
        if !sources.is_empty() {
            sources.push(source.clone());
        }
    }
    Ok(Erasure {
        identities,
        sources: (!sources.is_empty()).then_some(sources),
        is_dry_run: args.dry_run,
    })
}

/// An error with what whoever runs this can do about it.
fn explain(error: Error) -> anyhow::Error {
    match error {
        Error::NoLayout => anyhow::anyhow!(
            "the database has no layout of this version; use the trunkline of the operator's version, \
             which brings the layout up to date"
        ),
        error => anyhow::Error::new(error),
    }
}

/// A line of the JSON form.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'a str,
    id: &'a str,
    rows: i64,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    purge: Option<i64>,
}

fn print(erased: &[Erased], format: OutputFormat, out: &mut Vec<u8>) -> io::Result<()> {
    for Erased {
        identity,
        purge,
        rows,
    } in erased
    {
        let line = Line {
            kind: identity.kind.column(),
            id: &identity.id,
            rows: *rows,
            deleted: purge.is_some(),
            purge: *purge,
        };
        let Line { kind, id, .. } = line;
        match (format, purge) {
            (OutputFormat::Json, _) => {
                serde_json::to_writer(&mut *out, &line)?;
                writeln!(out)?;
            }
            (OutputFormat::Text, Some(purge)) => {
                writeln!(out, "{kind} {id}: {rows} rows deleted (purge {purge})")?;
            }
            (OutputFormat::Text, None) => writeln!(out, "{kind} {id}: {rows} rows")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_told_apart_from_what_was_counted() {
        let erased = |purge| Erased {
            identity: Identity {
                kind: IdentityKind::User,
                id: "ada".to_owned(),
            },
            purge,
            rows: 3,
        };
        let text = |format| {
            let mut out = Vec::new();
            print(&[erased(Some(7)), erased(None)], format, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(OutputFormat::Text),
            "user_id ada: 3 rows deleted (purge 7)\nuser_id ada: 3 rows\n"
        );
        assert_eq!(
            text(OutputFormat::Json),
            "{\"kind\":\"user_id\",\"id\":\"ada\",\"rows\":3,\"deleted\":true,\"purge\":7}\n\
             {\"kind\":\"user_id\",\"id\":\"ada\",\"rows\":3,\"deleted\":false}\n"
        );
    }
}
