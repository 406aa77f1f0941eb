//! [`Site`]: a namespace with a database and a WebhookCluster, served by an installed operator.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kube::api::Patch;
use kube::{Api, ResourceExt};
use tokio::sync::{Mutex, OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_tests::kubernetes::{Cluster, CommandLine, DatabaseLogin, INGRESS_CLASS, eventually};
use trunkline_tests::{Answer, Client, Proxy, signed_single};

/// The secret of every source of a site.
pub(crate) const SECRET: &str = "the-shared-secret-of-the-tests";
/// How long a state that has to come may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The namespace of the operator.
pub(crate) const OPERATOR_NAMESPACE: &str = "trunkline-system";

/// Tests run beside each other: each has its own namespace, and most of its time is waiting.
static TURNS: RwLock<()> = RwLock::const_new(());

/// A test's place among the others, for as long as it is held.
pub(crate) enum Turn {
    BesideOthers {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

impl Turn {
    /// For a test that what others do does not matter to, and that harms none of them.
    pub(crate) async fn beside_others() -> Self {
        let _guard = TURNS.read().await;
        Self::BesideOthers { _guard }
    }

    /// For a test that stops what others use, or asserts what holds on a machine that does nothing
    /// else.
    pub(crate) async fn alone() -> Self {
        let _guard = TURNS.write().await;
        Self::Alone { _guard }
    }
}

/// The cluster with the operator installed by its chart, as a user installs it.
pub(crate) async fn installed() -> &'static Cluster {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let cluster = Cluster::shared().await;
    INSTALLED
        .get_or_init(async || {
            let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/trunkline");
            let arguments = [
                "install",
                "trunkline",
                chart,
                "--namespace",
                OPERATOR_NAMESPACE,
                "--create-namespace",
                "--wait",
                "--timeout",
                "3m",
            ];
            let started = Instant::now();
            cluster.helm().run(&arguments).await;
            println!("helm install --wait took {:?}", started.elapsed());
        })
        .await;
    cluster
}

/// One namespace's database, WebhookCluster `main`, and Secret `signing`.
pub(crate) struct Site {
    pub(crate) cluster: &'static Cluster,
    pub(crate) namespace: String,
    pub(crate) database: DatabaseLogin,
    pub(crate) kubectl: CommandLine,
    _turn: Turn,
}

/// Its pods make room for those of the next test: the node has only as many processors as the machine.
/// The objects are kept for whoever looks at a failure, whose evidence is collected before this.
impl Drop for Site {
    fn drop(&mut self) {
        let delete = [
            "delete",
            "webhookcluster",
            "main",
            "--namespace",
            &self.namespace,
            "--ignore-not-found",
            "--wait=false",
        ];
        let outcome = self.kubectl.command(&delete).into_std().output();
        if !outcome.is_ok_and(|output| output.status.success()) {
            println!("the pods of {} stay", self.namespace);
        }
    }
}

impl Site {
    /// A namespace that admits only restricted pods, with its database and WebhookCluster. It may
    /// not be ready when this returns.
    pub(crate) async fn new(namespace: &str) -> Self {
        Self::with(namespace, "replicas: 2", "CREATEROLE").await
    }

    /// The same, and no other test runs while it is there.
    pub(crate) async fn alone(namespace: &str) -> Self {
        let turn = Turn::alone().await;
        Self::at(turn, namespace, "replicas: 2", "CREATEROLE", None).await
    }

    /// The same as [`Site::new`], with a way of its own to the database that can be blocked.
    pub(crate) async fn behind_proxy(namespace: &str) -> (Self, Proxy) {
        let turn = Turn::beside_others().await;
        let cluster = installed().await;
        let server = cluster.postgres().superuser();
        let server = SocketAddr::new(server.host.parse().unwrap(), server.port);
        let proxy = Proxy::at(cluster.machine_address().into(), server).await;
        let way = (cluster.machine_address().to_string(), proxy.port());
        let site = Self::at(turn, namespace, "replicas: 2", "CREATEROLE", Some(way)).await;
        (site, proxy)
    }

    /// The same as [`Site::new`], with fields of the WebhookCluster and options of the database's
    /// owner.
    pub(crate) async fn with(namespace: &str, spec: &str, role_options: &str) -> Self {
        let turn = Turn::beside_others().await;
        Self::at(turn, namespace, spec, role_options, None).await
    }

    /// `way` is the address that Trunkline is told in the place of the server's.
    async fn at(
        turn: Turn,
        namespace: &str,
        spec: &str,
        role_options: &str,
        way: Option<(String, u16)>,
    ) -> Self {
        let cluster = installed().await;
        let database = cluster
            .postgres()
            .create_database(namespace, role_options)
            .await;
        let mut told = database.clone();
        if let Some((host, port)) = way {
            (told.host, told.port) = (host, port);
        }
        let site = Self {
            cluster,
            namespace: namespace.to_owned(),
            kubectl: cluster.kubectl(),
            database,
            _turn: turn,
        };
        let host = site.host();
        site.kubectl
            .apply(&format!(
                "apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: signing, namespace: {namespace}}}
stringData: {{secret: {SECRET}}}
---
{}
---
apiVersion: trunkline.dev/v1alpha1
kind: WebhookCluster
metadata: {{name: main, namespace: {namespace}}}
spec:
  size: 3xsmall
  database: {{secretRef: {{name: warehouse}}}}
  exposure: {{host: {host}, ingress: {{className: {INGRESS_CLASS}}}}}
  {spec}
",
                told.secret(namespace, "warehouse")
            ))
            .await;
        site
    }

    /// The host that the site's Ingress answers to.
    pub(crate) fn host(&self) -> String {
        format!("{}.example.com", self.namespace)
    }

    /// A manifest of a source that verifies with [`SECRET`].
    pub(crate) fn source(&self, name: &str) -> String {
        self.source_with(name, "")
    }

    /// The same with more fields of the spec.
    pub(crate) fn source_with(&self, name: &str, spec: &str) -> String {
        format!(
            "apiVersion: trunkline.dev/v1alpha1
kind: WebhookSource
metadata: {{name: {name}, namespace: {}}}
spec:
  clusterRef: {{name: main}}
  verification: {{preset: segment, secrets: [{{secretKeyRef: {{name: signing, key: secret}}}}]}}
  {spec}
---
",
            self.namespace
        )
    }

    /// The sources.
    pub(crate) async fn sources(&self) -> Api<WebhookSource> {
        Api::namespaced(self.cluster.client().await, &self.namespace)
    }

    /// The WebhookCluster.
    pub(crate) async fn main(&self) -> WebhookCluster {
        let api: Api<WebhookCluster> =
            Api::namespaced(self.cluster.client().await, &self.namespace);
        api.get("main").await.unwrap()
    }

    /// Changes fields of the WebhookCluster.
    pub(crate) async fn patch_main(&self, patch: serde_json::Value) {
        let api: Api<WebhookCluster> =
            Api::namespaced(self.cluster.client().await, &self.namespace);
        api.patch("main", &Default::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Replaces the operator's pods, and waits until the others serve. One test at a time: kubectl
    /// refuses a second restart within a second, and who asks which replica acts means their own.
    pub(crate) async fn restart_operator(&self) {
        static RESTARTS: Mutex<()> = Mutex::const_new(());
        let _others_wait = RESTARTS.lock().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        for command in ["restart", "status"] {
            let arguments = ["rollout", command, "deployment", "-n", OPERATOR_NAMESPACE];
            self.kubectl.run(&arguments).await;
        }
    }

    /// Waits until a source's condition `Ready` has this status and reason, for the generation that
    /// is there; the source as it is then.
    pub(crate) async fn ready(&self, source: &str, status: &str, reason: &str) -> WebhookSource {
        let api = self.sources().await;
        eventually(
            &format!("{source} {status} {reason}"),
            PATIENCE,
            async || {
                let object = api.get(source).await.map_err(|error| error.to_string())?;
                let found = condition(&object, "Ready");
                let (is, why, message, generation) = found.unwrap_or_default();
                if is == status && why == reason && generation == object.metadata.generation {
                    Ok(object)
                } else {
                    Err(format!("{is} {why}: {message}"))
                }
            },
        )
        .await
    }

    /// Waits until the source is ready; its URL.
    pub(crate) async fn url(&self, source: &str) -> String {
        let object = self.ready(source, "True", "Serving").await;
        object.status.unwrap().url.unwrap()
    }

    /// A sender that reaches the Ingress controller.
    pub(crate) fn sender(&self) -> Client {
        Client::new(SocketAddr::new(self.cluster.node_address().into(), 80))
    }

    /// Posts a signed event to a URL of the site, on a connection of its own.
    pub(crate) async fn post(&self, url: &str, event: &str, secret: &str) -> Answer {
        let path = url
            .strip_prefix(&format!("http://{}", self.host()))
            .expect("a URL of the site");
        let (body, signature) = signed_single(secret.as_bytes(), event);
        let headers = [
            ("host", self.host()),
            ("content-type", "application/json".to_owned()),
            ("x-signature", signature),
        ];
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.sender().post(path, &headers, body).await.unwrap()
    }

    /// The rows of a relation.
    pub(crate) async fn count(&self, relation: &str) -> i64 {
        let client = self.database.connect().await;
        let query = format!("SELECT count(*) FROM {relation}");
        client.query_one(&query, &[]).await.unwrap().get(0)
    }
}

/// Status, reason, message and generation of a condition.
pub(crate) fn condition(
    source: &WebhookSource,
    type_: &str,
) -> Option<(String, String, String, Option<i64>)> {
    let conditions = &source.status.as_ref()?.conditions;
    let found = conditions.iter().find(|found| found.type_ == type_)?;
    Some((
        found.status.clone(),
        found.reason.clone(),
        found.message.clone(),
        found.observed_generation,
    ))
}

/// For messages of failed assertions.
pub(crate) fn describe(source: &WebhookSource) -> String {
    let conditions = source
        .status
        .as_ref()
        .map(|status| status.conditions.clone())
        .unwrap_or_default();
    let lines: Vec<_> = conditions
        .iter()
        .map(|it| format!("{}={} {}: {}", it.type_, it.status, it.reason, it.message))
        .collect();
    format!("{}: {}", source.name_any(), lines.join("; "))
}
