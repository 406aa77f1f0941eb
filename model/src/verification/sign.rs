//! Signs as a sender does, for the programs that play one: the inverse of what an ingester checks.

use base64::Engine;

use super::hash::BASE64;
use super::{
    Coverage, HmacScheme, KeyedHash, NamedSecret, SharedSecretCarrier, SharedSecretScheme,
    SignatureFormat, SignedPart, TimestampLocation, Verification,
};

/// A request that is about to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    /// Its body.
    pub body: &'a [u8],
    /// Where the body is a batch, the bytes of its first element; else the body.
    pub first_element: &'a [u8],
    /// Its other headers, names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The value of a signed header that is not among them: an id of the delivery.
    pub id: &'a str,
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// Why a request cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No secret is valid.
    #[error("no secret is valid now")]
    NoSecret,
    /// The secret cannot stand in a header.
    #[error("the secret is not UTF-8, which a header that carries it has to be")]
    NotText,
    /// The time has no such spelling.
    #[error("the time cannot be written as the scheme wants it")]
    Time,
}

/// A header by name, in lower case, and value.
type Header = (String, String);

impl Verification {
    /// The headers that make an ingester accept the request. The first secret signs: it is the
    /// current one. A batch is signed over its first element where that is enough, as Segment does
    /// it.
    ///
    /// # Errors
    /// [`SignError`] when nothing that is sent would be accepted.
    pub fn sign(&self, request: Unsigned<'_>) -> Result<Vec<Header>, SignError> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Hmac(scheme) => sign_hmac(scheme, request),
            Self::SharedSecret(scheme) => present(scheme, request.now),
        }
    }
}

fn current(secrets: &[NamedSecret], now: i64) -> Result<&[u8], SignError> {
    secrets
        .iter()
        .find(|secret| secret.is_valid_at(now))
        .map(|secret| secret.value.expose())
        .ok_or(SignError::NoSecret)
}

fn present(scheme: &SharedSecretScheme, now: i64) -> Result<Vec<Header>, SignError> {
    let secret = current(&scheme.secrets, now)?;
    let value = match &scheme.carrier {
        SharedSecretCarrier::Header { prefix, .. } => {
            let secret = std::str::from_utf8(secret).map_err(|_| SignError::NotText)?;
            format!("{prefix}{secret}")
        }
        SharedSecretCarrier::Basic { username } => {
            let credentials = [username.as_bytes(), b":", secret].concat();
            format!("Basic {}", BASE64.encode(credentials))
        }
    };
    Ok(vec![(scheme.carrier.header().to_owned(), value)])
}

fn sign_hmac(scheme: &HmacScheme, request: Unsigned<'_>) -> Result<Vec<Header>, SignError> {
    let mut headers = Vec::new();
    let timestamp = match &scheme.timestamp {
        Some(timestamp) => timestamp.unit.write(request.now).ok_or(SignError::Time)?,
        None => String::new(),
    };
    let location = scheme.timestamp.as_ref().map(|found| &found.location);
    if let Some(TimestampLocation::Header(name)) = location {
        headers.push((name.clone().into_owned(), timestamp.clone()));
    }
    let key = current(&scheme.secrets, request.now)?;
    // HMAC takes keys of any length, so that there always is one.
    let mut hash = KeyedHash::new(scheme.algorithm, key).ok_or(SignError::NoSecret)?;
    for part in &scheme.signed {
        match part {
            SignedPart::Body if scheme.coverage.contains(&Coverage::FirstElement) => {
                hash.update(request.first_element);
            }
            SignedPart::Body => hash.update(request.body),
            SignedPart::Timestamp => hash.update(timestamp.as_bytes()),
            SignedPart::Literal(text) => hash.update(text.as_bytes()),
            SignedPart::Header(name) => {
                let of_request = request.headers.iter().find(|header| header.0 == name);
                let own = headers.iter().find(|header| header.0 == *name);
                let value = match (of_request, own) {
                    (_, Some(own)) => own.1.clone(),
                    (Some(header), None) => header.1.to_owned(),
                    (None, None) => {
                        headers.push((name.clone().into_owned(), request.id.to_owned()));
                        request.id.to_owned()
                    }
                };
                hash.update(value.as_bytes());
            }
        }
    }
    let signature = scheme.encoding.encode(&hash.finish());
    let value = match &scheme.format {
        SignatureFormat::Plain { prefix } => format!("{prefix}{signature}"),
        SignatureFormat::List { key } => format!("{key},{signature}"),
        SignatureFormat::KeyValue { key } => match location {
            Some(TimestampLocation::Key(name)) => format!("{name}={timestamp},{key}={signature}"),
            _ => format!("{key}={signature}"),
        },
    };
    headers.push((scheme.header.clone(), value));
    Ok(headers)
}
