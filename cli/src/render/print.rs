//! Prints what was rendered.

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::args::RenderFormat;
use super::{Rendered, Sql};

pub(super) fn print(
    rendered: &Rendered,
    format: RenderFormat,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match format {
        RenderFormat::Yaml => print_yaml(rendered, out),
        RenderFormat::Json => Ok(print_json(rendered, out)?),
    }
}

fn print_json(rendered: &Rendered, out: &mut impl Write) -> io::Result<()> {
    let mut parts = Map::new();
    for (name, objects) in [
        ("objects", &rendered.objects),
        ("configuration", &rendered.configuration),
    ] {
        if let Some(objects) = objects {
            parts.insert(name.to_owned(), Value::Array(objects.clone()));
        }
    }
    if let Some(sql) = &rendered.sql {
        let statements = sql
            .statements
            .iter()
            .map(|statement| json!({"description": statement.description, "sql": statement.sql}));
        parts.insert("sql".to_owned(), statements.collect());
    }
    serde_json::to_writer_pretty(&mut *out, &parts)?;
    writeln!(out)
}

/// YAML documents. SQL beside them is in comments, so that the whole is YAML; alone it is SQL.
fn print_yaml(rendered: &Rendered, out: &mut impl Write) -> anyhow::Result<()> {
    let cluster = &rendered.cluster;
    if let Some(objects) = &rendered.objects {
        writeln!(
            out,
            "# What the operator makes of WebhookCluster {cluster}. In the cluster, each object also\n\
             # has an owner reference to it."
        )?;
        documents(objects, out)?;
    }
    if let Some(secrets) = &rendered.configuration {
        writeln!(
            out,
            "# The configuration of the ingesters of WebhookCluster {cluster}. In place of each value\n\
             # stands its size: these Secrets cannot be applied."
        )?;
        documents(secrets, out)?;
    }
    if let Some(sql) = &rendered.sql {
        let text = sql_text(sql);
        if rendered.objects.is_none() && rendered.configuration.is_none() {
            out.write_all(text.as_bytes())?;
        } else {
            writeln!(out, "# The SQL:\n#")?;
            for line in text.lines() {
                writeln!(out, "{}", format!("#   {line}").trim_end())?;
            }
        }
    }
    Ok(())
}

fn documents(objects: &[Value], out: &mut impl Write) -> anyhow::Result<()> {
    for object in objects {
        let yaml = serde_saphyr::to_string(object).context("YAML")?;
        writeln!(out, "---\n{}", yaml.trim_end())?;
    }
    Ok(())
}

fn sql_text(sql: &Sql) -> String {
    let mut text = format!(
        "-- What the operator runs in the database {:?} when it is empty, one transaction after\n\
         -- the other; later, only what is missing. The database counts buckets, and the login of\n\
         -- the ingesters, where the operator makes it, gets the verifier of a random password.\n\
         -- On a server without lz4, SET COMPRESSION is left out.\n",
        sql.database
    );
    if let Some(assumption) = &sql.assumption {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "-- {assumption}.");
    }
    for statement in &sql.statements {
        let _ = writeln!(
            text,
            "\n-- {}\nBEGIN;\n{};\nCOMMIT;",
            statement.description.replace('\n', " "),
            statement.sql.trim_end()
        );
    }
    text
}
