//! TLS in the pods: senders that reach the Service speak it, and a renewal restarts nothing.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use trunkline_tests::kubernetes::eventually;
use trunkline_tests::{Authority, Certificate, Client, events, seed, signed_single};

use crate::site::{PATIENCE, SECRET, Site};

/// A kubelet that nobody nudges takes a minute or more.
const REFRESH: Duration = Duration::from_secs(20);

/// Who answers inside the Kubernetes cluster.
fn host(site: &Site) -> String {
    format!("main-ingester.{}.svc", site.namespace)
}

async fn write(site: &Site, pair: &Certificate) {
    let data = json!({"tls.crt": pair.certificate, "tls.key": pair.key});
    site.kubectl
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n\
             metadata: {{name: hooks-tls, namespace: {}}}\nstringData: {data}\n",
            site.namespace
        ))
        .await;
}

/// Waits until the certificate's condition says this; its message.
async fn certificate(site: &Site, status: &str, reason: &str) -> String {
    eventually(reason, PATIENCE, async || {
        let conditions = site.main().await.status.unwrap_or_default().conditions;
        let found = conditions.iter().find(|it| it.type_ == "CertificateReady");
        let is_it = found.filter(|it| it.status == status && it.reason == reason);
        is_it
            .map(|it| it.message.clone())
            .ok_or(format!("{found:?}"))
    })
    .await
}

/// The Service's address.
async fn service(site: &Site) -> IpAddr {
    let services: Api<Service> = Api::namespaced(site.cluster.client().await, &site.namespace);
    let service = services.get("main-ingester").await.unwrap();
    service.spec.unwrap().cluster_ip.unwrap().parse().unwrap()
}

/// A sender that trusts one authority.
struct Sender {
    connector: TlsConnector,
    address: SocketAddr,
    host: String,
    path: String,
}

impl Sender {
    async fn new(site: &Site, authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        let pem = authority.pem();
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            connector: TlsConnector::from(Arc::new(config)),
            address: SocketAddr::new(service(site).await, 443),
            host: host(site),
            path: format!("/webhooks/{}/segment", site.namespace),
        }
    }

    /// Posts on a new connection; the status and the certificate that was shown.
    async fn post(&self, event: &str) -> Result<(u16, Vec<u8>), String> {
        fn failed(error: impl Display) -> String {
            error.to_string()
        }
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let stream = TcpStream::connect(self.address).await.map_err(failed)?;
        let stream = self.connector.connect(name, stream).await.map_err(failed)?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let (body, signature) = signed_single(SECRET.as_bytes(), event);
        let request = Request::post(&self.path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("x-signature", signature)
            .body(Full::<Bytes>::from(body))
            .unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(failed)?;
        Ok((answer.status().as_u16(), shown))
    }
}

async fn pods(site: &Site) -> BTreeSet<String> {
    let pods: Api<Pod> = Api::namespaced(site.cluster.client().await, &site.namespace);
    let pods = pods.list(&ListParams::default()).await.unwrap();
    pods.iter().filter_map(ResourceExt::uid).collect()
}

fn leaf(pair: &Certificate) -> Vec<u8> {
    let pem = pair.certificate.as_bytes();
    CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make e2e"]
async fn senders_speak_tls_to_the_pods_and_a_renewal_refuses_nobody() {
    let spec = "replicas: 2\n  tls: {secretName: hooks-tls}";
    let site = Site::with("pod-tls", spec, "CREATEROLE").await;
    let _evidence = site.cluster.evidence();
    site.patch_main(json!({"spec": {"exposure": null}})).await;
    site.kubectl.apply(&site.source("segment")).await;

    // Nothing starts that could only fail.
    let absent = certificate(&site, "False", "SecretNotFound").await;
    assert!(absent.contains("spec.tls.secretName"), "{absent}");
    let deployments: Api<Deployment> = Api::namespaced(site.cluster.client().await, "pod-tls");
    assert!(
        deployments
            .get_opt("main-ingester")
            .await
            .unwrap()
            .is_none()
    );

    let authority = Authority::new();
    let first = authority.server(&host(&site));
    write(&site, &first).await;
    let url = site.url("segment").await;
    assert_eq!(
        url,
        format!("https://{}/webhooks/pod-tls/segment", host(&site))
    );
    let sender = Sender::new(&site, &authority).await;
    let mut events = events(seed(), 20_000).into_iter();
    let mut next = || events.next().unwrap().json;
    let (status, shown) = sender.post(&next()).await.unwrap();
    assert_eq!(status, 200, "the first POST after Ready");
    assert!(shown == leaf(&first));
    // Who speaks without TLS finds no port for it.
    let plain = SocketAddr::new(sender.address.ip(), 80);
    assert!(Client::new(plain).get("/").await.is_err());

    // A renewal: the same pods show it, and nobody is refused meanwhile.
    let before = pods(&site).await;
    let second = authority.server(&host(&site));
    write(&site, &second).await;
    let renewed = Instant::now();
    let (mut posts, mut in_a_row) = (0, 0);
    while in_a_row < 50 {
        let (status, shown) = sender.post(&next()).await.expect("an answer");
        assert_eq!(status, 200);
        posts += 1;
        in_a_row = if shown == leaf(&second) {
            in_a_row + 1
        } else {
            0
        };
        assert!(
            renewed.elapsed() < REFRESH,
            "the old certificate is still shown"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "every pod shows it after {:?}; {posts} posts, none refused",
        renewed.elapsed()
    );
    assert_eq!(pods(&site).await, before);
    certificate(&site, "True", "Ready").await;

    // A pair that cannot be shown leaves the last good one in place.
    let broken = Certificate {
        certificate: second.certificate.clone(),
        key: first.key.clone(),
    };
    write(&site, &broken).await;
    let message = certificate(&site, "False", "CertificateInvalid").await;
    assert!(message.contains("its tls.key is not the key"), "{message}");
    assert_eq!(sender.post(&next()).await.unwrap().0, 200);
    // One that senders refuse is no readiness, whatever pods show as yet.
    write(&site, &authority.expired(&host(&site))).await;
    certificate(&site, "False", "CertificateExpired").await;
    site.ready("segment", "False", "CertificateExpired").await;
    write(&site, &authority.server("elsewhere.example.com")).await;
    let message = certificate(&site, "True", "ReadyWithWarning").await;
    assert!(
        message.contains(&format!("is not for {}", host(&site))),
        "{message}"
    );
    write(&site, &second).await;
    site.ready("segment", "True", "Serving").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make e2e"]
async fn tls_comes_to_pods_that_serve_and_goes_again() {
    let site = Site::new("tls-later").await;
    let _evidence = site.cluster.evidence();
    site.patch_main(json!({"spec": {"exposure": null}})).await;
    site.kubectl.apply(&site.source("segment")).await;
    let authority = Authority::new();
    write(&site, &authority.server(&host(&site))).await;
    let (http, https) = (url(&site, "http"), url(&site, "https"));
    becomes(&site, &http).await;
    let event = &events(seed(), 1)[0].json;
    let sender = Sender::new(&site, &authority).await;
    let plain = SocketAddr::new(sender.address.ip(), 80);
    let (body, signature) = signed_single(SECRET.as_bytes(), event);
    let headers = [("x-signature", signature.as_str())];
    let mut post_plainly = async || {
        let mut client = Client::new(plain);
        let answer = client.post(&sender.path, &headers, body.clone()).await;
        answer.map(|answer| answer.status)
    };
    assert_eq!(post_plainly().await.unwrap(), 200);

    for _ in 0..2 {
        site.patch_main(json!({"spec": {"tls": {"secretName": "hooks-tls"}}}))
            .await;
        // The old way is open for as long as the status names it.
        while current(&site).await == http {
            let answer = post_plainly().await;
            if current(&site).await == http {
                assert_eq!(answer.unwrap(), 200);
            }
        }
        becomes(&site, &https).await;
        // kube-proxy hears of the port when we do, and acts within a second.
        let status = eventually("a connection", Duration::from_secs(5), async || {
            sender.post(event).await.map(|answer| answer.0)
        });
        assert_eq!(status.await, 200);

        site.patch_main(json!({"spec": {"tls": null}})).await;
        while current(&site).await == https {
            let answer = sender.post(event).await;
            if current(&site).await == https {
                assert_eq!(answer.unwrap().0, 200);
            }
        }
        becomes(&site, &http).await;
        let status = eventually("a connection", Duration::from_secs(5), &mut post_plainly);
        assert_eq!(status.await, 200);
    }
    let ports = "jsonpath={.spec.ports[*].port}";
    eventually("one port once the others are gone", PATIENCE, async || {
        let get = [
            "get",
            "service",
            "main-ingester",
            "-n",
            "tls-later",
            "-o",
            ports,
        ];
        let ports = site.kubectl.run(&get).await;
        (ports == "80").then_some(()).ok_or(ports)
    })
    .await;
}

fn url(site: &Site, scheme: &str) -> String {
    format!(
        "{scheme}://{}/webhooks/{}/segment",
        host(site),
        site.namespace
    )
}

/// The URL in the status of the source.
async fn current(site: &Site) -> String {
    let source = site.sources().await.get("segment").await.unwrap();
    source.status.and_then(|it| it.url).unwrap_or_default()
}

async fn becomes(site: &Site, url: &str) {
    eventually(url, PATIENCE, async || {
        let current = site.url("segment").await;
        (current == url).then_some(()).ok_or(current)
    })
    .await;
}
