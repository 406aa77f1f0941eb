//! Writes statuses, and says in an Event when an object's readiness has changed.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Mutex;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trunkline_crds::{WebhookCluster, WebhookClusterStatus, WebhookSource, WebhookSourceStatus};

use crate::apply::{ApplyError, FIELD_MANAGER, version};
use crate::status::find;
use crate::sync::lock;

/// What an Event's note may hold (1 KiB).
const MAX_NOTE_CHARS: usize = 1000;

/// An object with a status of ours.
pub(super) trait HasStatus:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
    /// Its status.
    type Status: Clone + Serialize + PartialEq;
    /// The status that the watch shows.
    fn status(&self) -> Option<&Self::Status>;
    /// Puts a status in place of the watch's.
    fn set_status(&mut self, status: Self::Status);
    /// The conditions of a status.
    fn conditions(status: &Self::Status) -> &[Condition];
}

macro_rules! has_status {
    ($kind:ty, $status:ty) => {
        impl HasStatus for $kind {
            type Status = $status;
            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }
            fn set_status(&mut self, status: $status) {
                self.status = Some(status);
            }
            fn conditions(status: &$status) -> &[Condition] {
                &status.conditions
            }
        }
    };
}
has_status!(WebhookCluster, WebhookClusterStatus);
has_status!(WebhookSource, WebhookSourceStatus);

/// Writes statuses that have changed.
pub(super) struct StatusWriter {
    client: Client,
    recorder: Recorder,
    /// Our last write of each object, by UID, for as long as the watch lags behind it.
    last: Mutex<HashMap<String, (Option<u64>, Value)>>,
}

impl StatusWriter {
    pub(super) fn new(client: Client, recorder: Recorder) -> Self {
        Self {
            client,
            recorder,
            last: Mutex::default(),
        }
    }

    /// The object with the status that was written last, where the watch does not show it yet.
    pub(super) fn current<K>(&self, mut object: K) -> K
    where
        K: HasStatus,
        K::Status: DeserializeOwned,
    {
        let uid = object.uid().unwrap_or_default();
        let last = lock(&self.last);
        if let Some((last_version, status)) = last.get(&uid)
            && version(&object) < *last_version
            && let Ok(status) = serde_json::from_value(status.clone())
        {
            object.set_status(status);
        }
        object
    }

    /// Writes a status, when it is not what `object` ([`StatusWriter::current`]) has.
    pub(super) async fn write<K: HasStatus>(
        &self,
        object: &K,
        status: &K::Status,
    ) -> Result<bool, ApplyError> {
        if object.status() == Some(status) {
            return Ok(false);
        }
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let key = format!("{} {namespace}/{name}", K::kind(&()));
        let value = serde_json::to_value(status)
            .map_err(|error| ApplyError::Encode(format!("the status of {key}"), error))?;
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // A new object of the same name must not get the status of the old.
            "metadata": {"uid": object.uid()},
            "status": value,
        });
        let api = Api::<K>::namespaced(self.client.clone(), &namespace);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let written = match api
            .patch_status(&name, &parameters, &Patch::Apply(&patch))
            .await
        {
            Ok(written) => written,
            // It went meanwhile, or another object has its name.
            Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => {
                return Ok(false);
            }
            Err(error) => {
                let doing = format!("write the status of {key}");
                return Err(ApplyError::Api(doing, Box::new(error)));
            }
        };
        if let Some(uid) = object.uid() {
            lock(&self.last).insert(uid, (version(&written), value));
        }
        self.tell(object, status).await;
        Ok(true)
    }

    /// An Event where readiness has changed.
    async fn tell<K: HasStatus>(&self, object: &K, status: &K::Status) {
        let ready = |conditions| find(conditions, "Ready").cloned();
        let before = object
            .status()
            .and_then(|status| ready(K::conditions(status)));
        let Some(after) = ready(K::conditions(status)) else {
            return;
        };
        if before
            .is_some_and(|before| before.status == after.status && before.reason == after.reason)
            || after.reason == "Progressing"
        {
            return;
        }
        let type_ = if after.status == "False" {
            EventType::Warning
        } else {
            EventType::Normal
        };
        self.publish(object, type_, &after.reason, after.message)
            .await;
    }

    /// Publishes an Event about an object.
    pub(super) async fn publish<K: HasStatus>(
        &self,
        object: &K,
        type_: EventType,
        reason: &str,
        message: String,
    ) {
        let mut note = message;
        if let Some((end, _)) = note.char_indices().nth(MAX_NOTE_CHARS) {
            note.truncate(end);
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!("event: {}", crate::error::chain(&error));
        }
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&self, uid: &str) {
        lock(&self.last).remove(uid);
    }
}
