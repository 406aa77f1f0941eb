//! What is printed for the examples of the repository and for manifests with secrets.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::validate;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    render: RenderArgs,
}

const SECRETS: &str = "
---
apiVersion: v1
kind: Secret
metadata: {name: warehouse}
stringData: {uri: 'postgres://owner:hunter2@db/shop'}
";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// What is printed for the examples and `more`.
fn rendered(arguments: &str, more: &str) -> String {
    let arguments = ["render", "-f", "-"]
        .into_iter()
        .chain(arguments.split_whitespace());
    let args = Cli::try_parse_from(arguments).unwrap().render;
    let mut texts: Vec<_> = ["cluster.yaml", "secret.yaml", "source.yaml"]
        .map(|file| fs::read_to_string(examples().join(file)).unwrap())
        .into();
    texts.push(more.to_owned());
    let files = texts.iter().map(|text| ("test", text.as_str()));
    let validated = validate(&Manifests::parse(files).unwrap()).unwrap();
    let mut out = Vec::new();
    let rendered = render(&args, &validated).unwrap();
    print::print(&rendered, args.output, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn kinds(yaml: &str) -> Vec<String> {
    yaml.lines()
        .filter_map(|line| line.strip_prefix("kind: ").map(str::to_owned))
        .collect()
}

#[test]
fn objects_and_sql_are_printed_as_yaml_that_reads_back() {
    let text = rendered("", "");
    assert_eq!(
        kinds(&text),
        [
            "ServiceAccount",
            "Service",
            "Deployment",
            "PodDisruptionBudget"
        ]
    );
    // The reader of manifests leaves what is not its own alone, and refuses what is not YAML.
    Manifests::parse([("rendered", text.as_str())]).unwrap();
    assert!(
        text.contains("image: ghcr.io/trunkline/trunkline-ingester:"),
        "{text}"
    );
    assert!(text.contains("#   CREATE "), "{text}");
    assert!(text.contains("is not set: this is for an owner"), "{text}");
}

#[test]
fn no_value_of_a_secret_is_printed_and_what_stands_for_one_is_not_base64() {
    let text = rendered("--show objects,configuration,sql", SECRETS);
    assert!(
        !text.contains("hunter2") && !text.contains("demo-only"),
        "{text}"
    );
    assert!(text.contains("cannot be applied"), "{text}");
    let json = rendered("--show configuration -o json", SECRETS);
    let json: Value = serde_json::from_str(&json).unwrap();
    let secrets = json["configuration"].as_array().unwrap();
    assert_eq!(secrets.len(), 17);
    for secret in secrets {
        let (_, value) = secret["data"].as_object().unwrap().iter().next().unwrap();
        let value = value.as_str().unwrap();
        assert!(
            value.starts_with("… ") && value.ends_with(" bytes"),
            "{value}"
        );
    }
    assert!(json.get("objects").is_none() && json.get("sql").is_none());
}

#[test]
fn sql_alone_is_sql_for_the_database_of_the_secret() {
    let text = rendered("--show sql", SECRETS);
    assert!(
        text.contains("\"trunkline_shop_ingest\"") || text.contains("trunkline_shop_ingest"),
        "{text}"
    );
    for line in text.lines() {
        assert!(!line.starts_with('#'), "{line}");
    }
    assert_eq!(
        text.matches("BEGIN;").count(),
        text.matches("COMMIT;").count()
    );
    assert!(text.contains("SET COMPRESSION lz4"), "{text}");
    assert!(text.contains("-- On a server without lz4, SET COMPRESSION is left out."));
    let named = rendered("--show sql --database other", "");
    assert!(named.contains("trunkline_other_ingest"), "{named}");
}

#[test]
fn the_image_of_the_option_is_used_unless_the_cluster_names_one() {
    let text = rendered("--ingester-image example/i:1 --show objects", "");
    assert!(text.contains("image: example/i:1"), "{text}");
}
