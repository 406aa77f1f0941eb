//! What is read from a URL, and what is refused.

use trunkline_model::database::{Certificates, ClientCertificate};

use super::*;

fn parse(url: &str) -> Result<Target, TargetError> {
    Target::parse(SecretBytes::new(url))
}

fn authority() -> (String, SecretBytes) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["db.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), SecretBytes::new(key.serialize_pem()))
}

fn with(url: &str, certificates: Certificates) -> Result<Target, TargetError> {
    Target::parse(DatabaseLogin {
        url: SecretBytes::new(url),
        certificates,
    })
}

#[test]
fn hosts_keep_their_order_and_ports() {
    let places = |url: &str| -> Vec<_> {
        let endpoints = parse(url).unwrap().endpoints;
        endpoints
            .into_iter()
            .map(|endpoint| endpoint.place)
            .collect()
    };
    let name = |name: &str, port| Place::Name(name.to_owned(), port);
    assert_eq!(
        places("postgres://u:p@a:1,b:2/d"),
        [name("a", 1), name("b", 2)]
    );
    assert_eq!(
        places("host=/run/pg,c user=u port=7"),
        [
            Place::Socket(PathBuf::from("/run/pg/.s.PGSQL.7")),
            name("c", 7)
        ]
    );
    assert_eq!(
        places("host=x hostaddr=10.0.0.1 user=u"),
        [Place::Address([10, 0, 0, 1].into(), 5432)]
    );
    let target = parse("host=x hostaddr=10.0.0.1 user=u connect_timeout=9").unwrap();
    assert_eq!(target.endpoints[0].host.as_deref(), Some("x"));
    assert_eq!(target.connect_timeout(), Some(Duration::from_secs(9)));
    assert_eq!(target.database(), "u");
    assert_eq!(
        parse("postgres://u@a:1,[::1]:2/d").unwrap().to_string(),
        "a:1,[::1]:2"
    );
}

#[test]
fn every_mode_of_libpq_is_read_except_allow() {
    let (authorities, _) = authority();
    let certificates = Certificates {
        authorities: Some(authorities),
        client: None,
    };
    for (text, mode) in [
        ("", SslMode::Prefer),
        ("?sslmode=disable", SslMode::Disable),
        ("?sslmode=prefer", SslMode::Prefer),
        ("?sslmode=require", SslMode::Require),
        ("?sslmode=verify-ca", SslMode::VerifyCa),
        ("?sslmode=verify-full", SslMode::VerifyFull),
    ] {
        let target = with(&format!("postgres://u:p@h/d{text}"), certificates.clone()).unwrap();
        assert_eq!(target.ssl_mode(), mode);
        assert_eq!(target.tls.is_some(), mode != SslMode::Disable);
        if text.contains('=') {
            assert_eq!(text, format!("?sslmode={}", mode.as_str()));
        }
    }
    assert!(parse("host=h user=u sslmode='verify-full' sslrootcert=system").is_ok());
    assert!(parse("postgres://u@h?channel_binding=require&sslmode=require").is_ok());
}

#[test]
fn what_cannot_be_honoured_is_refused_and_not_ignored() {
    let cases = [
        ("postgres://u:p@h/d?sslmode=allow", TargetError::SslMode),
        ("postgres://u:p@h/d?sslmode=Require", TargetError::SslMode),
        (
            "postgres://u:p@h/d?sslmode=verify-ca",
            TargetError::NoAuthority,
        ),
        (
            "postgres://u:p@h/d?sslmode=require&sslrootcert=system",
            TargetError::WeakSystemRoots,
        ),
        ("postgres://u:p@h/d?sslrootcert=ca.pem", TargetError::File),
        ("postgres://u:p@h/d?sslcert=c.pem", TargetError::File),
        (
            "postgres://u:p@h/d?sslnegotiation=direct",
            TargetError::SslNegotiation,
        ),
        (
            "postgres://u:p@h/d?channel_binding=yes",
            TargetError::ChannelBinding,
        ),
        (
            "postgres://u:p@h/d?channel_binding=require&sslmode=disable",
            TargetError::BindingWithoutTls,
        ),
        (
            "postgres://u:p@h/d?target_session_attrs=read-only",
            TargetError::SessionAttributes,
        ),
        (
            "postgres://u:p@h/d?target_session_attrs=standby",
            TargetError::SessionAttributes,
        ),
        (
            "postgres://u:p@h/d?target_session_attrs=prefer-standby",
            TargetError::SessionAttributes,
        ),
        ("postgres://h/d", TargetError::NoUser),
        ("user=u", TargetError::NoHost),
        ("postgres:///d", TargetError::NoHost),
        ("host=a,b,c port=1,2 user=u", TargetError::UnequalLists),
        ("postgres://u:p@h/d?sslcrl=x", TargetError::NotAUrl),
        ("not a url", TargetError::NotAUrl),
        ("", TargetError::NoHost),
    ];
    for (url, error) in cases {
        assert_eq!(parse(url).unwrap_err(), error, "{url}");
    }
    for attributes in ["any", "read-write", "primary"] {
        let url = format!("postgres://u:p@a,b/d?target_session_attrs={attributes}");
        assert!(parse(&url).is_ok(), "{url}");
    }
}

#[test]
fn certificates_are_read_or_refused() {
    let (chain, key) = authority();
    let (other_chain, _) = authority();
    let full = "postgres://u@h/d?sslmode=verify-full";
    let client = |chain: &str| {
        Some(ClientCertificate {
            chain: chain.to_owned(),
            key: key.clone(),
        })
    };
    let good = Certificates {
        authorities: Some(format!("{chain}{other_chain}")),
        client: client(&chain),
    };
    assert!(with(full, good).is_ok());
    for text in [
        "",
        "hunter2",
        "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
    ] {
        let certificates = Certificates {
            authorities: Some(text.to_owned()),
            client: None,
        };
        let error = with(full, certificates).unwrap_err();
        assert_eq!(error, TargetError::Authorities, "{text}");
    }
    for text in ["", "hunter2", other_chain.as_str()] {
        let certificates = Certificates {
            authorities: None,
            client: client(text),
        };
        let error = with(full, certificates).unwrap_err();
        assert_eq!(error, TargetError::ClientCertificate, "{text}");
    }
}

#[test]
fn a_change_of_a_certificate_is_another_target() {
    let target = |authorities: Option<String>| {
        let certificates = Certificates {
            authorities,
            client: None,
        };
        with("postgres://u@h/d?sslmode=verify-full", certificates).unwrap()
    };
    let (first, second) = (authority().0, authority().0);
    assert_eq!(target(Some(first.clone())), target(Some(first.clone())));
    assert_ne!(target(Some(first.clone())), target(Some(second)));
    assert_ne!(target(Some(first)), target(None));
}

#[test]
fn neither_debug_nor_an_error_shows_the_password() {
    let target = parse("postgres://u:hunter2@h/d").unwrap();
    assert!(!format!("{target:?} {target}").contains("hunter2"));
    for url in [
        "postgres://u:p@ss?hunter2=1",
        "postgres://u:hunter2@h:x/d",
        // A password that was not encoded.
        "postgres://u:p@hunter2@h/d",
        "postgres://u:p@h/d?sslmode=hunter2",
        "hunter2",
    ] {
        let error = parse(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunt"), "{error:?}");
    }
}
