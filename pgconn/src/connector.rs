//! From `sslmode` and certificates to a TLS client. Pure.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use trunkline_model::database::{Certificates, ClientCertificate};

use crate::target::{SslMode, TargetError};
use crate::verify::{Check, Trusted, Verifier};

/// The TLS of a mode; none for [`SslMode::Disable`].
///
/// # Errors
/// [`TargetError::NoAuthority`], [`TargetError::Authorities`], [`TargetError::ClientCertificate`].
pub(crate) fn connector(
    mode: SslMode,
    certificates: &Certificates,
) -> Result<Option<TlsConnector>, TargetError> {
    let given = certificates.authorities.as_deref().map(authorities);
    let given = given.transpose()?;
    let client = certificates.client.as_ref().map(identity).transpose()?;
    let check = match (mode, given) {
        (SslMode::Disable, _) => return Ok(None),
        (SslMode::Prefer, _) | (SslMode::Require, None) => Check::Nothing,
        // As libpq has it: with a certificate to check against, `require` checks.
        (SslMode::Require | SslMode::VerifyCa, Some(given)) => Check::Authority(trusted(given)?),
        // Anyone can have a certificate of a public authority, so that this would check nothing.
        (SslMode::VerifyCa, None) => return Err(TargetError::NoAuthority),
        (SslMode::VerifyFull, Some(given)) => Check::AuthorityAndName(trusted(given)?),
        (SslMode::VerifyFull, None) => Check::AuthorityAndName(public()),
    };
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier {
        check,
        algorithms: provider.signature_verification_algorithms,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| TargetError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|_| TargetError::ClientCertificate)?,
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, TargetError> {
    match chain(pem) {
        Some(certificates) => Ok(certificates),
        None => Err(TargetError::Authorities),
    }
}

/// The certificates of a PEM text. None when there are none, or one that is damaged.
fn chain(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    certificates.ok().filter(|chain| !chain.is_empty())
}

/// The authorities that browsers trust.
fn public() -> Arc<Trusted> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    Arc::new(Trusted {
        roots,
        given: Vec::new(),
    })
}

fn trusted(given: Vec<CertificateDer<'static>>) -> Result<Arc<Trusted>, TargetError> {
    let mut roots = RootCertStore::empty();
    for certificate in &given {
        roots
            .add(certificate.clone())
            .map_err(|_| TargetError::Authorities)?;
    }
    Ok(Arc::new(Trusted { roots, given }))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(client: &ClientCertificate) -> Result<Identity, TargetError> {
    let chain = chain(&client.chain).ok_or(TargetError::ClientCertificate)?;
    let key = PrivateKeyDer::from_pem_slice(client.key.expose())
        .map_err(|_| TargetError::ClientCertificate)?;
    Ok((chain, key))
}
