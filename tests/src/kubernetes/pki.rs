//! [`Authority`]: a certificate authority for one run, and who is who in it.
//!
//! Kubernetes takes a client's user from the certificate's common name and its group from the
//! organisation (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/>).

use std::net::IpAddr;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::enclosure::write_private;

/// Signs the certificates of one run.
#[derive(Debug)]
pub(crate) struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PKCS #8 in PEM.
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes one that writes its files to `directory`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        std::fs::create_dir(&directory).unwrap();
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "trunkline-tests");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        let authority = Self { directory, issuer };
        write_private(&authority.certificate(), &authority.issuer.pem());
        authority
    }

    /// The file of its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// A certificate for a client, in one group or in none.
    pub(crate) fn client(&self, file: &str, user: &str, group: Option<&str>) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            parameters
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        self.sign(file, parameters, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate for a server with these names.
    pub(crate) fn server(&self, file: &str, names: &[&str], addresses: &[IpAddr]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        parameters.distinguished_name.push(DnType::CommonName, file);
        self.sign(file, parameters, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A pair of keys without a certificate, for the tokens of service accounts: the files of the
    /// private one and of the public one.
    pub(crate) fn token_keys(&self) -> (PathBuf, PathBuf) {
        let keys = KeyPair::generate().unwrap();
        let private = self.path("service-accounts", "key");
        let public = self.path("service-accounts", "pub");
        write_private(&private, &keys.serialize_pem());
        write_private(&public, &keys.public_key_pem());
        (private, public)
    }

    fn sign(
        &self,
        file: &str,
        mut parameters: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Identity {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            certificate: self.path(file, "crt"),
            key: self.path(file, "key"),
        };
        write_private(&identity.certificate, &certificate.pem());
        write_private(&identity.key, &key.serialize_pem());
        identity
    }

    fn path(&self, file: &str, extension: &str) -> PathBuf {
        self.directory.join(file).with_extension(extension)
    }
}
