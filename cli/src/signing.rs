//! The headers that make a source accept a request, whatever it verifies.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use trunkline_model::verification::{SignError, Unsigned, Verification};
use uuid::Uuid;

use crate::segment::HEADERS;
use crate::send::SentEvent;

/// Why no request can be proved to a source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningError {
    #[error("requests cannot be signed: {0}")]
    Sign(#[from] SignError),
    #[error("the secret holds characters that no header can hold, such as a newline")]
    Header,
}

/// The headers for a body, sent at `now`; none where nothing is verified. `first_element` is that
/// of a batch, else the body.
pub(crate) fn headers_for(
    verification: &Verification,
    body: &[u8],
    first_element: &[u8],
    now: Timestamp,
) -> Result<HeaderMap, SigningError> {
    let signed = verification.sign(Unsigned {
        body,
        first_element,
        headers: &HEADERS,
        id: &format!("msg_{}", Uuid::now_v7().simple()),
        now: now.as_second(),
    })?;
    let mut headers = HeaderMap::new();
    for (name, value) in signed {
        let name = HeaderName::try_from(name).map_err(|_| SigningError::Header)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| SigningError::Header)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The same for a body of these events. What cannot be signed was refused before the run.
pub(crate) fn proof(
    verification: &Verification,
    body: &str,
    events: &[SentEvent],
    now: Timestamp,
) -> HeaderMap {
    let first = events
        .first()
        .and_then(|event| body.get(event.place.clone()))
        .unwrap_or_default();
    headers_for(verification, body.as_bytes(), first.as_bytes(), now).unwrap_or_default()
}

/// What tests sign for: a preset with these secrets.
#[cfg(test)]
pub(crate) fn preset(name: &str, strict: bool, secrets: &[&str]) -> Verification {
    use trunkline_model::presets::Preset;
    use trunkline_model::secret::SecretBytes;
    use trunkline_model::verification::{Mode, NamedSecret};

    let named = |secret: &&str| NamedSecret {
        name: "s/k".to_owned(),
        value: SecretBytes::new(*secret),
        expires_at: None,
    };
    let secrets = secrets.iter().map(named).collect();
    let preset = Preset::by_name(name).unwrap();
    preset.verification(strict, Mode::Enforce, secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(name: &str, secrets: &[&str]) -> Result<HeaderMap, SigningError> {
        let verification = preset(name, false, secrets);
        headers_for(&verification, b"[1,2]", b"1", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn every_header_that_the_scheme_reads_is_there() {
        let headers = signed("standard-webhooks", &["hush"]).unwrap();
        assert_eq!(headers["webhook-timestamp"], "0");
        let id = headers["webhook-id"].to_str().unwrap();
        assert!(id.starts_with("msg_"), "{id}");
        let signature = headers["webhook-signature"].to_str().unwrap();
        assert!(signature.starts_with("v1,"), "{signature}");
        assert_eq!(
            signed("gitlab", &["hush"]).unwrap()["x-gitlab-token"],
            "hush"
        );
        assert!(!format!("{:?}", signed("gitlab", &["hush"])).contains("hush"));
    }

    #[test]
    fn what_cannot_be_sent_is_said_and_not_sent() {
        let no_secret = signed("github", &[]).unwrap_err().to_string();
        assert!(no_secret.contains("no secret"), "{no_secret}");
        let newline = signed("gitlab", &["hush\n"]).unwrap_err().to_string();
        assert!(newline.contains("newline"), "{newline}");
        assert!(!newline.contains("hush"), "{newline}");
    }
}
