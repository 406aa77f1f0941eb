//! `models/sources.yml`: what dbt knows of the relations. Pure.

use super::relations::{Column, Relation, Source};
use super::text::{description, name, quoted};

/// What tests and freshness look at: rows that have just come, so that they cost no more with time.
const RECENT: &str = "received_at >= now() - interval '{{ var('recent', '1 day') }}'";

/// The head of the file. A warning and not an error, since `dbt build` makes nothing of a source
/// whose test fails: one event of a sender's would keep everything else from being read.
const HEAD: &str = "\
# Written by `trunkline dbt init`. To write it again, with what has come since:
#   trunkline dbt init --database-url URL --only-sources --force
#
# Tests look at the rows of var('recent'), and warn: an event that came twice may be seen twice for some
# minutes, and a sender may set no messageId. The relations of single events are tested with `tracks`; `users` and `accounts` have one
# row for each id by what they are.
version: 2

sources:
";

/// The file.
pub(super) fn sources_yml(sources: &[Source]) -> String {
    let mut yaml = HEAD.to_owned();
    for source in sources {
        let schema = quoted(source.schema.as_str());
        yaml.push_str(&format!(
            "  - name: {schema}\n    schema: {schema}\n    description: {}\n    tables:\n",
            description(&format!("What WebhookSource {} received.", source.name))
        ));
        for relation in &source.relations {
            add_relation(&mut yaml, relation);
        }
    }
    yaml
}

fn add_relation(yaml: &mut String, relation: &Relation) {
    yaml.push_str(&format!("      - name: {}\n", name(&relation.name)));
    add_description(yaml, 8, relation.comment.as_deref());
    if relation.is_events() {
        // Of everything together: an event of one name may well come once a month.
        yaml.push_str(&format!(
            "        loaded_at_field: received_at\n        freshness:\n          \
             warn_after: {{count: 1, period: day}}\n          filter: {}\n",
            quoted(RECENT)
        ));
    }
    yaml.push_str("        columns:\n");
    let is_tested = relation.shows_calls();
    for column in &relation.columns {
        add_column(yaml, column, is_tested && column.name == "id");
    }
}

fn add_column(yaml: &mut String, column: &Column, is_tested: bool) {
    yaml.push_str(&format!("          - name: {}\n", name(&column.name)));
    add_description(yaml, 12, column.comment.as_deref());
    yaml.push_str(&format!(
        "            data_type: {}\n",
        name(&column.sql_type)
    ));
    if is_tested {
        yaml.push_str("            data_tests:\n");
        for test in ["unique", "not_null"] {
            yaml.push_str(&format!(
                "              - {test}:\n                  config:\n                    \
                 severity: warn\n                    where: {}\n",
                quoted(RECENT)
            ));
        }
    }
}

fn add_description(yaml: &mut String, indent: usize, comment: Option<&str>) {
    if let Some(comment) = comment {
        yaml.push_str(&format!(
            "{:indent$}description: {}\n",
            "",
            description(comment)
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::relations::tests::{of_layout, relation, source};
    use super::*;

    fn tables(relations: Vec<Relation>) -> Vec<Value> {
        let yaml = sources_yml(&[source("shop", relations)]);
        let read: Value =
            serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
        assert_eq!(read["sources"][0]["name"], "shop");
        let tables = read["sources"][0]["tables"].as_array().unwrap();
        tables.clone()
    }

    #[test]
    fn ids_of_calls_are_tested_within_what_is_recent_and_warn() {
        let tables = tables(vec![
            of_layout("pages", &[]),
            of_layout("order_completed", &["event_text"]),
            relation("users", &["id"]),
        ]);
        let tests = |table: usize| &tables[table]["columns"][0]["data_tests"];
        for (place, test) in ["unique", "not_null"].iter().enumerate() {
            let config = &tests(0)[place][test]["config"];
            assert_eq!(config["severity"], "warn");
            let condition = config["where"].as_str().unwrap();
            assert!(condition.starts_with("received_at >= "), "{condition}");
        }
        assert_eq!((tests(1), tests(2)), (&Value::Null, &Value::Null));
    }

    #[test]
    fn freshness_is_that_of_all_events() {
        let tables = tables(vec![
            relation("events", &["received_at"]),
            of_layout("pages", &[]),
        ]);
        assert_eq!(tables[0]["loaded_at_field"], "received_at");
        assert!(tables[0]["freshness"]["filter"].is_string());
        assert_eq!(tables[1]["freshness"], Value::Null);
    }

    #[test]
    fn comments_are_descriptions_and_types_are_there() {
        let mut odd = relation("odd", &["a"]);
        odd.comment = Some("it's: {{ 1/0 }}\n- \"x\"".to_owned());
        odd.columns[0].comment = Some("# no comment".to_owned());
        let table = &tables(vec![odd])[0];
        assert_eq!(table["description"], "it's: { { 1/0 }}\n- \"x\"");
        assert_eq!(table["columns"][0]["description"], "# no comment");
        assert_eq!(table["columns"][0]["data_type"], "text");
    }
}
