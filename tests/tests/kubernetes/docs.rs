//! The examples of the documentation that need a cluster work as they stand there.
//!
//! A page's blocks run in their order, in a namespace of the page's own: `sh` as one script, which
//! must succeed; `sql` in the database of the page, and it must find a row. `yaml` is shown to the
//! reader and not run.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;
use trunkline_tests::kubernetes::{CommandLine, DatabaseLogin, INGRESS_CLASS};
use trunkline_tests::{Example, binary, repository};

use crate::site::{Site, installed};

/// What the examples of one page find.
struct Reader {
    namespace: &'static str,
    host: String,
    database: DatabaseLogin,
    node: String,
    kubectl: CommandLine,
    programs: tempfile::TempDir,
}

impl Reader {
    /// A reader whose examples say `hooks` where `namespace` is meant.
    async fn new(namespace: &'static str, host: &str, database: DatabaseLogin) -> Self {
        let cluster = installed().await;
        let (kubectl, helm) = (cluster.kubectl(), cluster.helm());
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
            namespace,
            host: host.to_owned(),
            database,
            node: cluster.node_address().to_string(),
            kubectl,
            programs,
        }
    }

    /// An example with what is otherwise here: names, addresses, less work.
    fn adapt(&self, text: &str) -> String {
        let (namespace, host, node) = (self.namespace, &self.host, &self.node);
        [
            // `installed` has done it, by the same command.
            (
                "helm install ",
                "helm status trunkline -n trunkline-system # ".to_owned(),
            ),
            ("hooks.example.com", host.clone()),
            ("-n hooks", format!("-n {namespace}")),
            ("namespace hooks", format!("namespace {namespace}")),
            ("namespace: hooks", format!("namespace: {namespace}")),
            ("hooks/segment", format!("{namespace}/segment")),
            (
                "uri=postgres://OWNER:PASSWORD@HOST:5432/DATABASE",
                format!("uri='{}'", self.database.uri()),
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
        ]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    async fn run(&self, example: &Example) {
        println!("{}", example.place);
        match example.info[0].as_str() {
            "sh" => self.run_script(example).await,
            "sql" => {
                let database = self.database.connect().await;
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
        let examples = Example::of_page(Path::new(page));
        let needs_cluster =
            |example: &&Example| example.info.get(1).is_some_and(|it| it == "kubernetes");
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
    let cluster = installed().await;
    let _evidence = cluster.evidence();
    // As CloudNativePG makes it: its owner may not create roles.
    let database = cluster.postgres().create_database("started", "").await;
    let reader = Reader::new("started", "started.example.com", database).await;
    reader.follow("docs/getting-started.md").await;
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
    for page in ["status", "probe", "render", "segment"] {
        reader.follow(&format!("docs/{page}.md")).await;
    }
}
