//! [`Target`]: a URL, taken apart.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hyper::Uri;
use hyper::http::uri::Authority;
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// An `http` or `https` URL, taken apart, and for `https` what its certificate is checked with.
#[derive(Clone)]
pub struct Target {
    /// Where the connection goes: a name or an address, without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The header `Host`: the URL's authority as it was written.
    pub(crate) authority: String,
    /// What the request line names: path and query.
    pub(crate) path: Uri,
    pub(super) tls: Option<Tls>,
}

/// TLS to one server.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

/// Why a URL cannot be posted to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// What to connect to is not a host and a port.
    #[error("{0:?} is not HOST:PORT; give one such as 192.0.2.7:443 or [2001:db8::7]:443")]
    NotAnAddress(String),
    /// It is no URL, or one without a scheme or a host.
    #[error(
        "url {0:?} is not complete; give one such as http://127.0.0.1:8080/webhooks/default/segment"
    )]
    NotAUrl(String),
    /// Only HTTP is spoken.
    #[error("url {url:?} has the scheme {scheme}; give an http:// or https:// URL")]
    Scheme {
        /// The URL.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// `http://user:password@host/`.
    #[error("the url carries a user name; give it without the part before the @")]
    UserInfo,
    /// The file of certificates cannot be used.
    #[error("--cacert {file}: {reason}; give a PEM file of the authority's certificates")]
    Certificates {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing that the server's certificate could be checked with.
    #[error(
        "no certificate authority can be trusted; install the system's certificates or give --cacert"
    )]
    NoRoots(#[source] rustls::Error),
}

impl Target {
    /// Takes a URL apart. A certificate is checked with the authorities that the system trusts.
    ///
    /// # Errors
    /// [`TargetError`] with the URL and what to write instead.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        Self::parse_trusting(url, None)
    }

    /// The same, and a certificate may also be one of an authority in a PEM file.
    ///
    /// # Errors
    /// [`TargetError`], also when the file cannot be used.
    pub fn parse_trusting(url: &str, authorities: Option<&Path>) -> Result<Self, TargetError> {
        let incomplete = || TargetError::NotAUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| incomplete())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(incomplete());
        };
        if authority.as_str().contains('@') {
            return Err(TargetError::UserInfo);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (default_port, tls) = match scheme {
            "http" => (80, None),
            "https" => {
                let name = ServerName::try_from(host.clone()).map_err(|_| incomplete())?;
                let connector = connector(authorities)?;
                (443, Some(Tls { connector, name }))
            }
            _ => {
                return Err(TargetError::Scheme {
                    url: url.to_owned(),
                    scheme: scheme.to_owned(),
                });
            }
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(default_port),
            authority: authority.to_string(),
            path: path.parse().map_err(|_| incomplete())?,
            tls,
        })
    }

    /// The same URL by way of another address, `HOST:PORT`: the server is told the URL's host, and
    /// its certificate has to be for that.
    ///
    /// # Errors
    /// [`TargetError::NotAnAddress`].
    pub fn connecting_to(self, address: &str) -> Result<Self, TargetError> {
        let (host, port) = host_and_port(address)?;
        Ok(Self { host, port, ..self })
    }
}

/// Takes `HOST:PORT` apart; an IPv6 address stands in brackets.
fn host_and_port(text: &str) -> Result<(String, u16), TargetError> {
    let refuse = || TargetError::NotAnAddress(text.to_owned());
    let authority: Authority = text.parse().map_err(|_| refuse())?;
    let port = authority.port_u16().ok_or_else(refuse)?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(refuse());
    }
    Ok((authority.host().trim_matches(['[', ']']).to_owned(), port))
}

fn connector(authorities: Option<&Path>) -> Result<TlsConnector, TargetError> {
    let more = match authorities {
        None => Vec::new(),
        Some(file) => certificates(file)?,
    };
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .and_then(|builder| Ok((builder, verifier(more, provider)?)))
        .map_err(TargetError::NoRoots)
        .map(|(builder, verifier)| {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth()
        })?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Trusts what the system trusts, and Mozilla's list where the system has none: the image of this
/// program holds nothing else.
fn verifier(
    more: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, rustls::Error> {
    let instead: &[_] = match Verifier::new(Arc::clone(&provider)) {
        Ok(_) => &[],
        Err(_) => TLS_SERVER_ROOT_CERTS,
    };
    Verifier::new_with_extra_roots(instead.iter().cloned().chain(more), provider)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TargetError> {
    let refuse = |reason: String| TargetError::Certificates {
        file: file.display().to_string(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(error.to_string()))?;
    if certificates.is_empty() {
        return Err(refuse("it holds no certificate".to_owned()));
    }
    Ok(certificates)
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, path) in [
            (
                "http://127.0.0.1:8080/webhooks/a/b?t=1",
                "127.0.0.1",
                8080,
                "/webhooks/a/b?t=1",
            ),
            ("http://[::1]:9/x", "::1", 9, "/x"),
            ("http://hooks.example", "hooks.example", 80, "/"),
            ("https://hooks.example/x", "hooks.example", 443, "/x"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, port), "{url}");
            assert_eq!(target.path, path, "{url}");
            assert_eq!(target.tls.is_some(), url.starts_with("https"), "{url}");
            assert!(target.to_string().starts_with(url), "{target}");
        }
    }

    #[test]
    fn half_urls_and_other_schemes_are_refused_with_what_to_write() {
        for wrong in [
            "/webhooks/a/b",
            "127.0.0.1:8080",
            "",
            "http://",
            "not a url",
            "ftp://hooks.example/x",
        ] {
            let error = Target::parse(wrong).unwrap_err();
            assert!(error.to_string().contains("http://"), "{wrong}: {error}");
        }
        let error = Target::parse("http://me:hunter2@h/").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn another_address_leaves_the_url_as_it_is() {
        let target = Target::parse("http://hooks.example/x").unwrap();
        for (address, host, port) in [
            ("192.0.2.7:8080", "192.0.2.7", 8080),
            ("[2001:db8::7]:80", "2001:db8::7", 80),
            ("lb.example:80", "lb.example", 80),
        ] {
            let target = target.clone().connecting_to(address).unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, port));
            assert_eq!(target.to_string(), "http://hooks.example/x");
        }
        for wrong in [
            "192.0.2.7",
            ":80",
            "",
            "a b:80",
            "http://h:80",
            "me@h:80",
            "h:99999",
        ] {
            let refused = target.clone().connecting_to(wrong);
            assert!(refused.is_err(), "{wrong}: {refused:?}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path(), Path::new("/nowhere.pem")] {
            let error = Target::parse_trusting("https://h/", Some(path)).unwrap_err();
            let name = path.display().to_string();
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}
