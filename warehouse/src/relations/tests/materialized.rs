//! What is kept of relations in tables, and the views that read it.

use std::collections::BTreeSet;

use super::*;
use crate::relations::materialized::{Part, PartLeaf};
use crate::relations::shown::{Stored, stored};

fn part() -> Part {
    let leaf = PartLeaf {
        start: "2026-11-24 00:00:00.000000+00".to_owned(),
        end: "2026-11-25 00:00:00.000000+00".to_owned(),
        id: 1,
    };
    Part::new("materialized_8_x", "d".to_owned(), vec![leaf], 2).unwrap()
}

fn stored_of(decided: &Decided, relation: &str) -> Stored {
    let found = &decided.relations[relation];
    stored(origin(Naming::Segment, false), relation, found, decided)
}

/// The query of a relation of which a part is read from a table, in one line.
fn query(decided: &Decided, relation: &str) -> String {
    query_of(decided, relation, &part())
}

fn query_of(decided: &Decided, relation: &str, part: &Part) -> String {
    let found = &decided.relations[relation];
    let origin = origin(Naming::Segment, false);
    let view = view(origin, relation, found, decided, Some(part));
    view.query.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_row_is_read_from_one_side_by_its_time() {
    let decided = decided(Naming::Segment, &[property(1, &["total"], Kind::Number)]);
    let query = query(&decided, "order_completed");
    let (table, events) = query.split_once(" UNION ALL ").unwrap();
    assert!(
        table.ends_with(
            "t.place FROM trunkline_data.materialized_8_x AS t \
             WHERE t.\"received_at\" >= '2026-11-24 00:00:00.000000+00' \
             AND t.\"received_at\" < '2026-11-25 00:00:00.000000+00'"
        ),
        "{table}"
    );
    assert!(
        events.ends_with(
            "NULL::tid FROM trunkline_data.bucket_7 AS b WHERE NOT b.\"dup\" AND b.\"type\" = 'track' \
             AND b.\"event\" = 'Order Completed' \
             AND (b.\"received_at\" < '2026-11-24 00:00:00.000000+00' \
             OR b.\"received_at\" >= '2026-11-25 00:00:00.000000+00') ) AS u"
        ),
        "{events}"
    );
    let (outside, table) = table.split_once(" FROM ( SELECT ").unwrap();
    // Nothing of JSON is read on that side but what is looked up, and that by its key and outside.
    assert!(!table.contains("#>"), "{table}");
    assert!(table.contains("NULL::jsonb AS \"body_json\""), "{table}");
    assert!(
        outside.contains("coalesce(u.\"body_json\", (SELECT e.\"body_json\" FROM"),
        "{outside}"
    );
    assert!(
        outside.contains("'order_completed'::text AS \"event\""),
        "{outside}"
    );
    assert!(
        !format!("{table}{events}").contains("(SELECT"),
        "{table}{events}"
    );
}

#[test]
fn what_is_all_of_a_table_is_read_without_a_condition() {
    let decided = decided(Naming::Segment, &[property(1, &["total"], Kind::Number)]);
    let whole = Part {
        is_whole: true,
        ..part()
    };
    for relation in ["order_completed", "users"] {
        let (some, all) = (
            query(&decided, relation),
            query_of(&decided, relation, &whole),
        );
        let (table, events) = all.split_once(" UNION ALL ").unwrap();
        let (_, events_of_some) = some.split_once(" UNION ALL ").unwrap();
        assert!(!table.contains("2026-11-2"), "{table}");
        assert_eq!(events, events_of_some);
    }
}

#[test]
fn the_names_that_vendors_give_to_events_are_joined_to_both_sides_together() {
    let query = query(&decided(Naming::Segment, &[]), "tracks");
    let join = ") AS u LEFT JOIN trunkline.event_names AS n \
                ON n.source_number = 8 AND n.event = u.\"event\"";
    assert!(query.ends_with(join), "{query}");
}

#[test]
fn the_latest_row_of_a_user_is_chosen_of_both_sides_together() {
    let news = [noted(1, "identify", None, &["traits", "plan"], Kind::Text)];
    let query = query(&decided(Naming::Segment, &news), "users");
    let (before, behind) = query
        .split_once("SELECT DISTINCT ON (u.\"user_id\")")
        .unwrap();
    assert!(before.contains("u.\"user_id\" AS \"id\""), "{before}");
    for condition in [
        "t.\"user_id\" IS NOT NULL UNION ALL SELECT",
        "b.\"user_id\" IS NOT NULL AND (b.\"received_at\" <",
        "ORDER BY u.\"user_id\", coalesce(u.\"timestamp\", u.\"received_at\") DESC, \
         u.\"received_at\" DESC, u.\"message_id\" DESC NULLS LAST ) AS u",
    ] {
        assert!(behind.contains(condition), "{behind}");
    }
}

#[test]
fn a_column_of_a_table_is_named_by_what_it_is_made_of() {
    let news = [
        property(1, &["total"], Kind::Number),
        property(1, &["firstName"], Kind::Text),
        noted(1, "identify", None, &["traits", "plan"], Kind::Text),
    ];
    let all = decided(Naming::Segment, &news);
    let before = stored_of(&all, "order_completed");
    let names = |stored: &Stored| -> BTreeSet<String> {
        stored.columns.iter().map(|it| it.name.clone()).collect()
    };
    assert_eq!(names(&before).len(), before.columns.len());
    // The tables of the identify calls have what `users` reads.
    let (identifies, users) = (stored_of(&all, "identifies"), stored_of(&all, "users"));
    assert_eq!(users.relation, "identifies");
    assert_eq!(users.rows(), identifies.rows());
    assert!(names(&users).is_subset(&names(&identifies)));
    // Another name is none of its business; another type or spelling is another column.
    let change = |change: &dyn Fn(&mut Column)| {
        let mut other = all.clone();
        let columns = &mut other.relations.get_mut("order_completed").unwrap().columns;
        change(columns.iter_mut().find(|it| it.name == "total").unwrap());
        stored_of(&other, "order_completed")
    };
    let renamed = change(&|column| column.other_name = Some("sum".to_owned()));
    assert_eq!(renamed, before);
    for other in [
        change(&|column| column.other_type = Some(ColumnType::Text)),
        change(&|column| column.paths.push(vec!["properties".into(), "Total".into()])),
    ] {
        assert_ne!(other.definition(), before.definition());
        assert_eq!(names(&before).difference(&names(&other)).count(), 1);
        assert_eq!(other.rows(), before.rows());
    }
    // Another event is other rows.
    let news = [noted(2, "track", Some("orderCompleted"), &[], Kind::Seen)];
    let joined = decide(rules(Naming::Segment), &all, &news).decided;
    assert_ne!(stored_of(&joined, "order_completed").rows(), before.rows());
}
