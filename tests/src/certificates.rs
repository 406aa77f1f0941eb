//! Certificates of authorities that the test makes, and a server that shows them.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, chown};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use trunkline_model::database::ClientCertificate;
use trunkline_model::secret::SecretBytes;

/// An authority.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new authority, which nobody knows yet.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(
            DnType::CommonName,
            format!("authority {}", rand::random::<u32>()),
        );
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its own certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate for a host name or an address.
    #[must_use]
    pub fn server(&self, host: &str) -> Certificate {
        self.issue(&params(host))
    }

    /// The same, out of its time.
    #[must_use]
    pub fn expired(&self, host: &str) -> Certificate {
        let mut params = params(host);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.issue(&params)
    }

    /// A client's certificate.
    #[must_use]
    pub fn client(&self, role: &str) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, role);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issued = self.issue(&params);
        ClientCertificate {
            chain: issued.certificate,
            key: SecretBytes::new(issued.key),
        }
    }

    fn issue(&self, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        Certificate {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn params(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(match host.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().unwrap()),
    });
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

impl Certificate {
    /// A certificate that signs itself, as `openssl req -x509` makes it: it calls itself an
    /// authority.
    #[must_use]
    pub fn self_signed(host: &str) -> Self {
        let mut params = params(host);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes `server.crt` and `server.key` into a folder, for the owner of the folder alone.
    pub fn write(&self, folder: &Path) {
        write(folder, "server.crt", &self.certificate);
        write(folder, "server.key", &self.key);
    }
}

/// Writes a file for the owner of its folder alone, as PostgreSQL asks of a key.
pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    let owner = std::fs::metadata(folder).unwrap();
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    chown(&path, Some(user), Some(group)).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}
