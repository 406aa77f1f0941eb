//! Manifests that must be taken.

use serde_json::{Value, json};

use crate::admission::Admission;

fn cluster(spec: &Value) -> Value {
    manifest("WebhookCluster", spec)
}

fn source(mut spec: Value) -> Value {
    spec["clusterRef"] = json!({"name": "main"});
    if spec["verification"].is_null() {
        spec["verification"] = segment();
    }
    manifest("WebhookSource", &spec)
}

fn segment() -> Value {
    json!({
        "preset": "segment",
        "secrets": [{"secretKeyRef": {"name": "segment-webhook", "key": "secret"}}],
    })
}

fn manifest(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "trunkline.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "main", "labels": {"team": "a"}, "annotations": {"note": "b"}},
        "spec": spec,
    })
}

fn refusals(manifest: &Value, old: Option<&Value>) -> Vec<String> {
    let all = Admission::all();
    Admission::of(&all, manifest)
        .unwrap()
        .refusals(manifest, old)
}

#[test]
fn clusters_of_every_shape_are_taken() {
    let database = json!({"secretRef": {"name": "warehouse"}});
    let specs = [
        json!({"database": database}),
        json!({"database": database, "size": "3xsmall", "replicas": 0, "suspend": true}),
        json!({"database": database, "size": "4xlarge", "replicas": 100, "updatePolicy": "Follow"}),
        json!({"database": database, "image": "registry.example.com:5000/trunkline-ingester@sha256:ab"}),
        json!({"database": database, "resources": {
            "limits": {"cpu": 2, "memory": "1.5Gi", "ephemeral-storage": "1e9"},
            "requests": {"cpu": "500m", "memory": 268_435_456},
        }}),
        json!({"database": {"secretRef": {"name": "w"}, "roles": "Provided",
            "ingestSecretRef": {"name": "ingest"}, "readers": ["analysts", "BI"]}}),
        json!({"database": {"secretRef": {"name": "w"}, "roles": "Owner", "ingestSecretRef": null}}),
        json!({"database": {"secretRef": {"name": "w"}, "caSecretRef": {"name": "w-ca"}}}),
        json!({"database": {"secretRef": {"name": "w"}, "caSecretRef": {"name": "w-ca", "key": "root.pem"}}}),
        json!({"database": database, "exposure": {"host": "localhost", "ingress": {}}}),
        json!({"database": database, "exposure": {"host": "hooks.example.com", "ingress": {
            "className": "nginx", "tlsSecretName": "hooks.example.com-tls",
            "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
        }}}),
        json!({"database": database, "tls": {"secretName": "hooks.example.com-tls"}}),
        json!({"database": database,
            "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
            "podMetadata": {"labels": {"team": "data"}, "annotations": {"a.example/b": "c"}},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Exists", "tolerationSeconds": 60}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"trunkline.dev/cluster": "main"}},
            }]}},
            "priorityClassName": "high", "imagePullSecrets": [{"name": "registry"}],
        }),
        json!({"database": database, "exposure": null, "image": null, "size": null, "replicas": null}),
    ];
    for spec in specs {
        assert_eq!(refusals(&cluster(&spec), None), [""; 0], "{spec}");
    }
}

#[test]
fn sources_of_every_shape_are_taken() {
    let secrets = json!([{"secretKeyRef": {"name": "own", "key": "secret"}}]);
    let specs = [
        json!({}),
        json!({"path": "/webhooks/team-a/Segment_1", "schema": "_segment_2"}),
        json!({"path": "/a"}),
        json!({"path": "/.well-known/...hooks/~team/a:b@c;v=1,2(3)'!$&*+[x]%20"}),
        json!({"body": {"format": "JsonArray"}, "deletionPolicy": "Delete", "suspend": true}),
        json!({"includeHeaders": {"allow": ["User-Agent"], "deny": ["cookie"]}}),
        json!({"headers": [{"name": "X-A", "column": "a"}, {"name": "x-a", "column": "b"}]}),
        json!({"limits": {"requestsPerSecond": 1}}),
        json!({"limits": {"requestsPerSecond": 1_000_000, "burst": 1_000_000}}),
        json!({"retention": "90d"}),
        json!({"warehouse": {}, "body": {"format": "Bytes"}}),
        json!({"warehouse": {"layout": "segment"}}),
        json!({"warehouse": {"layout": "segment", "pinned": true}}),
        json!({"warehouse": {"layout": "segment", "materialized": true}}),
        json!({"warehouse": {"layout": "segment", "overrides": [
            {"relation": "product_viewed", "column": "price", "type": "numeric", "name": "unit_price"},
            {"relation": "product_viewed", "column": "2fa", "type": "boolean"},
            {"relation": "pages", "column": "title", "name": "_title"},
        ]}}),
        json!({"warehouse": {"layout": "rudderstack"}, "body": {"format": "JsonArray"}}),
        json!({"retention": "4w", "partitionBy": "Hour"}),
        json!({"rotationGrace": "1h30m", "retention": null}),
        json!({"rotationGrace": "0s", "readers": ["analysts"]}),
        json!({"verification": {"preset": "github", "mode": "ReportOnly", "secrets": secrets}}),
        json!({"verification": {"hmac": {"header": "X-Signature"}, "secrets": secrets}}),
        json!({"verification": {"hmac": {"header": "X-Signature", "prefix": "sha256=",
            "algorithm": "SHA512", "encoding": "Base64", "secretEncoding": "Whsec",
            "coverage": "BodyOrFirstElement", "signed": "{header:X-Id}.{timestamp}.{body}",
            "timestamp": {"header": "X-Time", "unit": "RFC3339", "tolerance": "0s"}},
            "strict": true, "secrets": secrets}}),
        json!({"verification": {"hmac": {"header": "X-Signature", "format": "KeyValue", "key": "v1",
            "timestamp": {"key": "t", "unit": "Milliseconds"}}, "secrets": secrets}}),
        json!({"verification": {"hmac": {"header": "X-Signature", "format": "List", "key": "v1",
            "timestamp": {"header": "X-Time"}}, "secrets": secrets}}),
        json!({"verification": {"sharedSecret": {"header": "Authorization", "prefix": "Bearer "},
            "secrets": secrets}}),
        json!({"verification": {"sharedSecret": {"basic": {"username": "segment"}},
            "strict": false, "secrets": secrets}}),
        json!({"verification": {"none": {}}}),
        json!({"views": [
            {"name": "people", "columns": [{"name": "email", "firstOf": [
                {"path": ["traits", "email"]}, {"path": ["context", "traits", "email"]}, {"from": "user_id"}]}]},
            {"name": "_orders_2", "columns": [
                {"name": "total", "path": ["properties", "total"], "type": "numeric"},
                {"name": "events", "from": "event", "type": null}],
             "where": {"types": ["track"], "events": ["Order Completed", "it's"]},
             "distinctOn": ["message_id"],
             "orderBy": [{"column": "received_at", "direction": "Descending"}, {"column": "total"}]}]}),
        json!({"views": []}),
        json!({"redact": [], "body": {"format": "Text"}}),
        json!({"redact": [{"path": ["context", "ip"], "action": "Drop"}]}),
        json!({"redact": [{"path": ["userId"], "action": "Hash"}, {"path": ["a", "*", "0"], "action": "Drop"}],
            "redactKey": {"secretKeyRef": {"name": "redact", "key": "key"}},
            "body": {"format": "Form"}}),
        json!({"redactKey": {"secretKeyRef": {"name": "redact", "key": "key"}}}),
        json!({"deduplicate": {"by": "MessageId"}}),
        json!({"deduplicate": {"by": "Header", "header": "X-GitHub-Delivery", "path": null}}),
        json!({"deduplicate": {"by": "Path", "path": ["data", "0", "id"], "window": "90m"},
            "body": {"format": "Form"}}),
        json!({"deduplicate": {"by": "BodyHash", "window": "168h"}, "body": {"format": "Bytes"}}),
        json!({"verification": {"none": {}, "strict": false, "secrets": []}}),
        json!({"path": null, "schema": null, "includeHeaders": null, "rotationGrace": null}),
    ];
    for spec in specs {
        assert_eq!(refusals(&source(spec.clone()), None), [""; 0], "{spec}");
    }
    let mut null = source(json!({}));
    null["spec"]["verification"]["none"] = Value::Null;
    assert_eq!(refusals(&null, None), [""; 0]);
}

#[test]
fn what_is_not_immutable_can_be_edited() {
    let old = source(json!({"path": "/one", "schema": "one"}));
    let new = source(json!({
        "path": "/one",
        "schema": "one",
        "rotationGrace": "1h",
        "retention": "1d",
        "headers": [{"name": "x-a", "column": "a"}],
        "views": [{"name": "v", "columns": [{"name": "a", "from": "a"}]}],
        "verification": {"none": {}},
    }));
    assert_eq!(refusals(&new, Some(&old)), [""; 0]);
    let (bare, null) = (
        source(json!({})),
        source(json!({"path": null, "schema": null})),
    );
    assert_eq!(refusals(&null, Some(&bare)), [""; 0]);
}

#[test]
fn the_examples_are_taken() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let all = Admission::all();
    let mut taken = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for manifest in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            if let Some(admission) = Admission::of(&all, &manifest) {
                assert_eq!(admission.refusals(&manifest, None), [""; 0], "{manifest}");
                taken += 1;
            }
        }
    }
    assert!(taken >= 2, "only {taken} examples");
}
