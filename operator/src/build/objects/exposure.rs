//! How senders reach the ingesters: the Service, the Ingress, the base of the URLs.
//!
//! Ingesters speak either plain HTTP or TLS. While pods of both kinds take requests, since
//! `spec.tls` has just come or gone, the Service has a port for each, which leads to the pods that
//! have it; whoever needs one of the two stays with the old one until a pod of the new kind is there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use trunkline_model::names::ClusterName;

use super::{HTTP, HTTPS, ObjectInputs, metadata, object_name, selector_labels};
use crate::validate::Cluster;

/// What the ingress-nginx controller needs to pass what an ingester takes. Its own limit of 1 MiB
/// would answer 413 to Segment's batches, and Segment drops an event on 413.
const NGINX_ANNOTATIONS: [(&str, &str); 3] = [
    ("nginx.ingress.kubernetes.io/proxy-body-size", "8m"),
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", "30"),
    ("nginx.ingress.kubernetes.io/proxy-send-timeout", "30"),
];
/// And to speak TLS to it.
const NGINX_TLS_ANNOTATION: (&str, &str) =
    ("nginx.ingress.kubernetes.io/backend-protocol", "HTTPS");

/// At which ports of the Service there is a pod that takes requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listening {
    /// Plain HTTP.
    pub http: bool,
    /// TLS.
    pub https: bool,
}

/// A protocol of the ingesters: the name of its port, and the port of the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Https,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Http => HTTP,
            Self::Https => HTTPS,
        }
    }

    fn service_port(self) -> ServicePort {
        ServicePort {
            name: Some(self.name().to_owned()),
            protocol: Some("TCP".to_owned()),
            port: match self {
                Self::Http => 80,
                Self::Https => 443,
            },
            target_port: Some(IntOrString::String(self.name().to_owned())),
            // Edges that look at it need no annotation.
            app_protocol: (self == Self::Https).then(|| HTTPS.to_owned()),
            ..ServicePort::default()
        }
    }
}

/// What the ingesters are to speak, and what some of them still do.
fn protocols(cluster: &Cluster, listening: Listening) -> (Protocol, Option<Protocol>) {
    match cluster.tls {
        Some(_) => (Protocol::Https, listening.http.then_some(Protocol::Http)),
        None => (Protocol::Http, listening.https.then_some(Protocol::Https)),
    }
}

/// What whoever needs one of the two speaks to them.
fn spoken(cluster: &Cluster, listening: Listening) -> Protocol {
    let (wanted, other) = protocols(cluster, listening);
    let is_there = match wanted {
        Protocol::Http => listening.http,
        Protocol::Https => listening.https,
    };
    other.filter(|_| !is_there).unwrap_or(wanted)
}

/// The name of the Service, within the Kubernetes cluster.
#[must_use]
pub fn service_host(cluster: &ClusterName) -> String {
    format!("{}.{}.svc", object_name(cluster), cluster.namespace())
}

/// The base of the URLs of a cluster's sources, without a slash at its end.
#[must_use]
pub fn base_url(cluster: &Cluster, listening: Listening) -> String {
    match &cluster.exposure {
        Some(exposure) if exposure.ingress.tls_secret_name.is_some() => {
            format!("https://{}", exposure.host)
        }
        Some(exposure) => format!("http://{}", exposure.host),
        None => format!(
            "{}://{}",
            spoken(cluster, listening).name(),
            service_host(&cluster.name)
        ),
    }
}

pub(super) fn service(inputs: &ObjectInputs<'_>) -> Service {
    let (wanted, other) = protocols(inputs.cluster, inputs.listening);
    let ports = std::iter::once(wanted).chain(other);
    Service {
        metadata: metadata(inputs),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector_labels(&inputs.cluster.name)),
            ports: Some(ports.map(Protocol::service_port).collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

pub(super) fn ingress(inputs: &ObjectInputs<'_>) -> Option<Ingress> {
    let exposure = inputs.cluster.exposure.as_ref()?;
    let wanted = &exposure.ingress;
    let protocol = spoken(inputs.cluster, inputs.listening);
    let mut annotations = BTreeMap::new();
    if wanted.class_name.as_deref() == Some("nginx") {
        let tls = (protocol == Protocol::Https).then_some(NGINX_TLS_ANNOTATION);
        annotations.extend(
            NGINX_ANNOTATIONS
                .into_iter()
                .chain(tls)
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
    }
    annotations.extend(wanted.annotations.clone());
    let mut metadata = metadata(inputs);
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: object_name(&inputs.cluster.name),
            port: Some(ServiceBackendPort {
                name: Some(protocol.name().to_owned()),
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
