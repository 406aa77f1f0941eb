//! `trunkline render`: what the operator would make of some manifests, offline.
//!
//! It is made by the operator's own code: validate, then build. Invariant: no value of a Secret is
//! printed, and nothing that is printed in place of one can be applied by mistake.

mod args;
mod objects;
mod print;
mod sql;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use trunkline_operator::build::{Listening, ObjectInputs, base_url};
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::{Validated, validate};
use trunkline_warehouse::Statement;

use crate::files;

use args::Part;
pub(crate) use args::RenderArgs;

/// What the operator would make; a part that was not asked for is none.
#[derive(Debug, Default)]
struct Rendered {
    /// `namespace/name` of the WebhookCluster.
    cluster: String,
    objects: Option<Vec<serde_json::Value>>,
    configuration: Option<Vec<serde_json::Value>>,
    sql: Option<Sql>,
}

/// What would be run in an empty database.
#[derive(Debug)]
struct Sql {
    database: String,
    /// What was assumed, for want of a database to ask.
    assumption: Option<String>,
    statements: Vec<Statement>,
}

/// Prints what was asked for. What is wrong with a manifest is an error; a Secret that is not among
/// the files is a warning, since it may well be in the cluster.
pub(crate) fn run(args: &RenderArgs) -> anyhow::Result<ExitCode> {
    let files = files::read(&args.files)?;
    let validated = validate(&Manifests::parse(files::as_texts(&files))?)?;
    let mut is_valid = true;
    let mut errors = io::stderr().lock();
    for source in validated.sources.values() {
        match source {
            Ok(source) => {
                let absent = source.unavailable.as_ref().map(|found| &found.problem);
                for problem in source.warnings.iter().chain(absent) {
                    writeln!(errors, "warning: {problem}")?;
                }
                let wrong = source.view_problems.iter();
                for problem in wrong.chain(&source.warehouse_problems) {
                    is_valid = false;
                    writeln!(errors, "error: {problem}")?;
                }
            }
            Err(problems) => {
                is_valid = false;
                writeln!(errors, "error: {problems}")?;
            }
        }
    }
    let rendered = render(args, &validated)?;
    let mut out = Vec::new();
    print::print(&rendered, args.output, &mut out)?;
    io::stdout().write_all(&out).context("standard output")?;
    Ok(if is_valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn render(args: &RenderArgs, validated: &Validated) -> anyhow::Result<Rendered> {
    let cluster = &validated.cluster;
    let shows = |part| args.show.contains(&part);
    let mut rendered = Rendered {
        cluster: cluster.name.to_string(),
        ..Rendered::default()
    };
    if shows(Part::Objects) {
        let inputs = ObjectInputs {
            cluster,
            owner: None,
            image: cluster.image.as_deref().unwrap_or(&args.ingester_image),
            listening: Listening::default(),
        };
        rendered.objects = Some(objects::objects(&inputs)?);
    }
    if shows(Part::Configuration) {
        rendered.configuration = Some(objects::configuration(validated)?);
    }
    if shows(Part::Sql) {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        rendered.sql = Some(sql::sql(
            validated,
            &base_url(cluster, Listening::default()),
            &args.database,
            today,
        )?);
    }
    Ok(rendered)
}
