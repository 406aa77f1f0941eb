//! Validates a WebhookCluster and reads the owner's connection out of its Secret.

use trunkline_crds::{DatabaseRoles, WebhookCluster};
use trunkline_model::names::ClusterName;
use trunkline_model::secret::SecretBytes;
use trunkline_model::url::encode_part;

use super::{Cluster, DatabaseAccess, Exposure, Roles};
use crate::build::LEAST_MEMORY_MIB;
use crate::manifests::{Located, Manifests, SecretData};
use crate::problem::{Collector, Problems};
use crate::quantity::quantity;

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
    let mut access =
        |secret: &str, field: &str| access(secret, field, &namespace, manifests, &mut collector);
    let database = access(
        &spec.database.secret_ref.name,
        "spec.database.secretRef.name",
    );
    let ingest = spec
        .database
        .ingest_secret_ref
        .as_ref()
        .map(|secret| access(&secret.name, "spec.database.ingestSecretRef.name"));
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
    let cluster = match (name, database, roles) {
        (Ok(name), Some(database), Some(roles)) => Some(Cluster {
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

/// The connection in a Secret; none when something is wrong with it.
fn access(
    secret: &str,
    field: &str,
    namespace: &str,
    manifests: &Manifests,
    collector: &mut Collector<'_>,
) -> Option<DatabaseAccess> {
    if secret.is_empty() {
        collector.add(field, "is empty; name the Secret of the database");
        return None;
    }
    let key = (namespace.to_owned(), secret.to_owned());
    if let Some(reason) = manifests.unreadable_secrets.get(&key) {
        collector.add(
            field,
            format!("the Secret {secret:?} cannot be read: {reason}"),
        );
        return None;
    }
    match manifests.secrets.get(&key).map(database_url) {
        None => Some(DatabaseAccess::Absent {
            secret: secret.to_owned(),
        }),
        Some(Ok(url)) => Some(DatabaseAccess::Url(url)),
        Some(Err(reason)) => {
            collector.add(field, format!("the Secret {secret:?} {reason}"));
            None
        }
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

/// The owner's connection URL of a Secret: its `uri`, or made of `host`, `port`, `user` (or
/// `username`), `password` and `dbname`, the keys that CloudNativePG writes.
///
/// # Errors
/// A sentence's end that says which key is missing or unusable, never its value.
pub fn database_url(data: &SecretData) -> Result<SecretBytes, String> {
    let text = |key: &str| -> Result<Option<String>, String> {
        match data.get(key) {
            None => Ok(None),
            Some(value) => match value.expose_str() {
                Some(text) => Ok(Some(text.trim().to_owned())),
                None => Err(format!("has a key {key:?} that is not UTF-8")),
            },
        }
    };
    if let Some(uri) = text("uri")? {
        return if uri.starts_with("postgres://") || uri.starts_with("postgresql://") {
            Ok(SecretBytes::new(uri.into_bytes()))
        } else {
            Err(
                "has a key \"uri\" that does not start with postgres:// or postgresql://"
                    .to_owned(),
            )
        };
    }
    let user = match text("user")? {
        Some(user) => Some(user),
        None => text("username")?,
    };
    let (Some(host), Some(user), Some(password)) = (text("host")?, user, text("password")?) else {
        return Err(
            "needs the key \"uri\", or \"host\", \"user\" and \"password\" (and \"port\", \
                    \"dbname\")"
                .to_owned(),
        );
    };
    let port = text("port")?.unwrap_or_else(|| "5432".to_owned());
    if port.parse::<u16>().is_err() {
        return Err("has a key \"port\" that is not a port number".to_owned());
    }
    let dbname = text("dbname")?.unwrap_or_else(|| user.clone());
    let url = format!(
        "postgres://{}:{}@{}:{port}/{}",
        encode_part(user.as_bytes()),
        encode_part(password.as_bytes()),
        if host.contains(':') {
            format!("[{host}]")
        } else {
            encode_part(host.as_bytes())
        },
        encode_part(dbname.as_bytes()),
    );
    Ok(SecretBytes::new(url.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &str)]) -> SecretData {
        entries
            .iter()
            .map(|&(key, value)| (key.to_owned(), SecretBytes::new(value.as_bytes().to_vec())))
            .collect()
    }

    #[test]
    fn both_shapes_of_the_secret_give_a_url() {
        let uri = data(&[("uri", "postgresql://a:b@c/d\n")]);
        assert_eq!(
            database_url(&uri).unwrap().expose(),
            b"postgresql://a:b@c/d"
        );
        let parts = data(&[
            ("host", "db"),
            ("username", "app"),
            ("password", "p@s/s"),
            ("dbname", "shop"),
        ]);
        assert_eq!(
            database_url(&parts).unwrap().expose(),
            b"postgres://app:p%40s%2Fs@db:5432/shop"
        );
    }

    #[test]
    fn an_unusable_secret_is_refused_without_its_value() {
        let cases = [
            (data(&[("uri", "hunter2")]), "postgres://"),
            (data(&[("host", "h"), ("user", "u")]), "password"),
            (
                data(&[
                    ("host", "h"),
                    ("user", "u"),
                    ("password", "hunter2"),
                    ("port", "x"),
                ]),
                "port",
            ),
        ];
        for (data, word) in cases {
            let error = database_url(&data).unwrap_err();
            assert!(
                error.contains(word) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
