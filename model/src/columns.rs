//! The one list of columns. DDL, COPY, the view `<schema>.events` and the documentation are made
//! from it; none of them repeats it.
//!
//! Invariant: a column is only ever added, at the end, and nullable or with a default, because
//! ingesters of the version before write to the same table (COPY names its columns).

use crate::request::BodyFormat;

/// A physical column of `trunkline.events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    /// Partition key of the first level.
    Bucket,
    /// `namespace/name` of the source.
    Source,
    /// When the database took the row.
    ReceivedAt,
    /// One per request.
    DeliveryId,
    /// Place within the request.
    Position,
    /// `messageId` of the event.
    MessageId,
    /// `type` of the event.
    Type,
    /// `event` of the event.
    Event,
    /// `userId` of the event.
    UserId,
    /// `anonymousId` of the event.
    AnonymousId,
    /// `timestamp` of the event.
    Timestamp,
    /// `originalTimestamp` of the event.
    OriginalTimestamp,
    /// `sentAt` of the event.
    SentAt,
    /// What vouched for the row.
    AuthScope,
    /// Whether the row repeats an earlier one.
    Dup,
    /// The request's stored headers.
    Headers,
    /// Values of the headers that have columns of their own.
    HeaderValues,
    /// A JSON body.
    BodyJson,
    /// A text body.
    BodyText,
    /// The bytes as sent, where the body is not exactly that.
    Raw,
    /// Whether nobody has looked yet if the row repeats an earlier one.
    Unsettled,
}

/// What is said of a column once and used everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Which column.
    pub column: Column,
    /// Its name in `trunkline.events`.
    pub name: &'static str,
    /// Its SQL type.
    pub sql_type: &'static str,
    /// Whether it is NOT NULL.
    pub not_null: bool,
    /// Its default, as SQL, when the ingester does not write it.
    pub default: Option<&'static str>,
    /// Whether the ingester's COPY writes it.
    pub copied: bool,
    /// Its name in the view `<schema>.events`, when readers see it.
    pub view_name: Option<&'static str>,
    /// One sentence for readers: the column's comment and its documentation.
    pub doc: &'static str,
}

const fn spec(
    column: Column,
    name: &'static str,
    sql_type: &'static str,
    doc: &'static str,
) -> ColumnSpec {
    ColumnSpec {
        column,
        name,
        sql_type,
        not_null: false,
        default: None,
        copied: true,
        view_name: Some(name),
        doc,
    }
}

const fn required(spec: ColumnSpec) -> ColumnSpec {
    ColumnSpec {
        not_null: true,
        ..spec
    }
}

const fn hidden(spec: ColumnSpec) -> ColumnSpec {
    ColumnSpec {
        view_name: None,
        ..spec
    }
}

/// Every physical column, in the order of the table, of COPY and of the view.
pub const COLUMNS: &[ColumnSpec] = &[
    hidden(required(spec(
        Column::Bucket,
        "bucket",
        "integer",
        "Storage bucket: the partition that holds the source's rows.",
    ))),
    required(spec(
        Column::Source,
        "source",
        "text",
        "The WebhookSource that received the event, as namespace/name.",
    )),
    // The database's clock and not the pod's: a pod whose clock is wrong cannot write outside the
    // partitions that exist. As the default of a column it costs no byte on the wire and needs no
    // measurement of clock offsets.
    ColumnSpec {
        default: Some("now()"),
        copied: false,
        ..required(spec(
            Column::ReceivedAt,
            "received_at",
            "timestamptz",
            "When the database took the event (its own clock, start of the commit). Filter on it: \
             partitions are made by it.",
        ))
    },
    required(spec(
        Column::DeliveryId,
        "delivery_id",
        "uuid",
        "One UUIDv7 per request; events of one batch share it.",
    )),
    required(spec(
        Column::Position,
        "position",
        "integer",
        "Place of the event within its request, from 0.",
    )),
    spec(
        Column::MessageId,
        "message_id",
        "text",
        "messageId of the event.",
    ),
    spec(
        Column::Type,
        "type",
        "text",
        "type of the event: track, identify, page, …",
    ),
    spec(
        Column::Event,
        "event",
        "text",
        "event: the name of a track call.",
    ),
    spec(Column::UserId, "user_id", "text", "userId of the event."),
    spec(
        Column::AnonymousId,
        "anonymous_id",
        "text",
        "anonymousId of the event.",
    ),
    spec(
        Column::Timestamp,
        "timestamp",
        "timestamptz",
        "timestamp of the event, corrected for the device's clock by Segment; NULL when it is not \
         a time. Order by it.",
    ),
    spec(
        Column::OriginalTimestamp,
        "original_timestamp",
        "timestamptz",
        "originalTimestamp of the event: the device's clock; NULL when it is not a time.",
    ),
    spec(
        Column::SentAt,
        "sent_at",
        "timestamptz",
        "sentAt of the event: the device's clock when it sent; NULL when it is not a time.",
    ),
    required(spec(
        Column::AuthScope,
        "auth_scope",
        "text",
        "What vouched for the event: request (the whole request was signed), element (this event \
         was signed), batch (another event of the request was signed), none, failed.",
    )),
    ColumnSpec {
        default: Some("false"),
        copied: false,
        ..hidden(required(spec(
            Column::Dup,
            "dup",
            "boolean",
            "Whether the event repeats an earlier one.",
        )))
    },
    spec(
        Column::Headers,
        "headers",
        "jsonb",
        "Request headers that includeHeaders selects, names in lower case.",
    ),
    hidden(spec(
        Column::HeaderValues,
        "header_values",
        "jsonb",
        "Values of the headers that have columns of their own, by header name in lower case.",
    )),
    ColumnSpec {
        view_name: Some("body"),
        ..spec(
            Column::BodyJson,
            "body_json",
            "jsonb",
            "The event itself. Where it was not acceptable to jsonb it is repaired, and raw holds \
             what was sent.",
        )
    },
    hidden(spec(
        Column::BodyText,
        "body_text",
        "text",
        "The body. Where it has NUL characters, which text cannot hold, they are replaced, and raw \
         holds what was sent.",
    )),
    spec(
        Column::Raw,
        "raw",
        "bytea",
        "The bytes as sent, only where body is not exactly that.",
    ),
    ColumnSpec {
        default: Some("false"),
        copied: false,
        ..hidden(required(spec(
            Column::Unsettled,
            "unsettled",
            "boolean",
            "Whether the event could not be compared with earlier ones when it was stored. It is \
             shown, and compared within minutes.",
        )))
    },
];

/// The columns of the ingester's COPY, in its order.
pub fn copied() -> impl Iterator<Item = &'static ColumnSpec> {
    COLUMNS.iter().filter(|spec| spec.copied)
}

/// The columns of the view `<schema>.events` of a source with JSON bodies, in its order, without
/// those of `spec.headers`. [`shown`] has those of other formats.
pub fn viewed() -> impl Iterator<Item = (&'static ColumnSpec, &'static str)> {
    COLUMNS
        .iter()
        .filter_map(|spec| spec.view_name.map(|name| (spec, name)))
}

/// A column of the view `<schema>.events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownColumn {
    /// Its name.
    pub name: &'static str,
    /// The physical column that it shows; NULL where there is none.
    pub stored: Option<&'static str>,
    /// Its SQL type.
    pub sql_type: &'static str,
    /// One sentence for readers.
    pub doc: &'static str,
}

/// The columns of [`viewed`] for a source of this format: `body` has the type that the format
/// gives, all else is the same.
pub fn shown(format: BodyFormat) -> impl Iterator<Item = ShownColumn> {
    viewed().map(move |(spec, name)| {
        let body = match (spec.column, format.column()) {
            (Column::BodyJson, column) => COLUMNS.iter().find(|spec| spec.column == column),
            _ => None,
        };
        let spec = body.unwrap_or(spec);
        let (stored, doc) = match (name, format.column()) {
            ("body", Column::Raw) => (Some(spec.name), "The bytes as sent."),
            // The body is all of it.
            ("raw", Column::Raw) => (None, "NULL: body is what was sent."),
            _ => (Some(spec.name), spec.doc),
        };
        ShownColumn {
            name,
            stored,
            sql_type: spec.sql_type,
            doc,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_has_the_columns_that_other_programs_rely_on() {
        let names: Vec<_> = viewed()
            .map(|(spec, name)| format!("{name} {}", spec.sql_type))
            .collect();
        assert_eq!(
            names,
            [
                "source text",
                "received_at timestamptz",
                "delivery_id uuid",
                "position integer",
                "message_id text",
                "type text",
                "event text",
                "user_id text",
                "anonymous_id text",
                "timestamp timestamptz",
                "original_timestamp timestamptz",
                "sent_at timestamptz",
                "auth_scope text",
                "headers jsonb",
                "body jsonb",
                "raw bytea",
            ]
        );
    }

    #[test]
    fn the_body_has_the_type_of_its_format_and_the_rest_stays() {
        let columns = |format| -> Vec<String> {
            shown(format)
                .map(|column| format!("{} {}", column.name, column.sql_type))
                .collect()
        };
        let json: Vec<_> = viewed()
            .map(|(spec, name)| format!("{name} {}", spec.sql_type))
            .collect();
        assert_eq!(columns(BodyFormat::Json), json);
        assert_eq!(columns(BodyFormat::Form), json);
        for (format, body) in [
            (BodyFormat::Text, "body text"),
            (BodyFormat::Bytes, "body bytea"),
        ] {
            let columns = columns(format);
            assert!(columns.contains(&body.to_owned()), "{columns:?}");
            let others = |all: &[String]| -> Vec<String> {
                let kept = all.iter().filter(|column| !column.starts_with("body "));
                kept.cloned().collect()
            };
            assert_eq!(others(&columns), others(&json));
        }
        let raw = shown(BodyFormat::Bytes).find(|column| column.name == "raw");
        assert_eq!(raw.unwrap().stored, None);
    }

    #[test]
    fn a_column_that_copy_leaves_out_can_be_left_out() {
        for spec in COLUMNS.iter().filter(|spec| !spec.copied) {
            assert!(!spec.not_null || spec.default.is_some(), "{}", spec.name);
        }
    }

    #[test]
    fn the_documentation_shows_these_columns() {
        let page = include_str!("../../docs/events-view.md");
        let (_, rest) = page.split_once("<!-- columns -->").unwrap();
        let (table, _) = rest.split_once("<!-- /columns -->").unwrap();
        let documented: Vec<_> = table.trim().lines().skip(2).map(str::to_owned).collect();
        let expected: Vec<_> = viewed()
            .map(|(spec, name)| format!("| `{name}` | `{}` | {} |", spec.sql_type, spec.doc))
            .collect();
        assert_eq!(documented, expected);
    }
}
