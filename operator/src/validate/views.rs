//! Validates the views that a WebhookSource declares.
//!
//! Invariant: what is wrong with a view is that view's alone. The source is valid without it, and
//! what the database has of it stays as it is.

use std::collections::BTreeSet;

use trunkline_crds::{
    MAX_VIEW_COLUMNS, MAX_VIEW_KEYS, MAX_VIEW_VALUES, MAX_VIEWS, SortDirection, View, ViewColumn,
    ViewFilter, ViewType, ViewValue,
};
use trunkline_model::columns;
use trunkline_model::headers::HeaderColumn;
use trunkline_model::names::MAX_IDENTIFIER_BYTES;
use trunkline_model::request::BodyFormat;
use trunkline_warehouse::{CastType, OwnColumn, OwnOrder, OwnValue, OwnView, OwnViews};

use crate::problem::{Collector, Problem};

/// Bound on a key of a path, and on a value of `where`, in characters.
const MAX_KEY_CHARS: usize = 255;
const MAX_VALUE_CHARS: usize = 1_000;

/// What views of one source can show.
pub(super) struct Shown<'a> {
    body: BodyFormat,
    /// Name and type of each column of `events`.
    columns: Vec<(&'a str, &'static str)>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(body: BodyFormat, headers: &'a [HeaderColumn]) -> Self {
        let of_header = |header: &'a HeaderColumn| {
            let sql_type = if header.bytes { "bytea" } else { "text" };
            (header.column.as_str(), sql_type)
        };
        let model = columns::shown(body).map(|column| (column.name, column.sql_type));
        Self {
            body,
            columns: model.chain(headers.iter().map(of_header)).collect(),
        }
    }

    fn type_of(&self, name: &str) -> Option<&'static str> {
        let column = self.columns.iter().find(|(column, _)| *column == name);
        column.map(|(_, sql_type)| *sql_type)
    }

    fn has_json(&self) -> bool {
        matches!(self.body, BodyFormat::Json | BodyFormat::Form)
    }

    /// The names, for whoever has written another.
    fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

/// The views that can be made, and what is wrong with the others.
pub(super) fn views(
    spec: &[View],
    shown: &Shown<'_>,
    file: Option<&str>,
    object: &str,
) -> (OwnViews, Vec<Problem>) {
    let (mut own, mut problems) = (OwnViews::default(), Vec::new());
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (index, view) in spec.iter().enumerate() {
        let mut checked = Checked {
            collector: Collector::new(file, object.to_owned()),
            at: format!("spec.views[{index}]"),
            shown,
        };
        if index >= MAX_VIEWS {
            checked.add(
                "",
                format!("is one too many; list at most {MAX_VIEWS} views"),
            );
        }
        checked.name("name", &view.name, "a view");
        if view.name == "events" {
            checked.add(
                ".name",
                "\"events\" is the view of all events; choose another name",
            );
        } else if !taken.insert(&view.name) {
            checked.add(
                ".name",
                format!(
                    "there is a view {:?} already; choose another name",
                    view.name
                ),
            );
        }
        let made = checked.view(view);
        match checked.collector.finish(Some(made)) {
            Ok(view) => own.views.push(view),
            Err(found) => {
                problems.extend(found.0);
                own.untouched.push(view.name.clone());
            }
        }
    }
    (own, problems)
}

/// One view under examination.
struct Checked<'a> {
    collector: Collector<'a>,
    /// Path of its field.
    at: String,
    shown: &'a Shown<'a>,
}

impl Checked<'_> {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.collector.add(format!("{}{field}", self.at), message);
    }

    fn view(&mut self, view: &View) -> OwnView {
        let View {
            name,
            columns,
            filter,
            distinct_on,
            order_by,
        } = view;
        if columns.is_empty() || columns.len() > MAX_VIEW_COLUMNS {
            self.add(
                ".columns",
                format!(
                    "has {} entries; list 1 to {MAX_VIEW_COLUMNS}",
                    columns.len()
                ),
            );
        }
        let mut names = BTreeSet::new();
        let mut own_columns = Vec::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let field = format!("columns[{index}]");
            self.name(&format!("{field}.name"), &column.name, "a column");
            if !names.insert(column.name.as_str()) {
                self.add(
                    &format!(".{field}.name"),
                    format!(
                        "there is a column {:?} already; choose another name",
                        column.name
                    ),
                );
            }
            own_columns.extend(self.column(&field, column));
        }
        let (types, events) = self.filter(filter.as_ref());
        let ordered: Vec<_> = order_by.iter().map(|key| key.column.as_str()).collect();
        self.keys(
            "distinctOn",
            "",
            distinct_on.iter().map(String::as_str),
            &names,
        );
        self.keys("orderBy", ".column", ordered.iter().copied(), &names);
        OwnView {
            name: name.clone(),
            columns: own_columns,
            types,
            events,
            distinct_on: distinct_on.clone(),
            order_by: order_by
                .iter()
                .map(|key| OwnOrder {
                    column: key.column.clone(),
                    is_descending: key.direction == SortDirection::Descending,
                })
                .collect(),
        }
    }

    /// Refuses a name that people would have to quote.
    fn name(&mut self, field: &str, name: &str, whose: &str) {
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let starts_well = !name.starts_with(|first: char| first.is_ascii_digit());
        if name.is_empty() || name.len() > MAX_IDENTIFIER_BYTES || !plain || !starts_well {
            self.add(
                &format!(".{field}"),
                format!(
                    "{name:?} is not a name of {whose}; use 1 to {MAX_IDENTIFIER_BYTES} lower-case \
                     letters, digits and underscores, not starting with a digit"
                ),
            );
        }
    }

    fn column(&mut self, field: &str, column: &ViewColumn) -> Option<OwnColumn> {
        let ViewColumn {
            name,
            path,
            first_of,
            from,
            sql_type,
        } = column;
        let cast = sql_type.map(cast);
        let (values, cast) = match (path, first_of, from) {
            (Some(path), None, None) => {
                let path = self.path(&format!("{field}.path"), path);
                (vec![path], Some(cast.unwrap_or(CastType::Text)))
            }
            (None, None, Some(from)) => {
                let from = self.from(&format!("{field}.from"), from, cast)?;
                (vec![from], cast)
            }
            (None, Some(places), None) => {
                let cast = cast.unwrap_or(CastType::Text);
                let values = self.first_of(&format!("{field}.firstOf"), places, cast);
                (values, Some(cast))
            }
            _ => {
                self.add(
                    &format!(".{field}"),
                    "needs exactly one of path, firstOf and from; write path: [properties, total], \
                     or from: user_id for a column of events",
                );
                return None;
            }
        };
        Some(OwnColumn {
            name: name.clone(),
            values,
            cast,
        })
    }

    fn first_of(&mut self, field: &str, places: &[ViewValue], cast: CastType) -> Vec<OwnValue> {
        if places.is_empty() || places.len() > MAX_VIEW_KEYS {
            let count = places.len();
            self.add(
                &format!(".{field}"),
                format!("has {count} entries; list 1 to {MAX_VIEW_KEYS}"),
            );
        }
        let mut values = Vec::with_capacity(places.len());
        for (index, ViewValue { path, from }) in places.iter().enumerate() {
            let field = format!("{field}[{index}]");
            match (path, from) {
                (Some(path), None) => values.push(self.path(&format!("{field}.path"), path)),
                (None, Some(from)) => {
                    values.extend(self.from(&format!("{field}.from"), from, Some(cast)));
                }
                _ => self.add(
                    &format!(".{field}"),
                    "needs either path or from; write path: [traits, email], or from: user_id for a \
                     column of events",
                ),
            }
        }
        values
    }

    fn path(&mut self, field: &str, path: &[String]) -> OwnValue {
        if !self.shown.has_json() {
            self.add(
                &format!(".{field}"),
                "needs a JSON body, and spec.body.format is another; use from: body, or another \
                 format",
            );
        }
        if path.is_empty() || path.len() > MAX_VIEW_KEYS {
            let count = path.len();
            self.add(
                &format!(".{field}"),
                format!("has {count} keys; list 1 to {MAX_VIEW_KEYS}, from the outside in"),
            );
        }
        for (index, key) in path.iter().enumerate() {
            if !is_text(key, MAX_KEY_CHARS) {
                self.add(
                    &format!(".{field}[{index}]"),
                    format!("is not a key; write 1 to {MAX_KEY_CHARS} characters, without NUL"),
                );
            }
        }
        OwnValue::Path(path.to_vec())
    }

    /// A column of `events` that is what is wanted, or can be cast to it.
    fn from(&mut self, field: &str, name: &str, wanted: Option<CastType>) -> Option<OwnValue> {
        let Some(found) = self.shown.type_of(name) else {
            let names = self.shown.names();
            self.add(
                &format!(".{field}"),
                format!("events has no column {name:?}; use one of: {names}"),
            );
            return None;
        };
        if let Some(wanted) = wanted
            && found != wanted.as_str()
            && (found != "text" || wanted == CastType::Jsonb)
        {
            self.add(
                &format!(".{field}"),
                format!(
                    "column {name:?} of events is {found} and cannot be shown as {wanted}; set \
                     type to what it is, or leave type out with a single from"
                ),
            );
        }
        Some(OwnValue::Column(name.to_owned()))
    }

    /// Types and events.
    fn filter(&mut self, filter: Option<&ViewFilter>) -> (Vec<String>, Vec<String>) {
        let Some(ViewFilter { types, events }) = filter else {
            return (Vec::new(), Vec::new());
        };
        if !self.shown.has_json() {
            self.add(
                ".where",
                "needs a JSON body, and spec.body.format is another; remove it",
            );
        }
        if types.is_empty() && events.is_empty() {
            self.add(
                ".where",
                "has neither types nor events; list one, or remove where to show every event",
            );
        }
        for (field, values) in [("types", types), ("events", events)] {
            if values.len() > MAX_VIEW_VALUES {
                self.add(
                    &format!(".where.{field}"),
                    format!(
                        "has {} entries; list at most {MAX_VIEW_VALUES}",
                        values.len()
                    ),
                );
            }
            for (index, value) in values.iter().enumerate() {
                if !is_text(value, MAX_VALUE_CHARS) {
                    self.add(
                        &format!(".where.{field}[{index}]"),
                        format!(
                            "is not a value; write 1 to {MAX_VALUE_CHARS} characters, without NUL"
                        ),
                    );
                }
            }
        }
        (types.clone(), events.clone())
    }

    /// Columns of the view or of `events`, each once.
    fn keys<'k>(
        &mut self,
        field: &str,
        within: &str,
        keys: impl ExactSizeIterator<Item = &'k str>,
        own: &BTreeSet<&str>,
    ) {
        if keys.len() > MAX_VIEW_KEYS {
            self.add(
                &format!(".{field}"),
                format!("has {} entries; list at most {MAX_VIEW_KEYS}", keys.len()),
            );
        }
        let mut seen = BTreeSet::new();
        for (index, key) in keys.enumerate() {
            let field = format!(".{field}[{index}]{within}");
            if !seen.insert(key) {
                self.add(&field, format!("{key:?} is there twice; remove one"));
            } else if !own.contains(key) && self.shown.type_of(key).is_none() {
                let names = self.shown.names();
                self.add(
                    &field,
                    format!(
                        "{key:?} is a column neither of the view nor of events; use one of the \
                         view's, or of: {names}"
                    ),
                );
            }
        }
    }
}

fn is_text(text: &str, most: usize) -> bool {
    !text.is_empty() && text.chars().count() <= most && !text.contains('\0')
}

fn cast(sql_type: ViewType) -> CastType {
    match sql_type {
        ViewType::Text => CastType::Text,
        ViewType::Numeric => CastType::Numeric,
        ViewType::Bigint => CastType::Bigint,
        ViewType::Boolean => CastType::Boolean,
        ViewType::Timestamptz => CastType::Timestamptz,
        ViewType::Jsonb => CastType::Jsonb,
    }
}
