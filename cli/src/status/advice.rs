//! What to do about something that is not ready: one line for each reason.
//!
//! Pure. The message of a condition says what is wrong; this says which command to type.

use kube::ResourceExt;
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_operator::build::CLUSTER_LABEL;

use super::report::Readiness;

/// Where the operator is, whatever its release is called.
const OPERATOR: &str = "is the operator running? \
    kubectl get pods -A -l app.kubernetes.io/name=trunkline-operator";

/// For a WebhookCluster whose `Ready` says this.
pub(super) fn for_cluster(cluster: &WebhookCluster, ready: &Readiness) -> String {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let database = &cluster.spec.database;
    let secret = match &database.ingest_secret_ref {
        Some(ingest) if ready.message.contains("ingestSecretRef") => &ingest.name,
        _ => &database.secret_ref.name,
    };
    let edit = format!("kubectl -n {namespace} edit whc {name}");
    if let Some(tls) = &cluster.spec.tls
        && let Some(step) = for_certificate(&namespace, &tls.secret_name, ready)
    {
        return step;
    }
    let look_at_secret = format!("kubectl -n {namespace} describe secret {secret}");
    match ready.reason.as_str() {
        "NotSeen" => OPERATOR.to_owned(),
        "InvalidSpec" | "NoReplicas" => edit,
        "SecretNotFound" => format!(
            "kubectl -n {namespace} create secret generic {secret} \
             --from-literal=uri=postgres://OWNER:PASSWORD@HOST:5432/DATABASE"
        ),
        "InvalidDatabaseURL" | "LoginRefused" | "DatabaseNotFound" | "CertificateNameMismatch" => {
            format!("{look_at_secret}; correct it, the operator tries again by itself")
        }
        "Unreachable" => format!(
            "is PostgreSQL up, and may pods of namespace {namespace} reach it? {look_at_secret}"
        ),
        "CertificateNotTrusted" | "TLSNotOffered" | "TLSFailed" => {
            format!("do what the message says; what the connection asks for: {look_at_secret}")
        }
        "MissingGrant" | "NameTaken" | "RoleNotFound" => {
            "do what the message says, as an administrator of the database".to_owned()
        }
        "VersionTooOld" | "ReadOnly" | "LayoutTooNew" => {
            format!("let the Secret {secret} name another server: {look_at_secret}")
        }
        "Locked" => {
            "find who holds the lock: SELECT pid, state, query FROM pg_stat_activity".to_owned()
        }
        "RolloutFailed" | "RollingOut" => {
            format!("kubectl -n {namespace} describe pods -l {CLUSTER_LABEL}={name}")
        }
        "Progressing" => wait(&namespace, "webhookcluster", &name),
        _ => format!("kubectl -n {namespace} describe whc {name}"),
    }
}

/// For a WebhookCluster whose `Ready` tells of its certificate; none when it tells of something else.
fn for_certificate(namespace: &str, secret: &str, ready: &Readiness) -> Option<String> {
    Some(match ready.reason.as_str() {
        "SecretNotFound" if ready.message.starts_with("spec.tls.") => format!(
            "kubectl -n {namespace} create secret tls {secret} --cert=CERTIFICATE.pem --key=KEY.pem"
        ),
        "SecretKeyNotFound"
        | "SecretUnreadable"
        | "CertificateInvalid"
        | "CertificateExpired"
        | "CertificateNotYetValid" => format!(
            "kubectl -n {namespace} describe secret {secret}; with cert-manager, kubectl -n \
             {namespace} get certificate"
        ),
        _ => return None,
    })
}

/// For a WebhookSource whose `Ready` says this.
pub(super) fn for_source(source: &WebhookSource, ready: &Readiness) -> String {
    let (namespace, name) = (source.namespace().unwrap_or_default(), source.name_any());
    let cluster = &source.spec.cluster_ref.name;
    let signing = source.spec.verification.secrets.first();
    let secret = match &source.spec.redact_key {
        Some(key) if ready.message.contains("redactKey") => {
            Some((&key.secret_key_ref, "RANDOM_KEY"))
        }
        _ => signing.map(|secret| (&secret.secret_key_ref, "SHARED_SECRET")),
    };
    match (ready.reason.as_str(), secret) {
        ("NotSeen", _) => OPERATOR.to_owned(),
        ("InvalidSpec" | "Suspended", _) => format!("kubectl -n {namespace} edit whs {name}"),
        ("SecretNotFound", Some((secret, value))) => format!(
            "kubectl -n {namespace} create secret generic {} --from-literal={}={value}",
            secret.name, secret.key
        ),
        ("SecretKeyNotFound" | "SecretMalformed", Some((secret, value))) => format!(
            "kubectl -n {namespace} patch secret {} -p '{{\"stringData\":{{\"{}\":\"{value}\"}}}}'",
            secret.name, secret.key
        ),
        ("ClusterNotFound", _) => format!("kubectl -n {namespace} get whc; create {cluster}"),
        ("Progressing" | "Propagating" | "NotConfigured", _) => {
            wait(&namespace, "webhooksource", &name)
        }
        ("NoReadyPods" | "PodsSilent" | "Unavailable", _) => {
            format!("kubectl -n {namespace} describe pods -l {CLUSTER_LABEL}={cluster}")
        }
        ("DatabaseUnavailable" | "NotDurable", _) => {
            format!("kubectl -n {namespace} logs -l {CLUSTER_LABEL}={cluster} --tail 20")
        }
        ("RelationFailed", _) => {
            "do what the message says; the operator tries again by itself".to_owned()
        }
        _ => format!("kubectl -n {namespace} describe whs {name}"),
    }
}

fn wait(namespace: &str, kind: &str, name: &str) -> String {
    format!("kubectl -n {namespace} wait --for=condition=Ready {kind}/{name}")
}
