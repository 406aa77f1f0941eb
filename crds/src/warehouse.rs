//! The analysts' warehouse of a source: relations like those that Segment or RudderStack would make.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most overrides of a source.
pub const MAX_OVERRIDES: usize = 200;

/// The relations beside `events` that are made of a source's events.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceWarehouse {
    /// Whose tables the relations are like, in names, columns and types. It can change: relations of
    /// the layout before are dropped, except those that others have built on.
    #[serde(default)]
    pub layout: WarehouseLayout,
    /// Keep the relations as they are: events and properties that are new are held back, and listed in
    /// `trunkline.schema_changes`, until it is false again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Also keep the rows of the relations in tables, of partitions whose time is over, for queries that
    /// read many days. They show the same; it takes disk, and work of PostgreSQL after midnight. Only of
    /// a source with partitions of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub materialized: bool,
    /// Columns that have another name or type than the layout and the first value give them. What is
    /// wrong with one is said in `RelationReady`, and the source is served all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["relation".to_owned(), "column".to_owned()]))]
    pub overrides: Vec<ColumnOverride>,
}

/// How a column of a relation is to be.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.type) || has(self.name)").message(
        "an override needs type, name or both; write type: numeric, or name: unit_price"
    )
)]
pub struct ColumnOverride {
    /// The relation: `product_viewed`, `pages`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new(
            "self.matches('^[a-z0-9_]+$') && !(self in ['events', 'discards'])"
        ).message(
            "relation is not one whose columns can be other; write the name of a relation as it is \
             in the schema: product_viewed"
        )
    )]
    pub relation: String,
    /// The column, as the layout calls it: `price`, `context_ip`. It need not be there yet.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9_]+$')").message(
            "column is not one that a layout gives; write the name that the column has without an \
             override: address_city"
        )
    )]
    pub column: String,
    /// Its type. A value that does not fit is NULL and a row of `discards`. Default: as the first value
    /// decides.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub sql_type: Option<ColumnType>,
    /// Its name. Default: as the layout calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z_][a-z0-9_]*$')").message(
            "name is not one that an override can give; use lower-case letters, digits and \
             underscores, not starting with a digit"
        )
    )]
    pub name: Option<String>,
}

/// Types of columns, as PostgreSQL calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Any value; an object or an array as its JSON.
    Text,
    /// A number, or a text of at most 63 characters that is one.
    Numeric,
    /// `true` or `false`, also as text.
    Boolean,
    /// A date and a time of ISO 8601: `2026-11-24T08:15:00.5Z`; without an offset it is UTC.
    Timestamptz,
    /// JSON as it is.
    Jsonb,
}

/// Whose tables the relations are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WarehouseLayout {
    /// There are none.
    #[default]
    None,
    /// Segment's warehouses: `tracks`, `identifies`, `users`, `pages`, `screens`, `groups`,
    /// `accounts`, `aliases` and one for each name of a track event.
    Segment,
    /// RudderStack's: its names and types, without `accounts`.
    Rudderstack,
}
