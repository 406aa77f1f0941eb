//! Which relations analysts have beside `events`.

use std::collections::BTreeSet;

use trunkline_crds::{BodyFormat, ColumnOverride, MAX_OVERRIDES, SourceWarehouse};
use trunkline_model::names::MAX_IDENTIFIER_BYTES;
use trunkline_warehouse::{ColumnType, Shaping, Storage, WarehouseLayout};

use crate::problem::{Collector, Problem};

/// The layout of the relations. They are made of the fields of JSON.
pub(super) fn layout(
    spec: Option<&SourceWarehouse>,
    format: BodyFormat,
    collector: &mut Collector<'_>,
) -> WarehouseLayout {
    let layout = match spec.map(|warehouse| warehouse.layout) {
        None | Some(trunkline_crds::WarehouseLayout::None) => return WarehouseLayout::None,
        Some(trunkline_crds::WarehouseLayout::Segment) => WarehouseLayout::Segment,
        Some(trunkline_crds::WarehouseLayout::Rudderstack) => WarehouseLayout::Rudderstack,
    };
    if !matches!(format, BodyFormat::Json | BodyFormat::JsonArray) {
        collector.add(
            "spec.warehouse.layout",
            "needs bodies of JSON; set spec.body.format to Json or JsonArray, or layout to none",
        );
    }
    layout
}

/// Whether rows are kept in tables too. These are made of partitions that are the source's own.
pub(super) fn materialized(
    spec: Option<&SourceWarehouse>,
    storage: Storage,
    collector: &mut Collector<'_>,
) {
    if storage == Storage::Shared && spec.is_some_and(|warehouse| warehouse.materialized) {
        collector.add(
            "spec.warehouse.materialized",
            "needs partitions of the source's own; set it to false, or recreate the source with \
             spec.storage: Dedicated",
        );
    }
}

/// What else is decided of them, and what is wrong with it.
///
/// What is wrong with one override leaves all of them as they are known: the source is valid without.
pub(super) fn shaping(
    spec: Option<&SourceWarehouse>,
    layout: WarehouseLayout,
    file: Option<&str>,
    object: &str,
) -> (Shaping, Vec<Problem>) {
    let overrides = spec.map_or(&[][..], |warehouse| &warehouse.overrides);
    let mut collector = Collector::new(file, object.to_owned());
    if overrides.len() > MAX_OVERRIDES {
        let count = overrides.len();
        collector.add(
            "spec.warehouse.overrides",
            format!("has {count} entries; list at most {MAX_OVERRIDES}"),
        );
    }
    let (mut columns, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (index, it) in overrides.iter().enumerate() {
        let mut add = |field: &str, message: String| {
            collector.add(format!("spec.warehouse.overrides[{index}]{field}"), message);
        };
        if let Some((field, message)) = wrong(it, layout) {
            add(field, message);
            continue;
        }
        if !columns.insert((&it.relation, &it.column)) {
            let (relation, column) = (&it.relation, &it.column);
            let message =
                format!("{relation}.{column} has an override already; write one for both");
            add(".column", message);
        }
        if let Some(name) = &it.name
            && !names.insert((&it.relation, name))
        {
            let message = format!("another column is called {name:?}; choose another name");
            add(".name", message);
        }
    }
    let (overrides, problems) = match collector.finish(Some(overrides)) {
        Ok(overrides) => (
            Some(overrides.iter().map(column_override).collect()),
            vec![],
        ),
        Err(problems) => (None, problems.0),
    };
    let shaping = Shaping {
        is_pinned: spec.is_some_and(|warehouse| warehouse.pinned),
        is_materialized: spec.is_some_and(|warehouse| warehouse.materialized),
        overrides,
    };
    (shaping, problems)
}

/// What is wrong with an override by itself: the field, and what to do.
fn wrong(it: &ColumnOverride, layout: WarehouseLayout) -> Option<(&'static str, String)> {
    let ColumnOverride {
        relation,
        column,
        sql_type,
        name,
    } = it;
    if !is_plain(relation) || ["events", "discards"].contains(&relation.as_str()) {
        let message = format!(
            "{relation:?} is not a relation whose columns can be other; write its name as it is in \
             the schema: product_viewed"
        );
        return Some((".relation", message));
    }
    if !is_plain(column) {
        let message = format!(
            "{column:?} is not a column that a layout gives; write the name that it has without an \
             override: address_city"
        );
        return Some((".column", message));
    }
    if layout.has_fixed_column(relation, column) {
        let message = format!(
            "{column:?} is a column that {relation} has whatever is sent, and stays as it is; \
             remove the override, or declare a view in spec.views"
        );
        return Some((".column", message));
    }
    let Some(name) = name else {
        let message = "needs type, name or both; write type: numeric, or name: unit_price";
        return sql_type.is_none().then(|| ("", message.to_owned()));
    };
    if !is_plain(name) || name.starts_with(|first: char| first.is_ascii_digit()) {
        let message = format!(
            "{name:?} is not a name that an override can give; use 1 to {MAX_IDENTIFIER_BYTES} \
             lower-case letters, digits and underscores, not starting with a digit"
        );
        return Some((".name", message));
    }
    layout.has_fixed_column(relation, name).then(|| {
        let message = format!("{relation} has a column {name:?} whatever is sent; choose another");
        (".name", message)
    })
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.len() <= MAX_IDENTIFIER_BYTES && name.bytes().all(plain)
}

fn column_override(it: &ColumnOverride) -> trunkline_warehouse::ColumnOverride {
    trunkline_warehouse::ColumnOverride {
        relation: it.relation.clone(),
        column: it.column.clone(),
        sql_type: it.sql_type.map(|sql_type| match sql_type {
            trunkline_crds::ColumnType::Text => ColumnType::Text,
            trunkline_crds::ColumnType::Numeric => ColumnType::Numeric,
            trunkline_crds::ColumnType::Boolean => ColumnType::Boolean,
            trunkline_crds::ColumnType::Timestamptz => ColumnType::Timestamptz,
            trunkline_crds::ColumnType::Jsonb => ColumnType::Jsonb,
        }),
        name: it.name.clone(),
    }
}
