//! Values of Secrets, read when they are needed and have changed.

use std::collections::HashMap;
use std::sync::Mutex;

use hmac::{Hmac, KeyInit, Mac};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use sha2::Sha256;
use trunkline_model::secret::SecretBytes;

use crate::error::chain;
use crate::manifests::SecretData;
use crate::sync::lock;

/// What a Secret holds now.
#[derive(Debug, Clone)]
pub(crate) enum Reading {
    /// These keys and values.
    Present(SecretData),
    /// It is not there.
    Absent,
    /// It is there and cannot be read. What it held before is no answer: it may have been revoked.
    Unreadable(String),
}

/// Reads Secrets, each once for each of its versions.
pub(crate) struct SecretReader {
    client: Client,
    known: Mutex<HashMap<(String, String), Known>>,
}

#[derive(Debug)]
struct Known {
    resource_version: Option<String>,
    data: SecretData,
}

impl SecretReader {
    /// A reader that has read nothing.
    #[must_use]
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
        }
    }

    /// Reads a Secret that `store` knows of.
    pub(crate) async fn read(
        &self,
        store: &Store<PartialObjectMeta<Secret>>,
        namespace: &str,
        name: &str,
    ) -> Reading {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(seen) = store.get(&ObjectRef::new(name).within(namespace)) else {
            self.forget(&key);
            return Reading::Absent;
        };
        let resource_version = seen.metadata.resource_version.clone();
        if let Some(known) = lock(&self.known).get(&key)
            && known.resource_version == resource_version
        {
            return Reading::Present(known.data.clone());
        }
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(Some(secret)) => {
                let data: SecretData = secret
                    .data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, value)| (key, SecretBytes::new(value.0)))
                    .collect();
                let known = Known {
                    resource_version: secret.metadata.resource_version,
                    data: data.clone(),
                };
                lock(&self.known).insert(key, known);
                Reading::Present(data)
            }
            Ok(None) => {
                self.forget(&key);
                Reading::Absent
            }
            Err(error) => Reading::Unreadable(chain(&error)),
        }
    }

    fn forget(&self, key: &(String, String)) {
        lock(&self.known).remove(key);
    }
}

/// A secret of its own for `purpose`, made from a key: 64 hex digits, always the same.
#[must_use]
pub(crate) fn derive(key: &SecretBytes, purpose: &str) -> SecretBytes {
    // HMAC takes a key of any length; `new_from_slice` cannot fail for it.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        return SecretBytes::new(Vec::new());
    };
    let code = mac.chain_update(purpose.as_bytes()).finalize();
    SecretBytes::new(hex::encode(code.into_bytes()).into_bytes())
}
