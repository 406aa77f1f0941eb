use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::*;
use crate::manifests::Manifests;
use crate::validate::validate;

fn cluster(spec: &str) -> Cluster {
    let text = format!(
        "apiVersion: trunkline.dev/v1alpha1\nkind: WebhookCluster\nmetadata: {{name: main, \
         namespace: hooks}}\nspec: {{database: {{secretRef: {{name: w}}}}, {spec}}}\n"
    );
    validate(&Manifests::parse([("a.yaml", text.as_str())]).unwrap())
        .unwrap()
        .cluster
}

fn made(cluster: &Cluster) -> Objects {
    made_while(cluster, Listening::default())
}

fn made_while(cluster: &Cluster, listening: Listening) -> Objects {
    objects(&ObjectInputs {
        cluster,
        owner: None,
        image: "example/ingester:1",
        listening,
    })
}

fn template(cluster: &Cluster) -> PodTemplateSpec {
    made(cluster).deployment.spec.unwrap().template
}

const NOBODY: Listening = Listening {
    http: false,
    https: false,
};
const HTTP_PODS: Listening = Listening {
    http: true,
    https: false,
};
const HTTPS_PODS: Listening = Listening {
    http: false,
    https: true,
};
const BOTH: Listening = Listening {
    http: true,
    https: true,
};

#[test]
fn without_exposure_the_url_is_the_service() {
    let cluster = cluster("");
    assert_eq!(base_url(&cluster, NOBODY), "http://main-ingester.hooks.svc");
    assert!(made(&cluster).ingress.is_none());
}

#[test]
fn the_url_is_https_exactly_where_there_is_a_certificate() {
    let plain = cluster("exposure: {host: h.example.com, ingress: {}}");
    assert_eq!(base_url(&plain, NOBODY), "http://h.example.com");
    assert!(
        made(&plain)
            .ingress
            .unwrap()
            .spec
            .unwrap()
            .ingress_class_name
            .is_none()
    );
    let tls = cluster("exposure: {host: h.example.com, ingress: {tlsSecretName: t}}");
    assert_eq!(base_url(&tls, NOBODY), "https://h.example.com");
    let spec = made(&tls).ingress.unwrap().spec.unwrap();
    assert_eq!(spec.tls.unwrap()[0].secret_name.as_deref(), Some("t"));
}

#[test]
fn annotations_of_the_user_win_over_those_of_a_known_class() {
    let cluster = cluster(
        "exposure: {host: h.example.com, ingress: {className: nginx, annotations: \
         {nginx.ingress.kubernetes.io/proxy-body-size: 20m, a: b}}}",
    );
    let annotations = made(&cluster)
        .ingress
        .unwrap()
        .metadata
        .annotations
        .unwrap();
    assert_eq!(
        annotations["nginx.ingress.kubernetes.io/proxy-body-size"],
        "20m"
    );
    assert_eq!(annotations["a"], "b");
    assert_eq!(annotations.len(), 4);
}

#[test]
fn a_budget_is_there_only_for_several_pods() {
    assert!(made(&cluster("replicas: 2")).disruption_budget.is_some());
    assert!(made(&cluster("replicas: 1")).disruption_budget.is_none());
}

#[test]
fn every_file_is_mounted_from_a_secret_of_its_own() {
    let cluster = cluster("");
    let files = Files::from([("sources-03.json.gz".to_owned(), b"bytes".to_vec())]);
    let shards = configuration_secrets(&cluster.name, None, &files);
    let [shard] = shards.as_slice() else {
        panic!("{}", shards.len());
    };
    let name = shard.metadata.name.as_deref().unwrap();
    assert_eq!(name, "main-ingester-sources-03");
    let volume = &made(&cluster)
        .deployment
        .spec
        .unwrap()
        .template
        .spec
        .unwrap()
        .volumes
        .unwrap()[0];
    let sources = volume.projected.as_ref().unwrap().sources.as_ref().unwrap();
    assert_eq!(sources.len(), 17);
    let secrets = sources.iter().map(|source| source.secret.as_ref().unwrap());
    assert!(secrets.clone().all(|secret| secret.optional == Some(true)));
    assert!(secrets.clone().any(|secret| secret.name == name));
}

/// The template decides whether an upgrade of the operator rolls the pods of everyone. When this
/// changes on purpose, CHANGELOG.md says "rolls pods".
#[test]
fn the_pod_template_is_what_it_was() {
    let template = template(&cluster(""));
    let yaml = serde_saphyr::to_string(&template).unwrap();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/build/objects/pod-template.yaml"
    );
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &yaml).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == yaml,
        "the template is not that of {path}; if that is meant, set UPDATE_SNAPSHOTS=1. It is \
         now:\n{yaml}"
    );
}

#[test]
fn with_tls_a_pod_has_the_certificate_and_the_port_of_https() {
    let plain = template(&cluster("")).spec.unwrap();
    let tls = template(&cluster("tls: {secretName: hooks-tls}"))
        .spec
        .unwrap();
    let (before, after) = (&plain.containers[0], &tls.containers[0]);
    let added = |before: &Option<Vec<String>>, after: &Option<Vec<String>>| -> Vec<String> {
        let (before, after) = (before.as_ref().unwrap(), after.as_ref().unwrap());
        let is_new = |it: &&String| !before.contains(it);
        after.iter().filter(is_new).cloned().collect()
    };
    assert_eq!(
        added(&before.args, &after.args),
        [
            "--listen=0.0.0.0:8443",
            "--tls-cert=/etc/trunkline/tls/tls.crt",
            "--tls-key=/etc/trunkline/tls/tls.key"
        ]
    );
    let ports: Vec<_> = after.ports.iter().flatten().collect();
    assert_eq!(
        (ports[0].name.as_deref(), ports[0].container_port),
        (Some("https"), 8443)
    );
    assert_eq!(ports[1].name.as_deref(), Some("admin"));
    // The admin listener stays as it is.
    assert_eq!(before.readiness_probe, after.readiness_probe);
    assert_eq!(before.liveness_probe, after.liveness_probe);
    let mount = &after.volume_mounts.as_ref().unwrap()[1];
    assert_eq!(
        (
            mount.name.as_str(),
            mount.mount_path.as_str(),
            mount.read_only
        ),
        ("tls", "/etc/trunkline/tls", Some(true))
    );
    let volume = &tls.volumes.as_ref().unwrap()[1];
    let secret = volume.secret.as_ref().unwrap();
    assert_eq!(volume.name, "tls");
    assert_eq!(secret.secret_name.as_deref(), Some("hooks-tls"));
    let keys: Vec<_> = secret.items.iter().flatten().map(|it| &it.key).collect();
    assert_eq!(keys, ["tls.crt", "tls.key"]);
}

#[test]
fn whoever_needs_the_service_stays_with_the_old_protocol_until_a_pod_speaks_the_new_one() {
    let ingress = "exposure: {host: h.example.com, ingress: {className: nginx}}";
    let tls = "tls: {secretName: t}";
    for (has_tls, listening, ports, spoken) in [
        (false, NOBODY, &["http 80"][..], "http"),
        (false, HTTP_PODS, &["http 80"], "http"),
        (false, HTTPS_PODS, &["http 80", "https 443"], "https"),
        (false, BOTH, &["http 80", "https 443"], "http"),
        (true, NOBODY, &["https 443"], "https"),
        (true, HTTP_PODS, &["https 443", "http 80"], "http"),
        (true, BOTH, &["https 443", "http 80"], "https"),
        (true, HTTPS_PODS, &["https 443"], "https"),
    ] {
        let with_ingress = match has_tls {
            true => cluster(&format!("{ingress}, {tls}")),
            false => cluster(ingress),
        };
        let objects = made_while(&with_ingress, listening);
        let service = objects.service.spec.unwrap().ports.unwrap();
        let seen: Vec<_> = service
            .iter()
            .map(|port| {
                let name = port.name.clone().unwrap();
                assert_eq!(port.target_port, Some(IntOrString::String(name.clone())));
                assert_eq!(port.app_protocol.is_some(), name == HTTPS);
                format!("{name} {}", port.port)
            })
            .collect();
        assert_eq!(seen, ports, "{has_tls} {listening:?}");
        let ingress = objects.ingress.unwrap();
        let rules = ingress.spec.unwrap().rules.unwrap();
        let path = rules[0].http.as_ref().unwrap().paths[0].clone();
        let port = path.backend.service.unwrap().port.unwrap().name;
        assert_eq!(port.as_deref(), Some(spoken), "{has_tls} {listening:?}");
        let annotations = ingress.metadata.annotations.unwrap();
        let backend = annotations.get("nginx.ingress.kubernetes.io/backend-protocol");
        assert_eq!(backend.is_some(), spoken == HTTPS);
        // TLS between the edge and the pod says nothing of TLS at the edge.
        assert_eq!(base_url(&with_ingress, listening), "http://h.example.com");
        let bare = if has_tls { cluster(tls) } else { cluster("") };
        let url = format!("{spoken}://main-ingester.hooks.svc");
        assert_eq!(base_url(&bare, listening), url);
    }
}

#[test]
fn pods_have_what_the_platform_asks_for() {
    let cluster = cluster(
        "env: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: 'http://collector:4318'}], \
         podMetadata: {labels: {team: data}, annotations: {example.com/scrape: 'true'}}, \
         nodeSelector: {disk: ssd}, tolerations: [{key: dedicated, operator: Exists}], \
         affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
         {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}, \
         priorityClassName: high, imagePullSecrets: [{name: registry}]",
    );
    let template = template(&cluster);
    let metadata = template.metadata.unwrap();
    let labels = metadata.labels.unwrap();
    assert_eq!(labels["team"], "data");
    assert_eq!(labels[CLUSTER_LABEL], "main");
    assert_eq!(metadata.annotations.unwrap()["example.com/scrape"], "true");
    let pod = template.spec.unwrap();
    let names: Vec<_> = pod.containers[0]
        .env
        .iter()
        .flatten()
        .map(|variable| variable.name.as_str())
        .collect();
    assert_eq!(names, ["POD_UID", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
    assert_eq!(pod.node_selector.unwrap()["disk"], "ssd");
    assert_eq!(
        pod.tolerations.unwrap()[0].key.as_deref(),
        Some("dedicated")
    );
    assert!(pod.affinity.unwrap().node_affinity.is_some());
    assert_eq!(pod.priority_class_name.as_deref(), Some("high"));
    assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "registry");
}
