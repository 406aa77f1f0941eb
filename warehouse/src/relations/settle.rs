//! What a look at everything does for a source's relations: the views that are missing or not as they
//! are to be, and rights of readers that came later. Pure.

use trunkline_model::names::quote_literal;

use super::change::Definition;
use super::known::Known;
use super::readers::grant_all;
use super::shaping::list_blocked;
use super::view::Origin;
use crate::claim::Held;
use crate::found::Place;
use crate::roles::Role;
use crate::sources::DesiredSource;
use crate::step::Step;

/// What the relations of a source may need.
#[derive(Debug, Default)]
pub(crate) struct RelationWork {
    pub(crate) definitions: Vec<Definition>,
    /// Rights of its readers.
    pub(crate) grants: Vec<Step>,
    /// Lists what columns cannot be.
    pub(crate) list: Option<Step>,
}

/// Everything that the relations of a source may need, by what is known of them.
pub(crate) fn work(
    place: Place<'_>,
    source: &DesiredSource,
    held: Held,
    known: &Known,
    readers: &[&str],
) -> RelationWork {
    let (Some(naming), Some((decided, blocked))) = (known.layout, known.wanted()) else {
        return RelationWork::default();
    };
    let name = source.name.to_string();
    let schema = source.schema.as_str();
    let origin = Origin {
        source: &name,
        schema,
        held,
        naming,
    };
    let group = Role::reader(place.database, schema);
    let mut definitions: Vec<_> = decided
        .relations
        .keys()
        .filter_map(|name| Definition::of_relation(origin, &group, known, &decided, name))
        .collect();
    definitions.push(Definition::of_discards(origin, &group, known, &decided));
    let grants = readers
        .iter()
        .map(|reader| grant_all(held.number, schema, reader))
        .collect();
    let lists = known.lists_blocked || !blocked.is_empty();
    RelationWork {
        definitions,
        grants,
        list: lists.then(|| list_blocked(&name, &blocked)),
    }
}

/// Drops the relations of a source that is dropped, whatever layout they are of.
pub(crate) fn drop_all(number: i32, schema: &str) -> String {
    let each = format!(
        "DECLARE name text; BEGIN FOR name IN SELECT relation FROM trunkline.relations \
         WHERE source_number = {number} LOOP \
         EXECUTE format('DROP VIEW IF EXISTS %I.%I', {}, name); END LOOP; \
         UPDATE trunkline.relations SET materialized = NULL WHERE source_number = {number}; END",
        quote_literal(schema)
    );
    format!("DO {}", quote_literal(&each))
}

/// Forgets what was noted of a source's events and what changed in its relations: whoever takes its name
/// next is not to read it.
pub(crate) fn forget(source: &str) -> String {
    let source = quote_literal(source);
    format!(
        "DELETE FROM trunkline.shapes WHERE source = {source};\n\
         DELETE FROM trunkline.schema_changes WHERE source = {source}"
    )
}
