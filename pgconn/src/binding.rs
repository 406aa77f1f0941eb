//! What ties a SCRAM login to the TLS session that it runs in: `tls-server-end-point`. Pure.
//!
//! RFC 5929, section 4.1: the hash of the server's certificate, by the hash of its signature
//! algorithm, with SHA-256 in place of MD5 and SHA-1.

use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The binding to a certificate (DER). None where the signature algorithm names no hash of its own
/// (Ed25519, RSA-PSS): the standard does not define it, and servers before PostgreSQL 16 have none.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(
        match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
            // MD5, SHA-1 or SHA-256 with RSA; SHA-1 or SHA-256 with ECDSA.
            "1.2.840.113549.1.1.4"
            | "1.2.840.113549.1.1.5"
            | "1.2.840.113549.1.1.11"
            | "1.2.840.10045.4.1"
            | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
            "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
            "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
            _ => return None,
        },
    )
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn length(algorithm: &'static SignatureAlgorithm) -> Option<usize> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["db.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        server_end_point(certificate.der()).map(|binding| binding.len())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        assert_eq!(length(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
        assert_eq!(length(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
        assert_eq!(length(&rcgen::PKCS_ED25519), None);
        assert_eq!(server_end_point(b"hunter2"), None);
    }
}
