//! `trunkline dbt init`, and real dbt on what it writes: as a plain reader, of sources with the layouts
//! of both vendors, in full and incrementally, in time zones of all kinds.
//!
//! A binary of its own, since dbt takes the processor from whoever asserts times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::{Client as Session, NoTls, SimpleQueryMessage};
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{Client, DbtProject, Dev, binary, signed_batch};

/// The role that runs dbt.
const ANALYST: &str = "analyst";

/// Its password, which stands nowhere else.
const PASSWORD: &str = "stands-nowhere-else";

/// A name of an event that would read the password, were it run, and break YAML.
const ODD_EVENT: &str = "{{ env_var('DBT_ENV_SECRET_PASSWORD') }} {% raw %} {# \": \u{2028}- '\\x";

/// The schemas of the two sources, one with each vendor's layout.
const SCHEMAS: [&str; 2] = ["segment", "rudder"];

/// `trunkline dev` with two sources, and a role that may read both.
struct Stage {
    dev: Dev,
    database: Session,
    url: String,
    folder: TempDir,
}

impl Stage {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        for entry in std::fs::read_dir(Dev::examples()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), manifests.join(entry.file_name())).unwrap();
        }
        let source = std::fs::read_to_string(manifests.join("source.yaml")).unwrap();
        let rudder = source
            .replace("name: segment\n  namespace", "name: rudder\n  namespace")
            .replace(
                "path: /webhooks/default/segment",
                "path: /webhooks/default/rudder",
            )
            .replace("schema: segment", "schema: rudder")
            .replace("layout: segment", "layout: rudderstack");
        std::fs::write(manifests.join("rudder.yaml"), rudder).unwrap();
        let dev = Dev::start(&manifests, &folder.path().join("data"), &[]);
        let url = dev.line("database", "", "")["url"].clone();
        let url = url.as_str().unwrap().to_owned();
        let _ = dev.line("ready", "source", "default/segment");
        let (database, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let stage = Self {
            dev,
            database,
            url,
            folder,
        };
        stage
            .execute(&format!(
                "CREATE ROLE {ANALYST} LOGIN PASSWORD '{PASSWORD}'; \
                 GRANT trunkline_trunkline_segment_reader, trunkline_trunkline_rudder_reader \
                 TO {ANALYST}; \
                 CREATE SCHEMA analytics AUTHORIZATION {ANALYST}; \
                 CREATE SCHEMA again AUTHORIZATION {ANALYST}"
            ))
            .await;
        stage
    }

    async fn execute(&self, sql: &str) {
        let done = self.database.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Posts events to both sources, in one request each.
    async fn post(&self, events: &[Value]) {
        let events: Vec<_> = events.iter().map(ToString::to_string).collect();
        let batch = signed_batch(Dev::SECRET.as_bytes(), &events);
        let headers = [(SIGNATURE_HEADER, batch.signature.as_str())];
        for schema in SCHEMAS {
            let path = format!("/webhooks/default/{schema}");
            let mut client = Client::new(self.dev.address());
            let answer = client.post(&path, &headers, batch.body.clone()).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    }

    /// Waits until both sources have relations of these names (of which `%` stands for the rest).
    async fn await_relations(&self, names: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(30);
        for (schema, name) in SCHEMAS
            .iter()
            .flat_map(|it| names.iter().map(move |n| (it, n)))
        {
            let sql = format!(
                "SELECT 1 FROM pg_class WHERE relnamespace = '{schema}'::regnamespace \
                 AND relname LIKE '{name}'"
            );
            while self.rows(&sql).await.is_empty() {
                assert!(Instant::now() < deadline, "no {schema}.{name}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Rows as text: columns joined by `|`, NULL as `-`.
    async fn rows(&self, sql: &str) -> Vec<String> {
        let messages = self.database.simple_query(sql).await;
        let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let fields: Vec<_> = (0..row.len()).map(|n| row.get(n).unwrap_or("-")).collect();
                Some(fields.join("|"))
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    /// The URL of a role with [`PASSWORD`].
    fn url_as(&self, role: &str) -> String {
        let (_, place) = self.url.split_once('@').unwrap();
        format!("postgres://{role}:{PASSWORD}@{place}")
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Runs `trunkline dbt init` as a role, for the project's folder.
    fn init_as(&self, role: &str, arguments: &[&str]) -> Output {
        Command::new(binary("trunkline"))
            .args([
                "dbt",
                "init",
                "--database-url",
                &self.url_as(role),
                "--output",
            ])
            .arg(self.project())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What it prints for each file, as the analyst: `wrote models/sources.yml`.
    fn init(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.init_as(ANALYST, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let folder = format!("{}/", self.project().display());
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().map(|line| line.replace(&folder, "")).collect()
    }

    /// What it says when it fails, with status 1.
    fn refusal_as(&self, role: &str, arguments: &[&str]) -> String {
        let output = self.init_as(role, arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains(PASSWORD), "{said}");
        said
    }

    /// The rows of the models that one of the two schemas has alone. Without `tstamp`, which the
    /// package of Segment's casts to the session's time zone.
    async fn differences(&self, models: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for model in models {
            let columns = self
                .rows(&format!(
                    "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
                     WHERE attrelid = 'analytics.{model}'::regclass AND attnum > 0 \
                     AND attname <> 'tstamp'"
                ))
                .await
                .remove(0);
            let select = |schema: &str| format!("SELECT {columns} FROM {schema}.{model}");
            let (one, other) = (select("analytics"), select("again"));
            let sql = format!("({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one})");
            found.extend(self.rows(&sql).await);
        }
        found
    }
}

fn page(visitor: &str, id: &str, at: &str, path: &str) -> Value {
    json!({"type": "page", "messageId": id, "anonymousId": visitor,
        "timestamp": format!("2026-11-24T{at}:00.000Z"), "sentAt": "2026-11-24T12:00:00Z",
        "properties": {"url": format!("https://shop.example{path}?q=1"), "path": path,
            "title": "A page", "search": "?q=1", "referrer": "https://www.search.example"},
        "context": {"ip": "192.0.2.1", "userAgent": "Mozilla",
            "campaign": {"source": "mail", "medium": "letter", "name": "autumn", "term": "shoes",
                "content": "top"}}})
}

fn identify(visitor: &str, user: &str, id: &str, at: &str) -> Value {
    json!({"type": "identify", "messageId": id, "anonymousId": visitor, "userId": user,
        "timestamp": format!("2026-11-24T{at}:00.000Z"),
        "traits": {"email": format!("{user}@example.com")}})
}

fn track(event: &str, visitor: &str, id: &str) -> Value {
    json!({"type": "track", "event": event, "messageId": id, "anonymousId": visitor,
        "timestamp": "2026-11-24T10:01:00.000Z", "properties": {"plan": "pro"}})
}

/// What is there before the first run. Two visitors come before the others.
async fn post_first(stage: &Stage) {
    stage
        .post(&[
            page("kept", "k1", "09:00", "/kept"),
            page("fay", "f1", "09:00", "/f1"),
        ])
        .await;
    stage
        .post(&[
            page("ada", "p1", "10:00", "/a"),
            page("ada", "p2", "10:20", "/b"),
            page("ada", "p3", "11:00", "/c"),
            page("bob", "q1", "10:00", "/a"),
            identify("bob", "bob", "i1", "10:05"),
            track("Signed Up", "ada", "t1"),
            track(ODD_EVENT, "ada", "t2"),
            json!({"type": "page", "messageId": "s1", "userId": "a server"}),
        ])
        .await;
    // A sender that has not heard our answer.
    stage.post(&[page("ada", "p2", "10:20", "/b")]).await;
    stage.await_relations(&["signed_up", "env_var%"]).await;
}

/// Each session as `anonymous_id|started|ended|page views|first and last path|referrer`.
const SESSIONS: &str = "SELECT anonymous_id, to_char(started_at AT TIME ZONE 'UTC', 'HH24:MI'), \
    to_char(ended_at AT TIME ZONE 'UTC', 'HH24:MI'), page_views, first_path, last_path, referrer \
    FROM analytics.sessions WHERE source = ";

const IDENTITIES: &str =
    "SELECT anonymous_id, user_id, blended_id FROM analytics.identities WHERE source = ";

const MODELS: [&str; 4] = [
    "sessions",
    "identities",
    "reads_of_segment",
    "reads_of_id_stitching",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dbt_builds_what_init_writes_in_full_incrementally_and_in_any_time_zone() {
    let stage = Stage::start().await;
    post_first(&stage).await;
    // Somebody else's, with names that dbt would run.
    stage
        .execute(&format!(
            "CREATE VIEW segment.\"we\"\"ird {{{{ 1/0 }}}}\" AS SELECT 1 AS \"it's {{% x %}}\"; \
             GRANT SELECT ON segment.\"we\"\"ird {{{{ 1/0 }}}}\" TO {ANALYST}"
        ))
        .await;
    let _ = stage.init(&[]);
    for entry in std::fs::read_dir(reads()).unwrap() {
        let entry = entry.unwrap();
        let copy = stage.project().join("models").join(entry.file_name());
        std::fs::copy(entry.path(), copy).unwrap();
    }
    let project = DbtProject::at(&stage.project(), PASSWORD);

    // In full. The event that came twice is a warning of each source.
    let said = project.run(&["build"], &[("PGTZ", "UTC")]);
    assert!(said.contains("WARN=2 ERROR=0"), "{said}");
    let _ = project.run(&["source", "freshness"], &[]);
    assert_documented(&stage, &project.manifest()).await;
    let search = "https://www.search.example";
    for schema in SCHEMAS {
        let ordered = format!("{SESSIONS}'{schema}' ORDER BY anonymous_id, started_at");
        assert_eq!(
            stage.rows(&ordered).await,
            [
                format!("ada|10:00|10:20|2|/a|/b|{search}"),
                format!("ada|11:00|11:00|1|/c|/c|{search}"),
                format!("bob|10:00|10:00|1|/a|/a|{search}"),
                format!("fay|09:00|09:00|1|/f1|/f1|{search}"),
                format!("kept|09:00|09:00|1|/kept|/kept|{search}"),
            ]
        );
        let ordered = format!("{IDENTITIES}'{schema}' ORDER BY anonymous_id");
        assert_eq!(
            stage.rows(&ordered).await,
            ["ada|-|ada", "bob|bob|bob", "fay|-|fay", "kept|-|kept"]
        );
        assert_reads(&stage, schema).await;
    }

    // Only what arrived since is read: a session that nothing arrived for stays as it is.
    stage
        .execute("UPDATE analytics.sessions SET referrer = 'kept' WHERE anonymous_id = 'kept'")
        .await;
    stage
        .post(&[
            // Late, between two sessions, which it makes one.
            page("ada", "p4", "10:40", "/late"),
            page("bob", "q2", "10:31", "/b"),
            identify("bob", "bob 2", "i2", "12:00"),
            identify("bob", "bob 1", "i3", "11:00"),
            page("eve", "e1", "12:00", "/e"),
            // Continues a session of which nothing else is read.
            page("fay", "f2", "09:20", "/f2"),
        ])
        .await;
    let narrow = ["build", "--vars", "{look_back: 0 seconds}"];
    let said = project.run(&narrow, &[("PGTZ", "Asia/Kolkata")]);
    assert!(said.contains(" ERROR=0"), "{said}");
    for schema in SCHEMAS {
        let ordered = format!("{SESSIONS}'{schema}' ORDER BY anonymous_id, started_at");
        assert_eq!(
            stage.rows(&ordered).await,
            [
                format!("ada|10:00|11:00|4|/a|/c|{search}"),
                format!("bob|10:00|10:00|1|/a|/a|{search}"),
                format!("bob|10:31|10:31|1|/b|/b|{search}"),
                format!("eve|12:00|12:00|1|/e|/e|{search}"),
                format!("fay|09:00|09:20|2|/f1|/f2|{search}"),
                "kept|09:00|09:00|1|/kept|/kept|kept".to_owned(),
            ]
        );
        let ordered = format!("{IDENTITIES}'{schema}' ORDER BY anonymous_id");
        assert_eq!(
            stage.rows(&ordered).await,
            [
                "ada|-|ada",
                "bob|bob 2|bob 2",
                "eve|-|eve",
                "fay|-|fay",
                "kept|-|kept"
            ]
        );
    }

    // All of it again elsewhere, in another time zone, comes to the same.
    let restore = format!("UPDATE analytics.sessions SET referrer = '{search}'");
    stage.execute(&restore).await;
    let elsewhere = [("PGTZ", "America/St_Johns"), ("DBT_SCHEMA", "again")];
    let _ = project.run(&["build"], &elsewhere);
    assert_eq!(stage.differences(&MODELS).await, [""; 0]);
    // And so does a run that has nothing to add, with what it reads by default.
    let _ = project.run(&["build"], &[("PGTZ", "Pacific/Apia")]);
    assert_eq!(stage.differences(&MODELS).await, [""; 0]);
}

/// What dbt knows is what the database says, and none of it was run.
async fn assert_documented(stage: &Stage, manifest: &Value) {
    let sources = manifest["sources"].as_object().unwrap();
    for schema in SCHEMAS {
        let sql = format!(
            "SELECT relname FROM pg_class WHERE relnamespace = '{schema}'::regnamespace \
             ORDER BY relname COLLATE \"C\""
        );
        let of_schema = sources.values().filter(|it| it["source_name"] == schema);
        let mut names: Vec<_> = of_schema
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, stage.rows(&sql).await);
    }
    let of = |id: &str| &sources[&format!("source.trunkline.{id}")];
    let weird = of("segment.we\"ird {{ 1/0 }}");
    assert!(weird["columns"]["it's {% x %}"].is_object(), "{weird}");
    let url = &of("rudder.pages")["columns"]["url"];
    assert_eq!(url["description"], "properties.url of the event.");
    assert_eq!(url["data_type"], "text");
    let of_odd = |it: &&Value| it["name"].as_str().unwrap().starts_with("env_var");
    let odd: Vec<_> = sources.values().filter(of_odd).collect();
    assert_eq!(odd.len(), SCHEMAS.len());
    for relation in odd {
        let description = relation["description"].as_str().unwrap();
        assert!(
            description.contains("{ { env_var('DBT_ENV_SECRET_PASSWORD') }} { % raw %} { # "),
            "{description}"
        );
    }
    // Every column of the models is described, and what is described is there.
    for model in ["sessions", "identities"] {
        let sql = format!(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'analytics.{model}'::regclass \
             AND attnum > 0 ORDER BY attname COLLATE \"C\""
        );
        let columns = &manifest["nodes"][format!("model.trunkline.{model}")]["columns"];
        let mut described: Vec<_> = columns.as_object().unwrap().keys().cloned().collect();
        described.sort();
        assert_eq!(described, stage.rows(&sql).await);
    }
}

/// What dbt packages for these vendors read is there.
async fn assert_reads(stage: &Stage, schema: &str) {
    let pages = format!(
        "SELECT page_view_id, anonymous_id, to_char(tstamp, 'HH24:MI'), page_url, page_title, \
         page_url_query, referrer, utm_source, utm_medium, utm_campaign, utm_term, utm_content, ip, \
         user_agent, sent_at_tstamp IS NOT NULL FROM analytics.reads_of_segment \
         WHERE source = '{schema}' AND page_view_id IN ('p2', 's1') ORDER BY page_view_id"
    );
    assert_eq!(
        stage.rows(&pages).await,
        [
            "p2|ada|10:20|https://shop.example/b?q=1|A page|?q=1|https://search.example|mail|letter|\
             autumn|shoes|top|192.0.2.1|mozilla|t",
            "s1|-|-|-|-|-|-|-|-|-|-|-|-|-|f",
        ]
    );
    let edges = format!(
        "SELECT DISTINCT edge_a_label, edge_a, edge_b_label, edge_b \
         FROM analytics.reads_of_id_stitching WHERE source = '{schema}' AND relation = 'identifies' \
         ORDER BY 1, 3"
    );
    assert_eq!(
        stage.rows(&edges).await,
        [
            "anonymous_id|bob|email|bob@example.com",
            "anonymous_id|bob|user_id|bob",
            "email|bob@example.com|user_id|bob",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_writes_what_the_role_may_read_and_replaces_nothing_unasked() {
    let stage = Stage::start().await;
    post_first(&stage).await;
    let files = [
        ".gitignore",
        "dbt_project.yml",
        "macros/page_views.sql",
        "macros/since.sql",
        "models/identities.sql",
        "models/schema.yml",
        "models/sessions.sql",
        "models/sources.yml",
        "profiles.yml",
        "tests/one_identity_for_each_visitor.sql",
        "tests/sessions_are_apart.sql",
    ];
    let all = |said: &str| files.map(|file| format!("{said} {file}"));
    assert_eq!(stage.init(&[]), all("wrote"));
    assert_eq!(stage.init(&[]), all("unchanged"));
    for file in files {
        let text = std::fs::read_to_string(stage.project().join(file)).unwrap();
        assert!(!text.contains(PASSWORD), "{file}");
    }

    // What has come since changes one file, and one that is the analyst's own stays.
    let own = stage.project().join("models/sessions.sql");
    std::fs::write(&own, "select 1").unwrap();
    stage.post(&[track("Signed Out", "ada", "t3")]).await;
    stage.await_relations(&["signed_out"]).await;
    let refusal = stage.refusal_as(ANALYST, &[]);
    assert!(
        refusal.contains("models/sessions.sql") && refusal.contains("models/sources.yml"),
        "{refusal}"
    );
    assert!(!sources(&stage).contains("signed_out"));
    let only = stage.init(&["--only-sources", "--force"]);
    assert_eq!(only, ["wrote models/sources.yml"]);
    assert!(sources(&stage).contains("name: \"signed_out\""));
    assert_eq!(std::fs::read_to_string(&own).unwrap(), "select 1");
    let forced = stage.init(&["--force"]);
    assert!(forced.contains(&"wrote models/sessions.sql".to_owned()));
    assert!(forced.contains(&"unchanged models/sources.yml".to_owned()));

    // Only what the role may read, and of that what was asked for.
    stage
        .execute(&format!(
            "CREATE ROLE narrow LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE stranger LOGIN \
             PASSWORD '{PASSWORD}'; GRANT trunkline_trunkline_rudder_reader TO narrow"
        ))
        .await;
    assert!(sources(&stage).contains("name: \"segment\""));
    let narrow = stage.init_as("narrow", &["--only-sources", "--force"]);
    assert!(narrow.status.success());
    let of_narrow = sources(&stage);
    assert!(!of_narrow.contains("name: \"segment\""), "{of_narrow}");
    let _ = stage.init(&["--only-sources", "--force", "--schema", "rudder"]);
    assert_eq!(sources(&stage), of_narrow);
    let refusal = stage.refusal_as("narrow", &["--schema", "segment"]);
    assert!(refusal.contains("it may read rudder"), "{refusal}");
    let refusal = stage.refusal_as("stranger", &[]);
    assert!(
        refusal.contains("GRANT trunkline_trunkline_SCHEMA_reader TO \"stranger\""),
        "{refusal}"
    );
}

/// The models that read as the packages do.
fn reads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dbt/models")
}

fn sources(stage: &Stage) -> String {
    std::fs::read_to_string(stage.project().join("models/sources.yml")).unwrap()
}
