//! The relations of the analysts' warehouse: what Segment or RudderStack would have made of a source's
//! events, as views in its schema.
//!
//! ```text
//! trunkline.shapes ── news ──► decide ──► view, discards ──► change (one transaction each)
//!  (ingesters note)            (pure)      (pure)             trunkline.relations, .relation_columns,
//!                                                             .event_names, .schema_changes
//! ```
//!
//! The relations that are always there come with the source; those of events and all further columns
//! come when [`Relator::poll`] finds news of them.
//!
//! Invariants:
//! - A column, once there, keeps its name, its type and its place, unless the source's owner wants
//!   another name or type. A view changes by columns that are appended, or not at all; what others have
//!   built on it goes on, and keeps a type from being changed.
//! - No value makes a query fail: what does not fit a column's type is NULL there, in `_raw`, and a row
//!   of `discards`.
//! - A view is what `trunkline.relations` says that we made last, or it is not replaced: of two
//!   processes that decide at once, one does the work and the other looks again.
//! - A relation that is not recorded there is not ours, and neither replaced nor dropped.
//! - A relation's trouble is a warning. The source takes events all the same.

mod account;
mod casts;
mod change;
mod decide;
mod discards;
mod expected;
mod handled;
mod known;
mod materialized;
mod overrides;
mod poll;
mod readers;
mod relation;
mod rename;
mod report;
mod schema;
mod settle;
mod shape;
mod shaping;
mod shown;
mod subject;
mod switch;
#[cfg(test)]
mod tests;
mod union;
mod view;

use trunkline_model::naming::Naming;

use subject::Subject;

pub use casts::ColumnType;
pub use overrides::ColumnOverride;
pub use poll::{News, Relator};
pub use report::{SchemaChange, ShownColumn, ShownRelation};
pub use shaping::Shaping;

pub(crate) use casts::TIMES;
pub(crate) use change::Definition;
pub(crate) use known::{Known, Relations, read};
pub(crate) use materialized::{Part, PartLeaf};
pub(crate) use readers::revoke;
pub(crate) use schema::{catalog, shaping_catalog};
pub(crate) use settle::{drop_all, forget, work};
pub(crate) use shaping::record as record_shaping;
pub(crate) use shown::{Stored, StoredColumn, stored};
pub(crate) use switch::{Switched, record_layout, switch};
pub(crate) use union::PLACE;
pub(crate) use view::Origin;

/// Whose tables a source's relations are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WarehouseLayout {
    /// There are none beside `events`.
    #[default]
    None,
    /// Those of Segment's warehouses.
    Segment,
    /// Those of RudderStack's.
    Rudderstack,
}

impl WarehouseLayout {
    /// Whether a relation of that name has a column of that name whatever is sent.
    #[must_use]
    pub fn has_fixed_column(self, relation: &str, column: &str) -> bool {
        let subject = Subject::of_relation(relation);
        self.naming()
            .is_some_and(|naming| subject.has_fixed(naming, column))
    }

    /// The rules that make the names; none without relations.
    pub(crate) const fn naming(self) -> Option<Naming> {
        match self {
            Self::None => None,
            Self::Segment => Some(Naming::Segment),
            Self::Rudderstack => Some(Naming::Rudderstack),
        }
    }
}

/// How the catalog calls a layout.
pub(crate) const fn layout_name(naming: Naming) -> &'static str {
    match naming {
        Naming::Segment => "segment",
        Naming::Rudderstack => "rudderstack",
    }
}

/// The layout that the catalog calls so.
pub(crate) fn layout_named(name: &str) -> Option<Naming> {
    [Naming::Segment, Naming::Rudderstack]
        .into_iter()
        .find(|naming| layout_name(*naming) == name)
}
