//! Helm, and what the chart becomes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn chart() -> PathBuf {
    root().join("charts/trunkline")
}

/// `$HELM`, else the one that `tests/kubernetes/build` has built, else the machine's own.
fn helm_path() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    if let Some(path) = variable("HELM") {
        return path;
    }
    let cache = variable("TRUNKLINE_CACHE").or_else(|| {
        let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Some(caches?.join("trunkline"))
    });
    cache
        .and_then(|cache| std::fs::read_dir(cache).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| {
            let name = folder.file_name().unwrap().to_string_lossy();
            name.starts_with("helm-") && !name.ends_with(".new")
        })
        .map(|folder| folder.join("helm"))
        .max()
        .unwrap_or_else(|| "helm".into())
}

pub(crate) fn helm(arguments: &[&str]) -> Output {
    let path = helm_path();
    Command::new(&path)
        .args(arguments)
        .current_dir(root())
        // No cluster, whatever this machine is configured for.
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; run tests/kubernetes/build, or set HELM",
                path.display()
            )
        })
}

pub(crate) fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// The objects that the chart becomes with these further arguments, as release `trunkline` of
/// namespace `trunkline-system`.
pub(crate) fn render(arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["template", "trunkline", "charts/trunkline"];
    all.extend(["--namespace", "trunkline-system"]);
    all.extend(arguments);
    let output = helm(&all);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text(&output.stdout)).unwrap();
    documents.into_iter().filter(|one| !one.is_null()).collect()
}

pub(crate) fn with_file(name: &str) -> Vec<Value> {
    render(&["-f", &format!("charts/trunkline/ci/{name}-values.yaml")])
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

pub(crate) fn deployment(objects: &[Value]) -> &Value {
    of_kind(objects, "Deployment")[0]
}

pub(crate) fn environment<'a>(deployment: &'a Value, name: &str) -> &'a Value {
    let variables = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    variables
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == name)
        .unwrap_or(&Value::Null)
}
