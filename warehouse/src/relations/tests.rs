//! What is decided of news, and the SQL that comes of it.

mod materialized;
mod overrides;

use std::sync::LazyLock;

use trunkline_model::naming::Naming;

use super::casts::ColumnType;
use super::decide::{Decided, Decision, MAX_EVENT_NAMES, MAX_EVENT_RELATIONS, decide};
use super::discards::discards;
use super::overrides::Overrides;
use super::relation::{Because, Column, LeftOut, MAX_COLUMNS};
use super::shape::{Kind, Shape, call_of};
use super::shaping::Rules;
use super::subject::Subject;
use super::view::{Origin, view};
use crate::claim::Held;
use crate::partitions::Bucket;
use crate::ranges::PartitionBy;

/// A shape, noted at that time.
fn noted(at: i64, call: &str, event: Option<&str>, path: &[&str], kind: Kind) -> Shape {
    Shape {
        id: String::new(),
        call: call_of(call),
        event: event.map(str::to_owned),
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        kind,
        noted_at: at,
    }
}

/// A property of `Order Completed`.
fn property(at: i64, path: &[&str], kind: Kind) -> Shape {
    let path: Vec<_> = ["properties"].iter().chain(path).copied().collect();
    noted(at, "track", Some("Order Completed"), &path, kind)
}

static NO_OVERRIDES: LazyLock<Overrides> = LazyLock::new(Overrides::default);

fn rules(naming: Naming) -> Rules<'static> {
    Rules {
        naming,
        is_pinned: false,
        overrides: &NO_OVERRIDES,
    }
}

fn decided(naming: Naming, news: &[Shape]) -> Decided {
    decide(rules(naming), &Decided::default(), news).decided
}

/// The columns of a relation that were made of what was sent: `name type`, `!` behind one with misfits.
fn columns(decided: &Decided, relation: &str) -> Vec<String> {
    let column = |it: &Column| {
        let misfits = if it.has_misfits { "!" } else { "" };
        format!("{} {}{misfits}", it.name, it.sql_type.as_str())
    };
    decided.relations[relation]
        .columns
        .iter()
        .map(column)
        .collect()
}

const CONTEXT: [&str; 2] = ["context_ip text", "context_user_agent text"];

fn with_context(columns: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = CONTEXT
        .iter()
        .chain(columns)
        .map(|it| (*it).to_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn the_first_kind_decides_and_another_is_a_misfit() {
    let kinds = [
        (Kind::Boolean, "boolean", "boolean"),
        (Kind::Number, "numeric", "numeric"),
        (Kind::Timestamp, "timestamptz", "timestamptz"),
        (Kind::Text, "text", "text"),
        (Kind::Array, "text", "jsonb"),
        (Kind::Object, "text", "jsonb"),
    ];
    for (first, of_segment, of_rudderstack) in kinds {
        for (second, ..) in kinds {
            for (naming, expected) in [
                (Naming::Segment, of_segment),
                (Naming::Rudderstack, of_rudderstack),
            ] {
                let news = [property(1, &["x"], first), property(2, &["x"], second)];
                let fits = first == second || ["text", "jsonb"].contains(&expected);
                let misfits = if fits { "" } else { "!" };
                let expected = with_context(&[&format!("x {expected}{misfits}")]);
                let decided = decided(naming, &news);
                assert_eq!(
                    columns(&decided, "order_completed"),
                    expected,
                    "{first:?} {second:?}"
                );
            }
        }
    }
}

#[test]
fn of_kinds_that_were_seen_at_once_the_one_that_fits_most_decides() {
    let kinds = [Kind::Timestamp, Kind::Number, Kind::Text];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let news = order.map(|place| property(1, &["x"], kinds[place]));
        let decided = decided(Naming::Segment, &news);
        assert_eq!(
            columns(&decided, "order_completed"),
            with_context(&["x text"])
        );
    }
}

#[test]
fn what_an_object_and_a_value_have_been_sent_for_is_a_misfit_of_the_value() {
    let (value, below) = (
        property(1, &["plan"], Kind::Number),
        property(2, &["plan", "name"], Kind::Text),
    );
    let expected = with_context(&["plan numeric!", "plan_name text"]);
    let later = Shape {
        noted_at: 3,
        ..value.clone()
    };
    for news in [[value, below.clone()], [below, later]] {
        let decided = decided(Naming::Segment, &news);
        assert_eq!(columns(&decided, "order_completed"), expected);
    }
}

#[test]
fn names_do_not_depend_on_the_order_of_arrival_and_columns_stay_where_they_are() {
    let odd = [
        "id",
        "order",
        "row_num",
        "a\"b",
        "it's",
        "🦀",
        "ключ",
        "2fa",
        "firstName",
        "first_name",
        "user_id",
        "",
        " ",
    ];
    let mut news: Vec<_> = odd
        .iter()
        .map(|key| property(1, &[key], Kind::Text))
        .collect();
    news.push(noted(1, "track", Some("orderCompleted"), &[], Kind::Seen));
    news.push(noted(
        1,
        "track",
        None,
        &["context", "app", "name"],
        Kind::Text,
    ));
    let all = decided(Naming::Segment, &news);
    let names = |decided: &Decided| {
        let mut names = columns(decided, "order_completed");
        names.sort();
        names
    };
    let mut step = Decided::default();
    for shape in news.iter().rev() {
        let before = step.clone();
        step = decide(rules(Naming::Segment), &before, std::slice::from_ref(shape)).decided;
        for (name, relation) in &before.relations {
            let now = &step.relations[name].columns;
            let kept: Vec<_> = now.iter().map(|it| (&it.name, it.sql_type)).collect();
            let were: Vec<_> = relation
                .columns
                .iter()
                .map(|it| (&it.name, it.sql_type))
                .collect();
            assert_eq!(kept[..were.len()], were, "{name}");
        }
    }
    assert_eq!(names(&step), names(&all));
    assert_eq!(step.events, all.events);
    // In the first creation they come by name.
    assert_eq!(names(&all), columns(&all, "order_completed"));
    // The properties id and user_id are the event's own.
    assert_eq!(
        all.relations["order_completed"].columns.len(),
        odd.len() - 3 + 3
    );
    let spellings = &all.relations["order_completed"].columns;
    let spellings = spellings.iter().find(|it| it.name == "first_name").unwrap();
    assert_eq!(spellings.paths.len(), 2);
    // Once taken up, nothing is new.
    assert_eq!(decide(rules(Naming::Segment), &all, &news).decided, all);
}

#[test]
fn an_event_has_the_context_of_all_track_events_and_properties_are_its_own() {
    let news = [
        noted(1, "track", None, &["context", "app", "build"], Kind::Number),
        property(2, &["total"], Kind::Number),
        noted(3, "track", None, &["context", "locale"], Kind::Text),
        noted(4, "identify", None, &["traits", "plan"], Kind::Text),
        noted(5, "identify", None, &["properties", "stray"], Kind::Text),
        noted(6, "page", None, &["properties", "name"], Kind::Text),
        noted(6, "page", None, &["properties", "rank"], Kind::Number),
        noted(7, "group", None, &["traits", "seats"], Kind::Number),
        noted(8, "nonsense", None, &["context", "x"], Kind::Text),
        noted(9, "track", None, &["properties", "nameless"], Kind::Text),
    ];
    let decided = decided(Naming::Segment, &news);
    let of_context = ["context_app_build numeric", "context_locale text"];
    assert_eq!(columns(&decided, "tracks"), with_context(&of_context));
    assert_eq!(
        columns(&decided, "order_completed"),
        with_context(&[&of_context[..], &["total numeric"]].concat())
    );
    for relation in ["identifies", "users"] {
        assert_eq!(
            columns(&decided, relation),
            with_context(&["email text", "plan text"])
        );
    }
    assert!(columns(&decided, "pages").contains(&"rank numeric".to_owned()));
    assert!(
        !columns(&decided, "pages")
            .iter()
            .any(|it| it.starts_with("name "))
    );
    for relation in ["groups", "accounts"] {
        assert_eq!(
            columns(&decided, relation),
            with_context(&["seats numeric"])
        );
    }
    assert_eq!(decided.relations.len(), 9 + 1);
}

#[test]
fn there_is_an_end_to_columns_relations_and_names() {
    let names: Vec<_> = (0..1_700).map(|n| format!("p{n}")).collect();
    let news: Vec<_> = names
        .iter()
        .map(|name| property(1, &[name], Kind::Text))
        .collect();
    let Decision { decided, left_out } = decide(rules(Naming::Segment), &Decided::default(), &news);
    assert_eq!(
        decided.relations["order_completed"].columns.len(),
        MAX_COLUMNS
    );
    assert_eq!(left_out.len(), 1_700 - (MAX_COLUMNS - CONTEXT.len()));
    assert!(left_out.iter().all(|it| it.column.is_some()));

    let names: Vec<_> = (0..10_000).map(|n| format!("Event {n}")).collect();
    let news: Vec<_> = names
        .iter()
        .map(|name| noted(1, "track", Some(name), &[], Kind::Seen))
        .collect();
    let Decision { decided, left_out } = decide(rules(Naming::Segment), &Decided::default(), &news);
    let of_events = decided.relations.values();
    let of_events = of_events.filter(|it| it.subject == Subject::Event).count();
    assert_eq!(of_events, MAX_EVENT_RELATIONS);
    assert_eq!(decided.events.len(), MAX_EVENT_NAMES);
    assert_eq!(left_out.len(), 10_000 - MAX_EVENT_RELATIONS);
    assert!(left_out.iter().all(|it| it.column.is_none()));
    // A property of one without a relation asks for none.
    let late = noted(
        2,
        "track",
        Some("Event 9999"),
        &["properties", "x"],
        Kind::Text,
    );
    let again = decide(rules(Naming::Segment), &decided, &[late]);
    assert_eq!(again.decided, decided);
}

#[test]
fn a_pinned_source_shows_what_it_showed_and_lists_the_rest() {
    let seen = |at, event| noted(at, "track", Some(event), &[], Kind::Seen);
    let first = [
        seen(1, "Order Completed"),
        property(1, &["total"], Kind::Number),
    ];
    let before = decided(Naming::Segment, &first);
    let news = [
        seen(2, "Order Refunded"),
        seen(2, "orderCompleted"),
        property(2, &["coupon"], Kind::Text),
        property(2, &["Total"], Kind::Number),
        property(2, &["total"], Kind::Text),
        noted(2, "track", None, &["context", "locale"], Kind::Text),
    ];
    let pinned = Rules {
        is_pinned: true,
        ..rules(Naming::Segment)
    };
    let Decision { decided, left_out } = decide(pinned, &before, &news);
    assert_eq!(
        columns(&decided, "order_completed"),
        with_context(&["total numeric!"])
    );
    assert!(!decided.relations.contains_key("order_refunded"));
    let told: Vec<_> = left_out
        .iter()
        .map(
            |LeftOut {
                 relation,
                 column,
                 because,
                 detail,
             }| {
                assert_eq!(*because, Because::Pinned);
                format!("{relation}.{} {detail}", column.as_deref().unwrap_or("-"))
            },
        )
        .collect();
    assert_eq!(
        told,
        [
            "order_completed.- [\"orderCompleted\"]",
            "order_completed.coupon text of [\"properties\",\"coupon\"]",
            "order_completed.total numeric of [\"properties\",\"Total\"]",
            "order_refunded.- [\"Order Refunded\"]",
            "tracks.context_locale text of [\"context\",\"locale\"]",
        ]
    );
    // `tracks` names an event that has no relation.
    let refunded = &decided.events["Order Refunded"];
    assert_eq!(
        (refunded.slug.as_str(), &refunded.relation),
        ("order_refunded", &None)
    );
    // Once it is let in, everything is as if nobody had pinned it.
    let all: Vec<_> = first.iter().chain(&news).cloned().collect();
    let let_in = decide(rules(Naming::Segment), &decided, &all);
    assert_eq!(let_in.left_out.len(), 0);
    let never = self::decided(Naming::Segment, &all);
    assert_eq!(let_in.decided.events, never.events);
    let names = |decided: &Decided| -> Vec<_> { decided.relations.keys().cloned().collect() };
    assert_eq!(names(&let_in.decided), names(&never));
}

fn origin(naming: Naming, is_shared: bool) -> Origin<'static> {
    Origin {
        source: "default/shop",
        schema: "shop",
        held: Held {
            number: 8,
            bucket: Bucket {
                number: 7,
                by: PartitionBy::Day,
                is_shared,
                tells_repeats: is_shared,
                indexes: crate::indexes::LeafIndexes::default(),
            },
        },
        naming,
    }
}

/// The query of a relation, in one line.
fn query(naming: Naming, is_shared: bool, decided: &Decided, relation: &str) -> String {
    let found = &decided.relations[relation];
    let view = view(origin(naming, is_shared), relation, found, decided, None);
    view.query.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The columns that every relation of Segment's begins with.
const COMMON: &str = "b.\"anonymous_id\" AS \"anonymous_id\", b.\"user_id\" AS \"user_id\", \
     b.\"received_at\" AS \"received_at\", b.\"sent_at\" AS \"sent_at\", \
     b.\"timestamp\" AS \"timestamp\", b.\"original_timestamp\" AS \"original_timestamp\", \
     b.\"received_at\" AS \"uuid_ts\", b.\"body_json\" AS \"_raw\", \
     b.\"auth_scope\" AS \"_auth_scope\", b.\"source\" AS \"_source\", \
     b.\"delivery_id\" AS \"_delivery_id\"";

const OF_CONTEXT: &str = "b.\"body_json\" #>> '{\"context\",\"ip\"}'::text[] AS \"context_ip\", \
     b.\"body_json\" #>> '{\"context\",\"userAgent\"}'::text[] AS \"context_user_agent\"";

#[test]
fn an_event_is_a_view_of_its_typed_properties() {
    let news = [
        property(1, &["total"], Kind::Number),
        property(1, &["paid"], Kind::Boolean),
        property(1, &["due"], Kind::Timestamp),
        property(1, &["firstName"], Kind::Text),
        property(2, &["first_name"], Kind::Text),
        property(1, &["items"], Kind::Array),
    ];
    let segment = decided(Naming::Segment, &news);
    let at = |key: &str| format!("b.\"body_json\" #> '{{\"properties\",\"{key}\"}}'::text[]");
    let text = |key: &str| format!("b.\"body_json\" #>> '{{\"properties\",\"{key}\"}}'::text[]");
    assert_eq!(
        query(Naming::Segment, false, &segment, "order_completed"),
        format!(
            "SELECT b.\"message_id\" AS \"id\", {COMMON}, 'order_completed'::text AS \"event\", \
             b.\"event\" AS \"event_text\", {OF_CONTEXT}, \
             trunkline.time_of({}) AS \"due\", coalesce({}, {}) AS \"first_name\", \
             {} AS \"items\", trunkline.boolean_of({}) AS \"paid\", \
             trunkline.number_of({}) AS \"total\" \
             FROM trunkline_data.bucket_7 AS b WHERE NOT b.\"dup\" AND b.\"type\" = 'track' \
             AND b.\"event\" = 'Order Completed'",
            at("due"),
            text("firstName"),
            text("first_name"),
            text("items"),
            at("paid"),
            at("total")
        )
    );
    let rudderstack = decided(Naming::Rudderstack, &news);
    let query = query(Naming::Rudderstack, true, &rudderstack, "order_completed");
    assert!(
        query.contains(&format!(
            "nullif({}, 'null'::jsonb) AS \"items\"",
            at("items")
        )),
        "{query}"
    );
    assert!(
        query.contains("#>> '{\"recordId\"}'::text[] AS \"record_id\""),
        "{query}"
    );
    assert!(
        query.contains("WHERE \"source\" COLLATE \"C\" = 'default/shop' AND NOT b.\"dup\""),
        "{query}"
    );
    assert_eq!(
        origin(Naming::Segment, true).options(),
        " WITH (security_barrier = true)"
    );
}

#[test]
fn names_that_a_vendor_makes_one_are_one_relation() {
    let seen = |event| noted(1, "track", Some(event), &[], Kind::Seen);
    let news = [
        seen("Order Completed"),
        seen("orderCompleted"),
        seen("it's"),
    ];
    let all = decided(Naming::Segment, &news);
    let query_of = |relation| query(Naming::Segment, false, &all, relation);
    assert!(
        query_of("order_completed")
            .ends_with("AND b.\"event\" IN ('Order Completed', 'orderCompleted')")
    );
    assert!(query_of("it_s").ends_with("AND b.\"event\" = 'it''s'"));
    // The one is named so because the other is taken.
    let news = [seen("tracks"), seen("_tracks")];
    let all = decided(Naming::Rudderstack, &news);
    let query = query(Naming::Rudderstack, false, &all, "_tracks");
    let slug = "CASE b.\"event\" WHEN '_tracks' THEN '_tracks' WHEN 'tracks' THEN 'tracks' END";
    assert!(query.contains(&format!("{slug} AS \"event\"")), "{query}");
}

#[test]
fn the_relations_that_are_always_there() {
    let all = decided(Naming::Segment, &[]);
    let query = |relation| query(Naming::Segment, false, &all, relation);
    let from = "FROM trunkline_data.bucket_7 AS b WHERE NOT b.\"dup\"";
    assert_eq!(
        query("tracks"),
        format!(
            "SELECT b.\"message_id\" AS \"id\", {COMMON}, n.\"slug\" AS \"event\", \
             b.\"event\" AS \"event_text\", {OF_CONTEXT} FROM trunkline_data.bucket_7 AS b \
             LEFT JOIN trunkline.event_names AS n ON n.source_number = 8 AND n.event = b.\"event\" \
             WHERE NOT b.\"dup\" AND b.\"type\" = 'track'"
        )
    );
    assert_eq!(
        query("deletes"),
        format!(
            "SELECT b.\"message_id\" AS \"id\", {COMMON}, {OF_CONTEXT} {from} \
             AND b.\"type\" = 'delete'"
        )
    );
    let email = "b.\"body_json\" #>> '{\"traits\",\"email\"}'::text[] AS \"email\"";
    assert_eq!(
        query("identifies"),
        format!(
            "SELECT b.\"message_id\" AS \"id\", {COMMON}, {OF_CONTEXT}, {email} {from} \
             AND b.\"type\" = 'identify'"
        )
    );
    let users = query("users");
    assert!(
        users.starts_with(
            "SELECT b.\"user_id\" AS \"id\", b.\"received_at\" AS \"received_at\", \
             b.\"sent_at\""
        ),
        "{users}"
    );
    assert!(
        users.ends_with(
            "WHERE NOT b.\"dup\" AND b.\"type\" = 'identify' AND b.\"user_id\" IS NOT NULL \
             ORDER BY b.\"user_id\", coalesce(b.\"timestamp\", b.\"received_at\") DESC, \
             b.\"received_at\" DESC, b.\"message_id\" DESC NULLS LAST ) AS b"
        ),
        "{users}"
    );
    // What dbt-labs/segment reads of pages.
    let pages = query("pages");
    for column in [
        "id",
        "anonymous_id",
        "user_id",
        "received_at",
        "sent_at",
        "timestamp",
        "url",
        "path",
        "title",
        "search",
        "referrer",
        "context_campaign_source",
        "context_campaign_medium",
        "context_campaign_name",
        "context_campaign_term",
        "context_campaign_content",
        "context_ip",
        "context_user_agent",
    ] {
        assert!(pages.contains(&format!(" AS \"{column}\"")), "{column}");
    }
    let rudderstack = decided(Naming::Rudderstack, &[]);
    assert!(!rudderstack.relations.contains_key("accounts"));
}

#[test]
fn discards_look_at_what_may_not_fit() {
    let origin = origin(Naming::Segment, false);
    let nothing = discards(origin, &decided(Naming::Segment, &[]));
    assert!(nothing.query.ends_with("WHERE false"), "{}", nothing.query);
    let news = [
        property(1, &["total"], Kind::Number),
        property(2, &["total"], Kind::Text),
        property(1, &["rank"], Kind::Number),
        property(1, &["due"], Kind::Timestamp),
        noted(1, "identify", None, &["traits", "age"], Kind::Number),
        noted(2, "identify", None, &["traits", "age"], Kind::Array),
        noted(1, "track", None, &["context", "build"], Kind::Number),
        noted(2, "track", None, &["context", "build"], Kind::Text),
    ];
    let view = discards(origin, &decided(Naming::Segment, &news));
    let looked_at = |relation: &str, column: &str| {
        view.query
            .matches(&format!("('{relation}'::text, '{column}'::text, "))
            .count()
    };
    for (relation, column, times) in [
        ("order_completed", "total", 1),
        ("order_completed", "due", 1),
        ("order_completed", "rank", 0),
        ("identifies", "age", 1),
        ("users", "age", 0),
        ("tracks", "context_build", 1),
        ("order_completed", "context_build", 0),
    ] {
        assert_eq!(looked_at(relation, column), times, "{relation}.{column}");
    }
    assert!(view.query.contains("b.\"event\" = 'Order Completed'"));
    assert!(
        view.query
            .contains("WHERE NOT b.\"dup\" AND v.\"column_value\" IS NOT NULL")
    );
}

#[test]
fn a_fingerprint_follows_the_definition_and_what_is_said_of_it() {
    let all = decided(Naming::Segment, &[property(1, &["total"], Kind::Number)]);
    let of = |decided: &Decided, is_shared| {
        let relation = &decided.relations["order_completed"];
        view(
            origin(Naming::Segment, is_shared),
            "order_completed",
            relation,
            decided,
            None,
        )
        .fingerprint()
    };
    assert_eq!(of(&all, false), of(&all, false));
    assert_ne!(of(&all, false), of(&all, true));
    let mut other = all.clone();
    let columns = &mut other.relations.get_mut("order_completed").unwrap().columns;
    columns.last_mut().unwrap().has_misfits = true;
    // What discards show is none of this view.
    assert_eq!(of(&all, false), of(&other, false));
    let columns = &mut other.relations.get_mut("order_completed").unwrap().columns;
    columns.last_mut().unwrap().sql_type = ColumnType::Text;
    assert_ne!(of(&all, false), of(&other, false));
}
