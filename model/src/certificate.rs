//! A server's certificate and its key, from PEM: what an ingester can show to senders.
//!
//! Pure. Invariant: no error quotes a key.

use std::fmt;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::secret::SecretBytes;

/// A certificate and its key, as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pem {
    /// The server's certificate, and after it those that lead to an authority.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: SecretBytes,
}

/// What a server shows.
pub struct Certificate {
    /// For the TLS library.
    pub key: CertifiedKey,
    /// From when it is valid, in seconds since the Unix epoch.
    pub valid_from: i64,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: i64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("valid_from", &self.valid_from)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why a pair cannot be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A chain in PEM begins with the server's own certificate.
    #[error("holds no certificate in PEM, or one that is damaged")]
    Certificate,
    /// PKCS#8, PKCS#1 and SEC1 are read.
    #[error("holds no private key in PEM, or one of a kind that is not supported")]
    Key,
    /// Most often one of the two is of before a renewal.
    #[error("is not the key of the first certificate")]
    Mismatch,
}

impl CertificateError {
    /// Which of the two it is about; the message goes on from there.
    #[must_use]
    pub fn is_about_key(self) -> bool {
        self != Self::Certificate
    }
}

impl Certificate {
    /// Reads a pair.
    ///
    /// # Errors
    /// Which of the two cannot be shown, and why.
    pub fn read(pem: &Pem) -> Result<Self, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.certificate).collect();
        let chain = chain.map_err(|_| CertificateError::Certificate)?;
        let first = chain.first().ok_or(CertificateError::Certificate)?;
        let (_, parsed) =
            X509Certificate::from_der(first).map_err(|_| CertificateError::Certificate)?;
        let validity = parsed.validity();
        let (valid_from, expires_at) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        let key =
            PrivateKeyDer::from_pem_slice(pem.key.expose()).map_err(|_| CertificateError::Key)?;
        let key =
            CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
                match error {
                    rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch,
                    rustls::Error::InvalidCertificate(_) => CertificateError::Certificate,
                    _ => CertificateError::Key,
                }
            })?;
        Ok(Self {
            key,
            valid_from,
            expires_at,
        })
    }

    /// Tells it from every other: the SHA-256 of the server's own certificate in DER.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let own = self.key.cert.first().map_or(&[][..], |own| own.as_ref());
        Sha256::digest(own).into()
    }

    /// Whether a sender that asks for this host takes it.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let parsed = self.key.cert.first().map(ParsedCertificate::try_from);
        match (parsed, ServerName::try_from(host)) {
            (Some(Ok(parsed)), Ok(name)) => verify_server_name(&parsed, &name).is_ok(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let names = vec!["a.example".to_owned(), "*.b.example".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn read(certificate: &str, key: &str) -> Result<Certificate, CertificateError> {
        Certificate::read(&Pem {
            certificate: certificate.into(),
            key: SecretBytes::new(key),
        })
    }

    #[test]
    fn a_pair_is_read_and_anything_else_named() {
        let (certificate, key) = pair();
        let (other_certificate, other_key) = pair();
        let made = read(&certificate, &key).unwrap();
        // rcgen's defaults: the years 1975 and 4096.
        assert_eq!(made.valid_from, 157_766_400);
        assert_eq!(made.expires_at, 67_090_118_400);
        let chain = format!("{certificate}{other_certificate}");
        let with_chain = read(&chain, &key).unwrap();
        assert_eq!(with_chain.fingerprint(), made.fingerprint());
        let other = read(&other_certificate, &other_key).unwrap();
        assert_ne!(other.fingerprint(), made.fingerprint());
        for (certificate, key, error) in [
            (&certificate, &other_key, CertificateError::Mismatch),
            (&other_certificate, &key, CertificateError::Mismatch),
            (&String::new(), &key, CertificateError::Certificate),
            (&key, &key, CertificateError::Certificate),
            (
                &certificate[..300].to_owned(),
                &key,
                CertificateError::Certificate,
            ),
            (&certificate, &String::new(), CertificateError::Key),
            (&certificate, &certificate, CertificateError::Key),
            (&certificate, &key[..80].to_owned(), CertificateError::Key),
        ] {
            assert_eq!(read(certificate, key).unwrap_err(), error);
            let said = format!("{error} {error:?}");
            assert!(!key.lines().nth(1).is_some_and(|line| said.contains(line)));
        }
    }

    #[test]
    fn it_is_for_the_hosts_that_it_names() {
        let (certificate, key) = pair();
        let made = read(&certificate, &key).unwrap();
        for (host, is_for) in [
            ("a.example", true),
            ("x.b.example", true),
            ("b.example", false),
            ("A.EXAMPLE", true),
            ("not a host", false),
        ] {
            assert_eq!(made.is_for(host), is_for, "{host}");
        }
    }
}
