//! How senders reach the ingesters: the Service, the Ingress, the base of the URLs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{ObjectInputs, SERVICE_PORT, metadata, object_name, selector_labels};
use crate::validate::Cluster;

/// What the ingress-nginx controller needs to pass what an ingester takes. Its own limit of 1 MiB
/// would answer 413 to Segment's batches, and Segment drops an event on 413.
const NGINX_ANNOTATIONS: [(&str, &str); 3] = [
    ("nginx.ingress.kubernetes.io/proxy-body-size", "8m"),
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", "30"),
    ("nginx.ingress.kubernetes.io/proxy-send-timeout", "30"),
];

/// The base of the URLs of a cluster's sources, without a slash at its end.
#[must_use]
pub fn base_url(cluster: &Cluster) -> String {
    match &cluster.exposure {
        Some(exposure) if exposure.ingress.tls_secret_name.is_some() => {
            format!("https://{}", exposure.host)
        }
        Some(exposure) => format!("http://{}", exposure.host),
        None => format!(
            "http://{}.{}.svc",
            object_name(&cluster.name),
            cluster.name.namespace()
        ),
    }
}

pub(super) fn service(inputs: &ObjectInputs<'_>) -> Service {
    Service {
        metadata: metadata(inputs),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector_labels(&inputs.cluster.name)),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                protocol: Some("TCP".to_owned()),
                port: SERVICE_PORT,
                target_port: Some(IntOrString::String("http".to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

pub(super) fn ingress(inputs: &ObjectInputs<'_>) -> Option<Ingress> {
    let exposure = inputs.cluster.exposure.as_ref()?;
    let wanted = &exposure.ingress;
    let mut annotations = BTreeMap::new();
    if wanted.class_name.as_deref() == Some("nginx") {
        annotations
            .extend(NGINX_ANNOTATIONS.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    annotations.extend(wanted.annotations.clone());
    let mut metadata = metadata(inputs);
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: object_name(&inputs.cluster.name),
            port: Some(ServiceBackendPort {
                name: Some("http".to_owned()),
                number: None,
            }),
        }),
        resource: None,
    };
    Some(Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: wanted.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(exposure.host.clone()),
                http: Some(HTTPIngressRuleValue {
                    paths: vec![HTTPIngressPath {
                        path: Some("/".to_owned()),
                        path_type: "Prefix".to_owned(),
                        backend,
                    }],
                }),
            }]),
            tls: wanted.tls_secret_name.clone().map(|secret| {
                vec![IngressTLS {
                    hosts: Some(vec![exposure.host.clone()]),
                    secret_name: Some(secret),
                }]
            }),
            ..IngressSpec::default()
        }),
        status: None,
    })
}
