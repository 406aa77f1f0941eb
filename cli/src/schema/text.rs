//! Relations and their changes for people. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use trunkline_warehouse::{SchemaChange, ShownColumn, ShownRelation};

/// A time in UTC, to the second.
pub(super) fn time(microseconds: i64) -> String {
    match Timestamp::from_microsecond(microseconds) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        // No calendar of ours reaches it.
        Err(_) => format!("{microseconds} µs"),
    }
}

/// Changes by source and relation, each relation where it was met first.
pub(super) fn changes(changes: &[SchemaChange]) -> String {
    if changes.is_empty() {
        return "nothing has changed\n".to_owned();
    }
    let mut sources: BTreeMap<&str, Vec<(&str, Vec<&SchemaChange>)>> = BTreeMap::new();
    for change in changes {
        let relations = sources.entry(&change.source).or_default();
        match relations
            .iter_mut()
            .find(|(name, _)| *name == change.relation)
        {
            Some((_, known)) => known.push(change),
            None => relations.push((&change.relation, vec![change])),
        }
    }
    let mut text = String::new();
    for (source, relations) in sources {
        line(&mut text, 0, source);
        for (relation, changes) in relations {
            line(&mut text, 1, relation);
            let name = |it: &SchemaChange| match &it.column {
                Some(column) => column.clone(),
                None => "(relation)".to_owned(),
            };
            let names: Vec<_> = changes.iter().map(|it| name(it)).collect();
            let width = width(&names);
            for (change, name) in changes.iter().zip(&names) {
                let at = time(change.changed_at);
                let (sign, word) = sign(&change.change);
                let detail = &change.detail;
                line(
                    &mut text,
                    2,
                    &format!("{at}  {sign} {name:width$}  {word}{detail}"),
                );
            }
        }
    }
    text
}

/// The sign of a change, and what is to be said beside it.
fn sign(change: &str) -> (char, String) {
    match change {
        "added" => ('+', String::new()),
        "dropped" => ('-', String::new()),
        "renamed" | "retyped" => ('~', format!("{change}: ")),
        _ => ('!', format!("{change}: ")),
    }
}

/// Relations with their columns.
pub(super) fn relations(relations: &[ShownRelation]) -> String {
    if relations.is_empty() {
        return "there are no relations beside events; spec.warehouse.layout asks for some\n"
            .to_owned();
    }
    let mut text = String::new();
    let mut last = None;
    for relation in relations {
        if last != Some(&relation.source) {
            let ShownRelation { source, schema, .. } = relation;
            line(&mut text, 0, &format!("{source} (schema {schema})"));
            last = Some(&relation.source);
        }
        line(&mut text, 1, &relation.relation);
        let names: Vec<_> = relation.columns.iter().map(|it| it.name.clone()).collect();
        let types: Vec<_> = relation
            .columns
            .iter()
            .map(|it| it.sql_type.clone())
            .collect();
        let (name_width, type_width) = (width(&names), width(&types));
        for column in &relation.columns {
            let ShownColumn {
                name,
                sql_type,
                paths,
            } = column;
            let paths: Vec<_> = paths.iter().map(|path| path.join(".")).collect();
            let paths = paths.join(", ");
            line(
                &mut text,
                2,
                &format!("{name:name_width$}  {sql_type:type_width$}  {paths}"),
            );
        }
    }
    text
}

fn width(texts: &[String]) -> usize {
    texts
        .iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
}

/// Adds a line. What senders named has no say over the terminal.
fn line(text: &mut String, depth: usize, content: &str) {
    let shown: String = content
        .chars()
        .map(|it| if it.is_control() { '\u{fffd}' } else { it })
        .collect();
    let _ = writeln!(
        text,
        "{:indent$}{}",
        "",
        shown.trim_end(),
        indent = 2 * depth
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        at: i64,
        relation: &str,
        column: Option<&str>,
        change: &str,
        detail: &str,
    ) -> SchemaChange {
        SchemaChange {
            changed_at: at * 1_000_000,
            source: "default/segment".to_owned(),
            relation: relation.to_owned(),
            column: column.map(str::to_owned),
            change: change.to_owned(),
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn changes_are_told_by_source_and_relation_the_oldest_first() {
        let mut all = vec![
            change(0, "order_completed", None, "added", "segment"),
            change(
                1,
                "pages",
                Some("rank"),
                "added",
                "numeric of [\"properties\",\"rank\"]",
            ),
            change(
                2,
                "order_completed",
                Some("total"),
                "added",
                "numeric of [\"properties\",\"total\"]",
            ),
            change(
                3,
                "order_completed",
                Some("unit_price"),
                "renamed",
                "was price",
            ),
            change(
                4,
                "order_completed",
                Some("coupon"),
                "held",
                "text of [\"\u{9b}2J\"]",
            ),
        ];
        all.push(SchemaChange {
            source: "a/web".to_owned(),
            ..change(5, "tracks", None, "dropped", "another layout")
        });
        assert_eq!(
            changes(&all),
            "\
a/web
  tracks
    1970-01-01T00:00:05Z  - (relation)  another layout
default/segment
  order_completed
    1970-01-01T00:00:00Z  + (relation)  segment
    1970-01-01T00:00:02Z  + total       numeric of [\"properties\",\"total\"]
    1970-01-01T00:00:03Z  ~ unit_price  renamed: was price
    1970-01-01T00:00:04Z  ! coupon      held: text of [\"\u{fffd}2J\"]
  pages
    1970-01-01T00:00:01Z  + rank  numeric of [\"properties\",\"rank\"]
"
        );
        assert_eq!(changes(&[]), "nothing has changed\n");
    }

    #[test]
    fn relations_are_shown_with_types_and_places() {
        let column = |name: &str, sql_type: &str, paths: &[&[&str]]| ShownColumn {
            name: name.to_owned(),
            sql_type: sql_type.to_owned(),
            paths: paths
                .iter()
                .map(|path| path.iter().map(|key| (*key).to_owned()).collect())
                .collect(),
        };
        let relation = |name: &str, columns| ShownRelation {
            source: "default/segment".to_owned(),
            schema: "segment".to_owned(),
            relation: name.to_owned(),
            columns,
        };
        let all = [
            relation("discards", Vec::new()),
            relation(
                "pages",
                vec![
                    column(
                        "first_name",
                        "text",
                        &[&["properties", "firstName"], &["properties", "first_name"]],
                    ),
                    column("rank", "numeric", &[&["properties", "rank"]]),
                ],
            ),
        ];
        assert_eq!(
            relations(&all),
            "\
default/segment (schema segment)
  discards
  pages
    first_name  text     properties.firstName, properties.first_name
    rank        numeric  properties.rank
"
        );
        assert!(relations(&[]).contains("spec.warehouse.layout"));
    }
}
