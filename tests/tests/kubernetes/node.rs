//! The node of the tests runs pods as any cluster does, and nothing of it is left behind.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Api;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use trunkline_tests::binary;
use trunkline_tests::kubernetes::{
    BUSYBOX, Cluster, CommandLine, INGRESS_CLASS, Postgres, client, eventually, project_image,
};

use crate::site::Turn;

const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace that admits only what Pod Security calls restricted.
const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata:
  name: smoke
  labels: {pod-security.kubernetes.io/enforce: restricted}
";

/// The security context that such a namespace asks for.
const POD_SECURITY: &str = "{runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}";
const CONTAINER_SECURITY: &str = "{allowPrivilegeEscalation: false, \
    readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}";

fn ingester() -> String {
    let image = project_image("trunkline-ingester");
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: ingester, namespace: smoke}}
spec:
  selector: {{matchLabels: {{app: ingester}}}}
  template:
    metadata: {{labels: {{app: ingester}}}}
    spec:
      automountServiceAccountToken: false
      securityContext: {POD_SECURITY}
      containers:
      - name: ingester
        image: {image}
        args: [--config-dir, /etc/trunkline/config]
        ports: [{{name: admin, containerPort: 9090}}]
        readinessProbe: {{httpGet: {{path: /livez, port: admin}}, periodSeconds: 1}}
        securityContext: {CONTAINER_SECURITY}
        volumeMounts: [{{name: config, mountPath: /etc/trunkline/config}}]
      volumes: [{{name: config, secret: {{secretName: config, optional: true}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: ingester, namespace: smoke}}
spec:
  selector: {{app: ingester}}
  ports: [{{name: admin, port: 80, targetPort: admin}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: ingester, namespace: smoke}}
spec:
  ingressClassName: {INGRESS_CLASS}
  rules:
  - host: hooks.example.com
    http:
      paths:
      - path: /livez
        pathType: Prefix
        backend: {{service: {{name: ingester, port: {{name: admin}}}}}}
"
    )
}

/// A pod that serves the files of a Secret, and is a shell on the cluster's network.
fn looker() -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: looker, namespace: smoke}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {{runAsUser: 65532, {}
  containers:
  - name: looker
    image: {BUSYBOX}
    args: [httpd, -f, -p, '8080', -h, /watched]
    securityContext: {CONTAINER_SECURITY}
    volumeMounts: [{{name: watched, mountPath: /watched}}]
  volumes: [{{name: watched, secret: {{secretName: watched}}}}]
",
        POD_SECURITY.trim_start_matches('{')
    )
}

fn secret(value: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: watched, namespace: smoke}}
stringData: {{value: {value}}}
"
    )
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_pod_of_the_ingester_image_runs() {
    let _turn = Turn::beside_others().await;
    let started = Instant::now();
    let cluster = Cluster::shared().await;
    let _evidence = cluster.evidence();
    cluster.load_busybox();
    println!("node ready in {:?}", started.elapsed());

    let kubectl = cluster.kubectl();
    kubectl.apply(NAMESPACE).await;
    let applied = Instant::now();
    kubectl.apply(&ingester()).await;
    rolled_out(&kubectl, "deployment/ingester").await;
    println!("pod ready in {:?}", applied.elapsed());

    let client = cluster.client().await;
    let service = Api::<Service>::namespaced(client.clone(), "smoke")
        .get("ingester")
        .await
        .unwrap();
    let cluster_ip = service.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
    eventually("the Service", PATIENCE, async || {
        ok(get(cluster_ip, 80, "ingester", "/livez").await)
    })
    .await;
    eventually("the Ingress", PATIENCE, async || {
        let ingress = cluster.node_address().into();
        ok(get(ingress, 80, "hooks.example.com", "/livez").await)
    })
    .await;
    let elsewhere = get(
        cluster.node_address().into(),
        80,
        "other.example.com",
        "/livez",
    )
    .await;
    assert!(elsewhere.unwrap().starts_with("HTTP/1.1 404"));

    kubectl.apply(&(secret("before") + "---" + &looker())).await;
    let wait = ["wait", "--for=condition=Ready", "pod/looker", "-n", "smoke"];
    kubectl.run(&wait).await;
    a_pod_resolves_names_and_reaches_the_database(&kubectl, cluster).await;
    a_pod_sees_an_edited_secret_soon(&kubectl, &Api::namespaced(client, "smoke")).await;

    kubectl.run(&["delete", "namespace", "smoke"]).await;
    println!("all of it in {:?}", started.elapsed());
}

async fn a_pod_resolves_names_and_reaches_the_database(kubectl: &CommandLine, cluster: &Cluster) {
    let look = async |arguments: &[&str]| {
        let exec = ["exec", "-n", "smoke", "looker", "--", "/busybox"];
        kubectl.run(&[&exec[..], arguments].concat()).await
    };
    let found = look(&["nslookup", "ingester.smoke.svc.cluster.local"]).await;
    assert!(found.contains("Name:"), "{found}");
    // By the short name, and through the Service.
    let page = look(&["wget", "-q", "-O", "-", "http://ingester/livez"]).await;
    assert!(!page.is_empty());
    let login = cluster.postgres().create_database("smoke", "").await;
    // Ends when the server hangs up, which it does on a client that says nothing more.
    look(&["nc", "-w", "5", &login.host, &login.port.to_string()]).await;
    let owner = login.connect().await;
    let user = owner.query_one("SELECT current_user::text", &[]).await;
    assert_eq!(user.unwrap().get::<_, String>(0), "smoke");
    kubectl.apply(&login.secret("smoke", "warehouse")).await;
}

async fn a_pod_sees_an_edited_secret_soon(kubectl: &CommandLine, pods: &Api<Pod>) {
    let pod = pods.get("looker").await.unwrap();
    let address: IpAddr = pod.status.unwrap().pod_ip.unwrap().parse().unwrap();
    let value = async || get(address, 8080, "looker", "/value").await;
    assert!(value().await.unwrap().ends_with("before"));
    kubectl.apply(&secret("after")).await;
    let nudged = Instant::now();
    let annotate = ["annotate", "-n", "smoke", "pod", "looker", "nudge=1"];
    kubectl.run(&annotate).await;
    let patience = Duration::from_secs(2);
    eventually("the edited Secret", patience, async || {
        let answer = value().await.map_err(|error| error.to_string())?;
        answer.ends_with("after").then_some(()).ok_or(answer)
    })
    .await;
    println!("edited Secret seen in {:?}", nudged.elapsed());
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn everything_starts_again_and_stops() {
    let _turn = Turn::beside_others().await;
    let mut cluster = Cluster::start().await;
    cluster.load_busybox();
    let kubectl = cluster.kubectl();
    kubectl.apply(NAMESPACE).await;
    kubectl.apply(&(secret("value") + "---" + &looker())).await;
    let wait = ["wait", "--for=condition=Ready", "pod/looker", "-n", "smoke"];
    kubectl.run(&wait).await;
    the_database_comes_back_after_every_end(cluster.postgres_mut()).await;
    let run = Run::of(&cluster);
    assert!(!run.traces().is_empty());
    let stopped = Instant::now();
    drop(cluster);
    println!("stopped in {:?}", stopped.elapsed());
    run.is_gone().await;
}

async fn the_database_comes_back_after_every_end(postgres: &mut Postgres) {
    // A session of its own process, which has to end with the server.
    let session = postgres.connect().await;
    postgres.kill();
    postgres.start_again().await;
    assert!(session.batch_execute("SELECT 1").await.is_err());
    postgres.shut_down();
    postgres.start_again().await;
    postgres
        .connect()
        .await
        .batch_execute("SELECT 1")
        .await
        .unwrap();
}

/// `make cluster` and then `kill -9`: nobody is left to clear up but the kernel and the janitor.
#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn nothing_outlives_a_killed_process() {
    let _turn = Turn::beside_others().await;
    let mut process = tokio::process::Command::new(binary("trunkline-cluster"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let kubeconfig = loop {
        let line = lines.next_line().await.unwrap().expect("a cluster");
        if let Some((_, path)) = line.split_once("export KUBECONFIG=") {
            break PathBuf::from(path);
        }
    };
    let client = client(&kubeconfig).await;
    let node = Api::<Node>::all(client).get("node").await.unwrap();
    let addresses = node.status.unwrap().addresses.unwrap();
    let run = Run::new(&kubeconfig, &addresses[0].address);
    assert!(!run.traces().is_empty());
    process.kill().await.unwrap();
    run.is_gone().await;
}

/// What a run is recognised by on this machine.
struct Run {
    folder: PathBuf,
    /// Of its cgroups and its network interface.
    name: String,
    /// How the addresses of its link begin.
    network: String,
}

impl Run {
    fn of(cluster: &Cluster) -> Self {
        Self::new(cluster.kubeconfig(), &cluster.node_address().to_string())
    }

    fn new(kubeconfig: &Path, node: &str) -> Self {
        let folder = kubeconfig.parent().unwrap().to_owned();
        let number = folder.file_name().unwrap().to_str().unwrap();
        Self {
            name: format!("trunkline-{number}"),
            network: node.trim_end_matches(|digit| digit != '.').to_owned(),
            folder,
        }
    }

    async fn is_gone(&self) {
        // The kernel removes a network namespace some time after its last process.
        eventually("nothing is left", Duration::from_secs(10), async || {
            let traces = self.traces();
            traces.is_empty().then_some(()).ok_or(traces.join("\n"))
        })
        .await;
    }

    /// Mentions of it by the kernel, and its files.
    fn traces(&self) -> Vec<String> {
        let path = self.folder.to_str().unwrap();
        let processes = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
        let cgroups = std::fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .map(|entry| entry.unwrap().path().join(&self.name))
            .chain([Path::new("/sys/fs/cgroup").join(&self.name)])
            .filter(|cgroup| cgroup.exists())
            .map(|cgroup| cgroup.display().to_string());
        let lines = [
            &["cat", "/proc/self/mounts"][..],
            &["ip", "link"],
            &["ip", "route", "show", "table", "all"],
            &["iptables-save"],
        ];
        let lines = lines.into_iter().flat_map(|command| {
            let output = Command::new(command[0]).args(&command[1..]).output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        let files = self.folder.exists().then(|| path.to_owned());
        processes
            .chain(lines)
            .chain(cgroups)
            .chain(files)
            .filter(|text| {
                [path, &self.name, &self.network]
                    .iter()
                    .any(|mark| text.contains(*mark))
            })
            .collect()
    }
}

async fn rolled_out(kubectl: &CommandLine, what: &str) {
    let wait = ["rollout", "status", what, "-n", "smoke", "--timeout", "60s"];
    kubectl.run(&wait).await;
}

/// The answer to a GET, head and body, or none for a while.
async fn get(address: IpAddr, port: u16, host: &str, path: &str) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect((address, port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await?
}

fn ok(answer: std::io::Result<String>) -> Result<(), String> {
    let answer = answer.map_err(|error| error.to_string())?;
    answer
        .starts_with("HTTP/1.1 200")
        .then_some(())
        .ok_or(answer)
}
