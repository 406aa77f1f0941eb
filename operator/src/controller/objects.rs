//! Writes a cluster's objects and takes away those that it no longer asks for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use trunkline_model::document::Files;
use trunkline_model::names::ClusterName;

use super::context::Context;
use super::read::owned;
use crate::apply::{Applied, ApplyError};
use crate::build::{Listening, ObjectInputs, configuration_secrets, objects};
use crate::validate::Cluster;

/// Applies the configuration, then what reads it.
pub(super) async fn apply_objects(
    context: &Context,
    name: &ClusterName,
    owner: &OwnerReference,
    cluster: Option<(&Cluster, &str)>,
    files: Option<&Files>,
    listening: Listening,
) -> Result<(), ApplyError> {
    let stores = &context.stores;
    if let Some(files) = files {
        for secret in configuration_secrets(name, Some(owner), files) {
            apply(context, &secret, &stores.shards).await?;
        }
    }
    let Some((cluster, image)) = cluster else {
        return Ok(());
    };
    let objects = objects(&ObjectInputs {
        cluster,
        owner: Some(owner.clone()),
        image,
        listening,
    });
    apply(context, &objects.service_account, &stores.service_accounts).await?;
    apply(context, &objects.service, &stores.services).await?;
    // Pods that cannot show a certificate would only fail. Those that there are go on.
    if cluster
        .tls
        .as_ref()
        .is_none_or(|tls| tls.certificate.is_ok())
    {
        apply(context, &objects.deployment, &stores.deployments).await?;
    }
    apply_or_remove(
        context,
        name,
        objects.disruption_budget.as_ref(),
        &stores.disruption_budgets,
    )
    .await?;
    apply_or_remove(context, name, objects.ingress.as_ref(), &stores.ingresses).await
}

async fn apply<K>(context: &Context, desired: &K, store: &Store<K>) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let reference =
        ObjectRef::<K>::new(&desired.name_any()).within(&desired.namespace().unwrap_or_default());
    let live = store.get(&reference);
    if context.applier.apply(desired, live.as_deref()).await? == Applied::Written {
        context.metrics.wrote(1);
    }
    Ok(())
}

/// Of these kinds a cluster has one object or none.
async fn apply_or_remove<K>(
    context: &Context,
    name: &ClusterName,
    desired: Option<&K>,
    store: &Store<K>,
) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    if let Some(desired) = desired {
        return apply(context, desired, store).await;
    }
    for orphan in owned(store, name) {
        context.applier.delete(&*orphan).await?;
        context.metrics.wrote(1);
    }
    Ok(())
}
