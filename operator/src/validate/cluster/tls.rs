//! Reads the certificate that ingesters are to show out of its Secret.

use trunkline_model::certificate::{Certificate, CertificateError, Pem};
use trunkline_model::secret::SecretBytes;

use crate::manifests::{Manifests, SecretData};

/// The key of the certificate in a Secret of the type `kubernetes.io/tls`
/// (<https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets>).
pub const TLS_CERT_KEY: &str = "tls.crt";
/// The key of its private key there.
pub const TLS_PRIVATE_KEY_KEY: &str = "tls.key";
/// The field that names the Secret.
const FIELD: &str = "spec.tls.secretName";

/// TLS in the ingesters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The Secret of the certificate and its key, in the cluster's namespace.
    pub secret: String,
    /// What the Secret holds.
    pub certificate: Result<ServerCertificate, CertificateFault>,
}

/// A certificate that ingesters can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Tells it from others: [`Certificate::fingerprint`].
    pub fingerprint: [u8; 32],
    /// From when it is valid, in seconds since the Unix epoch.
    pub valid_from: i64,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: i64,
    /// Whether it is for the host of the cluster's URL.
    pub is_for_host: bool,
}

/// Why ingesters cannot show what a Secret holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFault {
    /// In one word.
    pub reason: &'static str,
    /// The field, what is wrong and what to do.
    pub message: String,
}

/// `host` is what senders ask for, where nothing stands between them and the ingesters.
pub(super) fn tls(
    spec: &trunkline_crds::Tls,
    namespace: &str,
    host: Option<&str>,
    manifests: &Manifests,
) -> Tls {
    let secret = spec.secret_name.clone();
    let key = (namespace.to_owned(), secret.clone());
    let certificate = match (
        manifests.unreadable_secrets.get(&key),
        manifests.secrets.get(&key),
    ) {
        (Some(why), _) => fault(
            "SecretUnreadable",
            &format!("the Secret {secret:?} cannot be read: {why}"),
        ),
        (None, None) => fault(
            "SecretNotFound",
            &format!(
                "there is no Secret {secret:?} in namespace {namespace:?}; create it, let \
                 cert-manager write it, or correct the name"
            ),
        ),
        (None, Some(data)) => read(&secret, data, host),
    };
    Tls {
        secret,
        certificate,
    }
}

fn fault<T>(reason: &'static str, message: &str) -> Result<T, CertificateFault> {
    Err(CertificateFault {
        reason,
        message: format!("{FIELD}: {message}"),
    })
}

fn read(
    secret: &str,
    data: &SecretData,
    host: Option<&str>,
) -> Result<ServerCertificate, CertificateFault> {
    let value = |key: &str| match data.get(key) {
        Some(value) => Ok(value),
        None => fault(
            "SecretKeyNotFound",
            &format!(
                "the Secret {secret:?} has no key {key:?}; a Secret of the type kubernetes.io/tls has \
                 {TLS_CERT_KEY:?} and {TLS_PRIVATE_KEY_KEY:?}"
            ),
        ),
    };
    let pem = Pem {
        certificate: value(TLS_CERT_KEY)?.expose().to_vec(),
        key: SecretBytes::new(value(TLS_PRIVATE_KEY_KEY)?.expose().to_vec()),
    };
    match Certificate::read(&pem) {
        Ok(certificate) => Ok(ServerCertificate {
            fingerprint: certificate.fingerprint(),
            valid_from: certificate.valid_from,
            expires_at: certificate.expires_at,
            is_for_host: host.is_none_or(|host| certificate.is_for(host)),
        }),
        Err(error) => fault("CertificateInvalid", &invalid(secret, error)),
    }
}

fn invalid(secret: &str, error: CertificateError) -> String {
    let key = if error.is_about_key() {
        TLS_PRIVATE_KEY_KEY
    } else {
        TLS_CERT_KEY
    };
    format!(
        "the Secret {secret:?} cannot be shown: its {key} {error}; write a certificate and its key, \
         both in PEM"
    )
}
