//! Every `sslmode` against servers of every kind, as the owner and as an ingester.

use std::time::Duration;

use trunkline_ingester::commit::{CommitMetrics, Committer, DatabaseState};
use trunkline_model::database::{Certificates, ClientCertificate, DatabaseLogin};
use trunkline_model::secret::SecretBytes;
use trunkline_pgconn::{Target, TlsError, connect};
use trunkline_tests::{Authority, Certificate, Database};
use trunkline_warehouse::{Error, Warehouse};

/// Whether a session is encrypted, as the server sees it.
const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

fn login(url: &str, parameters: &str, authorities: Option<&str>) -> DatabaseLogin {
    // A certificate for `localhost` fits this name alone.
    let url = url.replace("127.0.0.1", "localhost");
    let (base, present) = url.split_once('?').unwrap_or((&url, ""));
    let mut all: Vec<_> = present
        .split('&')
        .chain(parameters.split('&'))
        .filter(|parameter| !parameter.is_empty())
        .collect();
    if parameters.contains("sslmode") {
        all.retain(|parameter| {
            !parameter.starts_with("sslmode=") || parameters.contains(parameter)
        });
    }
    DatabaseLogin {
        url: SecretBytes::new(format!("{base}?{}", all.join("&"))),
        certificates: Certificates {
            authorities: authorities.map(str::to_owned),
            client: None,
        },
    }
}

/// What became of both logins, in one word: `clear`, `encrypted`, or why not.
async fn outcome(database: &Database, mode: &str, authorities: Option<&str>) -> &'static str {
    let parameters = format!("sslmode={mode}");
    let owner = login(&database.url(), &parameters, authorities);
    let as_owner = as_owner(&owner).await;
    let ingest = login(database.ingest_url(), &parameters, authorities);
    let as_ingester = as_ingester(database, &ingest).await;
    assert_eq!(as_owner, as_ingester, "{mode}");
    as_owner
}

async fn as_owner(owner: &DatabaseLogin) -> &'static str {
    match Warehouse::connect(owner).await {
        Ok(_) => {
            let connected = connect(&Target::parse(owner).unwrap()).await.unwrap();
            let row = connected.client.query_one(IS_ENCRYPTED, &[]).await.unwrap();
            if row.get(0) { "encrypted" } else { "clear" }
        }
        Err(Error::Tls { source, .. }) => match source {
            TlsError::NotOffered(_) => "not offered",
            TlsError::NotTrusted { .. } => "not trusted",
            TlsError::OtherName { .. } => "other name",
            TlsError::Expired => "expired",
            other => panic!("{other}"),
        },
        Err(other) => panic!("{other}"),
    }
}

async fn as_ingester(database: &Database, ingest: &DatabaseLogin) -> &'static str {
    let reason = match try_ingester(database, ingest.clone()).await {
        Ok(true) => return "encrypted",
        Ok(false) => return "clear",
        Err(reason) => reason,
    };
    let words = [
        ("offers no TLS", "not offered"),
        ("is not signed by", "not trusted"),
        ("is not for host", "other name"),
        ("out of its time", "expired"),
    ];
    let found = words.iter().find(|(text, _)| reason.contains(text));
    found.unwrap_or_else(|| panic!("{reason}")).1
}

#[tokio::test]
async fn every_mode_means_what_it_means_to_libpq() {
    let database = Database::start().await;
    let (own, other) = (Authority::new(), Authority::new());
    let (own_pem, other_pem) = (own.pem(), other.pem());
    let (own_pem, other_pem) = (Some(own_pem.as_str()), Some(other_pem.as_str()));
    let expect = async |what: &str, authorities: Option<&str>, expected: &[(&str, &str)]| {
        for (mode, outcome_expected) in expected {
            let found = outcome(&database, mode, authorities).await;
            assert_eq!(found, *outcome_expected, "{what}, sslmode={mode}");
        }
    };

    expect(
        "a server without TLS",
        own_pem,
        &[
            ("disable", "clear"),
            ("prefer", "clear"),
            ("require", "not offered"),
            ("verify-ca", "not offered"),
            ("verify-full", "not offered"),
        ],
    )
    .await;

    database.show(&own.server("localhost")).await;
    let encrypted = [
        ("disable", "clear"),
        ("prefer", "encrypted"),
        ("require", "encrypted"),
        ("verify-ca", "encrypted"),
        ("verify-full", "encrypted"),
    ];
    expect("a good certificate", own_pem, &encrypted).await;
    expect(
        "a good certificate and no authority of ours",
        None,
        &[("require", "encrypted"), ("verify-full", "not trusted")],
    )
    .await;
    expect(
        "an unknown authority",
        other_pem,
        &[
            ("disable", "clear"),
            ("prefer", "encrypted"),
            ("require", "not trusted"),
            ("verify-ca", "not trusted"),
            ("verify-full", "not trusted"),
        ],
    )
    .await;

    database.show(&own.server("db.example")).await;
    expect(
        "another host's certificate",
        own_pem,
        &[
            ("prefer", "encrypted"),
            ("require", "encrypted"),
            ("verify-ca", "encrypted"),
            ("verify-full", "other name"),
        ],
    )
    .await;

    database.show(&own.expired("localhost")).await;
    expect(
        "a certificate out of its time",
        own_pem,
        &[
            ("prefer", "encrypted"),
            ("verify-ca", "expired"),
            ("verify-full", "expired"),
        ],
    )
    .await;

    let alone = Certificate::self_signed("localhost");
    database.show(&alone).await;
    expect(
        "a certificate that signs itself",
        Some(&alone.certificate),
        &[
            ("require", "encrypted"),
            ("verify-ca", "encrypted"),
            ("verify-full", "encrypted"),
        ],
    )
    .await;
    expect(
        "the same, unknown",
        own_pem,
        &[("verify-ca", "not trusted")],
    )
    .await;
}

#[tokio::test]
async fn a_refusal_names_the_host_the_names_and_the_field() {
    let database = Database::start().await;
    let own = Authority::new();
    database.show(&own.server("db.example")).await;
    let own_pem = own.pem();
    let message = async |authorities: Option<&str>| {
        let owner = login(&database.url(), "sslmode=verify-full", authorities);
        let error = Warehouse::connect(owner).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        format!("{error}: {source}")
    };
    let other_name = message(Some(&own_pem)).await;
    assert!(other_name.contains("\"localhost\""), "{other_name}");
    assert!(other_name.contains("db.example"), "{other_name}");
    let untrusted = message(None).await;
    assert!(
        untrusted.contains("spec.database.caSecretRef"),
        "{untrusted}"
    );
    assert!(untrusted.contains("public authority"), "{untrusted}");
}

#[tokio::test]
async fn pg_hba_decides_who_comes_in_over_what() {
    let database = Database::start().await;
    let own = Authority::new();
    let own_pem = own.pem();
    database.show(&own.server("localhost")).await;
    // The superuser looks from 127.0.0.1 without TLS; the ingesters alone are decided about.
    let lines = |kind: &str, method: &str| {
        format!(
            "{kind} all trunkline_trunkline_ingest_a all {method}\n\
             host all postgres all scram-sha-256\n"
        )
    };
    let ready = async |parameters: &str| {
        let ingest = login(database.ingest_url(), parameters, Some(&own_pem));
        try_ingester(&database, ingest).await
    };
    database.admit(&lines("hostssl", "scram-sha-256")).await;
    let refused = ready("sslmode=disable").await.unwrap_err();
    assert!(refused.contains("pg_hba.conf"), "{refused}");
    assert_eq!(ready("sslmode=prefer").await, Ok(true));
    // A server that lets nobody in over TLS gets what `prefer` may give.
    database.admit(&lines("hostnossl", "scram-sha-256")).await;
    assert_eq!(ready("sslmode=prefer").await, Ok(false));
    assert!(ready("sslmode=require").await.is_err());
    // Over TLS a password may travel as it is.
    database.admit(&lines("host", "password")).await;
    assert_eq!(ready("sslmode=require").await, Ok(true));
    let refused = ready("sslmode=disable").await.unwrap_err();
    assert!(refused.contains("in clear text"), "{refused}");
    // For the owner as well, whose driver would answer.
    database.admit("host all postgres all password\n").await;
    let as_owner = async |mode: &str| {
        let owner = login(&database.url(), &format!("sslmode={mode}"), Some(&own_pem));
        Warehouse::connect(owner).await.map(drop)
    };
    as_owner("require").await.unwrap();
    let refused = as_owner("disable").await.unwrap_err();
    assert!(matches!(refused, Error::ClearText { .. }), "{refused}");
    database
        .admit("hostnossl all postgres all password\n")
        .await;
    let refused = as_owner("prefer").await.unwrap_err();
    assert!(matches!(refused, Error::ClearText { .. }), "{refused}");
    // Otherwise hashed, also without TLS.
    database
        .admit("host all postgres all scram-sha-256\n")
        .await;
    as_owner("disable").await.unwrap();
}

#[tokio::test]
async fn a_login_is_bound_to_its_tls_session_where_that_is_required() {
    let database = Database::start().await;
    let own = Authority::new();
    let own_pem = own.pem();
    database.show(&own.server("localhost")).await;
    let bound = "sslmode=verify-full&channel_binding=require";
    let owner = login(&database.url(), bound, Some(&own_pem));
    Warehouse::connect(&owner).await.unwrap();
    let ready = async |parameters: &str| {
        let ingest = login(database.ingest_url(), parameters, Some(&own_pem));
        try_ingester(&database, ingest).await
    };
    assert_eq!(ready(bound).await, Ok(true));
    assert_eq!(
        ready("sslmode=require&channel_binding=disable").await,
        Ok(true)
    );
    // A server that asks for less than SCRAM proves nothing.
    database.admit("host all all all trust\n").await;
    let refused = ready(bound).await.unwrap_err();
    assert!(refused.contains("channel_binding=require"), "{refused}");
    assert!(Warehouse::connect(&owner).await.is_err());
    assert_eq!(ready("sslmode=verify-full").await, Ok(true));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks() {
    let database = Database::start().await;
    let own = Authority::new();
    let own_pem = own.pem();
    let folder = database.server().data_dir().join("cluster");
    std::fs::write(folder.join("root.crt"), &own_pem).unwrap();
    database.set("ssl_ca_file", "root.crt").await;
    database.show(&own.server("localhost")).await;
    let role = "trunkline_trunkline_ingest_a";
    database
        .admit(&format!(
            "hostssl all {role} all cert\nhost all postgres all scram-sha-256\n"
        ))
        .await;
    let with = async |client: Option<ClientCertificate>| {
        let mut ingest = login(database.ingest_url(), "sslmode=verify-full", Some(&own_pem));
        ingest.certificates.client = client;
        try_ingester(&database, ingest).await
    };
    assert_eq!(with(Some(own.client(role))).await, Ok(true));
    assert!(with(Some(own.client("another"))).await.is_err());
    assert!(with(Some(Authority::new().client(role))).await.is_err());
    assert!(with(None).await.is_err());
}

/// Whether an ingester's session is encrypted, or why there is none.
async fn try_ingester(database: &Database, ingest: DatabaseLogin) -> Result<bool, String> {
    let target = Target::parse(ingest).unwrap();
    let committer = Committer::start(target, 1, CommitMetrics::default()).unwrap();
    let mut state = committer.state();
    let known = state.wait_for(|state| !matches!(state, DatabaseState::Connecting));
    let known = tokio::time::timeout(Duration::from_secs(10), known).await;
    let known = known.expect("a state").unwrap().clone();
    match known {
        DatabaseState::Ready(_) => {
            let sql = "SELECT bool_and(s.ssl) FROM pg_stat_ssl s \
                       JOIN pg_stat_activity a USING (pid) \
                       WHERE a.application_name = 'trunkline-ingester'";
            let is_encrypted = database.rows(sql, &[]).await[0].get(0);
            committer.stop(Duration::from_secs(5)).await;
            // Gone before the next one is looked for.
            let left = "SELECT count(*) FROM pg_stat_activity \
                        WHERE application_name = 'trunkline-ingester'";
            while database.count(left).await > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(is_encrypted)
        }
        DatabaseState::Unavailable { reason, .. } => Err(reason.to_string()),
        other => panic!("{other:?}"),
    }
}
