//! TLS on the senders' port, with a certificate that is renewed while it is in use.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use trunkline_tests::{Authority, Certificate, IngesterProcess, SourceDraft, Station};

/// How soon a renewal is in effect: two looks, and a machine that does other things too.
const RENEWAL: Duration = Duration::from_secs(5);

struct Served {
    station: Station,
    ingester: IngesterProcess,
    files: TempDir,
}

impl Served {
    async fn with(certificate: &Certificate) -> Self {
        let station = Station::with(vec![SourceDraft::unverified("open")]).await;
        let files = tempfile::tempdir().unwrap();
        certificate.write(files.path());
        let mut ingester = start(&station, files.path());
        ingester.ready().await;
        Self {
            station,
            ingester,
            files,
        }
    }

    async fn connect(
        &self,
        authority: &Authority,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        connect(self.ingester.address(), authority, protocols).await
    }

    /// Waits until a certificate of this authority is shown.
    async fn shows(&self, authority: &Authority) {
        let start = Instant::now();
        while self.connect(authority, &[]).await.is_err() {
            assert!(start.elapsed() < RENEWAL, "{}", self.ingester.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let url = format!("https://localhost{}", self.station.path());
        let request = Request::post(url).header("host", "localhost");
        request.body(Full::from("{}")).unwrap()
    }
}

fn start(station: &Station, files: &Path) -> IngesterProcess {
    let [certificate, key] = ["server.crt", "server.key"].map(|name| files.join(name));
    let arguments = [
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    IngesterProcess::start_with(station.config.path(), &arguments, &[])
}

async fn connect(
    address: SocketAddr,
    authority: &Authority,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let pem = authority.pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[tokio::test]
async fn both_protocols_are_offered_and_each_posts() {
    let authority = Authority::new();
    let served = Served::with(&authority.server("localhost")).await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = served.connect(&authority, offered).await.unwrap();
        let protocol = stream.get_ref().1.alpn_protocol();
        assert_eq!(protocol, chosen.map(str::as_bytes), "{offered:?}");
        let stream = TokioIo::new(stream);
        let answer = if chosen == Some("h2") {
            let handshake = http2::handshake(TokioExecutor::new(), stream).await;
            let (mut sender, connection) = handshake.unwrap();
            tokio::spawn(connection);
            sender.send_request(served.request()).await.unwrap()
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(served.request()).await.unwrap()
        };
        assert_eq!(answer.status(), StatusCode::OK, "{offered:?}");
    }
    // Who speaks without TLS is not served.
    let mut plain = TcpStream::connect(served.ingester.address()).await.unwrap();
    plain
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert_eq!(
        served.ingester.admin("/readyz").await.unwrap().status,
        200,
        "the admin listener stays as it is"
    );
    let expiry = served.ingester.metric(
        "trunkline_ingester_tls_certificate_expiry_timestamp_seconds",
        "",
    );
    // The year 4096, which rcgen gives.
    assert!((expiry.await - 67_090_118_400.0).abs() < 1.0);
}

#[tokio::test]
async fn a_renewal_is_shown_and_a_broken_pair_is_not() {
    let (first, second, third) = (Authority::new(), Authority::new(), Authority::new());
    let served = Served::with(&first.server("localhost")).await;
    let stream = served.connect(&first, &["http/1.1"]).await.unwrap();
    let (mut kept, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);

    let renewed = second.server("localhost");
    renewed.write(served.files.path());
    served.shows(&second).await;
    assert!(served.connect(&first, &[]).await.is_err());

    // One file of the pair alone.
    let half = Certificate {
        certificate: third.server("localhost").certificate,
        key: renewed.key.clone(),
    };
    half.write(served.files.path());
    let start = Instant::now();
    let errors = "trunkline_ingester_tls_certificate_errors_total";
    while served.ingester.metric(errors, "").await < 1.0 {
        assert!(start.elapsed() < RENEWAL, "{}", served.ingester.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    served.connect(&second, &[]).await.unwrap();
    assert!(
        served.ingester.log().contains("is not the key of"),
        "{}",
        served.ingester.log()
    );
    assert!(!served.ingester.log().contains("PRIVATE KEY"));

    third.server("localhost").write(served.files.path());
    served.shows(&third).await;
    // Once more for the end: a broken pair is counted once, not at every look.
    assert!((served.ingester.metric(errors, "").await - 1.0).abs() < f64::EPSILON);

    let answer = kept.send_request(served.request()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_start_without_a_pair_fails_and_says_what_is_wrong() {
    let station = Station::with(vec![SourceDraft::unverified("open")]).await;
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mismatched = Certificate {
        certificate: authority.server("localhost").certificate,
        key: authority.server("localhost").key,
    };
    let mut missing = start(&station, files.path());
    assert_eq!(missing.ended().await.code(), Some(1));
    assert!(missing.log().contains("server.crt"), "{}", missing.log());
    mismatched.write(files.path());
    let mut broken = start(&station, files.path());
    assert_eq!(broken.ended().await.code(), Some(1));
    assert!(
        broken.log().contains("--tls-key is not the key"),
        "{}",
        broken.log()
    );
    let half = ["--tls-cert", "server.crt"];
    let mut half = IngesterProcess::start_with(station.config.path(), &half, &[]);
    assert_eq!(half.ended().await.code(), Some(2));
    assert!(half.log().contains("--tls-key"), "{}", half.log());
}

#[tokio::test]
async fn a_silent_handshake_ends() {
    let authority = Authority::new();
    let served = Served::with(&authority.server("localhost")).await;
    let mut silent = TcpStream::connect(served.ingester.address()).await.unwrap();
    let start = Instant::now();
    let mut nothing = Vec::new();
    let read = silent.read_to_end(&mut nothing);
    let read = tokio::time::timeout(Duration::from_secs(15), read).await;
    assert!(read.is_ok());
    let took = start.elapsed();
    assert!(took > Duration::from_secs(9), "{took:?}");
}
