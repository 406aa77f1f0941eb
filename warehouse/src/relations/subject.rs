//! What the relations are about: which calls each shows, and the columns that it has whatever is sent.

use trunkline_model::naming::{Call, Naming};

use super::casts::text_value;

/// What one relation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Tracks,
    /// The track events of one name, or of several that the vendor's rule makes one.
    Event,
    Identifies,
    /// The latest identify of each user.
    Users,
    Pages,
    Screens,
    Groups,
    /// The latest group call of each group.
    Accounts,
    Aliases,
    Deletes,
}

/// The relations that are there whatever is sent, in the order in which they are made; without
/// `discards`, which is about the others.
const BUILT_IN: [(&str, Subject); 9] = [
    ("tracks", Subject::Tracks),
    ("identifies", Subject::Identifies),
    ("users", Subject::Users),
    ("pages", Subject::Pages),
    ("screens", Subject::Screens),
    ("groups", Subject::Groups),
    ("accounts", Subject::Accounts),
    ("aliases", Subject::Aliases),
    ("deletes", Subject::Deletes),
];

/// A column that a relation has whatever is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedColumn {
    pub(crate) name: &'static str,
    /// Its value, of the event `b`.
    pub(crate) value: String,
    /// One sentence for readers.
    pub(crate) doc: &'static str,
}

impl Subject {
    /// The relations that are there whatever is sent. RudderStack has no `accounts`.
    pub(crate) fn built_in(naming: Naming) -> impl Iterator<Item = (&'static str, Self)> {
        BUILT_IN
            .into_iter()
            .filter(move |(_, subject)| naming == Naming::Segment || *subject != Self::Accounts)
    }

    /// The subject of a relation. No event's is called like one of the others.
    pub(crate) fn of_relation(name: &str) -> Self {
        let built_in = BUILT_IN.into_iter().find(|(known, _)| *known == name);
        built_in.map_or(Self::Event, |(_, subject)| subject)
    }

    pub(crate) const fn call(self) -> Call {
        match self {
            Self::Tracks | Self::Event => Call::Track,
            Self::Identifies | Self::Users => Call::Identify,
            Self::Pages => Call::Page,
            Self::Screens => Call::Screen,
            Self::Groups | Self::Accounts => Call::Group,
            Self::Aliases => Call::Alias,
            Self::Deletes => Call::Delete,
        }
    }

    /// What its events say in `type`.
    pub(crate) const fn event_type(self) -> &'static str {
        match self.call() {
            Call::Track => "track",
            Call::Identify => "identify",
            Call::Page => "page",
            Call::Screen => "screen",
            Call::Group => "group",
            Call::Alias => "alias",
            Call::Delete => "delete",
        }
    }

    /// Where its events have what becomes columns without a prefix; None where they have nothing of
    /// the kind, or where it is not shown.
    pub(crate) const fn container(self) -> Option<&'static str> {
        match self {
            Self::Event | Self::Pages | Self::Screens => Some("properties"),
            Self::Identifies | Self::Users | Self::Groups | Self::Accounts => Some("traits"),
            Self::Tracks | Self::Aliases | Self::Deletes => None,
        }
    }

    /// What there is one row of, as SQL of the event `b`; None where each event is a row.
    pub(crate) fn latest_of(self) -> Option<String> {
        match self {
            Self::Users => Some("b.\"user_id\"".to_owned()),
            Self::Accounts => Some(text_value(&["groupId"])),
            _ => None,
        }
    }

    /// What it shows, as the beginning of a sentence for readers.
    pub(crate) const fn doc(self) -> &'static str {
        match self {
            Self::Tracks => "Track events of all names without their properties",
            Self::Event => "Track events of one name with their properties",
            Self::Identifies => "Identify calls with their traits",
            Self::Users => "The latest identify calls, one for each user,",
            Self::Pages => "Page calls with their properties",
            Self::Screens => "Screen calls with their properties",
            Self::Groups => "Group calls with their traits",
            Self::Accounts => "The latest group calls, one for each group,",
            Self::Aliases => "Alias calls",
            Self::Deletes => "Delete calls (requests to forget a user)",
        }
    }

    /// The columns that it has whatever is sent. `slug` is the SQL of the vendor's name of the event.
    pub(crate) fn fixed_columns(self, naming: Naming, slug: &str) -> Vec<FixedColumn> {
        naming
            .fixed_columns(self.call())
            .filter(|name| !self.lacks(name))
            .filter_map(|name| self.fixed_column(name, slug))
            .collect()
    }

    /// Whether it has a column of that name whatever is sent.
    pub(crate) fn has_fixed(self, naming: Naming, name: &str) -> bool {
        let mut names = naming.fixed_columns(self.call());
        names.any(|fixed| fixed == name && !self.lacks(fixed))
    }

    /// A row about a user or a group has its key as `id`, and no sender.
    fn lacks(self, column: &str) -> bool {
        match self {
            Self::Users => ["anonymous_id", "user_id"].contains(&column),
            Self::Accounts => ["anonymous_id", "user_id", "group_id"].contains(&column),
            _ => false,
        }
    }

    fn fixed_column(self, name: &'static str, slug: &str) -> Option<FixedColumn> {
        let own = |column: &str| format!("b.\"{column}\"");
        let first_of = |key: &'static str| {
            let (top, property) = (text_value(&[key]), text_value(&["properties", key]));
            format!("coalesce({top}, {property})")
        };
        let (value, doc) = match name {
            "id" => match self {
                Self::Users => (own("user_id"), "userId of the calls."),
                Self::Accounts => (text_value(&["groupId"]), "groupId of the calls."),
                _ => (own("message_id"), "messageId of the event."),
            },
            "anonymous_id" => (own(name), "anonymousId of the event."),
            "user_id" => (own(name), "userId of the event."),
            "received_at" => (
                own(name),
                "When the database took the event. Filter on it with literal times: partitions are \
                 made by it.",
            ),
            "sent_at" => (
                own(name),
                "sentAt of the event: the device's clock when it sent.",
            ),
            "timestamp" => (
                own(name),
                "timestamp of the event, corrected for the device's clock. Order by it.",
            ),
            "original_timestamp" => (
                own(name),
                "originalTimestamp of the event: the device's clock.",
            ),
            "uuid_ts" => (
                own("received_at"),
                "The same as received_at: there is no later load.",
            ),
            "_raw" => (own("body_json"), "The whole event."),
            "_auth_scope" => (
                own("auth_scope"),
                "What vouched for the event: request, element, batch, none or failed.",
            ),
            "_source" => (own("source"), "The WebhookSource, as namespace/name."),
            "_delivery_id" => (
                own("delivery_id"),
                "One for each request; events of one batch share it.",
            ),
            "channel" => (text_value(&["channel"]), "channel of the event."),
            "context_request_ip" => (text_value(&["request_ip"]), "request_ip of the event."),
            "context_passed_ip" => (text_value(&["context", "ip"]), "context.ip of the event."),
            "event" => (
                slug.to_owned(),
                "The name of the event as relations are named: order_completed.",
            ),
            "event_text" => (own("event"), "event: the name as it was sent."),
            "record_id" => (text_value(&["recordId"]), "recordId of the event."),
            "name" => (
                first_of("name"),
                "name of the call, or where it has none, of its properties.",
            ),
            "category" => (
                first_of("category"),
                "category of the call, or where it has none, of its properties.",
            ),
            "group_id" => (text_value(&["groupId"]), "groupId of the call."),
            "previous_id" => (text_value(&["previousId"]), "previousId of the call."),
            _ => return None,
        };
        Some(FixedColumn { name, value, doc })
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::naming::BUILT_IN_RELATIONS;

    use super::*;

    #[test]
    fn every_fixed_column_of_the_naming_has_a_value() {
        for naming in [Naming::Segment, Naming::Rudderstack] {
            let subjects = Subject::built_in(naming).map(|(_, subject)| subject);
            for subject in subjects.chain([Subject::Event]) {
                let has = subject.fixed_columns(naming, "'x'").into_iter();
                let has: Vec<_> = has.map(|column| column.name).collect();
                let wanted = naming.fixed_columns(subject.call());
                let wanted: Vec<_> = wanted.filter(|name| !subject.lacks(name)).collect();
                assert_eq!(has, wanted, "{subject:?}");
            }
        }
    }

    #[test]
    fn names_of_relations_that_are_always_there_are_kept_from_events() {
        for (name, subject) in BUILT_IN {
            assert!(BUILT_IN_RELATIONS.contains(&name));
            assert_eq!(Subject::of_relation(name), subject);
        }
        assert_eq!(Subject::of_relation("order_completed"), Subject::Event);
    }
}
