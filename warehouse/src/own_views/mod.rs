//! Views of a source's own: declared in its manifest by path and type, made in its schema.
//!
//! Invariants:
//! - What is wrong with such a view is that view's alone: rows are taken and all else is read.
//! - Only a view that bears our mark is replaced, granted or dropped.
//! - It reads the bucket, as `<schema>.events` does, and not that view, which could not be made anew
//!   while others read it.

mod keep;
mod query;

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row};
use trunkline_model::names::SourceName;

use crate::apply::{field, read};
use crate::casts::CastType;
use crate::error::Error;

pub(crate) use keep::{KeptView, OwnWork, drop_unwanted, let_read};

/// The views of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnViews {
    /// How they are to be.
    pub views: Vec<OwnView>,
    /// Names of those that are wanted and whose declaration is wrong: what there is of them stays
    /// as it is.
    pub untouched: Vec<String>,
}

/// A view over the events of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnView {
    /// Its name within the source's schema.
    pub name: String,
    /// Its columns, in order; at least one.
    pub columns: Vec<OwnColumn>,
    /// Shows events of these types alone; empty: of all.
    pub types: Vec<String>,
    /// Shows events of these names alone; empty: of all.
    pub events: Vec<String>,
    /// Shows one row of those that are alike in these columns, of the view or of `events`: the first
    /// by `order_by`, else the first that arrived. Empty: all rows.
    pub distinct_on: Vec<String>,
    /// The order of the rows.
    pub order_by: Vec<OwnOrder>,
}

/// A column of such a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnColumn {
    /// Its name.
    pub name: String,
    /// Where its value comes from: the first that is there and fits; at least one.
    pub values: Vec<OwnValue>,
    /// Its type. None: that of the column of `events` that it shows.
    pub cast: Option<CastType>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnValue {
    /// From a JSON body, by keys from the outside in.
    Path(Vec<String>),
    /// From the column of `events` of that name.
    Column(String),
}

/// One key of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnOrder {
    /// A column of the view or of `events`.
    pub column: String,
    /// Whether the largest comes first. NULL comes last either way.
    pub is_descending: bool,
}

/// The views that were made, by source, and which definition each was given last.
pub(crate) const CATALOG: &str = "\
CREATE TABLE trunkline.own_views (
  bucket integer NOT NULL REFERENCES trunkline.sources ON DELETE CASCADE,
  name text NOT NULL,
  fingerprint text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (bucket, name)
);
COMMENT ON TABLE trunkline.own_views IS \
'Views that sources declare in spec.views, until the manifests no longer list them.';
COMMENT ON COLUMN trunkline.own_views.bucket IS 'The number of the source in trunkline.sources.';
COMMENT ON COLUMN trunkline.own_views.name IS 'The view, in the schema of the source.';
COMMENT ON COLUMN trunkline.own_views.fingerprint IS \
'Names the definition that the view was last given.';
REVOKE ALL ON trunkline.own_views FROM PUBLIC";

/// What the comment of each view begins and ends with, around the source's name.
const MARK: [&str; 2] = ["View of WebhookSource ", ", as its spec.views declares it."];

/// The comment on a view of `source`, which says that it is ours.
fn mark(source: &SourceName) -> String {
    let [before, after] = MARK;
    format!("{before}{source}{after}")
}

/// A row of `trunkline.own_views`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MadeView {
    pub(crate) name: String,
    /// Whether there still is such a view, with our mark.
    pub(crate) is_there: bool,
}

/// The views that were made, by the number of the source.
pub(crate) type MadeViews = BTreeMap<i32, Vec<MadeView>>;

/// Reads which there are.
pub(crate) async fn made_views(client: &Client) -> Result<MadeViews, Error> {
    let doing = "read trunkline.own_views";
    let [before, after] = MARK;
    let sql = format!(
        "SELECT v.bucket, v.name, EXISTS (SELECT FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = s.schema AND c.relname = v.name AND c.relkind = 'v' \
         AND obj_description(c.oid, 'pg_class') = '{before}' || s.source || '{after}') \
         FROM trunkline.own_views v JOIN trunkline.sources s ON s.bucket = v.bucket \
         ORDER BY v.bucket, v.name"
    );
    let rows = read(client, doing, &sql, &[]).await?;
    let mut views = MadeViews::new();
    let row = |row: &Row| -> Result<(i32, MadeView), Error> {
        let (name, is_there) = (field(row, doing, 1)?, field(row, doing, 2)?);
        Ok((field(row, doing, 0)?, MadeView { name, is_there }))
    };
    for made in rows.iter().map(row) {
        let (number, view) = made?;
        views.entry(number).or_default().push(view);
    }
    Ok(views)
}
