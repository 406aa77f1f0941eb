//! A certificate and its key, from PEM.
//!
//! Pure. Invariant: no error quotes a key.

use std::fmt;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use trunkline_model::secret::SecretBytes;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The two files, as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pem {
    pub(super) certificate: Vec<u8>,
    pub(super) key: SecretBytes,
}

/// What a server shows.
pub(super) struct Certificate {
    pub(super) key: CertifiedKey,
    /// When it expires, in seconds since the Unix epoch.
    pub(super) expires_at: i64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why a pair cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A chain in PEM begins with the server's own certificate.
    #[error("--tls-cert holds no certificate in PEM, or one that is damaged")]
    Certificate,
    /// PKCS#8, PKCS#1 and SEC1 are read.
    #[error("--tls-key holds no private key in PEM, or one of a kind that is not supported")]
    Key,
    /// Most often one of the files is of before a renewal.
    #[error("--tls-key is not the key of the first certificate in --tls-cert")]
    Mismatch,
}

impl Certificate {
    /// Reads a pair.
    pub(super) fn read(pem: &Pem) -> Result<Self, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.certificate).collect();
        let chain = chain.map_err(|_| CertificateError::Certificate)?;
        let first = chain.first().ok_or(CertificateError::Certificate)?;
        let (_, parsed) =
            X509Certificate::from_der(first).map_err(|_| CertificateError::Certificate)?;
        let expires_at = parsed.validity().not_after.timestamp();
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
        Ok(Self { key, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn read(certificate: &str, key: &str) -> Result<i64, CertificateError> {
        let pem = Pem {
            certificate: certificate.into(),
            key: SecretBytes::new(key),
        };
        Certificate::read(&pem).map(|read| read.expires_at)
    }

    #[test]
    fn a_pair_is_read_and_anything_else_named() {
        let (certificate, key) = pair();
        let (other_certificate, other_key) = pair();
        // rcgen's default ends in the year 4096.
        assert_eq!(read(&certificate, &key), Ok(67_090_118_400));
        let chain = format!("{certificate}{other_certificate}");
        assert!(read(&chain, &key).is_ok());
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
            assert_eq!(read(certificate, key), Err(error.clone()));
            let said = format!("{error} {error:?}");
            assert!(!key.lines().nth(1).is_some_and(|line| said.contains(line)));
        }
    }
}
