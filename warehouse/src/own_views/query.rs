//! A view's declaration as SQL. Pure.

use trunkline_model::names::{quote_identifier, quote_literal};

use super::{OwnColumn, OwnValue, OwnView};
use crate::casts::{self, CastType};
use crate::events_columns::EventsColumn;
use crate::shared::SourceRows;

/// The column of the bucket that holds JSON bodies.
const BODY: &str = "\"body_json\"";

/// What settles which of several rows is the first that arrived.
const ARRIVAL: [&str; 3] = ["received_at", "delivery_id", "position"];

/// A view over `rows`, whose `columns` are those of `events`.
pub(super) struct Query<'a> {
    pub(super) view: &'a OwnView,
    pub(super) columns: &'a [EventsColumn],
    pub(super) rows: &'a SourceRows,
}

impl Query<'_> {
    /// `SELECT …`. Rows that repeat an earlier one are left out.
    pub(super) fn sql(&self) -> String {
        let OwnView {
            columns,
            types,
            events,
            ..
        } = self.view;
        let selected: Vec<_> = columns
            .iter()
            .map(|column| {
                let name = quote_identifier(&column.name);
                format!("{} AS {name}", self.expression(column))
            })
            .collect();
        let conditions: Vec<_> = [
            self.rows.condition.clone(),
            Some("NOT \"dup\"".to_owned()),
            one_of("type", types),
            one_of("event", events),
        ]
        .into_iter()
        .flatten()
        .collect();
        let (distinct, order) = self.order();
        format!(
            "SELECT{distinct}\n  {}\nFROM {} AS r\nWHERE {}{order}",
            selected.join(",\n  "),
            self.rows.table,
            conditions.join(" AND ")
        )
    }

    /// What is said of a column.
    pub(super) fn comment(&self, column: &OwnColumn) -> String {
        if let ([OwnValue::Column(name)], None) = (&*column.values, column.cast)
            && let Some(shown) = self.shown(name)
        {
            return shown.doc.clone();
        }
        let origins: Vec<_> = column
            .values
            .iter()
            .map(|value| match value {
                OwnValue::Path(path) => format!("{} of body", path.join(".")),
                OwnValue::Column(name) => format!("column {name} of events"),
            })
            .collect();
        let origins = origins.join(", else ");
        match column.cast {
            None | Some(CastType::Text | CastType::Jsonb) => format!("Value: {origins}."),
            Some(cast) => format!("Value: {origins}. NULL where it is not {cast}."),
        }
    }

    fn shown(&self, name: &str) -> Option<&EventsColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn expression(&self, column: &OwnColumn) -> String {
        let values: Vec<_> = column
            .values
            .iter()
            .map(|value| self.value(value, column.cast))
            .collect();
        match &*values {
            [only] => only.clone(),
            several => format!("coalesce({})", several.join(", ")),
        }
    }

    /// A column that there is not is one that the server will not know either, and the view's own
    /// trouble.
    fn value(&self, value: &OwnValue, cast: Option<CastType>) -> String {
        let name = match value {
            OwnValue::Path(path) => {
                return casts::from_json(BODY, path, cast.unwrap_or(CastType::Text));
            }
            OwnValue::Column(name) => name,
        };
        let Some(column) = self.shown(name) else {
            return quote_identifier(name);
        };
        match cast.filter(|cast| cast.as_str() != column.sql_type) {
            Some(cast) => casts::from_text(&column.expression, cast),
            None => None,
        }
        .unwrap_or_else(|| column.expression.clone())
    }

    /// ` DISTINCT ON (…)` and ` ORDER BY …`, or nothing. What rows are to be distinct in has to come
    /// first in the order.
    fn order(&self) -> (String, String) {
        let OwnView {
            distinct_on,
            order_by,
            ..
        } = self.view;
        let is_descending = |name: &str| {
            let key = order_by.iter().find(|key| key.column == name);
            key.is_some_and(|key| key.is_descending)
        };
        let mut keys: Vec<&str> = distinct_on.iter().map(String::as_str).collect();
        let rest = order_by.iter().map(|key| key.column.as_str());
        keys.extend(rest.filter(|name| !distinct_on.iter().any(|other| other == name)));
        let mut keys: Vec<_> = keys
            .into_iter()
            .map(|name| self.key(name, is_descending(name)))
            .collect();
        if !distinct_on.is_empty() {
            keys.extend(ARRIVAL.map(|column| format!("r.{}", quote_identifier(column))));
        }
        let distinct: Vec<_> = distinct_on
            .iter()
            .map(|name| self.sorted_by(name))
            .collect();
        (
            list(" DISTINCT ON (", &distinct, ")"),
            list("\nORDER BY ", &keys, ""),
        )
    }

    fn key(&self, name: &str, is_descending: bool) -> String {
        let expression = self.sorted_by(name);
        match (is_descending, self.is_never_null(name)) {
            (false, _) => expression,
            // An index serves it.
            (true, true) => format!("{expression} DESC"),
            (true, false) => format!("{expression} DESC NULLS LAST"),
        }
    }

    /// The view's own column goes before that of `events`, as in SQL. A name that stands alone would
    /// mean the view's also where that is not wanted.
    fn sorted_by(&self, name: &str) -> String {
        if self.own(name).is_some() {
            return quote_identifier(name);
        }
        match self.shown(name) {
            Some(column)
                if column.expression.starts_with('"') && !column.expression.contains(' ') =>
            {
                format!("r.{}", column.expression)
            }
            Some(column) => column.expression.clone(),
            None => quote_identifier(name),
        }
    }

    fn own(&self, name: &str) -> Option<&OwnColumn> {
        self.view.columns.iter().find(|column| column.name == name)
    }

    fn is_never_null(&self, name: &str) -> bool {
        let shown = match self.own(name).map(|column| &*column.values) {
            None => self.shown(name),
            Some([OwnValue::Column(shown)]) => self.shown(shown),
            Some(_) => None,
        };
        shown.is_some_and(|column| column.is_not_null)
    }
}

fn one_of(column: &str, values: &[String]) -> Option<String> {
    let column = quote_identifier(column);
    let literals: Vec<_> = values.iter().map(|value| quote_literal(value)).collect();
    match &*literals {
        [] => None,
        [only] => Some(format!("{column} = {only}")),
        several => Some(format!("{column} IN ({})", several.join(", "))),
    }
}

fn list(before: &str, items: &[String], after: &str) -> String {
    if items.is_empty() {
        String::new()
    } else {
        format!("{before}{}{after}", items.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::headers::HeaderColumn;
    use trunkline_model::request::BodyFormat;

    use super::super::OwnOrder;
    use super::*;
    use crate::events_columns::events_columns;

    fn path(keys: &[&str]) -> OwnValue {
        OwnValue::Path(keys.iter().map(|&key| key.to_owned()).collect())
    }

    fn from(column: &str) -> OwnValue {
        OwnValue::Column(column.to_owned())
    }

    fn column(name: &str, values: Vec<OwnValue>, cast: Option<CastType>) -> OwnColumn {
        OwnColumn {
            name: name.to_owned(),
            values,
            cast,
        }
    }

    fn by(column: &str, is_descending: bool) -> OwnOrder {
        OwnOrder {
            column: column.to_owned(),
            is_descending,
        }
    }

    fn plain(columns: Vec<OwnColumn>) -> OwnView {
        OwnView {
            name: "orders".to_owned(),
            columns,
            types: Vec::new(),
            events: Vec::new(),
            distinct_on: Vec::new(),
            order_by: Vec::new(),
        }
    }

    /// Gives the query to `then`, over a bucket of the source's own or a shared one.
    fn with<T>(view: &OwnView, is_shared: bool, then: impl FnOnce(&Query<'_>) -> T) -> T {
        let header = HeaderColumn {
            name: "x-shop".to_owned(),
            column: "x_shop".to_owned(),
            bytes: false,
        };
        let rows = SourceRows {
            table: "trunkline_data.bucket_7".to_owned(),
            condition: is_shared.then(|| "\"source\" COLLATE \"C\" = 'default/shop'".to_owned()),
        };
        then(&Query {
            view,
            columns: &events_columns(BodyFormat::Json, &[header]),
            rows: &rows,
        })
    }

    fn sql(view: &OwnView) -> String {
        with(view, false, |query| query.sql())
    }

    #[test]
    fn a_column_is_a_path_or_a_column_of_events_or_the_first_of_several() {
        let numeric = Some(CastType::Numeric);
        let view = plain(vec![
            column(
                "email",
                vec![
                    path(&["traits", "email"]),
                    path(&["context", "traits", "email"]),
                ],
                Some(CastType::Text),
            ),
            column(
                "properties",
                vec![path(&["properties"])],
                Some(CastType::Jsonb),
            ),
            column("ts", vec![from("timestamp")], None),
            column("raw_body", vec![from("body")], Some(CastType::Jsonb)),
            column("shop", vec![from("x_shop")], Some(CastType::Boolean)),
            column(
                "who",
                vec![from("user_id"), from("anonymous_id")],
                Some(CastType::Text),
            ),
        ]);
        assert_eq!(
            sql(&view),
            "SELECT\n  \
             coalesce(\"body_json\" #>> ARRAY['traits', 'email'], \
             \"body_json\" #>> ARRAY['context', 'traits', 'email']) AS \"email\",\n  \
             nullif(\"body_json\" #> ARRAY['properties'], 'null'::jsonb) AS \"properties\",\n  \
             \"timestamp\" AS \"ts\",\n  \
             \"body_json\" AS \"raw_body\",\n  \
             CASE \"header_values\" ->> 'x-shop' WHEN 'true' THEN true WHEN 'false' THEN false END \
             AS \"shop\",\n  \
             coalesce(\"user_id\", \"anonymous_id\") AS \"who\"\n\
             FROM trunkline_data.bucket_7 AS r\nWHERE NOT \"dup\""
        );
        let said = |column: OwnColumn| with(&view, false, |query| query.comment(&column));
        assert_eq!(
            said(view.columns[0].clone()),
            "Value: traits.email of body, else context.traits.email of body."
        );
        assert_eq!(
            said(column("x", vec![from("x_shop")], None)),
            "Request header x-shop."
        );
        assert_eq!(
            said(column("x", vec![from("x_shop")], numeric)),
            "Value: column x_shop of events. NULL where it is not numeric."
        );
    }

    #[test]
    fn rows_are_of_the_source_and_of_the_types_and_events_that_are_asked_for() {
        let mut view = plain(vec![column("id", vec![from("message_id")], None)]);
        view.types = vec!["track".to_owned()];
        view.events = vec!["Order Completed".to_owned(), "it's".to_owned()];
        let sql = with(&view, true, |query| query.sql());
        assert!(
            sql.ends_with(
                "\nWHERE \"source\" COLLATE \"C\" = 'default/shop' AND NOT \"dup\" \
                 AND \"type\" = 'track' AND \"event\" IN ('Order Completed', 'it''s')"
            ),
            "{sql}"
        );
    }

    #[test]
    fn what_is_distinct_comes_first_in_the_order_and_arrival_settles_the_rest() {
        let mut view = plain(vec![
            column("ts", vec![from("timestamp")], None),
            column(
                "position",
                vec![path(&["position"])],
                Some(CastType::Bigint),
            ),
        ]);
        view.order_by = vec![
            by("received_at", true),
            by("ts", true),
            by("position", false),
        ];
        let order = |view: &OwnView| {
            let sql = sql(view);
            let first = sql.lines().next().unwrap().to_owned();
            (first, sql.lines().last().unwrap().to_owned())
        };
        assert_eq!(
            order(&view),
            (
                "SELECT".to_owned(),
                "ORDER BY r.\"received_at\" DESC, \"ts\" DESC NULLS LAST, \"position\"".to_owned()
            )
        );
        view.distinct_on = vec![
            "message_id".to_owned(),
            "x_shop".to_owned(),
            "ts".to_owned(),
        ];
        assert_eq!(
            order(&view),
            (
                "SELECT DISTINCT ON (r.\"message_id\", \"header_values\" ->> 'x-shop', \"ts\")"
                    .to_owned(),
                "ORDER BY r.\"message_id\", \"header_values\" ->> 'x-shop', \"ts\" DESC NULLS LAST, \
                 r.\"received_at\" DESC, \"position\", \
                 r.\"received_at\", r.\"delivery_id\", r.\"position\""
                    .to_owned()
            )
        );
    }
}
