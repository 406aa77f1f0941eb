//! Real dbt on what is written.

use std::path::{Path, PathBuf};

use serde_json::Value;
use trunkline_tests::{DbtProject, python_programs};

use super::stage::*;

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
    if python_programs().is_none() {
        return;
    }
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

    // In full. The event that came twice is there once.
    let said = project.run(&["build"], &[("PGTZ", "UTC")]);
    assert!(said.contains("WARN=0 ERROR=0"), "{said}");
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

/// The models that read as the packages do.
fn reads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dbt/models")
}
