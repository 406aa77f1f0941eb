//! What a WebhookCluster asks of its pods.

use super::*;

fn cluster(spec: &str, secrets: &str) -> Result<Cluster, Problems> {
    let text = format!(
        "apiVersion: trunkline.dev/v1alpha1\nkind: WebhookCluster\nmetadata: {{name: main}}\n\
         spec: {{database: {{secretRef: {{name: warehouse}}}}, {spec}}}\n{secrets}"
    );
    validate(&Manifests::parse([("a.yaml", text.as_str())]).unwrap()).map(|it| it.cluster)
}

fn tls(spec: &str, data: &[(&str, &str)]) -> Result<ServerCertificate, CertificateFault> {
    let data: String = data
        .iter()
        .map(|(key, value)| format!("  {key}: {}\n", serde_json::to_string(value).unwrap()))
        .collect();
    let secret = match data.is_empty() {
        true => String::new(),
        false => format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: hooks-tls}}\nstringData:\n{data}"
        ),
    };
    let spec = format!("tls: {{secretName: hooks-tls}}, {spec}");
    cluster(&spec, &secret).unwrap().tls.unwrap().certificate
}

fn pair(host: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn a_certificate_is_read_from_its_secret() {
    let (certificate, key) = pair("main-ingester.default.svc");
    let pair = [("tls.crt", certificate.as_str()), ("tls.key", &key)];
    let found = tls("", &pair).unwrap();
    assert!(found.is_for_host);
    assert_eq!(found.expires_at, 67_090_118_400);
}

#[test]
fn the_name_matters_only_where_senders_ask_for_it() {
    let (certificate, key) = pair("hooks.example.com");
    let pair = [("tls.crt", certificate.as_str()), ("tls.key", &key)];
    assert!(!tls("", &pair).unwrap().is_for_host);
    let edge = "exposure: {host: other.example.com, ingress: {}}";
    assert!(tls(edge, &pair).unwrap().is_for_host);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_with_the_fix_and_without_the_key() {
    let (certificate, key) = pair("a");
    let (_, other_key) = pair("a");
    for (data, reason, words) in [
        (
            &[][..],
            "SecretNotFound",
            "spec.tls.secretName: there is no Secret \"hooks-tls\" in namespace \"default\"; create it",
        ),
        (
            &[("tls.crt", certificate.as_str())],
            "SecretKeyNotFound",
            "no key \"tls.key\"; a Secret of the type kubernetes.io/tls has",
        ),
        (
            &[("tls.key", key.as_str())],
            "SecretKeyNotFound",
            "no key \"tls.crt\"",
        ),
        (
            &[("tls.crt", "x"), ("tls.key", &key)],
            "CertificateInvalid",
            "its tls.crt holds no certificate in PEM",
        ),
        (
            &[("tls.crt", &certificate), ("tls.key", "x")],
            "CertificateInvalid",
            "its tls.key holds no private key in PEM",
        ),
        (
            &[("tls.crt", &certificate), ("tls.key", &other_key)],
            "CertificateInvalid",
            "its tls.key is not the key of the first certificate; write",
        ),
    ] {
        let fault = tls("", data).unwrap_err();
        assert_eq!(fault.reason, reason);
        assert!(fault.message.contains(words), "{}", fault.message);
        let line = key.lines().nth(1).unwrap();
        assert!(!fault.message.contains(line));
    }
}

#[test]
fn what_is_the_operators_is_refused() {
    for (spec, words) in [
        (
            "env: [{name: A, value: a}, {name: POD_UID, value: b}]",
            "spec.env[1].name: is POD_UID, by which an ingester knows its pod; remove it",
        ),
        ("env: [{name: HOSTNAME}]", "spec.env[0].name: is HOSTNAME"),
        (
            "env: [{name: A}, {name: A}]",
            "spec.env[1].name: is A again; remove one of them",
        ),
        (
            "podMetadata: {labels: {app.kubernetes.io/name: mine}}",
            "spec.podMetadata.labels: has \"app.kubernetes.io/name\", which is the operator's",
        ),
        (
            "podMetadata: {annotations: {trunkline.dev/configuration: mine}}",
            "spec.podMetadata.annotations: has \"trunkline.dev/configuration\"",
        ),
    ] {
        let problems = cluster(spec, "").unwrap_err().to_string();
        assert!(problems.contains(words), "{problems}");
    }
    let allowed = "podMetadata: {labels: {team: a}, annotations: {app.kubernetes.io/name: mine}}";
    assert!(cluster(allowed, "").is_ok());
}
