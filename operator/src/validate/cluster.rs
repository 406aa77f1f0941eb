//! Validates a WebhookCluster and reads the owner's connection out of its Secret.

use trunkline_crds::WebhookCluster;
use trunkline_model::names::ClusterName;
use trunkline_model::secret::SecretBytes;
use trunkline_model::url::encode_part;

use super::{Cluster, DatabaseAccess};
use crate::manifests::{Located, Manifests, SecretData};
use crate::problem::{Collector, Problems};

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
    let mut collector = Collector::new(&located.file, label(object));
    let name = ClusterName::new(
        &namespace,
        object.metadata.name.as_deref().unwrap_or_default(),
    );
    if let Err(error) = &name {
        collector.add("metadata.name", error.to_string());
    }
    let secret = object.spec.database.secret_ref.name.clone();
    if secret.is_empty() {
        collector.add(
            "spec.database.secretRef.name",
            "is empty; name the Secret of the database",
        );
    }
    let database = match manifests.secrets.get(&(namespace, secret.clone())) {
        None => Some(DatabaseAccess::Absent { secret }),
        Some(data) => match database_url(data) {
            Ok(url) => Some(DatabaseAccess::Url(url)),
            Err(reason) => {
                collector.add(
                    "spec.database.secretRef.name",
                    format!("the Secret {secret:?} {reason}"),
                );
                None
            }
        },
    };
    let cluster = match (name, database) {
        (Ok(name), Some(database)) => Some(Cluster {
            name,
            size: object.spec.size,
            database,
        }),
        _ => None,
    };
    collector.finish(cluster)
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
