//! Which relations analysts have beside `events`.

use trunkline_crds::{BodyFormat, SourceWarehouse};
use trunkline_warehouse::{Shaping, WarehouseLayout};

use crate::problem::Collector;

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

/// What else is decided of them.
pub(super) fn shaping(spec: Option<&SourceWarehouse>) -> Shaping {
    Shaping {
        is_pinned: spec.is_some_and(|warehouse| warehouse.pinned),
    }
}
