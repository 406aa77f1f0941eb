//! Whether a server is the one that it claims to be, as `sslmode` asks.
//!
//! Invariant: the handshake's signature is checked in every mode. Without that a stranger could
//! show the server's certificate without having its key, and SCRAM's channel binding would bind to
//! nothing.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// What is asked of a server's certificate.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    /// Nothing: the connection is encrypted, with whoever answers.
    Nothing,
    /// That an authority vouches for it.
    Authority(Arc<Trusted>),
    /// The same, and that it is for the host that was asked for.
    AuthorityAndName(Arc<Trusted>),
}

/// Whom we believe.
#[derive(Debug)]
pub(crate) struct Trusted {
    pub(crate) roots: RootCertStore,
    /// The certificates that the user gave. A server that shows one of them is believed as it is:
    /// a certificate that signs itself is its own authority, which the usual path-finding refuses.
    pub(crate) given: Vec<CertificateDer<'static>>,
}

/// The verifier of one `sslmode`.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) check: Check,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn vouched(
        &self,
        trusted: &Trusted,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if trusted.given.iter().any(|given| given == certificate) {
            return Ok(());
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(certificate)?,
            &trusted.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .map_err(|error| match error {
            // A certificate that signs itself and that we were not given, for instance: no path
            // leads from it to an authority of ours.
            Error::InvalidCertificate(CertificateError::Other(_)) => {
                Error::InvalidCertificate(CertificateError::UnknownIssuer)
            }
            error => error,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.check {
            Check::Nothing => {}
            Check::Authority(trusted) => {
                self.vouched(trusted, certificate, intermediates, now)?;
            }
            Check::AuthorityAndName(trusted) => {
                self.vouched(trusted, certificate, intermediates, now)?;
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why a certificate was refused, for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No authority of ours has signed it.
    Untrusted,
    /// It is another host's; the names that it holds.
    OtherName(Vec<String>),
    /// It is not valid now.
    Expired,
    /// Something else, in the library's words.
    Other,
}

impl Refusal {
    /// None when the error is not about the server's certificate.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(error) = error else {
            return None;
        };
        Some(match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::OtherName(presented.clone())
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            _ => Self::Other,
        })
    }
}
