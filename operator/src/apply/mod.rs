//! Writes objects by server-side apply, and only those that differ.
//!
//! Invariants: one field manager; no write for an object that is as it should be; an object that
//! the API server already has in our last form is not written again because a watch lags behind.

mod difference;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Mutex;

use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sync::lock;
use difference::{is_satisfied, stamped};

/// The field manager of everything that the operator writes.
pub(crate) const FIELD_MANAGER: &str = "trunkline-operator";

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The object is not JSON; our types rule it out.
    #[error("could not encode {0}")]
    Encode(String, #[source] serde_json::Error),
    /// The API server refused or did not answer.
    #[error("could not {0}")]
    Api(String, #[source] Box<kube::Error>),
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was as it should be.
    Unchanged,
    /// It was written.
    Written,
}

/// Applies objects and remembers their last form.
pub(crate) struct Applier {
    client: Client,
    /// Our last write, by kind, namespace and name.
    last: Mutex<HashMap<String, Last>>,
}

#[derive(Debug)]
struct Last {
    resource_version: u64,
    /// The hash of what was written.
    stamp: String,
}

impl Applier {
    /// An applier without memory.
    #[must_use]
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            last: Mutex::default(),
        }
    }

    /// Brings an object to its desired form. `live` is what the watch knows of it.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing is retried here.
    pub(crate) async fn apply<K>(
        &self,
        desired: &K,
        live: Option<&K>,
    ) -> Result<Applied, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let kind = K::kind(&());
        let (namespace, name) = (desired.namespace().unwrap_or_default(), desired.name_any());
        let key = format!("{kind} {namespace}/{name}");
        let encode = |object: &K| {
            serde_json::to_value(object).map_err(|error| ApplyError::Encode(key.clone(), error))
        };
        let (wish, stamp) = stamped(encode(desired)?);
        if let Some(live) = live {
            let found = encode(live)?;
            if is_satisfied(&wish, &found) || self.is_stale(&key, live, &stamp) {
                return Ok(Applied::Unchanged);
            }
        }
        let api = Api::<K>::namespaced(self.client.clone(), &namespace);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let written = api
            .patch(&name, &parameters, &Patch::Apply(&wish))
            .await
            .map_err(|error| ApplyError::Api(format!("apply {key}"), Box::new(error)))?;
        if let Some(resource_version) = version(&written) {
            let last = Last {
                resource_version,
                stamp,
            };
            lock(&self.last).insert(key, last);
        }
        Ok(Applied::Written)
    }

    /// Deletes an object that the spec no longer asks for.
    ///
    /// # Errors
    /// [`ApplyError::Api`]; an object that is gone is no error.
    pub(crate) async fn delete<K>(&self, live: &K) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let (namespace, name) = (live.namespace().unwrap_or_default(), live.name_any());
        let key = format!("{} {namespace}/{name}", K::kind(&()));
        if live.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let api = Api::<K>::namespaced(self.client.clone(), &namespace);
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                return Err(ApplyError::Api(format!("delete {key}"), Box::new(error)));
            }
        }
        lock(&self.last).remove(&key);
        Ok(())
    }

    /// Whether the watch shows an object from before our last write of the same wish.
    fn is_stale<K: Resource>(&self, key: &str, live: &K, stamp: &str) -> bool {
        lock(&self.last).get(key).is_some_and(|last| {
            last.stamp == stamp
                && version(live).is_some_and(|version| version < last.resource_version)
        })
    }
}

/// Resource versions are numbers that rise (KEP-5504).
pub(crate) fn version(object: &impl Resource) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}
