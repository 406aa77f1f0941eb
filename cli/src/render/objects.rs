//! The Kubernetes objects, and the configuration Secrets without their values.

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use trunkline_model::document::ClusterSettings;
use trunkline_model::secret::SecretBytes;
use trunkline_operator::build::{self, EntryInputs, ObjectInputs};
use trunkline_operator::validate::{DatabaseAccess, Validated};

/// The objects in the order in which the operator applies them.
pub(super) fn objects(inputs: &ObjectInputs<'_>) -> anyhow::Result<Vec<Value>> {
    let made = build::objects(inputs);
    let mut values = vec![
        value(&made.service_account)?,
        value(&made.service)?,
        value(&made.deployment)?,
    ];
    if let Some(budget) = &made.disruption_budget {
        values.push(value(budget)?);
    }
    if let Some(ingress) = &made.ingress {
        values.push(value(ingress)?);
    }
    Ok(values)
}

/// The configuration Secrets. In place of each value stands its size, which is not base64, so that
/// the API server refuses it. The size is that of the files' own secrets; the operator's random keys
/// and the ingesters' password make it differ by a few bytes.
pub(super) fn configuration(validated: &Validated) -> anyhow::Result<Vec<Value>> {
    let cluster = &validated.cluster;
    let stand_in = SecretBytes::new([0; 32]);
    let login = match &cluster.database {
        DatabaseAccess::Login(login) => login.clone(),
        DatabaseAccess::Absent { .. } => stand_in.clone().into(),
    };
    let settings = ClusterSettings {
        name: cluster.name.clone(),
        hash_key: stand_in.clone(),
        database_url: login.url,
        database_certificates: login.certificates,
        limits: build::limits(cluster),
    };
    let entries = (1..).zip(validated.valid()).map(|(bucket, source)| {
        let inputs = EntryInputs {
            bucket: Ok(bucket),
            previous: None,
            now: 0,
            hash_key: &stand_in,
        };
        build::entry(source, inputs)
    });
    let files = build::configuration(settings, entries.collect::<Result<_, _>>()?)?;
    build::configuration_secrets(&cluster.name, None, &files)
        .into_iter()
        .map(|mut secret| {
            let files = secret.data.take().unwrap_or_default();
            let sizes = files
                .iter()
                .map(|(file, bytes)| (file.clone(), format!("… {} bytes", bytes.0.len()).into()));
            let sizes: serde_json::Map<_, _> = sizes.collect();
            let mut object = value(&secret)?;
            object["data"] = Value::Object(sizes);
            Ok(object)
        })
        .collect()
}

fn value(object: &impl Serialize) -> anyhow::Result<Value> {
    serde_json::to_value(object).context("a Kubernetes object")
}
