//! The analysts' warehouse of a source: relations like those that Segment or RudderStack would make.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The relations beside `events` that are made of a source's events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
