//! `spec.verification.hmac` to a scheme.

use trunkline_crds::{
    self as crds, HmacVerification, SignatureCoverage, SignatureFormat, SignatureTimestamp,
};
use trunkline_model::presets::covered;
use trunkline_model::verification::{
    self as model, Coverage, HmacScheme, SignedPart, TimestampLocation, TimestampScheme,
    TimestampUnit, Verification, parse_template,
};

use super::Scheme;
use crate::problem::Collector;
use crate::validate::source::{is_header_name, parse_duration};

/// Bound on `timestamp.tolerance`: what is older is a replay by any measure.
const MAX_TOLERANCE_SECONDS: i64 = 24 * 3600;

const FIELD: &str = "spec.verification.hmac";

pub(super) fn scheme(
    spec: &HmacVerification,
    strict: bool,
    collector: &mut Collector<'_>,
) -> Option<Scheme> {
    header_name("header", &spec.header, collector);
    let signed = signed(spec, collector);
    let timestamp = timestamp(spec, &signed, collector);
    let scheme = HmacScheme {
        header: spec.header.to_ascii_lowercase(),
        format: format(spec, collector)?,
        algorithm: match spec.algorithm {
            crds::HmacAlgorithm::Sha1 => model::HmacAlgorithm::Sha1,
            crds::HmacAlgorithm::Sha256 => model::HmacAlgorithm::Sha256,
            crds::HmacAlgorithm::Sha512 => model::HmacAlgorithm::Sha512,
        },
        encoding: match spec.encoding {
            crds::SignatureEncoding::Hex => model::SignatureEncoding::Hex,
            crds::SignatureEncoding::Base64 => model::SignatureEncoding::Base64,
        },
        signed,
        timestamp,
        coverage: match spec.coverage {
            SignatureCoverage::Body => vec![Coverage::Body],
            SignatureCoverage::BodyOrFirstElement => {
                covered(&[Coverage::Body, Coverage::FirstElement], strict)
            }
        },
        secrets: Vec::new(),
        mode: model::Mode::Enforce,
    };
    Some(Scheme {
        secret_encoding: match spec.secret_encoding {
            crds::SecretEncoding::Raw => model::SecretEncoding::Raw,
            crds::SecretEncoding::Base64 => model::SecretEncoding::Base64,
            crds::SecretEncoding::Hex => model::SecretEncoding::Hex,
            crds::SecretEncoding::Whsec => model::SecretEncoding::Whsec,
        },
        splits_arrays: false,
        verification: Box::new(move |mode, secrets| {
            Verification::Hmac(HmacScheme {
                secrets,
                mode,
                ..scheme
            })
        }),
    })
}

fn header_name(field: &str, name: &str, collector: &mut Collector<'_>) {
    if !is_header_name(name) {
        collector.add(
            format!("{FIELD}.{field}"),
            format!("{name:?} is not a header name"),
        );
    }
}

fn format(
    spec: &HmacVerification,
    collector: &mut Collector<'_>,
) -> Option<model::SignatureFormat> {
    if spec.prefix.is_some() && spec.format != SignatureFormat::Plain {
        collector.add(
            format!("{FIELD}.prefix"),
            "goes with format Plain alone; remove it",
        );
    }
    let key = || spec.key.clone().map(Into::into);
    let format = match spec.format {
        SignatureFormat::Plain => match &spec.key {
            Some(_) => None,
            None => Some(model::SignatureFormat::Plain {
                prefix: spec.prefix.clone().unwrap_or_default().into(),
            }),
        },
        SignatureFormat::KeyValue => key().map(|key| model::SignatureFormat::KeyValue { key }),
        SignatureFormat::List => key().map(|key| model::SignatureFormat::List { key }),
    };
    if format.is_none() {
        collector.add(
            format!("{FIELD}.key"),
            "goes with format KeyValue or List, which need it; name the key of the signature, or \
             remove it",
        );
    }
    format
}

fn signed(spec: &HmacVerification, collector: &mut Collector<'_>) -> Vec<SignedPart> {
    match parse_template(&spec.signed) {
        Ok(parts) => {
            for part in &parts {
                if let SignedPart::Header(name) = part {
                    header_name("signed", name, collector);
                }
            }
            parts
        }
        Err(error) => {
            collector.add(format!("{FIELD}.signed"), error.to_string());
            Vec::new()
        }
    }
}

fn timestamp(
    spec: &HmacVerification,
    signed: &[SignedPart],
    collector: &mut Collector<'_>,
) -> Option<TimestampScheme> {
    let is_signed = signed.contains(&SignedPart::Timestamp);
    let Some(timestamp) = &spec.timestamp else {
        if is_signed {
            collector.add(
                format!("{FIELD}.timestamp"),
                "is not there and signed holds {timestamp}; say which header or key has it",
            );
        }
        return None;
    };
    let tolerance_seconds = tolerance(&timestamp.tolerance, collector);
    if tolerance_seconds == 0 && !is_signed {
        collector.add(
            format!("{FIELD}.timestamp"),
            "has no effect: it is neither signed nor checked; remove it, or set a tolerance",
        );
    }
    Some(TimestampScheme {
        location: location(timestamp, spec.format, collector)?,
        unit: match timestamp.unit {
            crds::TimestampUnit::Seconds => TimestampUnit::Seconds,
            crds::TimestampUnit::Milliseconds => TimestampUnit::Milliseconds,
            crds::TimestampUnit::Rfc3339 => TimestampUnit::Rfc3339,
        },
        tolerance_seconds,
    })
}

fn location(
    timestamp: &SignatureTimestamp,
    format: SignatureFormat,
    collector: &mut Collector<'_>,
) -> Option<TimestampLocation> {
    match (&timestamp.header, &timestamp.key) {
        (Some(header), None) => {
            header_name("timestamp.header", header, collector);
            Some(TimestampLocation::Header(
                header.to_ascii_lowercase().into(),
            ))
        }
        (None, Some(key)) if format == SignatureFormat::KeyValue => {
            Some(TimestampLocation::Key(key.clone().into()))
        }
        (None, Some(_)) => {
            collector.add(
                format!("{FIELD}.timestamp.key"),
                "goes with format KeyValue alone; use timestamp.header",
            );
            None
        }
        (Some(_), Some(_)) | (None, None) => {
            collector.add(
                format!("{FIELD}.timestamp"),
                "needs exactly one of header and key",
            );
            None
        }
    }
}

fn tolerance(text: &str, collector: &mut Collector<'_>) -> i64 {
    match parse_duration(text) {
        Some(seconds) if seconds <= MAX_TOLERANCE_SECONDS => seconds,
        _ => {
            collector.add(
                format!("{FIELD}.timestamp.tolerance"),
                format!("{text:?} is not a duration of at most 24h; write one like 5m, 90s or 0s"),
            );
            0
        }
    }
}
