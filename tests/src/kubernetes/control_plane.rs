//! [`ControlPlane`]: etcd, API server, controller manager and scheduler.
//!
//! Enough for everything but running a pod: schema and validation, server-side apply, ownership,
//! RBAC, leases, Helm. It needs no rights and is ready in a few seconds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::audit::{self, AuditLog};
use super::command_line::CommandLine;
use super::component::{Component, Program};
use super::enclosure::{Enclosure, write_private};
use super::evidence;
use super::kubeconfig::{self, Credentials};
use super::patience::eventually;
use super::pki::{Authority, Identity};
use super::stored::{self, StoredEntry};
use super::tools::built;

/// Below the ports that systems give to clients (32768 and up), and nobody's standard.
const API_PORT: u16 = 16443;
const ETCD_PORT: u16 = 12379;
const ETCD_PEER_PORT: u16 = 12380;

/// What a start may take on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// The issuer of service account tokens, and their audience.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How long a kubeconfig of a service account is good for: longer than any test.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// Where the parts listen.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    /// etcd's and the API server's.
    pub(crate) listen: Ipv4Addr,
    /// The API server's, as pods are told it.
    pub(crate) advertise: Ipv4Addr,
    /// From which Services take theirs, as `ADDRESS/BITS`.
    pub(crate) services: String,
}

/// A running control plane. Dropping it stops it; when that happens because a test fails, logs and
/// objects are kept under `target/e2e/`.
#[derive(Debug)]
pub struct ControlPlane {
    scheduler: Component,
    controller_manager: Component,
    api_server: Component,
    etcd: Component,
    etcd_address: SocketAddr,
    authority: Authority,
    server: String,
    kubeconfig: PathBuf,
    enclosure: Arc<Enclosure>,
}

impl ControlPlane {
    /// Starts one without a node.
    pub async fn start() -> Self {
        let enclosure = Arc::new(Enclosure::open());
        let listen = enclosure.loopback();
        let addresses = Addresses {
            listen,
            // From the range for documentation: with no pod, nobody connects to it, and a loopback
            // address is refused from Kubernetes 1.37 on.
            advertise: Ipv4Addr::new(192, 0, 2, 1),
            services: "198.51.100.0/24".to_owned(),
        };
        Self::start_in(enclosure, &addresses).await
    }

    /// Starts one beside a node.
    pub(crate) async fn start_in(enclosure: Arc<Enclosure>, addresses: &Addresses) -> Self {
        let authority = Authority::new(enclosure.path("pki"));
        let server = format!("https://{}:{API_PORT}", addresses.listen);
        let etcd = enclosure.start(etcd(&enclosure, addresses.listen));
        let api_server = enclosure.start(api_server(&enclosure, &authority, addresses));
        let identity = authority.client("admin", "admin", Some("system:masters"));
        let kubeconfig = enclosure.path("kubeconfig");
        let ca = authority.certificate();
        kubeconfig::write(
            &kubeconfig,
            &server,
            &ca,
            &Credentials::Certificate(&identity),
        );

        let config_of = |name: &str| client_config(&enclosure, &authority, &server, name, None);
        let controller_manager = controller_manager(
            &config_of("kube-controller-manager"),
            &authority,
            &enclosure.path("pki/service-accounts.key"),
        );
        let scheduler = scheduler(&config_of("kube-scheduler"));
        let mut control_plane = Self {
            controller_manager: enclosure.start(controller_manager),
            scheduler: enclosure.start(scheduler),
            etcd,
            etcd_address: SocketAddr::new(addresses.listen.into(), ETCD_PORT),
            api_server,
            authority,
            server,
            kubeconfig,
            enclosure,
        };
        control_plane.ready().await;
        control_plane
    }

    /// Waits until requests are answered and pods could be made.
    async fn ready(&mut self) {
        let client = self.client().await;
        let accounts = Api::<ServiceAccount>::namespaced(client, "default");
        eventually("the control plane", PATIENCE, async || {
            for component in [
                &mut self.etcd,
                &mut self.api_server,
                &mut self.controller_manager,
                &mut self.scheduler,
            ] {
                component.check();
            }
            // The controller manager makes it, and admission lets in no pod without it.
            accounts.get("default").await.map(drop)
        })
        .await;
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The URL of the API server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A client of the administrator's. Each runtime needs one of its own.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }

    /// `kubectl` of the administrator's.
    #[must_use]
    pub fn kubectl(&self) -> CommandLine {
        self.command_line(built("kubectl"))
    }

    /// `helm` of the administrator's.
    #[must_use]
    pub fn helm(&self) -> CommandLine {
        self.command_line(built("helm"))
    }

    /// A program of the administrator's.
    #[must_use]
    pub fn command_line(&self, program: &Path) -> CommandLine {
        CommandLine::new(program, &self.kubeconfig, &self.enclosure.path("tmp"))
    }

    /// The folder of every program's log, and of the pods' under `pods/`.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.enclosure.path("log")
    }

    /// Every request so far.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(audit_path(&self.enclosure))
    }

    /// A kubeconfig of a service account, with no more rights than it has been given.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> PathBuf {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![ISSUER.to_owned()],
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = Api::<ServiceAccount>::namespaced(self.client().await, namespace)
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .unwrap_or_else(|error| panic!("service account {namespace}/{name}: {error}"));
        let token = answer.status.expect("a token").token;
        let path = self
            .enclosure
            .path(&format!("kubeconfig-{namespace}-{name}"));
        let ca = self.authority.certificate();
        kubeconfig::write(&path, &self.server, &ca, &Credentials::Token(&token));
        path
    }

    /// The API server, to be stopped and started again.
    pub fn api_server(&mut self) -> &mut Component {
        &mut self.api_server
    }

    /// etcd, likewise.
    pub fn etcd(&mut self) -> &mut Component {
        &mut self.etcd
    }

    /// Everything that etcd holds now.
    pub async fn stored(&self) -> Vec<StoredEntry> {
        stored::entries(self.etcd_address).await
    }

    /// Keeps logs and objects under `target/e2e/NAME` and prints where.
    pub fn keep_evidence(&self, name: &str) {
        evidence::keep(name, &self.logs(), built("kubectl"), &self.kubeconfig);
    }

    /// Who signs the certificates.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A kubeconfig for a component of Kubernetes.
    pub(crate) fn component_kubeconfig(&self, name: &str, group: Option<&str>) -> PathBuf {
        client_config(&self.enclosure, &self.authority, &self.server, name, group)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_evidence(&evidence::current_test());
        }
    }
}

/// A client with the rights of a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// The kubeconfig of `system:NAME`.
fn client_config(
    enclosure: &Enclosure,
    authority: &Authority,
    server: &str,
    name: &str,
    group: Option<&str>,
) -> PathBuf {
    let file = name.replace(':', "-");
    let identity = authority.client(&file, &format!("system:{name}"), group);
    let path = enclosure.path(&format!("kubeconfig-{file}"));
    let ca = authority.certificate();
    kubeconfig::write(&path, server, &ca, &Credentials::Certificate(&identity));
    path
}

fn etcd(enclosure: &Enclosure, listen: Ipv4Addr) -> Program {
    let client = format!("http://{listen}:{ETCD_PORT}");
    let peer = format!("http://{listen}:{ETCD_PEER_PORT}");
    Program::new("etcd", "etcd")
        .file("data-dir", &enclosure.path("etcd"))
        .flag("listen-client-urls", &client)
        .flag("advertise-client-urls", &client)
        .flag("listen-peer-urls", &peer)
        .flag("initial-advertise-peer-urls", &peer)
        .flag("initial-cluster", format!("default={peer}"))
        // The data does not outlive the machine's uptime.
        .argument("--unsafe-no-fsync")
}

fn api_server(enclosure: &Enclosure, authority: &Authority, addresses: &Addresses) -> Program {
    let policy = enclosure.path("audit-policy.yaml");
    write_private(&policy, audit::POLICY);
    let serving = authority.server(
        "kube-apiserver",
        &[
            "kubernetes",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ],
        &[
            IpAddr::V4(addresses.listen),
            IpAddr::V4(addresses.advertise),
            IpAddr::V4(first_address(&addresses.services)),
        ],
    );
    let Identity { certificate, key } =
        authority.client("kubelet-client", "kubelet-client", Some("system:masters"));
    let (tokens, tokens_public) = authority.token_keys();
    Program::new("kube-apiserver", built("kube-apiserver"))
        .flag(
            "etcd-servers",
            format!("http://{}:{ETCD_PORT}", addresses.listen),
        )
        .flag("bind-address", addresses.listen)
        .flag("secure-port", API_PORT)
        .flag("advertise-address", addresses.advertise)
        .flag("service-cluster-ip-range", &addresses.services)
        .flag("authorization-mode", "Node,RBAC")
        .flag("enable-admission-plugins", "NodeRestriction")
        .file("client-ca-file", &authority.certificate())
        .file("tls-cert-file", &serving.certificate)
        .file("tls-private-key-file", &serving.key)
        .file("kubelet-certificate-authority", &authority.certificate())
        .file("kubelet-client-certificate", &certificate)
        .file("kubelet-client-key", &key)
        // Logs and exec reach the node by address: nothing resolves its name.
        .flag("kubelet-preferred-address-types", "InternalIP")
        .flag("service-account-issuer", ISSUER)
        .file("service-account-key-file", &tokens_public)
        .file("service-account-signing-key-file", &tokens)
        .file("audit-policy-file", &policy)
        .file("audit-log-path", &audit_path(enclosure))
        // In the log before the client has its answer, so that a test need not wait for it.
        .flag("audit-log-mode", "blocking")
        // Whole, in one file, in MiB.
        .flag("audit-log-maxsize", 4096)
}

fn controller_manager(kubeconfig: &Path, authority: &Authority, tokens: &Path) -> Program {
    Program::new("kube-controller-manager", built("kube-controller-manager"))
        .file("kubeconfig", kubeconfig)
        .flag("leader-elect", false)
        .flag("secure-port", 0)
        .argument("--use-service-account-credentials")
        // Its start is hundreds of requests, which the default of 20 a second makes seconds long.
        .flag("kube-api-qps", 200)
        .flag("kube-api-burst", 400)
        .file("service-account-private-key-file", tokens)
        .file("root-ca-file", &authority.certificate())
}

fn scheduler(kubeconfig: &Path) -> Program {
    Program::new("kube-scheduler", built("kube-scheduler"))
        .file("kubeconfig", kubeconfig)
        .flag("leader-elect", false)
        .flag("secure-port", 0)
}

fn audit_path(enclosure: &Enclosure) -> PathBuf {
    enclosure.path("log/audit.log")
}

/// The address that the `kubernetes` Service gets: the first of the range.
fn first_address(range: &str) -> Ipv4Addr {
    let (address, _) = range.split_once('/').unwrap();
    let address: Ipv4Addr = address.parse().unwrap();
    Ipv4Addr::from(u32::from(address) + 1)
}
