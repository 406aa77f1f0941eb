//! The objects that the chart becomes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::helm::{chart, deployment, environment, helm, of_kind, render, text, with_file};

fn ci_files() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(chart().join("ci")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_set_of_values_lints_and_renders() {
    for file in ci_files() {
        let file = file.to_str().unwrap();
        let output = helm(&["lint", "charts/trunkline", "--strict", "-f", file]);
        assert!(output.status.success(), "{file}: {}", text(&output.stdout));
        let objects = render(&["-f", file]);
        let mut names = BTreeSet::new();
        for object in &objects {
            let metadata = &object["metadata"];
            let name = format!(
                "{} {} {}",
                object["kind"], metadata["namespace"], metadata["name"]
            );
            assert!(names.insert(name.clone()), "{file}: two of {name}");
            assert_eq!(
                metadata["labels"]["app.kubernetes.io/part-of"], "trunkline",
                "{name}"
            );
        }
    }
}

#[test]
fn its_versions_are_those_of_the_workspace() {
    let file = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&file).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn images_are_of_the_charts_version_unless_said_otherwise() {
    let version = env!("CARGO_PKG_VERSION");
    let images = |objects: &[Value]| {
        let deployment = deployment(objects);
        let pod = &deployment["spec"]["template"]["spec"];
        (
            pod["containers"][0]["image"].as_str().unwrap().to_owned(),
            environment(deployment, "TRUNKLINE_INGESTER_IMAGE")["value"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    assert_eq!(
        images(&render(&[])),
        (
            format!("ghcr.io/trunkline/trunkline-operator:{version}"),
            format!("ghcr.io/trunkline/trunkline-ingester:{version}")
        )
    );
    let (operator, ingester) = images(&with_file("every-option"));
    assert!(
        operator.contains("trunkline-operator@sha256:000"),
        "{operator}"
    );
    assert_eq!(
        ingester,
        "registry.example.com:5000/trunkline-ingester:0.1.0-rc.1"
    );
}

#[test]
fn the_definitions_are_those_of_the_types_and_kept() {
    let objects = render(&[]);
    let rendered = of_kind(&objects, "CustomResourceDefinition");
    for (definition, (_, generated)) in rendered
        .iter()
        .zip(trunkline_crds::definitions_yaml().unwrap())
    {
        let generated: Value = serde_saphyr::from_str(&generated).unwrap();
        // Compared as text, in which 100 and 100.0 are one.
        let plain = |value: &Value| value.to_string().replace(".0,", ",");
        assert_eq!(plain(&definition["spec"]), plain(&generated["spec"]));
        assert_eq!(
            definition["metadata"]["name"],
            generated["metadata"]["name"]
        );
        let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
        assert_eq!(policy, "keep");
    }
    assert_eq!(rendered.len(), 2);
    for definition in of_kind(&with_file("every-option"), "CustomResourceDefinition") {
        assert_eq!(
            definition["metadata"]["annotations"],
            Value::Null,
            "crds.keep is false"
        );
    }
    let without = with_file("namespaced");
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

/// What the Pod Security Standard `restricted` objects to in a pod of one container.
fn violations(pod: &Value) -> Vec<&'static str> {
    let (context, container) = (&pod["securityContext"], &pod["containers"][0]);
    let own = &container["securityContext"];
    let either = |key: &str| {
        if own[key].is_null() {
            &context[key]
        } else {
            &own[key]
        }
    };
    let volumes = pod["volumes"].as_array().into_iter().flatten();
    let ports = container["ports"].as_array().into_iter().flatten();
    let checks = [
        ("runAsNonRoot", either("runAsNonRoot") == true),
        ("runAsUser", either("runAsUser") != 0),
        (
            "seccompProfile",
            either("seccompProfile")["type"] == "RuntimeDefault",
        ),
        (
            "allowPrivilegeEscalation",
            own["allowPrivilegeEscalation"] == false,
        ),
        (
            "capabilities",
            own["capabilities"] == json!({"drop": ["ALL"]}),
        ),
        ("privileged", own["privileged"].is_null()),
        ("hostNetwork", pod["hostNetwork"].is_null()),
        ("hostPID", pod["hostPID"].is_null()),
        (
            "hostPath",
            volumes.clone().all(|volume| volume["hostPath"].is_null()),
        ),
        (
            "hostPort",
            ports.clone().all(|port| port["hostPort"].is_null()),
        ),
    ];
    let failed = checks.into_iter().filter(|(_, passed)| !passed);
    failed.map(|(name, _)| name).collect()
}

#[test]
fn the_operators_pod_is_restricted() {
    for arguments in [
        &[][..],
        &["-f", "charts/trunkline/ci/every-option-values.yaml"],
    ] {
        let objects = render(arguments);
        let pod = &deployment(&objects)["spec"]["template"]["spec"];
        assert_eq!(violations(pod), [""; 0]);
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert!(container["resources"]["limits"]["memory"].is_string());
        for probe in ["livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "metrics", "{probe}");
        }
    }
    let loosened = render(&["--set", "securityContext.allowPrivilegeEscalation=true"]);
    let pod = &deployment(&loosened)["spec"]["template"]["spec"];
    assert_eq!(violations(pod), ["allowPrivilegeEscalation"]);
}

#[test]
fn two_operators_never_act_at_once() {
    let with = render(&["--set", "replicas=2"]);
    let one = deployment(&with);
    assert_eq!(one["spec"]["strategy"]["type"], "RollingUpdate");
    assert_eq!(
        environment(one, "TRUNKLINE_LEADER_ELECTION")["value"],
        "true"
    );
    assert_eq!(of_kind(&with, "PodDisruptionBudget").len(), 1);
    let without = with_file("bare");
    let one = deployment(&without);
    assert_eq!(one["spec"]["strategy"]["type"], "Recreate");
    assert_eq!(
        environment(one, "TRUNKLINE_LEADER_ELECTION")["value"],
        "false"
    );
    assert!(of_kind(&without, "PodDisruptionBudget").is_empty());
    assert!(of_kind(&without, "Role").is_empty());
}

#[test]
fn every_selector_selects_the_operators_pod() {
    let objects = with_file("every-option");
    let pod = &deployment(&objects)["spec"]["template"]["metadata"]["labels"];
    let service = of_kind(&objects, "Service")[0];
    let selectors = [
        ("Deployment", "/spec/selector/matchLabels"),
        ("Service", "/spec/selector"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
    ];
    for (kind, place) in selectors {
        let selector = of_kind(&objects, kind)[0].pointer(place).unwrap();
        for (label, value) in selector.as_object().unwrap() {
            assert_eq!(&pod[label], value, "{kind}");
        }
    }
    let monitor = of_kind(&objects, "ServiceMonitor")[0];
    for (label, value) in monitor["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap()
    {
        assert_eq!(&service["metadata"]["labels"][label], value);
    }
}
