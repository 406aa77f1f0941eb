//! Views that a WebhookSource declares over its own events.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most views of a source.
pub const MAX_VIEWS: usize = 50;
/// The most columns of a view.
pub const MAX_VIEW_COLUMNS: usize = 400;
/// The most keys of a path, places of one column, columns of `distinctOn` and of `orderBy`.
pub const MAX_VIEW_KEYS: usize = 10;
/// The most types, and the most events, of a view's `where`.
pub const MAX_VIEW_VALUES: usize = 100;

/// A view in the source's schema, over its own events.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct View {
    /// Its name, within the source's schema.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z_][a-z0-9_]*$') && self != 'events'").message(
            "name is not one that a view can have; use lower-case letters, digits and underscores, \
             not starting with a digit, and not events"
        )
    )]
    pub name: String,
    /// Its columns, in order.
    #[schemars(length(min = 1, max = 400))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub columns: Vec<ViewColumn>,
    /// Which events it shows. Default: all of the source's.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<ViewFilter>,
    /// Columns of the view or of `events`. Of the rows that are alike in them, it shows one: the first
    /// by `orderBy`, else the first that arrived. Default: every row is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub distinct_on: Vec<String>,
    /// The order of its rows, after `distinctOn`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["column".to_owned()]))]
    pub order_by: Vec<ViewOrder>,
}

/// A column of a view.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new(
        "(has(self.path) ? 1 : 0) + (has(self.firstOf) ? 1 : 0) + (has(self.from) ? 1 : 0) == 1"
    ).message(
        "a column of a view needs exactly one of path, firstOf and from; write path: [properties, \
         total], or from: user_id for a column of events"
    )
)]
pub struct ViewColumn {
    /// Its name: lower-case letters, digits and underscores, not starting with a digit.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z_][a-z0-9_]*$')").message(
            "name is not a column name; use lower-case letters, digits and underscores, not \
             starting with a digit"
        )
    )]
    pub name: String,
    /// The value in a JSON body, by its keys from the outside in: `[context, traits, email]`. A
    /// number is the place in an array, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 255)))]
    pub path: Option<Vec<String>>,
    /// Several places: the value is that of the first which is there and fits the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10))]
    pub first_of: Option<Vec<ViewValue>>,
    /// A column of `events`, those of `spec.headers` included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub from: Option<String>,
    /// The column's type. A value that does not fit is NULL, and in `body` all the same. Default:
    /// `text`; with `from`, that of the column it names.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub sql_type: Option<ViewType>,
}

/// A place of a value.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.path) != has(self.from)").message(
        "an entry of firstOf needs either path or from; write path: [traits, email], or from: \
         user_id for a column of events"
    )
)]
pub struct ViewValue {
    /// Keys of a JSON body, from the outside in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 255)))]
    pub path: Option<Vec<String>>,
    /// A column of `events` that has the column's type, or is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub from: Option<String>,
}

/// Types of a view's columns, as PostgreSQL calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ViewType {
    /// Any value; an object or an array as its JSON.
    Text,
    /// A number, or a text of at most 63 characters that is one.
    Numeric,
    /// A whole number of 64 bits, or a text that is one.
    Bigint,
    /// `true` or `false`, also as text.
    Boolean,
    /// A date and a time of ISO 8601 with an offset: `2026-11-24T08:15:00.5Z`.
    Timestamptz,
    /// JSON as it is.
    Jsonb,
}

/// Which events a view shows: those that are among all of the lists that are there.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new(
        "(has(self.types) && self.types.size() > 0) || (has(self.events) && self.events.size() > 0)"
    ).message(
        "where has neither types nor events; list one, or remove where to show every event"
    )
)]
pub struct ViewFilter {
    /// Types of events: `track`, `identify`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 1000)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub types: Vec<String>,
    /// Names of track events: `Order Completed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 1000)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub events: Vec<String>,
}

/// A key of the order. NULL comes last in either direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ViewOrder {
    /// A column of the view or of `events`.
    #[schemars(length(min = 1, max = 63))]
    pub column: String,
    /// Which value comes first.
    #[serde(default)]
    pub direction: SortDirection,
}

/// Directions of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SortDirection {
    /// The smallest, or the earliest.
    #[default]
    Ascending,
    /// The largest, or the latest.
    Descending,
}
