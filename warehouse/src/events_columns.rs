//! The columns of the view `<schema>.events`, each with where it comes from: for that view, and for
//! those that show some of them.

use trunkline_model::columns::{COLUMNS, ShownColumn, shown};
use trunkline_model::headers::HeaderColumn;
use trunkline_model::names::{quote_identifier, quote_literal};
use trunkline_model::request::BodyFormat;

/// A column of `<schema>.events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventsColumn {
    pub(crate) name: String,
    /// Its value, over a row of the bucket.
    pub(crate) expression: String,
    pub(crate) sql_type: &'static str,
    pub(crate) is_not_null: bool,
    /// One sentence for readers.
    pub(crate) doc: String,
}

impl EventsColumn {
    /// As an item of a SELECT list.
    pub(crate) fn selected(&self) -> String {
        let name = quote_identifier(&self.name);
        if self.expression == name {
            name
        } else {
            format!("{} AS {name}", self.expression)
        }
    }
}

/// The columns of the model, then one per header.
pub(crate) fn events_columns(body: BodyFormat, headers: &[HeaderColumn]) -> Vec<EventsColumn> {
    let of_model = |column: ShownColumn| EventsColumn {
        name: column.name.to_owned(),
        expression: match column.stored {
            Some(stored) => quote_identifier(stored),
            None => format!("NULL::{}", column.sql_type),
        },
        sql_type: column.sql_type,
        is_not_null: COLUMNS
            .iter()
            .any(|spec| spec.not_null && spec.view_name == Some(column.name)),
        doc: column.doc.to_owned(),
    };
    let of_header = |header: &HeaderColumn| {
        let value = format!("\"header_values\" ->> {}", quote_literal(&header.key()));
        EventsColumn {
            name: header.column.clone(),
            expression: if header.bytes {
                format!("decode({value}, 'hex')")
            } else {
                value
            },
            sql_type: if header.bytes { "bytea" } else { "text" },
            is_not_null: false,
            doc: format!("Request header {}.", header.name),
        }
    };
    let model = shown(body).map(of_model);
    model.chain(headers.iter().map(of_header)).collect()
}
