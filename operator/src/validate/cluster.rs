//! Validates a WebhookCluster and reads the owner's connection out of its Secret.

mod login;
mod pods;
mod tls;

use trunkline_crds::{CaSecretRef, DatabaseRoles, WebhookCluster};
use trunkline_model::names::ClusterName;

use super::{Cluster, DatabaseAccess, Exposure, Roles};
use crate::build::{LEAST_MEMORY_MIB, service_host};
use crate::manifests::{Located, Manifests, SecretData};
use crate::problem::{Collector, Problems};
use crate::quantity::quantity;

pub use login::database_login;
pub use pods::PodOptions;
pub use tls::{CertificateFault, ServerCertificate, TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY, Tls};

/// The field that names the Secret of the owner's connection.
pub const OWNER_FIELD: &str = "spec.database.secretRef.name";
const INGEST_FIELD: &str = "spec.database.ingestSecretRef.name";
const CA_FIELD: &str = "spec.database.caSecretRef.name";

pub(super) fn label(cluster: &WebhookCluster) -> String {
    let metadata = &cluster.metadata;
    format!(
        "WebhookCluster {}/{}",
        metadata.namespace.as_deref().unwrap_or("default"),
        metadata.name.as_deref().unwrap_or("(no name)"),
    )
}

pub(super) fn validate(
    located: &Located<WebhookCluster>,
    manifests: &Manifests,
) -> Result<Cluster, Problems> {
    let object = &located.object;
    let namespace = object
        .metadata
        .namespace
        .clone()
        .unwrap_or_else(|| "default".to_owned());
    let mut collector = Collector::new(located.file.as_deref(), label(object));
    let name = ClusterName::new(
        &namespace,
        object.metadata.name.as_deref().unwrap_or_default(),
    );
    if let Err(error) = &name {
        collector.add("metadata.name", error.to_string());
    }
    let spec = &object.spec;
    let secrets = Secrets {
        namespace: &namespace,
        manifests,
        authority: spec.database.ca_secret_ref.as_ref(),
    };
    let database = secrets.access(&spec.database.secret_ref.name, OWNER_FIELD, &mut collector);
    let ingest = spec
        .database
        .ingest_secret_ref
        .as_ref()
        .map(|secret| secrets.access(&secret.name, INGEST_FIELD, &mut collector));
    let roles = roles(spec.database.roles, ingest, &mut collector);
    let exposure = exposure(spec.exposure.as_ref(), &mut collector);
    if spec.replicas < 0 {
        collector.add("spec.replicas", "is negative; write the number of pods");
    }
    let memory = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref()?.get("memory"));
    if let Some(memory) = memory
        && quantity(&memory.0).is_none_or(|bytes| bytes < LEAST_MEMORY_MIB * 1_048_576.0)
    {
        collector.add(
            "spec.resources.limits.memory",
            format!(
                "is below {LEAST_MEMORY_MIB}Mi, which four large batches at once need; raise it"
            ),
        );
    }
    let pods = pods::pod_options(spec, &mut collector);
    let cluster = match (name, database, roles) {
        (Ok(name), Some(database), Some(roles)) => Some(Cluster {
            tls: spec.tls.as_ref().map(|tls| {
                // Whether an edge in front of it looks at the name is the edge's affair.
                let host = exposure.is_none().then(|| service_host(&name));
                tls::tls(tls, &namespace, host.as_deref(), manifests)
            }),
            pods,
            name,
            size: spec.size,
            replicas: spec.replicas,
            resources: spec.resources.clone(),
            image: spec.image.clone(),
            update_policy: spec.update_policy,
            database,
            roles,
            readers: spec.database.readers.clone(),
            exposure,
            suspend: spec.suspend,
        }),
        _ => None,
    };
    collector.finish(cluster)
}

/// The Secrets that a cluster's connections are made of.
struct Secrets<'a> {
    namespace: &'a str,
    manifests: &'a Manifests,
    authority: Option<&'a CaSecretRef>,
}

impl Secrets<'_> {
    /// The connection in a Secret; none when something is wrong with it.
    fn access(
        &self,
        secret: &str,
        field: &'static str,
        collector: &mut Collector<'_>,
    ) -> Option<DatabaseAccess> {
        let absent = |field, secret: &str| {
            Some(DatabaseAccess::Absent {
                field,
                secret: secret.to_owned(),
            })
        };
        let Some(data) = self.data(secret, field, collector)? else {
            return absent(field, secret);
        };
        let authority = match self.authority {
            None => None,
            Some(reference) => match self.data(&reference.name, CA_FIELD, collector)? {
                None => return absent(CA_FIELD, &reference.name),
                Some(data) => match data.get(&reference.key) {
                    Some(authority) => Some(authority),
                    None => {
                        collector.add(
                            "spec.database.caSecretRef.key",
                            format!(
                                "the Secret {:?} has no key {:?}; name the one that holds the \
                                 authority's certificate",
                                reference.name, reference.key
                            ),
                        );
                        return None;
                    }
                },
            },
        };
        match database_login(data, authority) {
            Ok(login) => Some(DatabaseAccess::Login(login)),
            Err(reason) => {
                collector.add(field, format!("the Secret {secret:?} {reason}"));
                None
            }
        }
    }

    /// What a Secret holds, if it is there; none when it cannot be said.
    fn data(
        &self,
        secret: &str,
        field: &'static str,
        collector: &mut Collector<'_>,
    ) -> Option<Option<&SecretData>> {
        if secret.is_empty() {
            collector.add(field, "is empty; name the Secret of the database");
            return None;
        }
        let key = (self.namespace.to_owned(), secret.to_owned());
        if let Some(reason) = self.manifests.unreadable_secrets.get(&key) {
            collector.add(
                field,
                format!("the Secret {secret:?} cannot be read: {reason}"),
            );
            return None;
        }
        Some(self.manifests.secrets.get(&key))
    }
}

/// None when something is wrong. `ingest` is the connection of `ingestSecretRef`, if there is one.
fn roles(
    wanted: Option<DatabaseRoles>,
    ingest: Option<Option<DatabaseAccess>>,
    collector: &mut Collector<'_>,
) -> Option<Roles> {
    match (wanted, ingest) {
        (Some(DatabaseRoles::Provided), Some(access)) => access.map(Roles::Provided),
        (Some(DatabaseRoles::Provided), None) => {
            collector.add(
                "spec.database.ingestSecretRef",
                "is missing; name the Secret of the ingesters' connection, as roles is Provided",
            );
            None
        }
        (_, Some(_)) => {
            collector.add(
                "spec.database.ingestSecretRef",
                "has no meaning unless roles is Provided; set roles: Provided or remove it",
            );
            None
        }
        (None, None) => Some(Roles::Default),
        (Some(DatabaseRoles::Managed), None) => Some(Roles::Managed),
        (Some(DatabaseRoles::Owner), None) => Some(Roles::Owner),
    }
}

fn exposure(
    spec: Option<&trunkline_crds::Exposure>,
    collector: &mut Collector<'_>,
) -> Option<Exposure> {
    let spec = spec?;
    let Some(ingress) = &spec.ingress else {
        collector.add(
            "spec.exposure.ingress",
            "is missing; add ingress: {} for the cluster's default IngressClass",
        );
        return None;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if spec.host.len() > 253 || !spec.host.split('.').all(is_label) {
        collector.add(
            "spec.exposure.host",
            format!(
                "{:?} is not a host name; write one like hooks.example.com, without scheme and port",
                spec.host
            ),
        );
    }
    Some(Exposure {
        host: spec.host.clone(),
        ingress: ingress.clone(),
    })
}
