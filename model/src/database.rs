//! A login to PostgreSQL: a connection URL, and the certificates that a URL cannot hold.

use serde::{Deserialize, Serialize};

use crate::secret::SecretBytes;

/// Everything that one needs to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseLogin {
    /// `postgres://…`, or libpq's `key=value` form.
    pub url: SecretBytes,
    /// For TLS.
    pub certificates: Certificates,
}

/// Certificates for TLS to PostgreSQL. In a URL of libpq they would be names of files
/// (`sslrootcert`, `sslcert`, `sslkey`), and a pod has no such files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// The authorities that vouch for the server, as PEM. None: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// What to show to a server that asks for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
}

/// A certificate of ours, and the key that proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// The certificate and those between it and its authority, as PEM.
    pub chain: String,
    /// The private key, as PEM.
    pub key: SecretBytes,
}

impl Certificates {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<SecretBytes> for DatabaseLogin {
    fn from(url: SecretBytes) -> Self {
        Self {
            url,
            certificates: Certificates::default(),
        }
    }
}

impl From<&SecretBytes> for DatabaseLogin {
    fn from(url: &SecretBytes) -> Self {
        url.clone().into()
    }
}

impl From<&Self> for DatabaseLogin {
    fn from(login: &Self) -> Self {
        login.clone()
    }
}
