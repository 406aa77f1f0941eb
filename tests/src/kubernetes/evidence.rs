//! What is kept of a cluster when a test fails: its logs and its objects.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is asked for; Secrets are not, since a log of a build is read by many.
const OBJECTS: &str = "events,nodes,namespaces,pods,deployments,replicasets,jobs,services,\
endpointslices,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,\
ingresses,poddisruptionbudgets,leases,customresourcedefinitions";

/// The resources of our own group, when their definitions are installed.
const OWN_OBJECTS: &str = "webhookclusters.trunkline.dev,webhooksources.trunkline.dev";

/// The folder in which tests leave what should be looked at, and images are made.
pub(crate) fn target_directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => workspace.join(directory),
        None => workspace.join("target"),
    }
}

/// Copies the logs and asks for the objects; prints where they are.
pub(crate) fn keep(test: &str, logs: &Path, kubectl: &Path, kubeconfig: &Path) {
    let directory = target_directory().join("e2e").join(test.replace("::", "-"));
    // Of an earlier run, or absent.
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let copied = Command::new("cp")
        .args(["-r", "--"])
        .arg(logs)
        .arg(&directory)
        .status();
    for (name, kinds) in [("objects", OBJECTS), ("trunkline", OWN_OBJECTS)] {
        let file = |extension: &str| {
            std::fs::File::create(directory.join(name).with_extension(extension)).unwrap()
        };
        let asked = Command::new(kubectl)
            .args(["get", kinds, "-A", "-o", "yaml", "--show-managed-fields"])
            .args(["--request-timeout", "10s"])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(file("yaml"))
            .stderr(file("err"))
            .status();
        if let Err(error) = asked {
            println!("kubectl: {error}");
        }
    }
    match copied {
        Ok(status) if status.success() => println!("logs and objects: {}", directory.display()),
        other => println!(
            "logs could not all be kept in {}: {other:?}",
            directory.display()
        ),
    }
}

/// The test that runs on this thread.
pub(crate) fn current_test() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("unnamed").to_owned()
}
