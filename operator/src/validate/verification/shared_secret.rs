//! `spec.verification.sharedSecret` to a scheme.

use trunkline_crds::SharedSecretVerification;
use trunkline_model::verification::{
    SecretEncoding, SharedSecretCarrier, SharedSecretScheme, Verification,
};

use super::Scheme;
use crate::problem::Collector;
use crate::validate::source::is_header_name;

const FIELD: &str = "spec.verification.sharedSecret";

pub(super) fn scheme(
    spec: &SharedSecretVerification,
    collector: &mut Collector<'_>,
) -> Option<Scheme> {
    let carrier = carrier(spec, collector)?;
    Some(Scheme {
        secret_encoding: SecretEncoding::Raw,
        splits_arrays: false,
        verification: Box::new(move |mode, secrets| {
            Verification::SharedSecret(SharedSecretScheme {
                carrier,
                secrets,
                mode,
            })
        }),
    })
}

fn carrier(
    spec: &SharedSecretVerification,
    collector: &mut Collector<'_>,
) -> Option<SharedSecretCarrier> {
    match (&spec.header, &spec.basic) {
        (Some(header), None) => {
            if !is_header_name(header) {
                collector.add(
                    format!("{FIELD}.header"),
                    format!("{header:?} is not a header name"),
                );
            }
            Some(SharedSecretCarrier::Header {
                name: header.to_ascii_lowercase().into(),
                prefix: spec.prefix.clone().unwrap_or_default().into(),
            })
        }
        (None, Some(basic)) => {
            if spec.prefix.is_some() {
                collector.add(
                    format!("{FIELD}.prefix"),
                    "goes with header alone; remove it",
                );
            }
            if basic.username.is_empty() || basic.username.contains(':') {
                collector.add(
                    format!("{FIELD}.basic.username"),
                    "is empty or holds a colon, which ends it in HTTP Basic; choose another name",
                );
            }
            Some(SharedSecretCarrier::Basic {
                username: basic.username.clone().into(),
            })
        }
        (Some(_), Some(_)) | (None, None) => {
            collector.add(FIELD, "needs exactly one of header and basic");
            None
        }
    }
}
