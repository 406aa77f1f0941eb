//! Names and types that a source's owner gives to columns.

use super::super::overrides::{ColumnOverride, Overrides};
use super::super::relation::Blocked;
use super::*;

fn wish(column: &str, sql_type: Option<ColumnType>, name: Option<&str>) -> ColumnOverride {
    ColumnOverride {
        relation: "order_completed".to_owned(),
        column: column.to_owned(),
        sql_type,
        name: name.map(str::to_owned),
    }
}

/// The columns of `order_completed` as they are shown, without those of the context.
fn shown(decided: &Decided) -> Vec<String> {
    let columns = decided.relations["order_completed"].columns.iter();
    columns
        .filter(|it| !it.is_of_context())
        .map(|it| format!("{} {}", it.shown_name(), it.shown_type().as_str()))
        .collect()
}

/// Gives the columns of `order_completed` the names and types that are wished. What cannot be had.
fn reshape(
    decided: &mut Decided,
    wishes: &[ColumnOverride],
    dependants: Option<&str>,
) -> Vec<Blocked> {
    let overrides = Overrides::new(wishes);
    let rules = Rules {
        overrides: &overrides,
        ..rules(Naming::Segment)
    };
    let relation = decided.relations.get_mut("order_completed").unwrap();
    relation.reshape("order_completed", dependants, rules)
}

#[test]
fn a_column_that_is_new_is_as_its_override_says() {
    let overrides = Overrides::new(&[
        wish("price", Some(ColumnType::Numeric), Some("unit_price")),
        wish("sku", Some(ColumnType::Text), None),
        wish("total", None, Some("received_at")),
        wish("b", None, Some("a")),
    ]);
    let rules = Rules {
        overrides: &overrides,
        ..rules(Naming::Segment)
    };
    let news = [
        property(1, &["price"], Kind::Text),
        property(1, &["sku"], Kind::Number),
        property(1, &["total"], Kind::Number),
        property(1, &["b"], Kind::Text),
        property(2, &["a"], Kind::Number),
        property(3, &["price"], Kind::Number),
    ];
    let Decision { decided, left_out } = decide(rules, &Decided::default(), &news);
    assert_eq!(
        shown(&decided),
        ["a text", "unit_price numeric", "sku text", "total numeric"]
    );
    let told: Vec<_> = left_out
        .iter()
        .map(|it| (it.column.as_deref(), it.because, it.detail.as_str()))
        .collect();
    let detail = "[\"properties\",\"a\"]: spec.warehouse.overrides calls another column so";
    assert_eq!(told, [(Some("a"), Because::Full, detail)]);
    // What is there keeps what it has, whatever is wished by now.
    let more = [property(4, &["later"], Kind::Text)];
    let later = decide(self::rules(Naming::Segment), &decided, &more).decided;
    assert_eq!(shown(&later)[..4], shown(&decided)[..]);
    // A shape of another relation is another column.
    let other = noted(
        1,
        "track",
        Some("Other"),
        &["properties", "price"],
        Kind::Text,
    );
    let other = decide(rules, &decided, &[other]).decided;
    assert!(columns(&other, "other").contains(&"price text".to_owned()));
    assert_eq!(other.relations["other"].columns[2].shown_name(), "price");
}

#[test]
fn columns_change_names_and_types_as_far_as_nothing_is_in_the_way() {
    let news = [
        property(1, &["a"], Kind::Text),
        property(1, &["b"], Kind::Number),
        property(1, &["c"], Kind::Text),
    ];
    let start = decided(Naming::Segment, &news);
    let name = |column, name| wish(column, None, Some(name));
    let to = |column, sql_type| wish(column, Some(sql_type), None);
    let cases: [(&[ColumnOverride], [&str; 3], usize); 8] = [
        (&[], ["a text", "b numeric", "c text"], 0),
        // Two change places.
        (
            &[name("a", "b"), name("b", "a")],
            ["b text", "a numeric", "c text"],
            0,
        ),
        (
            &[name("a", "b"), name("b", "c"), name("c", "d")],
            ["b text", "c numeric", "d text"],
            0,
        ),
        (&[name("a", "b")], ["a text", "b numeric", "c text"], 1),
        // Who cannot leave keeps others from coming.
        (
            &[name("a", "b"), name("c", "a")],
            ["a text", "b numeric", "c text"],
            2,
        ),
        (
            &[name("a", "user_id")],
            ["a text", "b numeric", "c text"],
            1,
        ),
        (
            &[name("a", "x"), name("b", "x")],
            ["a text", "x numeric", "c text"],
            1,
        ),
        (
            &[
                to("a", ColumnType::Jsonb),
                to("b", ColumnType::Numeric),
                to("none", ColumnType::Text),
            ],
            ["a jsonb", "b numeric", "c text"],
            0,
        ),
    ];
    for (wishes, expected, count) in cases {
        let mut decided = start.clone();
        let blocked = reshape(&mut decided, wishes, None);
        assert_eq!(shown(&decided), expected, "{wishes:?}");
        assert_eq!(blocked.len(), count, "{blocked:?}");
        // A second time changes nothing, and without wishes everything is as it was.
        let once = decided.clone();
        reshape(&mut decided, wishes, Some("view public.report"));
        assert_eq!(decided, once, "{wishes:?}");
        reshape(&mut decided, &[], None);
        assert_eq!(decided, start, "{wishes:?}");
    }
}

#[test]
fn types_stay_while_others_build_on_the_relation_and_names_change_all_the_same() {
    let news = [property(1, &["price"], Kind::Text)];
    let mut decided = decided(Naming::Segment, &news);
    let wishes = [wish("price", Some(ColumnType::Numeric), Some("unit_price"))];
    let blocked = reshape(&mut decided, &wishes, Some("view public.report"));
    assert_eq!(shown(&decided), ["unit_price text"]);
    let [
        Blocked {
            column,
            detail,
            objects,
            ..
        },
    ] = &blocked[..]
    else {
        panic!("{blocked:?}")
    };
    assert_eq!(column, "unit_price");
    assert_eq!(objects.as_deref(), Some("view public.report"));
    assert!(
        detail.contains("stays text and does not become numeric"),
        "{detail}"
    );
    assert_eq!(reshape(&mut decided, &wishes, None), []);
    let query = query(Naming::Segment, false, &decided, "order_completed");
    let value = "trunkline.number_of(b.\"body_json\" #> '{\"properties\",\"price\"}'::text[])";
    assert!(
        query.contains(&format!("{value} AS \"unit_price\"")),
        "{query}"
    );
    // What does not fit is not noted as such, and looked for.
    let discards = discards(origin(Naming::Segment, false), &decided).query;
    assert!(
        discards.contains("'order_completed'::text, 'unit_price'::text, "),
        "{discards}"
    );
    // Back, although somebody built on it meanwhile: the type stays.
    let blocked = reshape(&mut decided, &[], Some("view public.report"));
    assert_eq!(
        (shown(&decided), blocked.len()),
        (vec!["price numeric".to_owned()], 1)
    );
}
