//! What is written, for whom, and what is left alone.

use super::stage::*;

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

fn sources(stage: &Stage) -> String {
    std::fs::read_to_string(stage.project().join("models/sources.yml")).unwrap()
}
