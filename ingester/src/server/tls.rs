//! TLS of the senders' listener, with a certificate that is followed while it is in use.
//!
//! The files are small, so they are read at every look and compared as a whole. Invariant: a pair is
//! shown only after it was seen twice the same, since a renewal may write one file after the other;
//! one that cannot be shown leaves the last good one in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use trunkline_model::certificate::{Certificate, CertificateError, Pem};
use trunkline_model::secret::SecretBytes;

use crate::events::{CertificateLoaded, CertificateRefused, Events, chain};
use crate::instance::Instance;
use crate::poll::Poll;

/// The files of the certificate that senders see, both in PEM. They are followed: a renewal takes
/// effect for connections that begin after it.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate, and after it those that lead to an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The files hold no pair.
    #[error("{} {error}", if error.is_about_key() { "--tls-key" } else { "--tls-cert" })]
    Certificate {
        /// Of which of the two, and why.
        error: CertificateError,
    },
    /// The thread that follows the files cannot be started.
    #[error("cannot start the thread that follows the certificate")]
    Watch(#[source] io::Error),
    /// rustls and its provider do not fit together.
    #[error("the TLS library supports no version of TLS")]
    Library,
}

impl From<CertificateError> for TlsError {
    fn from(error: CertificateError) -> Self {
        Self::Certificate { error }
    }
}

/// Shows the certificate of the moment. Following its files ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Tls {
    /// What handshakes are made with.
    pub(super) config: Arc<ServerConfig>,
    _looks: Poll,
}

#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads the files and follows them.
    pub(crate) fn start(files: TlsFiles, instance: Arc<Instance>) -> Result<Self, TlsError> {
        let pem = read(&files)?;
        let certificate = Certificate::read(&pem)?;
        emit_loaded(&certificate, &instance.events);
        let shown = Arc::new(Shown(ArcSwap::from_pointee(certificate.key)));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::Library)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut follower = Follower {
            files,
            shown,
            seen: Ok(pem),
            is_judged: true,
        };
        let looks = Poll::start("certificate-watch", move || {
            follower.look(&instance.events);
        })
        .map_err(TlsError::Watch)?;
        Ok(Self {
            config: Arc::new(config),
            _looks: looks,
        })
    }
}

struct Follower {
    files: TlsFiles,
    shown: Arc<Shown>,
    /// What the last look saw, or why it saw nothing.
    seen: Result<Pem, String>,
    is_judged: bool,
}

impl Follower {
    fn look(&mut self, events: &Events) {
        let seen = read(&self.files).map_err(|error| chain(&error));
        if seen != self.seen {
            self.seen = seen;
            self.is_judged = false;
            return;
        }
        if self.is_judged {
            return;
        }
        self.is_judged = true;
        let read = match &self.seen {
            Ok(pem) => Certificate::read(pem).map_err(|error| TlsError::from(error).to_string()),
            Err(error) => Err(error.clone()),
        };
        match read {
            Ok(certificate) => {
                emit_loaded(&certificate, events);
                self.shown.0.store(Arc::new(certificate.key));
            }
            Err(error) => CertificateRefused { error: &error }.emit(events),
        }
    }
}

fn emit_loaded(certificate: &Certificate, events: &Events) {
    CertificateLoaded {
        expires_at: certificate.expires_at,
    }
    .emit(events);
}

fn read(files: &TlsFiles) -> Result<Pem, TlsError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| TlsError::Read {
            path: path.to_owned(),
            source,
        })
    };
    Ok(Pem {
        certificate: read(&files.certificate)?,
        key: SecretBytes::new(read(&files.key)?),
    })
}
