//! What holds of any headers and body, for every preset; see [`crate::fuzzing`].

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use trunkline_model::presets::PRESETS;
use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::{
    HmacAlgorithm, KeyedHash, Mode, NamedSecret, SignedPart, TimestampLocation, Unsigned,
    Verification,
};

use super::verify;
use crate::json::first_element;

/// When it happens, in seconds since 1970.
const NOW: i64 = 1_700_000_000;

/// A secret that depends on the whole input, so that none can hold its own signature.
fn secret(data: &[u8]) -> Option<NamedSecret> {
    let mut hash = KeyedHash::new(HmacAlgorithm::Sha256, b"nobody knows")?;
    hash.update(data);
    Some(NamedSecret {
        name: "secret/key".to_owned(),
        value: SecretBytes::new(hex::encode(hash.finish())),
        expires_at: None,
    })
}

/// The headers that a scheme reads, in the order in which the input has them.
fn names(verification: &Verification) -> Vec<&str> {
    let mut names: Vec<_> = verification.header().into_iter().collect();
    if let Verification::Hmac(scheme) = verification {
        let location = scheme.timestamp.as_ref().map(|found| &found.location);
        if let Some(TimestampLocation::Header(name)) = location {
            names.push(name);
        }
        for part in &scheme.signed {
            if let SignedPart::Header(name) = part {
                names.push(name);
            }
        }
    }
    names
}

/// Nobody who does not know the secret is believed; who knows it is, whatever is in the body.
///
/// The first byte chooses a preset. Then come the values of the headers that it reads, each ended
/// by a NUL, and the body.
pub fn signature(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let preset = PRESETS.iter().cycle().nth(usize::from(choice));
    let (Some(preset), Some(secret)) = (preset, secret(data)) else {
        return;
    };
    let verification = preset.verification(false, Mode::Enforce, vec![secret]);
    let names = names(&verification);
    let mut pieces = rest.splitn(names.len() + 1, |byte| *byte == 0);
    let mut headers = HeaderMap::new();
    for name in names {
        let value = pieces.next().map(HeaderValue::from_bytes);
        if let (Ok(name), Some(Ok(value))) = (name.parse::<HeaderName>(), value) {
            headers.append(name, value);
        }
    }
    let body = pieces.next().unwrap_or_default();
    let forged = verify(&verification, &headers, body, NOW);
    assert!(forged.is_err(), "{}: forged: {forged:?}", preset.name);

    let signed = verification.sign(Unsigned {
        body,
        first_element: first_element(body).unwrap_or(body),
        headers: &[],
        id: "id",
        now: NOW,
    });
    let mut headers = HeaderMap::new();
    for (name, value) in signed.into_iter().flatten() {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            headers.append(name, value);
        }
    }
    let genuine = verify(&verification, &headers, body, NOW);
    assert!(genuine.is_ok(), "{}: refused: {genuine:?}", preset.name);
}
