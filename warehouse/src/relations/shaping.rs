//! What a source's owner decides of its relations, beside their layout. Pure.

use trunkline_model::names::quote_literal;
use trunkline_model::naming::Naming;

use super::known::Known;
use crate::apply::CURRENT_ROLE;
use crate::sources::DesiredSource;
use crate::step::{Step, Test};

/// What a source's owner decides of its relations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shaping {
    /// Whether they stay as they are: what is new is held back, and listed.
    pub is_pinned: bool,
}

/// By what the relations of a source are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) naming: Naming,
    pub(crate) is_pinned: bool,
}

/// Whether the catalog has to hear of what is desired of a source.
pub(super) fn is_news(source: &DesiredSource, known: Option<&Known>) -> bool {
    // What nobody can read stays as it is.
    source
        .shaping
        .as_ref()
        .is_some_and(|shaping| shaping.is_pinned != known.is_some_and(|known| known.is_pinned))
}

/// Writes it down. Where that lets in what was held back, all that was ever noted is news again: what is
/// there already asks for nothing.
pub(crate) fn record(
    number: i32,
    source: &DesiredSource,
    shaping: &Shaping,
    layout: Option<Naming>,
) -> Step {
    let of_source = quote_literal(&source.name.to_string());
    let is_pinned = shaping.is_pinned;
    let mut statements = vec![format!(
        "UPDATE trunkline.sources SET pinned = {is_pinned} WHERE bucket = {number}"
    )];
    if !is_pinned {
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
    Step {
        what: format!(
            "record what is wanted of the relations of source {}",
            source.name
        ),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer \
             AND pinned <> $2::boolean)",
            [&number.to_string(), &is_pinned.to_string()],
        ),
        sql: statements.join(";\n"),
        fix: format!("ALTER TABLE trunkline.sources OWNER TO {CURRENT_ROLE}"),
    }
}
