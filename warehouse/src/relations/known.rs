//! What the catalog knows of relations. Reads only.

use std::collections::BTreeMap;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use trunkline_model::naming::Naming;

use super::casts::ColumnType;
use super::decide::{Decided, EventName};
use super::discards::DISCARDS;
use super::layout_named;
use super::materialized::Part;
use super::overrides::Overrides;
use super::relation::{Blocked, Column, Relation};
use super::shaping::{Rules, Shaping};
use super::shown::stored;
use super::subject::Subject;
use super::view::Origin;
use crate::apply::{field, read as read_rows};
use crate::error::Error;
use crate::step::{PendingReason, PendingStep};

/// What is known of the relations of sources, by their numbers; nothing of one that has and had none.
pub(crate) type Relations = BTreeMap<i32, Known>;

/// What is known of the relations of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// By whose rules they are made; None without any.
    pub(crate) layout: Option<Naming>,
    /// Whether what is new is held back.
    pub(crate) is_pinned: bool,
    /// Whether what is over is to be kept in typed tables.
    pub(crate) is_materialized: bool,
    /// What is wished of columns.
    pub(crate) overrides: Overrides,
    /// Those made by these rules.
    pub(crate) decided: Decided,
    /// Names their definitions, by the relation; `discards` among them.
    pub(crate) fingerprints: BTreeMap<String, String>,
    /// What views read from materialised tables, by the relation.
    pub(crate) parts: BTreeMap<String, Part>,
    /// Every relation that there is, with the rules that it was made by.
    pub(crate) made: BTreeMap<String, Option<Naming>>,
    /// What others have built on relations, as the server lists it; where a type may be changed.
    pub(crate) dependants: BTreeMap<String, String>,
    /// What there was no room for.
    overflow: Count,
    /// What is held back.
    held: Count,
    /// Whether something is listed that columns cannot be.
    pub(super) lists_blocked: bool,
}

/// How much is listed as left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    relations: i64,
    columns: i64,
}

impl Count {
    const fn is_some(self) -> bool {
        self.relations + self.columns > 0
    }
}

impl Known {
    /// What is known of a source that is new.
    pub(crate) fn of_new(layout: Option<Naming>, shaping: Option<&Shaping>) -> Self {
        let overrides = shaping.and_then(|it| it.overrides.as_deref());
        Self {
            layout,
            is_pinned: shaping.is_some_and(|it| it.is_pinned),
            is_materialized: shaping.is_some_and(|it| it.is_materialized),
            overrides: overrides.map(Overrides::new).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// By what they are made; None without any.
    pub(crate) fn rules(&self) -> Option<Rules<'_>> {
        self.layout.map(|naming| Rules {
            naming,
            is_pinned: self.is_pinned,
            overrides: &self.overrides,
        })
    }

    /// What the view of a relation of `decided` goes on reading from a materialised table: what it reads
    /// now, unless something of its definition is another one.
    pub(super) fn part(&self, origin: Origin<'_>, name: &str, decided: &Decided) -> Option<&Part> {
        let part = self.parts.get(name).filter(|_| self.is_materialized)?;
        let relation = decided.relations.get(name)?;
        let stored = stored(origin, name, relation, decided);
        (part.definition == stored.definition()).then_some(part)
    }

    /// What the relations are to be when nothing is new: those that there are and those that are always
    /// there, with columns as they are wished; and what of that cannot be had.
    pub(super) fn wanted(&self) -> Option<(Decided, Vec<Blocked>)> {
        let rules = self.rules()?;
        let mut decided = self.decided.clone();
        decided.add_built_in(rules);
        let mut blocked = Vec::new();
        for (name, relation) in &mut decided.relations {
            let dependants = self.dependants.get(name).map(String::as_str);
            blocked.extend(relation.reshape(name, dependants, rules));
        }
        Some((decided, blocked))
    }

    /// Whether the type of a column may be another than it is wished, or was.
    fn may_change_types(&self) -> bool {
        let relations = self.decided.relations.values();
        let mut columns = relations.flat_map(|relation| &relation.columns);
        self.overrides != Overrides::default() || columns.any(|it| it.other_type.is_some())
    }

    /// What is wished of columns and cannot be had.
    fn blocked(&self) -> Vec<Blocked> {
        if self.overrides == Overrides::default() && self.dependants.is_empty() {
            return Vec::new();
        }
        self.wanted()
            .map(|(_, blocked)| blocked)
            .unwrap_or_default()
    }

    /// The types of columns that wait for others, for the owner of the source.
    pub(crate) fn pending(&self, schema: &str) -> Vec<PendingStep> {
        let wait = |it: Blocked| {
            let (column, relation) = (it.column, it.relation);
            Some(PendingStep {
                step: format!("the change of the type of column {column} of {schema}.{relation}"),
                reason: PendingReason::Dependants(it.objects?),
            })
        };
        self.blocked().into_iter().filter_map(wait).collect()
    }

    /// What its owner should know, and what no other try changes.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.layout.is_none() {
            return notes;
        }
        if self.overflow.is_some() {
            let Count { relations, columns } = self.overflow;
            notes.push(format!(
                "there is no room for {relations} relations of events and {columns} columns of what \
                 was sent: trunkline.schema_changes lists them (change = 'overflow'), and their \
                 values are in _raw; look for ids in the names of events and properties"
            ));
        }
        if self.is_pinned && self.held.is_some() {
            let Count { relations, columns } = self.held;
            notes.push(format!(
                "spec.warehouse.pinned holds back {relations} relations of events and {columns} \
                 columns of what was sent: trunkline.schema_changes lists them (change = 'held'), and \
                 their values are in _raw; set it to false to let them in"
            ));
        }
        let blocked = self.blocked();
        let names = blocked.iter().filter(|it| it.objects.is_none());
        notes.extend(names.map(|it| {
            format!(
                "spec.warehouse.overrides: column {} of {} {}; choose another name",
                it.column, it.relation, it.detail
            )
        }));
        notes
    }
}

/// Reads what is known of all sources, or of those of `numbers`.
pub(crate) async fn read(client: &Client, numbers: Option<&[i32]>) -> Result<Relations, Error> {
    let (wishes, relations, columns, events, left_out) = tokio::try_join!(
        biased;
        ask(client, WISHES, numbers),
        ask(client, RELATIONS, numbers),
        ask(client, COLUMNS, numbers),
        ask(client, EVENTS, numbers),
        ask(client, LEFT_OUT, numbers)
    )?;
    let mut known = Relations::new();
    for row in &wishes {
        let layout: Option<String> = get(row, 1)?;
        let of_source = known.entry(get(row, 0)?).or_default();
        of_source.layout = layout.as_deref().and_then(layout_named);
        of_source.is_pinned = get(row, 2)?;
        of_source.overrides = Overrides::from_catalog(get(row, 3)?);
        of_source.is_materialized = get(row, 4)?;
    }
    for row in &relations {
        let (name, layout): (String, String) = (get(row, 1)?, get(row, 2)?);
        let layout = layout_named(&layout);
        let of_source = known.entry(get(row, 0)?).or_default();
        if layout.is_some() && layout == of_source.layout {
            if name != DISCARDS {
                let relation = Relation {
                    subject: Subject::of_relation(&name),
                    columns: Vec::new(),
                };
                of_source.decided.relations.insert(name.clone(), relation);
            }
            of_source.fingerprints.insert(name.clone(), get(row, 3)?);
            let part: Option<&str> = get(row, 4)?;
            if let Some(part) = part.and_then(Part::from_catalog) {
                of_source.parts.insert(name.clone(), part);
            }
        }
        of_source.made.insert(name, layout);
    }
    for row in &columns {
        let name: String = get(row, 1)?;
        let of_source = known.get_mut(&get(row, 0)?);
        if let Some(relation) = of_source.and_then(|it| it.decided.relations.get_mut(&name)) {
            relation.columns.push(column(row)?);
        }
    }
    for row in &events {
        let of_source = known.entry(get(row, 0)?).or_default();
        let event = EventName {
            slug: get(row, 2)?,
            relation: get(row, 3)?,
        };
        of_source.decided.events.insert(get(row, 1)?, event);
    }
    for row in &left_out {
        let of_source = known.entry(get(row, 0)?).or_default();
        let change: &str = get(row, 1)?;
        let count = Count {
            relations: get(row, 2)?,
            columns: get(row, 3)?,
        };
        match change {
            "held" => of_source.held = count,
            "overflow" => of_source.overflow = count,
            _ => of_source.lists_blocked = true,
        }
    }
    if !known.values().any(Known::may_change_types) {
        return Ok(known);
    }
    for row in &ask(client, DEPENDANTS, numbers).await? {
        let of_source = known.entry(get(row, 0)?).or_default();
        of_source.dependants.insert(get(row, 1)?, get(row, 2)?);
    }
    Ok(known)
}

async fn ask(client: &Client, sql: &str, numbers: Option<&[i32]>) -> Result<Vec<Row>, Error> {
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&numbers, Type::INT4_ARRAY)];
    read_rows(client, DOING, sql, &parameters).await
}

const DOING: &str = "read what is known of relations";

const WISHES: &str = "SELECT bucket, layout, pinned, overrides::text, materialized \
     FROM trunkline.sources \
     WHERE (layout IS NOT NULL OR pinned OR materialized OR overrides <> '[]') \
     AND ($1 IS NULL OR bucket = ANY ($1))";

const RELATIONS: &str = "SELECT source_number, relation, layout, fingerprint, materialized::text \
     FROM trunkline.relations WHERE $1 IS NULL OR source_number = ANY ($1)";

const COLUMNS: &str = "SELECT source_number, relation, \"column\", sql_type, paths, has_misfits, \
     other_name, other_type FROM trunkline.relation_columns WHERE $1 IS NULL OR source_number = ANY ($1) \
     ORDER BY source_number, relation, position";

const EVENTS: &str = "SELECT source_number, event, slug, relation \
     FROM trunkline.event_names WHERE $1 IS NULL OR source_number = ANY ($1)";

const LEFT_OUT: &str = "SELECT s.bucket, c.change, \
     count(*) FILTER (WHERE c.\"column\" IS NULL), count(c.\"column\") \
     FROM trunkline.schema_changes c JOIN trunkline.sources s USING (source) \
     WHERE c.change IN ('held', 'overflow', 'blocked') AND ($1 IS NULL OR s.bucket = ANY ($1)) \
     GROUP BY 1, 2";

/// Where a type may be to change. A view hangs on another by its rule.
const DEPENDANTS: &str = "SELECT l.source_number, l.relation, string_agg(DISTINCT \
     CASE WHEN w.oid IS NULL THEN pg_describe_object(d.classid, d.objid, d.objsubid) \
     ELSE pg_describe_object('pg_class'::regclass, w.ev_class, 0) END, ', ') \
     FROM trunkline.sources s JOIN trunkline.relations l ON l.source_number = s.bucket \
     JOIN pg_namespace n ON n.nspname = s.schema \
     JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = l.relation \
     JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid \
     AND d.deptype = 'n' \
     LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid \
     WHERE w.ev_class IS DISTINCT FROM c.oid AND ($1 IS NULL OR s.bucket = ANY ($1)) \
     AND (s.overrides <> '[]' OR EXISTS (SELECT FROM trunkline.relation_columns k \
     WHERE k.source_number = s.bucket AND k.other_type IS NOT NULL)) GROUP BY 1, 2";

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Error> {
    field(row, DOING, index)
}

/// A column. What is no type of ours is shown as it was sent.
fn column(row: &Row) -> Result<Column, Error> {
    let (sql_type, paths): (String, Vec<String>) = (get(row, 3)?, get(row, 4)?);
    let other_type: Option<String> = get(row, 7)?;
    let keys = |path: &String| serde_json::from_str(path).unwrap_or_default();
    Ok(Column {
        name: get(row, 2)?,
        sql_type: ColumnType::from_catalog(&sql_type).unwrap_or(ColumnType::Text),
        paths: paths.iter().map(keys).collect(),
        has_misfits: get(row, 5)?,
        other_name: get(row, 6)?,
        other_type: other_type.as_deref().and_then(ColumnType::from_catalog),
    })
}
