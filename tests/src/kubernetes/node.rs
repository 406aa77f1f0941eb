//! [`Node`]: containerd, kubelet and kube-proxy.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;

use super::cgroups;
use super::component::{Component, Program};
use super::control_plane::ControlPlane;
use super::enclosure::{Enclosure, write_private};
use super::images;
use super::network::Network;
use super::patience::eventually;
use super::tools::built;

/// The node's name.
pub(crate) const NAME: &str = "node";

/// containerd's socket, in the node's own `/run`.
pub(crate) const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// Where Debian's package has the plugins; the folder that their authors name is tried first.
const CNI_FOLDERS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

/// What a start may take on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// The programs of a node. Fields end in their order.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kube_proxy: Component,
    pub(crate) kubelet: Component,
    pub(crate) containerd: Component,
}

impl Node {
    /// Starts the node and waits until it takes pods.
    pub(crate) async fn start(enclosure: &Arc<Enclosure>, control_plane: &ControlPlane) -> Self {
        let network = Network::of(enclosure);
        let mut containerd = enclosure.start(containerd(enclosure, network));
        let answers = ["--address", CONTAINERD, "version"];
        eventually("containerd", PATIENCE, async || {
            containerd.check();
            enclosure.try_run("ctr", &answers)
        })
        .await;
        images::load(enclosure, &images::pause(&enclosure.path("tmp")));
        let mut node = Self {
            kubelet: enclosure.start(kubelet(enclosure, control_plane, network)),
            kube_proxy: enclosure.start(kube_proxy(control_plane, network)),
            containerd,
        };
        node.ready(control_plane).await;
        node
    }

    async fn ready(&mut self, control_plane: &ControlPlane) {
        let nodes = Api::<NodeObject>::all(control_plane.client().await);
        eventually("the node", PATIENCE, async || {
            for component in [
                &mut self.containerd,
                &mut self.kubelet,
                &mut self.kube_proxy,
            ] {
                component.check();
            }
            let node = nodes.get(NAME).await.map_err(|error| error.to_string())?;
            let conditions = node.status.and_then(|status| status.conditions);
            let conditions = conditions.unwrap_or_default();
            let ready = conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            ready.then_some(()).ok_or_else(|| format!("{conditions:?}"))
        })
        .await;
    }
}

fn containerd(enclosure: &Enclosure, network: Network) -> Program {
    let cni = enclosure.path("cni");
    std::fs::create_dir(&cni).unwrap();
    let pods = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                // Not `bridge`: between two pods of a bridge, the answer of a Service would take a
                // way on which its address is not put back, unless the kernel has br_netfilter.
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "dataDir": enclosure.path("node/addresses"),
                    "ranges": [[{"subnet": network.pods()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    std::fs::write(cni.join("pods.conflist"), pods.to_string()).unwrap();
    let config = enclosure.path("containerd.toml");
    let text = format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# A score below our own needs CAP_SYS_RESOURCE, without which no sandbox would start.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{cni}"
"#,
        root = enclosure.path("node/containerd").display(),
        pause = images::PAUSE,
        plugins = cni_folder(),
        cni = cni.display(),
    );
    std::fs::write(&config, text).unwrap();
    Program::new("containerd", "containerd").file("config", &config)
}

fn cni_folder() -> &'static str {
    CNI_FOLDERS
        .into_iter()
        .find(|folder| std::path::Path::new(folder).join("ptp").exists())
        .expect("CNI plugins; run scripts/install e2e")
}

fn kubelet(enclosure: &Enclosure, control_plane: &ControlPlane, network: Network) -> Program {
    let address = network.node();
    let authority = control_plane.authority();
    let serving = authority.server("kubelet", &[NAME], &[IpAddr::V4(address)]);
    let none = serde_json::json!({
        "imagefs.available": "0%", "imagefs.inodesFree": "0%",
        "memory.available": "0%",
        "nodefs.available": "0%", "nodefs.inodesFree": "0%",
        "pid.available": "0%",
    });
    let config = serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority.certificate()},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": serving.certificate,
        "tlsPrivateKeyFile": serving.key,
        "readOnlyPort": 0,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups::make(&enclosure.name()),
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "clusterDomain": "cluster.local",
        "clusterDNS": [network.dns()],
        // The machine's own name servers cannot be reached from here.
        "resolvConf": "",
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "localStorageCapacityIsolation": false,
        // How full the machine is, is not the tests' concern.
        "evictionHard": none,
        "imageGCHighThresholdPercent": 100,
        "maxPods": 500,
    });
    let file = enclosure.path("kubelet.json");
    write_private(&file, &config.to_string());
    let user = format!("node:{NAME}");
    let kubeconfig = control_plane.component_kubeconfig(&user, Some("system:nodes"));
    Program::new("kubelet", built("kubelet"))
        .file("config", &file)
        .file("kubeconfig", &kubeconfig)
        .file("root-dir", &enclosure.path("node/kubelet"))
        .file("cert-dir", &enclosure.path("node/kubelet-pki"))
        .flag("hostname-override", NAME)
        .flag("node-ip", address)
}

fn kube_proxy(control_plane: &ControlPlane, network: Network) -> Program {
    let kubeconfig = control_plane.component_kubeconfig("kube-proxy", None);
    Program::new("kube-proxy", built("kube-proxy"))
        .file("kubeconfig", &kubeconfig)
        .flag("hostname-override", NAME)
        .flag("proxy-mode", "iptables")
        .flag("cluster-cidr", network.pods())
        // Limits of the machine, which a namespace cannot set.
        .flag("conntrack-max-per-core", 0)
        .flag("conntrack-tcp-timeout-established", 0)
        .flag("conntrack-tcp-timeout-close-wait", 0)
}
