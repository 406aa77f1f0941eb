//! The ingesters' Deployment and what keeps enough of them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
    Lifecycle, LifecycleHandler, LocalObjectReference, ObjectFieldSelector, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, SleepAction, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::{
    ADMIN_PORT, CONTAINER, HTTP, HTTPS, ObjectInputs, labels, metadata, object_name, selector,
    shards,
};
use crate::build::sizes;
use crate::validate::{Cluster, TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY, Tls};

/// Port of the pod that senders' requests reach.
const HTTP_PORT: i32 = 8080;
/// The same with TLS.
const HTTPS_PORT: i32 = 8443;
/// Where the configuration is mounted.
const CONFIG_DIR: &str = "/etc/trunkline/configuration";
/// Where the certificate and its key are mounted.
const TLS_DIR: &str = "/etc/trunkline/tls";
/// Name of the volume of the certificate.
const TLS_VOLUME: &str = "tls";
/// The user and group of the image.
const USER: i64 = 65532;
/// How long a pod goes on accepting after it was asked to end: proxies need that long to hear that
/// it left the endpoints.
const PRE_STOP_SECONDS: i64 = 5;
/// The pause before a stop, the ingester's own 25 s and 3 s, and some room.
const TERMINATION_GRACE_SECONDS: i64 = 40;

pub(super) fn deployment(inputs: &ObjectInputs<'_>) -> Deployment {
    let cluster = inputs.cluster;
    Deployment {
        metadata: metadata(inputs),
        spec: Some(DeploymentSpec {
            replicas: Some(cluster.replicas),
            selector: selector(&cluster.name),
            // No pod goes before the one that replaces it takes requests.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(cluster)),
                spec: Some(pod(inputs)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// For more than one pod, so that a drain of nodes takes them one after another. With a single pod
/// it would only block the drain.
pub(super) fn disruption_budget(inputs: &ObjectInputs<'_>) -> Option<PodDisruptionBudget> {
    (inputs.cluster.replicas > 1).then(|| PodDisruptionBudget {
        metadata: metadata(inputs),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(&inputs.cluster.name)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}

fn pod_metadata(cluster: &Cluster) -> ObjectMeta {
    let mut labels = labels(&cluster.name);
    labels.extend(cluster.pods.labels.clone());
    ObjectMeta {
        labels: Some(labels),
        annotations: some(&cluster.pods.annotations, BTreeMap::is_empty),
        ..ObjectMeta::default()
    }
}

/// None for what is empty, as the API server stores it.
fn some<T: Clone>(value: &T, is_empty: impl FnOnce(&T) -> bool) -> Option<T> {
    (!is_empty(value)).then(|| value.clone())
}

fn pod(inputs: &ObjectInputs<'_>) -> PodSpec {
    let cluster = inputs.cluster;
    let options = &cluster.pods;
    let volumes = std::iter::once(shards::volume(cluster.name.name()));
    let pull_secrets: Vec<_> = options
        .image_pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect();
    let spread = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector(&cluster.name)),
        ..TopologySpreadConstraint::default()
    };
    PodSpec {
        service_account_name: Some(object_name(&cluster.name)),
        automount_service_account_token: Some(false),
        // Environment variables for every Service of the namespace: nothing here reads them.
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            // The group that may read the mounted configuration.
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(TERMINATION_GRACE_SECONDS),
        topology_spread_constraints: Some(vec![
            spread("topology.kubernetes.io/zone"),
            spread("kubernetes.io/hostname"),
        ]),
        containers: vec![container(inputs)],
        volumes: Some(
            volumes
                .chain(cluster.tls.as_ref().map(tls_volume))
                .collect(),
        ),
        affinity: options.affinity.clone(),
        image_pull_secrets: some(&pull_secrets, Vec::is_empty),
        node_selector: some(&options.node_selector, BTreeMap::is_empty),
        priority_class_name: options.priority_class_name.clone(),
        tolerations: some(&options.tolerations, Vec::is_empty),
        ..PodSpec::default()
    }
}

fn container(inputs: &ObjectInputs<'_>) -> Container {
    let port = |name: &str, port: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mount = |volume: &str, directory: &str| VolumeMount {
        name: volume.to_owned(),
        mount_path: directory.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let (name, number) = match inputs.cluster.tls {
        Some(_) => (HTTPS, HTTPS_PORT),
        None => (HTTP, HTTP_PORT),
    };
    let mut args = vec![
        format!("--config-dir={CONFIG_DIR}"),
        format!("--listen=0.0.0.0:{number}"),
        format!("--admin-listen=0.0.0.0:{ADMIN_PORT}"),
        "--log-format=json".to_owned(),
    ];
    let mut mounts = vec![mount(shards::VOLUME, CONFIG_DIR)];
    if inputs.cluster.tls.is_some() {
        args.push(format!("--tls-cert={TLS_DIR}/{TLS_CERT_KEY}"));
        args.push(format!("--tls-key={TLS_DIR}/{TLS_PRIVATE_KEY_KEY}"));
        mounts.push(mount(TLS_VOLUME, TLS_DIR));
    }
    Container {
        name: CONTAINER.to_owned(),
        image: Some(inputs.image.to_owned()),
        args: Some(args),
        env: Some(environment(inputs.cluster)),
        ports: Some(vec![port(name, number), port("admin", ADMIN_PORT)]),
        resources: Some(resources(inputs)),
        // A pod takes requests a second after it can, and a restart needs half a minute of silence.
        readiness_probe: Some(probe("/readyz", 1, 3)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        startup_probe: Some(probe("/livez", 1, 60)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction {
                    seconds: PRE_STOP_SECONDS,
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn environment(cluster: &Cluster) -> Vec<EnvVar> {
    let pod_uid = EnvVar {
        name: "POD_UID".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.uid".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    };
    std::iter::once(pod_uid)
        .chain(cluster.pods.env.iter().cloned())
        .collect()
}

/// The volume of the certificate. It is not optional: without a certificate a pod could only fail.
/// A Secret that goes later leaves what is mounted as it is.
fn tls_volume(tls: &Tls) -> Volume {
    let item = |key: &str| KeyToPath {
        key: key.to_owned(),
        path: key.to_owned(),
        mode: None,
    };
    Volume {
        name: TLS_VOLUME.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(tls.secret.clone()),
            default_mode: Some(0o440),
            items: Some(vec![item(TLS_CERT_KEY), item(TLS_PRIVATE_KEY_KEY)]),
            optional: None,
        }),
        ..Volume::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn resources(inputs: &ObjectInputs<'_>) -> ResourceRequirements {
    if let Some(given) = &inputs.cluster.resources {
        return given.clone();
    }
    let wanted = sizes::resources(inputs.cluster.size);
    let quantity = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
    // A limit on CPU would throttle a burst that the machine has room for.
    ResourceRequirements {
        requests: Some(BTreeMap::from([
            quantity("cpu", wanted.cpu),
            quantity("memory", wanted.memory),
        ])),
        limits: Some(BTreeMap::from([quantity("memory", wanted.memory)])),
        claims: None,
    }
}
