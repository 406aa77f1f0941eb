//! The dashboard for Grafana and the questions for Metabase, as a reader runs them: their macros and
//! variables are expanded by the documented rules of both, and the results are looked at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_postgres::{Client as Session, NoTls, SimpleQueryMessage};
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{Client, Dev, repository, signed_batch};

/// `trunkline dev` with events, a refused request and a value that does not fit, and a reader.
struct Shop {
    dev: Dev,
    owner: Session,
    reader: Session,
    _folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dev = Dev::start(&Dev::examples(), &folder.path().join("data"), &[]);
        let url = dev.line("database", "", "")["url"].clone();
        let url = url.as_str().unwrap();
        let _ = dev.line("ready", "source", "default/segment");
        let owner = connect(url).await;
        let create = "CREATE ROLE grafana LOGIN PASSWORD 'g'; \
                      GRANT trunkline_trunkline_segment_reader TO grafana";
        owner.batch_execute(create).await.unwrap();
        let (_, place) = url.split_once('@').unwrap();
        let reader = connect(&format!("postgres://grafana:g@{place}")).await;
        reader.batch_execute("SET timezone = 'UTC'").await.unwrap();
        let shop = Self {
            dev,
            owner,
            reader,
            _folder: folder,
        };
        shop.fill().await;
        shop
    }

    /// Each person's events come in one request, and so on one day.
    async fn fill(&self) {
        let (viewed, added, ordered) = ("Product Viewed", "Product Added", "Order Completed");
        let steps = [
            ("ada", viewed, "09:00"),
            ("ada", added, "09:01"),
            ("ada", ordered, "09:02"),
            ("bob", viewed, "09:00"),
            ("bob", added, "09:05"),
            // These two the wrong way round.
            ("bob", ordered, "09:04"),
            ("cyd", viewed, "09:00"),
            ("dan", added, "09:00"),
            ("dan", viewed, "09:01"),
        ];
        let mut events: Vec<_> = (0..)
            .zip(steps)
            .map(|(number, (user, event, at))| track(number, user, event, at, &json!(12.5)))
            .collect();
        for (id, user, path) in [
            ("p1", "ada", "/a"),
            ("p2", "ada", "/a"),
            ("p3", "bob", "/b"),
        ] {
            events.push(json!({"type": "page", "messageId": id, "userId": user,
                "timestamp": "2026-11-24T09:00:00Z", "properties": {"path": path}}));
        }
        self.post(&events, Dev::SECRET, 200).await;
        self.await_row("SELECT price FROM segment.product_viewed")
            .await;
        let misfit = track(100, "eve", viewed, "09:00", &json!("n/a"));
        self.post(&[misfit], Dev::SECRET, 200).await;
        self.await_row("SELECT 1 FROM segment.discards").await;
        self.post(&[json!({})], "another secret", 400).await;
        self.await_row("SELECT 1 FROM trunkline.rejections").await;
    }

    async fn post(&self, events: &[Value], secret: &str, status: u16) {
        let events: Vec<_> = events.iter().map(ToString::to_string).collect();
        let batch = signed_batch(secret.as_bytes(), &events);
        let headers = [(SIGNATURE_HEADER, batch.signature.as_str())];
        let mut client = Client::new(self.dev.address());
        let path = "/webhooks/default/segment";
        let answer = client.post(path, &headers, batch.body).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text);
    }

    async fn await_row(&self, sql: &str) {
        let start = Instant::now();
        loop {
            match self.owner.simple_query(sql).await {
                Ok(rows)
                    if rows
                        .iter()
                        .any(|it| matches!(it, SimpleQueryMessage::Row(_))) =>
                {
                    return;
                }
                last => assert!(start.elapsed() < Duration::from_secs(20), "{sql}: {last:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The rows of a query as its reader gets them, each value by its column's name.
    async fn read(&self, sql: &str) -> Vec<BTreeMap<String, String>> {
        let messages = self.reader.simple_query(sql).await;
        let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let columns = row.columns().iter().enumerate();
                let value = |place| row.get(place).unwrap_or("NULL").to_owned();
                Some(
                    columns
                        .map(|(place, column)| (column.name().to_owned(), value(place)))
                        .collect(),
                )
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }
}

async fn connect(url: &str) -> Session {
    let (session, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    session
}

fn track(number: u32, user: &str, event: &str, at: &str, price: &Value) -> Value {
    json!({"type": "track", "event": event, "messageId": format!("m{number}"), "userId": user,
        "timestamp": format!("2026-11-24T{at}:00Z"), "context": {"page": {"path": "/a"}},
        "properties": {"price": price}})
}

/// These columns of the rows, joined by `|`.
fn shown(rows: &[BTreeMap<String, String>], columns: &[&str]) -> Vec<String> {
    let line = |row: &BTreeMap<String, String>| {
        let fields: Vec<_> = columns.iter().map(|column| row[*column].as_str()).collect();
        fields.join("|")
    };
    rows.iter().map(line).collect()
}

/// The sum of a column, by the value of another.
fn sums(rows: &[BTreeMap<String, String>], by: &str, of: &str) -> Vec<String> {
    let mut sums = BTreeMap::<_, f64>::new();
    for row in rows {
        *sums.entry(&row[by]).or_default() += row[of].parse::<f64>().unwrap();
    }
    sums.iter()
        .map(|(name, sum)| format!("{name}|{sum}"))
        .collect()
}

/// What Grafana makes of a query: its variables, then its macros, each documented with its data source
/// for PostgreSQL. The time is the last six hours, the interval a minute.
fn expand(sql: &str, variables: &[(&str, &str)]) -> String {
    let mut sql = sql.to_owned();
    for (name, value) in variables {
        let quoted = format!("'{}'", value.replace('\'', "''"));
        sql = sql.replace(&format!("${{{name}:raw}}"), value);
        sql = sql.replace(&format!("${{{name}:sqlstring}}"), &quoted);
    }
    sql = sql
        .replace("$__interval_ms", "60000")
        .replace("$__interval", "1m");
    let now = Timestamp::now();
    let (from, to) = (
        now - SignedDuration::from_hours(6),
        now + SignedDuration::from_mins(1),
    );
    sql = each_call(&sql, "$__timeFilter(", |arguments| {
        format!("{} BETWEEN '{from}' AND '{to}'", arguments[0])
    });
    sql = each_call(&sql, "$__timeGroupAlias(", |arguments| {
        format!("{} AS \"time\"", time_group(arguments))
    });
    sql = each_call(&sql, "$__timeGroup(", time_group);
    assert!(!sql.contains("$__") && !sql.contains("${"), "{sql}");
    sql
}

fn time_group(arguments: &[&str]) -> String {
    let interval = arguments[1].trim_matches('\'');
    let (count, unit) = interval.split_at(interval.len() - 1);
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => panic!("{interval}"),
    };
    let seconds = count.parse::<u32>().unwrap() * seconds;
    format!(
        "floor(extract(epoch from {})/{seconds})*{seconds}",
        arguments[0]
    )
}

/// Puts something else in the place of each call of a macro, whose arguments have no brackets.
fn each_call(sql: &str, opening: &str, expanded: impl Fn(&[&str]) -> String) -> String {
    let mut parts = sql.split(opening);
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (arguments, rest) = part.split_once(')').unwrap();
        let arguments: Vec<_> = arguments.split(',').map(str::trim).collect();
        out.push_str(&expanded(&arguments));
        out.push_str(rest);
    }
    out
}

/// What Metabase makes of a query: clauses in `[[…]]` are left out where their variable has no value,
/// and a value takes the place of `{{…}}`.
fn fill_in(sql: &str, values: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (place, part) in sql.split("[[").enumerate() {
        let Some((clause, rest)) = part.split_once("]]").filter(|_| place > 0) else {
            out.push_str(part);
            continue;
        };
        let has_value = |(name, _): &(&str, String)| clause.contains(&format!("{{{{{name}}}}}"));
        if values.iter().any(has_value) {
            out.push_str(clause);
        }
        out.push_str(rest);
    }
    for (name, value) in values {
        out = out.replace(&format!("{{{{{name}}}}}"), value);
    }
    assert!(!out.contains("{{"), "{out}");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_for_grafana_and_every_question_for_metabase_says_what_was_sent() {
    let shop = Shop::open().await;
    grafana(&shop).await;
    metabase(&shop).await;
}

async fn grafana(shop: &Shop) {
    let file = repository().join("dashboards/grafana/trunkline-events.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let variables = [
        ("schema", "segment"),
        ("step_1", "Product Viewed"),
        ("step_2", "Product Added"),
        ("step_3", "Order Completed"),
    ];
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            let sql = expand(variable["query"].as_str().unwrap(), &variables);
            let rows = shop.read(&sql).await;
            let name = variable["name"].as_str().unwrap();
            let (_, value) = variables.iter().find(|(it, _)| *it == name).unwrap();
            let is_offered = rows.iter().any(|row| row.values().any(|it| it == value));
            assert!(is_offered, "{name}: {rows:?}");
        }
    }
    let panels = dashboard["panels"].as_array().unwrap();
    assert_eq!(panels.len(), 8);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        let sql = panel["targets"][0]["rawSql"].as_str().unwrap();
        let rows = shop.read(&expand(sql, &variables)).await;
        let (says, expected): (_, &[&str]) = match title {
            "Events per minute" => (
                sums(&rows, "metric", "events"),
                &["Order Completed|2", "Product Added|3", "Product Viewed|5"],
            ),
            "People in the chosen time" => (shown(&rows, &["people"]), &["5"]),
            "Active users by day" => {
                let people = rows.iter().map(|row| row["people"].parse::<u32>().unwrap());
                (vec![people.sum::<u32>().to_string()], &["5"])
            }
            "Funnel" => (
                shown(&rows, &["step", "people"]),
                &[
                    "1. Product Viewed|5",
                    "2. Product Added|2",
                    "3. Order Completed|1",
                ],
            ),
            "Top pages" => (
                shown(&rows, &["path", "views", "people"]),
                &["/a|2|1", "/b|1|1"],
            ),
            "Newest events" => {
                assert_eq!(rows.len(), 10);
                let columns = ["event", "user_id", "page", "vouched_for_by", "id"];
                let newest = shown(&rows[..1], &columns);
                (newest, &["Product Viewed|eve|/a|element|m100"])
            }
            "Refused requests" => (sums(&rows, "metric", "requests"), &["signature_mismatch|1"]),
            "Values that did not fit" => (
                shown(&rows, &["relation", "column_name", "misfits", "example"]),
                &["product_viewed|price|1|n/a"],
            ),
            _ => panic!("{title} is new; say here what it shows"),
        };
        assert_eq!(says, expected, "{title}");
        if panel["targets"][0]["format"] == "time_series" {
            assert!(
                rows.iter().all(|row| row["time"].parse::<f64>().is_ok()),
                "{title}"
            );
        }
    }
}

async fn metabase(shop: &Shop) {
    let text = |value: &str| format!("'{value}'");
    let received = "SELECT min(received_at)::date AS day FROM segment.events";
    let day = text(&shop.read(received).await[0]["day"]);
    let folder = repository().join("dashboards/metabase");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let sql = std::fs::read_to_string(folder.join(&name)).unwrap();
        // Values that are needed, those that are not, the columns to look at, what they say without
        // the others and with them.
        type Case<'a> = (
            Vec<(&'a str, String)>,
            Vec<(&'a str, String)>,
            &'a [&'a str],
            &'a [&'a str],
            &'a [&'a str],
        );
        let (needed, optional, columns, all, some): Case<'_> = match name.as_str() {
            "events-by-name.sql" => (
                vec![("day", day.clone())],
                vec![("event", text("Product Added"))],
                &["event", "events"],
                &["Order Completed|2", "Product Added|3", "Product Viewed|5"],
                &["Product Added|3"],
            ),
            "active-users.sql" => (
                vec![("from", day.clone())],
                vec![("to", day.clone())],
                &["people"],
                &["5"],
                &["5"],
            ),
            "top-pages.sql" => (
                vec![("from", day.clone())],
                vec![("to", day.clone()), ("path", text("/b"))],
                &["path", "views", "people"],
                &["/a|2|1", "/b|1|1"],
                &["/b|1|1"],
            ),
            "funnel.sql" => (
                vec![
                    ("from", day.clone()),
                    ("first", text("Product Viewed")),
                    ("second", text("Product Added")),
                    ("third", text("Order Completed")),
                ],
                vec![("to", day.clone())],
                &["step", "people"],
                &["Product Viewed|5", "Product Added|2", "Order Completed|1"],
                &["Product Viewed|5", "Product Added|2", "Order Completed|1"],
            ),
            "newest-events.sql" => (
                vec![("hours", "1".to_owned())],
                vec![("user", text("bob")), ("event", text("Product Added"))],
                &["id", "user_id", "page"],
                &[
                    "m100|eve|/a",
                    "m0|ada|/a",
                    "m1|ada|/a",
                    "m2|ada|/a",
                    "m3|bob|/a",
                    "m4|bob|/a",
                    "m5|bob|/a",
                    "m6|cyd|/a",
                    "m7|dan|/a",
                    "m8|dan|/a",
                ],
                &["m4|bob|/a"],
            ),
            "refused-requests.sql" => (
                vec![("from", day.clone())],
                vec![("reason", text("signature_mismatch"))],
                &["reason", "status", "requests"],
                &["signature_mismatch|400|1"],
                &["signature_mismatch|400|1"],
            ),
            "values-that-did-not-fit.sql" => (
                vec![("from", day.clone())],
                vec![("relation", text("product_viewed"))],
                &["relation", "column_name", "misfits", "example"],
                &["product_viewed|price|1|n/a"],
                &["product_viewed|price|1|n/a"],
            ),
            _ => panic!("{name} is new; say here what it shows"),
        };
        let with = [needed.clone(), optional].concat();
        for (values, expected) in [(needed, all), (with, some)] {
            let rows = shop.read(&fill_in(&sql, &values)).await;
            // A minute or a midnight may have passed between two requests.
            let says = match name.as_str() {
                "events-by-name.sql" => sums(&rows, "event", "events"),
                "active-users.sql" => {
                    let people = rows.iter().map(|row| row["people"].parse::<u32>().unwrap());
                    vec![people.sum::<u32>().to_string()]
                }
                _ => shown(&rows, columns),
            };
            assert_eq!(says, expected, "{name} with {values:?}");
        }
        names.push(name);
    }
    assert_eq!(names.len(), 7, "{names:?}");
}
