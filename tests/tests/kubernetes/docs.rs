//! The examples of the documentation that need a cluster work as they stand there.
//!
//! A page's blocks run in their order, in a namespace of the page's own: `sh` as one script, which
//! must succeed; `sql` in the database of the page, and it must find a row. `yaml` is shown to the
//! reader and not run.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;
use trunkline_tests::kubernetes::{CommandLine, ControlPlane, DatabaseLogin, INGRESS_CLASS};
use trunkline_tests::{Example, binary, repository};

use crate::site::{Site, Turn, installed};

/// What the examples of one page find.
struct Reader {
    /// What is otherwise here: names, addresses, less work.
    adaptations: Vec<(&'static str, String)>,
    database: Option<DatabaseLogin>,
    kubectl: CommandLine,
    programs: tempfile::TempDir,
}

impl Reader {
    /// A reader with the programs that a reader has.
    fn of(kubectl: CommandLine, helm: &CommandLine) -> Self {
        let programs = tempfile::tempdir().unwrap();
        for (name, program) in [
            ("kubectl", kubectl.command(&[]).as_std().get_program()),
            ("helm", helm.command(&[]).as_std().get_program()),
            ("trunkline", binary("trunkline").as_os_str()),
            ("kubectl-trunkline", binary("trunkline").as_os_str()),
        ] {
            symlink(program, programs.path().join(name)).unwrap();
        }
        Self {
            adaptations: Vec::new(),
            database: None,
            kubectl,
            programs,
        }
    }

    /// A reader on the shared cluster, whose examples say `hooks` where `namespace` is meant.
    async fn new(namespace: &'static str, host: &str, database: DatabaseLogin) -> Self {
        let cluster = installed().await;
        let node = cluster.node_address();
        let mut reader = Self::of(cluster.kubectl(), &cluster.helm());
        reader.adaptations = vec![
            // `installed` has done it, by the same command.
            (
                "helm install ",
                "helm status trunkline -n trunkline-system # ".to_owned(),
            ),
            ("hooks.example.com", host.to_owned()),
            ("-n hooks", format!("-n {namespace}")),
            ("namespace hooks", format!("namespace {namespace}")),
            ("namespace: hooks", format!("namespace: {namespace}")),
            ("hooks/segment", format!("{namespace}/segment")),
            (
                "uri=postgres://OWNER:PASSWORD@HOST:5432/DATABASE",
                format!("uri='{}'", database.uri()),
            ),
            ("className: nginx", format!("className: {INGRESS_CLASS}")),
            ("size: small", "size: 3xsmall".to_owned()),
            ("curl ", format!("curl --resolve {host}:80:{node} ")),
            (
                "trunkline probe ",
                format!("trunkline probe --connect-to {node}:80 --rate 50 "),
            ),
            ("--for 10m", "--for 3s".to_owned()),
            ("--for 30s", "--for 3s".to_owned()),
            (
                "--set test.source",
                format!("--set 'test.args={{--connect-to={node}:80}}' --set test.source"),
            ),
        ];
        reader.database = Some(database);
        reader
    }

    fn adapt(&self, text: &str) -> String {
        self.adaptations
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    async fn run(&self, example: &Example) {
        println!("{}", example.place);
        match example.info[0].as_str() {
            "sh" => self.run_script(example).await,
            "sql" => {
                let database = self.database.as_ref().unwrap().connect().await;
                let rows = database.query(&example.text, &[]).await.unwrap();
                assert!(!rows.is_empty(), "{} finds nothing", example.place);
            }
            _ => {}
        }
    }

    async fn run_script(&self, example: &Example) {
        let script = self.adapt(&example.text);
        let own = self.programs.path().display();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        for (name, value) in self.kubectl.command(&[]).as_std().get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        let output = command
            .args(["-euc", &script])
            .current_dir(repository())
            .env("PATH", format!("{own}:{path}"))
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        println!("{printed}");
        assert!(
            output.status.success(),
            "{}: {}\n{script}\n{said}\n{printed}",
            example.place,
            output.status
        );
    }

    async fn follow(&self, page: &str) {
        self.follow_those(page, |_| true).await;
    }

    /// Runs those blocks of a page that `wanted` picks by their text.
    async fn follow_those(&self, page: &str, wanted: impl Fn(&str) -> bool) {
        let examples = Example::of_page(Path::new(page));
        let needs_cluster = |example: &&Example| {
            example.info.get(1).is_some_and(|it| it == "kubernetes") && wanted(&example.text)
        };
        let mut ran = 0;
        for example in examples.iter().filter(needs_cluster) {
            self.run(example).await;
            ran += 1;
        }
        assert!(ran > 0, "{page} has no example for a cluster");
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn getting_started_leads_to_a_row() {
    let _turn = Turn::beside_others().await;
    let cluster = installed().await;
    let _evidence = cluster.evidence();
    // As CloudNativePG makes it: its owner may not create roles.
    let database = cluster.postgres().create_database("started", "").await;
    let reader = Reader::new("started", "started.example.com", database).await;
    reader.follow("docs/getting-started.md").await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn the_readme_leads_to_a_source_that_is_ready() {
    let _turn = Turn::beside_others().await;
    let cluster = installed().await;
    let _evidence = cluster.evidence();
    let database = cluster
        .postgres()
        .create_database("readme", "CREATEROLE")
        .await;
    let mut reader = Reader::new("default", "readme.example.com", database).await;
    let folder = reader.programs.path().join("examples");
    std::fs::create_dir(&folder).unwrap();
    for file in std::fs::read_dir(repository().join("examples")).unwrap() {
        let file = file.unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        std::fs::write(folder.join(file.file_name()), reader.adapt(&text)).unwrap();
    }
    let folder = format!("apply -f {}", folder.display());
    reader.adaptations.push(("apply -f examples", folder));
    reader.follow("README.md").await;
}

/// Is the block one of `helm test`, which needs pods?
fn tests_a_release(text: &str) -> bool {
    text.contains("helm test")
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn helm_test_follows_events_to_their_rows() {
    let site = Site::new("helm-test").await;
    let _evidence = site.cluster.evidence();
    let reader = Reader::new("helm-test", &site.host(), site.database.clone()).await;
    site.kubectl.apply(&site.source("segment")).await;
    site.url("segment").await;
    reader.follow_those("docs/helm.md", tests_a_release).await;
    assert!(site.count("segment.events").await > 0);
    // The right to read Secrets went with the test.
    let roles = ["get", "roles,rolebindings", "-n", "helm-test", "-o", "name"];
    assert_eq!(site.kubectl.run(&roles).await, "");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_release_is_installed_upgraded_uninstalled_and_bounded_as_the_page_says() {
    let _turn = Turn::beside_others().await;
    let control_plane = ControlPlane::start().await;
    let (kubectl, helm) = (control_plane.kubectl(), control_plane.helm());
    for namespace in ["team-a", "team-b"] {
        kubectl.run(&["create", "namespace", namespace]).await;
    }
    let reader = Reader::of(kubectl, &helm);
    reader
        .follow_those("docs/helm.md", |text| !tests_a_release(text))
        .await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn the_journey_of_segment_and_the_commands_to_look_at_it_work() {
    let site = Site::new("journey").await;
    let _evidence = site.cluster.evidence();
    let reader = Reader::new("journey", &site.host(), site.database.clone()).await;
    site.kubectl.apply(&site.source("segment")).await;
    site.url("segment").await;
    // The page of Segment ends with a new secret, which takes a moment to reach the pods.
    for page in ["status", "conditions", "probe", "render", "segment"] {
        reader.follow(&format!("docs/{page}.md")).await;
    }
}
