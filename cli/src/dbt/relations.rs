//! What a role may read, and what it is. Pure.

use trunkline_model::names::SchemaName;

/// The columns of every relation of a layout that shows events, one row each. Those that show the
/// latest of several lack `anonymous_id`.
const OF_EVENTS: [&str; 7] = [
    "id",
    "anonymous_id",
    "received_at",
    "_raw",
    "_auth_scope",
    "_source",
    "_delivery_id",
];

/// The relation of all track events.
const TRACKS: &str = "tracks";

/// A column of track events alone.
const EVENT_TEXT: &str = "event_text";

/// A source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The WebhookSource, as namespace/name.
    pub(super) name: String,
    pub(super) schema: SchemaName,
    /// Of its schema, those that the role may read, whoever made them; by name.
    pub(super) relations: Vec<Relation>,
}

/// A table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) name: String,
    pub(super) comment: Option<String>,
    /// In their order.
    pub(super) columns: Vec<Column>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) sql_type: String,
    pub(super) comment: Option<String>,
}

impl Source {
    /// Whether models can be made of it: it has a layout's relations.
    pub(super) fn has_models(&self) -> bool {
        self.relations
            .iter()
            .any(|relation| relation.name == "pages" && relation.shows_calls())
    }
}

/// Whether there are models.
pub(super) fn has_models(sources: &[Source]) -> bool {
    sources.iter().any(Source::has_models)
}

impl Relation {
    /// Whether it is one of a layout's with a row for each call of one kind. A relation of one event
    /// is not: `tracks` has its rows too.
    pub(super) fn shows_calls(&self) -> bool {
        let has = |name: &str| self.columns.iter().any(|column| column.name == name);
        OF_EVENTS.into_iter().all(has) && (self.name == TRACKS || !has(EVENT_TEXT))
    }

    /// Whether it is the view of everything that a source received.
    pub(super) fn is_events(&self) -> bool {
        self.name == "events"
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A relation of a layout: `_raw`, `id` and so on, and `more`.
    pub(crate) fn of_layout(name: &str, more: &[&str]) -> Relation {
        relation(name, &[&OF_EVENTS[..], more].concat())
    }

    pub(crate) fn relation(name: &str, columns: &[&str]) -> Relation {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            sql_type: "text".to_owned(),
            comment: None,
        };
        Relation {
            name: name.to_owned(),
            comment: None,
            columns: columns.iter().map(column).collect(),
        }
    }

    pub(crate) fn source(schema: &str, relations: Vec<Relation>) -> Source {
        Source {
            name: format!("default/{schema}"),
            schema: schema.parse().unwrap(),
            relations,
        }
    }

    #[test]
    fn relations_of_calls_are_told_from_those_of_one_event_and_from_others() {
        for (relation, shows_calls) in [
            (of_layout("tracks", &["event_text"]), true),
            (of_layout("pages", &["url"]), true),
            (of_layout("order_completed", &["event_text"]), false),
            (relation("users", &["id", "received_at", "_raw"]), false),
            (relation("events", &["anonymous_id", "received_at"]), false),
        ] {
            assert_eq!(relation.shows_calls(), shows_calls, "{}", relation.name);
        }
    }

    #[test]
    fn models_need_pages_of_a_layout() {
        let with = |relation| source("shop", vec![relation]).has_models();
        assert!(with(of_layout("pages", &[])));
        assert!(!with(relation("pages", &["id"])));
        assert!(!with(of_layout("screens", &[])));
    }
}
