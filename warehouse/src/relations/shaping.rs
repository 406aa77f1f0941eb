//! What a source's owner decides of its relations, beside their layout. Pure.

use serde_json::Value;
use trunkline_model::names::quote_literal;
use trunkline_model::naming::Naming;

use super::known::Known;
use super::overrides::{ColumnOverride, Overrides};
use super::relation::Blocked;
use crate::apply::CURRENT_ROLE;
use crate::sources::DesiredSource;
use crate::step::{Step, Test};

/// What a source's owner decides of its relations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shaping {
    /// Whether they stay as they are: what is new is held back, and listed.
    pub is_pinned: bool,
    /// Whether the rows of partitions whose time is over are also kept in typed tables, for queries that
    /// read many of them. Sources that share a bucket have none.
    pub is_materialized: bool,
    /// Columns that have another name or type than they would have. None: as the catalog knows them.
    pub overrides: Option<Vec<ColumnOverride>>,
}

/// By what the relations of a source are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) naming: Naming,
    pub(crate) is_pinned: bool,
    pub(crate) overrides: &'a Overrides,
}

/// Writes down what is desired of a source; None where it is what is `known`.
///
/// Where that can let something in, all that was ever noted is news again: what is there already asks for
/// nothing.
pub(crate) fn record(
    number: i32,
    source: &DesiredSource,
    known: Option<&Known>,
    layout: Option<Naming>,
) -> Option<Step> {
    // What nobody can read stays as it is.
    let Shaping {
        is_pinned,
        is_materialized,
        overrides,
    } = source.shaping.as_ref()?;
    let overrides = overrides.as_deref().map(Overrides::new);
    let none = Known::default();
    let known = known.unwrap_or(&none);
    let is_same = |overrides: &Overrides| *overrides == known.overrides;
    let lets_nothing_in = *is_pinned == known.is_pinned && overrides.as_ref().is_none_or(is_same);
    if lets_nothing_in && *is_materialized == known.is_materialized {
        return None;
    }
    let of_source = quote_literal(&source.name.to_string());
    let overrides = overrides.as_ref().map(Overrides::to_catalog);
    let mut statements = vec![format!(
        "UPDATE trunkline.sources SET pinned = {is_pinned}, materialized = {is_materialized}, \
         overrides = {} WHERE bucket = {number}",
        overrides.as_ref().map_or_else(
            || "overrides".to_owned(),
            |json| format!("{}::jsonb", quote_literal(json))
        )
    )];
    if !is_pinned && !lets_nothing_in {
        statements.push(format!(
            "DELETE FROM trunkline.schema_changes \
             WHERE source = {of_source} AND change IN ('held', 'overflow')"
        ));
        if layout.is_some() {
            statements.push(format!(
                "UPDATE trunkline.shapes SET handled_at = NULL \
                 WHERE source = {of_source} AND handled_at IS NOT NULL"
            ));
        }
    }
    Some(Step {
        what: format!(
            "record what is wanted of the relations of source {}",
            source.name
        ),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer \
             AND (pinned <> $2::boolean OR materialized <> $4::boolean \
             OR overrides <> coalesce(nullif($3, '')::jsonb, overrides)))",
            [
                &number.to_string(),
                &is_pinned.to_string(),
                overrides.as_deref().unwrap_or_default(),
                &is_materialized.to_string(),
            ],
        ),
        sql: statements.join(";\n"),
        fix: format!("ALTER TABLE trunkline.sources OWNER TO {CURRENT_ROLE}"),
    })
}

/// Lists what the owner of a source wishes of columns and cannot have, in the place of what was listed.
pub(super) fn list_blocked(source: &str, blocked: &[Blocked]) -> Step {
    let mut blocked: Vec<_> = blocked.iter().collect();
    blocked.sort();
    let listed: Vec<_> = blocked
        .iter()
        .map(|it| {
            Value::from(vec![
                it.relation.as_str(),
                it.column.as_str(),
                it.detail.as_str(),
            ])
        })
        .collect();
    let of_source = quote_literal(source);
    let mut sql = format!(
        "DELETE FROM trunkline.schema_changes WHERE source = {of_source} AND change = 'blocked'"
    );
    if !blocked.is_empty() {
        let rows: Vec<_> = blocked
            .iter()
            .map(|it| {
                format!(
                    "({of_source}, {}, {}, 'blocked', {})",
                    quote_literal(&it.relation),
                    quote_literal(&it.column),
                    quote_literal(&it.detail)
                )
            })
            .collect();
        sql = format!(
            "{sql};\nINSERT INTO trunkline.schema_changes \
             (source, relation, \"column\", change, detail) VALUES\n  {}",
            rows.join(",\n  ")
        );
    }
    Step {
        what: format!("list what columns of source {source} cannot be"),
        needed: Test::new(
            "$2::jsonb <> (SELECT coalesce(jsonb_agg(jsonb_build_array(relation, \"column\", detail) \
             ORDER BY relation COLLATE \"C\", \"column\" COLLATE \"C\", detail COLLATE \"C\"), \
             '[]'::jsonb) FROM trunkline.schema_changes WHERE source = $1 AND change = 'blocked')",
            [source, &Value::Array(listed).to_string()],
        ),
        sql,
        fix: format!("ALTER TABLE trunkline.schema_changes OWNER TO {CURRENT_ROLE}"),
    }
}
