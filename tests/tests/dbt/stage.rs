//! Two sources with events in them, and a role that may read both.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::{Client as Session, NoTls, SimpleQueryMessage};
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{Client, Dev, binary, signed_batch};

/// The role that runs dbt.
pub(crate) const ANALYST: &str = "analyst";

/// Its password, which stands nowhere else.
pub(crate) const PASSWORD: &str = "stands-nowhere-else";

/// A name of an event that would read the password, were it run, and break YAML.
const ODD_EVENT: &str = "{{ env_var('DBT_ENV_SECRET_PASSWORD') }} {% raw %} {# \": \u{2028}- '\\x";

/// The schemas of the two sources, one with each vendor's layout.
pub(crate) const SCHEMAS: [&str; 2] = ["segment", "rudder"];

/// `trunkline dev` with two sources, and a role that may read both.
pub(crate) struct Stage {
    dev: Dev,
    database: Session,
    url: String,
    folder: TempDir,
}

impl Stage {
    pub(crate) async fn start() -> Self {
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

    pub(crate) async fn execute(&self, sql: &str) {
        let done = self.database.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Posts events to both sources, in one request each.
    pub(crate) async fn post(&self, events: &[Value]) {
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
    pub(crate) async fn await_relations(&self, names: &[&str]) {
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
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
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

    pub(crate) fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Runs `trunkline dbt init` as a role, for the project's folder.
    pub(crate) fn init_as(&self, role: &str, arguments: &[&str]) -> Output {
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
    pub(crate) fn init(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.init_as(ANALYST, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let folder = format!("{}/", self.project().display());
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().map(|line| line.replace(&folder, "")).collect()
    }

    /// What it says when it fails, with status 1.
    pub(crate) fn refusal_as(&self, role: &str, arguments: &[&str]) -> String {
        let output = self.init_as(role, arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains(PASSWORD), "{said}");
        said
    }

    /// The rows of the models that one of the two schemas has alone. Without `tstamp`, which the
    /// package of Segment's casts to the session's time zone.
    pub(crate) async fn differences(&self, models: &[&str]) -> Vec<String> {
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

pub(crate) fn page(visitor: &str, id: &str, at: &str, path: &str) -> Value {
    json!({"type": "page", "messageId": id, "anonymousId": visitor,
        "timestamp": format!("2026-11-24T{at}:00.000Z"), "sentAt": "2026-11-24T12:00:00Z",
        "properties": {"url": format!("https://shop.example{path}?q=1"), "path": path,
            "title": "A page", "search": "?q=1", "referrer": "https://www.search.example"},
        "context": {"ip": "192.0.2.1", "userAgent": "Mozilla",
            "campaign": {"source": "mail", "medium": "letter", "name": "autumn", "term": "shoes",
                "content": "top"}}})
}

pub(crate) fn identify(visitor: &str, user: &str, id: &str, at: &str) -> Value {
    json!({"type": "identify", "messageId": id, "anonymousId": visitor, "userId": user,
        "timestamp": format!("2026-11-24T{at}:00.000Z"),
        "traits": {"email": format!("{user}@example.com")}})
}

pub(crate) fn track(event: &str, visitor: &str, id: &str) -> Value {
    json!({"type": "track", "event": event, "messageId": id, "anonymousId": visitor,
        "timestamp": "2026-11-24T10:01:00.000Z", "properties": {"plan": "pro"}})
}

/// What is there before the first run. Two visitors come before the others.
pub(crate) async fn post_first(stage: &Stage) {
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
