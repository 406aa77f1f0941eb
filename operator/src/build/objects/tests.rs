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
    objects(&ObjectInputs {
        cluster,
        owner: None,
        image: "example/ingester:1",
    })
}

#[test]
fn without_exposure_the_url_is_the_service() {
    let cluster = cluster("");
    assert_eq!(base_url(&cluster), "http://main-ingester.hooks.svc");
    assert!(made(&cluster).ingress.is_none());
}

#[test]
fn the_url_is_https_exactly_where_there_is_a_certificate() {
    let plain = cluster("exposure: {host: h.example.com, ingress: {}}");
    assert_eq!(base_url(&plain), "http://h.example.com");
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
    assert_eq!(base_url(&tls), "https://h.example.com");
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
    let template = made(&cluster("")).deployment.spec.unwrap().template;
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
