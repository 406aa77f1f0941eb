//! The examples in README.md and docs/ work as they stand there.
//!
//! A fenced block's info string says what it is and what becomes of it here:
//!
//! | Info string | |
//! |---|---|
//! | `sh` | runs as one script, which must succeed |
//! | `console` | each line after `$ ` runs and must print the lines that follow it (`…`: anything) |
//! | `sql` | runs in the database of `trunkline dev` |
//! | `python` | runs as a program, which must succeed |
//! | `yaml` | is valid: whole manifests, or fields of a WebhookSource's `spec` |
//! | `json` | has the fields of what the program says |
//! | `ini` | is part of the settings that the tests of PgBouncer use |
//! | `text` | stays as it is, since nothing could run it |
//!
//! `kubernetes` behind any of them leaves it to the test that has a cluster. Whatever else is a
//! mistake, so that no example escapes by accident.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::validate;
use trunkline_tests::{
    Client, Dev, Example, PgBouncer, QUIET_DBT, binary, python_programs, repository,
};

/// What an example says, and what is done instead: free ports, names of this database, less work.
const SUBSTITUTIONS: &[(&str, &str)] = &[
    // Recipes are printed and not run: this test may be part of one.
    ("make ", "make --dry-run "),
    // By itself it would go on, on ports that may be taken.
    (
        "trunkline dev ",
        "trunkline dev --once --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 ",
    ),
    ("trunkline send ", "trunkline send --url $URL "),
    ("--count 20000", "--count 200"),
    ("trunkline probe ", "trunkline probe --url $URL --for 1s "),
    ("--output analytics", "--output $WORK/analytics"),
    ("cd analytics", "cd $WORK/analytics"),
    ("=PASSWORD", "=$PASSWORD"),
    // The database of `trunkline dev` is called trunkline.
    ("trunkline_app_", "trunkline_trunkline_"),
];

/// What the examples speak of, running.
struct Session {
    dev: Dev,
    database: tokio_postgres::Client,
    database_url: String,
    /// For what examples write.
    work: tempfile::TempDir,
    /// What `dev` said of the source.
    ready: Value,
}

impl Session {
    /// An example with [`SUBSTITUTIONS`] and the ports of this session.
    fn adapt(&self, text: &str) -> String {
        let ports = [
            ("127.0.0.1:8080", self.dev.address().to_string()),
            ("127.0.0.1:9090", self.dev.admin_address().to_string()),
        ];
        let text = ports
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        SUBSTITUTIONS
            .iter()
            .fold(text, |text, (from, to)| text.replace(from, to))
    }

    /// What a script prints. It has to succeed.
    fn run(&self, script: &str) -> Result<String, String> {
        self.run_by("sh", "-euc", script)
    }

    /// The same by another interpreter.
    fn run_by(&self, interpreter: &str, option: &str, script: &str) -> Result<String, String> {
        let script = self.adapt(script);
        let programs = binary("trunkline").parent().unwrap().display().to_string();
        let needs_python = interpreter == "python3" || script.contains("dbt build");
        let python = match python_programs() {
            Some(folder) => folder.display().to_string(),
            None if needs_python => return Ok(String::new()),
            None => String::new(),
        };
        let path = std::env::var("PATH").unwrap();
        let database: tokio_postgres::Config = self.database_url.parse().unwrap();
        let password = String::from_utf8_lossy(database.get_password().unwrap());
        let output = Command::new(interpreter)
            .args([option, &script])
            .current_dir(repository())
            .env("PATH", format!("{programs}:{python}:{path}"))
            .env("URL", self.ready["url"].as_str().unwrap())
            .env("DATABASE_URL", &self.database_url)
            .env("PASSWORD", &*password)
            .env("WORK", self.work.path())
            .envs(QUIET_DBT)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(format!("{}: {script}\n{errors}", output.status))
        }
    }

    /// The path of the source.
    fn path(&self) -> &str {
        let url = self.ready["url"].as_str().unwrap();
        let authority = url.strip_prefix("http://").unwrap();
        &authority[authority.find('/').unwrap()..]
    }

    /// Runs what follows each `$ ` and looks for the lines below it.
    fn converse(&self, text: &str) -> Result<(), String> {
        for exchange in text.split("$ ").skip(1) {
            // A command goes on after a backslash.
            let mut lines = exchange.lines();
            let mut command = String::new();
            for line in lines.by_ref() {
                command.push_str(line);
                command.push('\n');
                if !line.ends_with('\\') {
                    break;
                }
            }
            let printed = self.run(&command)?;
            let mut rest = printed.as_str();
            for expected in lines.flat_map(|line| line.split('…')) {
                let Some(found) = rest.find(expected.trim()) else {
                    return Err(format!("{command} does not print {expected:?}: {printed}"));
                };
                rest = &rest[found + expected.trim().len()..];
            }
        }
        Ok(())
    }

    /// Compares a JSON example with what the program says in the same place.
    async fn compare(&self, text: &str) -> Result<(), String> {
        let example: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let real = match example["event"].as_str() {
            Some("ready") => self.ready.clone(),
            None if example["hash"].is_string() => {
                let mut client = Client::new(self.dev.admin_address());
                let answer = client.get("/config").await.unwrap();
                serde_json::from_str(&answer.text).unwrap()
            }
            None if example["windowSeconds"].is_number() => {
                // Something to tell of.
                let mut sender = Client::new(self.dev.address());
                sender.post(self.path(), &[], "{}").await.unwrap();
                let mut client = Client::new(self.dev.admin_address());
                let answer = client.get("/refusals").await.unwrap();
                let mut real: Value = serde_json::from_str(&answer.text).unwrap();
                // Other examples ask for a path of no source, which comes first.
                let sources = real["sources"].as_array_mut().unwrap();
                sources.retain(|source| !source["source"].is_null());
                real
            }
            _ => return Err("is like nothing that this test knows; add it here".to_owned()),
        };
        let (example, real) = (shape(&example), shape(&real));
        if example == real {
            Ok(())
        } else {
            Err(format!("has {example} and the program says {real}"))
        }
    }

    async fn check(&self, example: &Example) -> Result<(), String> {
        let Example { info, text, .. } = example;
        match info.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [_, "kubernetes"] | ["text"] => Ok(()),
            ["sh"] => self.run(text).map(|_| ()),
            ["console"] => self.converse(text),
            ["python"] => self.run_by("python3", "-c", text).map(|_| ()),
            ["sql"] => {
                let sql = self.adapt(text);
                let ran = self.database.batch_execute(&sql).await;
                ran.map_err(|error| format!("{error:?}"))
            }
            ["yaml"] => validate_yaml(&example.place, text),
            ["json"] => self.compare(text).await,
            ["ini"] => {
                let is_unknown = |line: &&str| !PgBouncer::SETTINGS.lines().any(|own| own == *line);
                match text.lines().find(is_unknown) {
                    None => Ok(()),
                    Some(line) => Err(format!("{line:?} is not what is tested")),
                }
            }
            _ => Err(format!(
                "has the kind {info:?}, which nothing here can run; the first lines of \
                 tests/tests/behaviour/docs.rs list those it can, and text for what stays as it is"
            )),
        }
    }
}

/// The names of fields, however deep, with the kind of each value; of a list its first element.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Array(elements) => elements.first().map(shape).into_iter().collect(),
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Null => Value::Null,
    }
}

/// Validates whole manifests or fields of a source's `spec`, beside those of examples/ that it
/// does not replace.
fn validate_yaml(place: &str, text: &str) -> Result<(), String> {
    let is_whole = text.lines().any(|line| line.starts_with("kind:"));
    let text = if is_whole {
        text.to_owned()
    } else {
        let fields: String = text.lines().map(|line| format!("  {line}\n")).collect();
        format!(
            "apiVersion: trunkline.dev/v1alpha1\nkind: WebhookSource\nmetadata: {{name: segment}}\n\
             spec:\n  clusterRef: {{name: main}}\n{fields}"
        )
    };
    let others: Vec<_> = ["cluster", "secret", "source"]
        .iter()
        .map(|name| std::fs::read_to_string(Dev::examples().join(format!("{name}.yaml"))).unwrap())
        .filter(|other| {
            let kind = other
                .lines()
                .find(|line| line.starts_with("kind:"))
                .unwrap();
            !text.lines().any(|line| line == kind)
        })
        .collect();
    let files = others.iter().map(|other| ("examples", other.as_str()));
    let manifests = Manifests::parse(files.chain([(place, text.as_str())]))
        .map_err(|problems| problems.to_string())?;
    let validated = validate(&manifests).map_err(|problems| problems.to_string())?;
    let mut problems = validated.problems();
    for source in validated.valid() {
        problems.0.extend(source.view_problems.iter().cloned());
        problems.0.extend(source.warehouse_problems.iter().cloned());
    }
    if problems.0.is_empty() {
        Ok(())
    } else {
        Err(problems.to_string())
    }
}

/// README.md and the pages of docs/, in the order of their names.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = std::fs::read_dir(repository().join("docs"))
        .unwrap()
        .map(|entry| Path::new("docs").join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages.insert(0, PathBuf::from("README.md"));
    pages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_works() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(&Dev::examples(), &data.path().join("data"), &[]);
    let url = dev.line("database", "", "")["url"].clone();
    let ready = dev.line("ready", "source", "default/segment");
    let (database, connection) =
        tokio_postgres::connect(url.as_str().unwrap(), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    database.batch_execute("CREATE ROLE analyst").await.unwrap();
    let session = Session {
        dev,
        database,
        database_url: url.as_str().unwrap().to_owned(),
        work: tempfile::tempdir().unwrap(),
        ready,
    };

    let examples: Vec<_> = pages()
        .iter()
        .flat_map(|page| Example::of_page(page))
        .collect();
    let mut mistakes = Vec::new();
    for example in &examples {
        println!("{} {}", example.place, example.info.join(" "));
        if let Err(mistake) = session.check(example).await {
            mistakes.push(format!("{} {mistake}", example.place));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(examples.len() > 10, "{} examples", examples.len());
    // curl succeeds whatever the answer is.
    let sql = "SELECT count(*) FROM segment.events WHERE message_id = 'readme-1'";
    let rows: i64 = session.database.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(rows, 1, "the event that README.md posts");
    assert!(session.dev.end(Signal::SIGINT).success());
}
