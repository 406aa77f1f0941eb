//! What every cluster has beside its node: names for Services, and an Ingress controller.
//!
//! Both run as processes of the node, so that no image of theirs is needed.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::component::{Component, Program};
use super::control_plane::ControlPlane;
use super::enclosure::Enclosure;
use super::network::Network;
use super::patience::eventually;
use super::tools::built;

/// The class of Ingresses that are served.
pub const INGRESS_CLASS: &str = "skipper";

/// The port of the Ingress controller on the node's address.
const INGRESS_PORT: u16 = 80;

/// Where skipper finds the API server; it reads no kubeconfig.
const PROXY_PORT: u16 = 8001;

/// How soon a change of an Ingress or of its endpoints is served, in milliseconds.
const INGRESS_POLL: u16 = 100;

const PATIENCE: Duration = Duration::from_secs(30);

/// CoreDNS and skipper. Fields end in their order.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) skipper: Component,
    _proxy: Component,
    pub(crate) coredns: Component,
}

impl Services {
    /// Starts both and waits until they answer.
    pub(crate) async fn start(enclosure: &Enclosure, control_plane: &ControlPlane) -> Self {
        let network = Network::of(enclosure);
        let mut services = Self {
            coredns: enclosure.start(coredns(enclosure, control_plane, network.node())),
            _proxy: enclosure.start(kubectl_proxy(control_plane)),
            skipper: enclosure.start(skipper(network.node())),
        };
        control_plane.kubectl().apply(&objects(network)).await;
        for port in [53, INGRESS_PORT] {
            eventually("DNS and Ingress", PATIENCE, async || {
                services.coredns.check();
                services.skipper.check();
                tokio::net::TcpStream::connect((network.node(), port)).await
            })
            .await;
        }
        services
    }
}

/// The URL of the Ingress controller.
pub(crate) fn ingress_url(network: Network) -> String {
    // The default port of http is not written.
    format!("http://{}", network.node())
}

fn coredns(enclosure: &Enclosure, control_plane: &ControlPlane, listen: Ipv4Addr) -> Program {
    let kubeconfig = control_plane.component_kubeconfig("coredns", Some("system:masters"));
    let corefile = enclosure.path("Corefile");
    let text = format!(
        "cluster.local:53 {{
    bind {listen}
    errors
    kubernetes cluster.local {{
        kubeconfig {}
        ttl 1
    }}
}}
",
        kubeconfig.display()
    );
    std::fs::write(&corefile, text).unwrap();
    Program::new("coredns", built("coredns"))
        .argument("-conf")
        .argument(corefile.to_str().unwrap())
}

fn kubectl_proxy(control_plane: &ControlPlane) -> Program {
    let kubeconfig = control_plane.component_kubeconfig("skipper", Some("system:masters"));
    Program::new("kubectl-proxy", built("kubectl"))
        .argument("proxy")
        .flag("port", PROXY_PORT)
        .file("kubeconfig", &kubeconfig)
}

fn skipper(listen: Ipv4Addr) -> Program {
    Program::new("skipper", built("skipper"))
        .flag("address", format!("{listen}:{INGRESS_PORT}"))
        .argument("--kubernetes")
        .flag("kubernetes-url", format!("http://127.0.0.1:{PROXY_PORT}"))
        .flag("kubernetes-ingress-class", format!("^{INGRESS_CLASS}$"))
        // As Ingress v1 means `pathType: Prefix`.
        .flag("kubernetes-path-mode", "path-prefix")
        .argument("--enable-kubernetes-endpointslices")
        .flag("kubernetes-https-redirect", false)
        .flag("source-poll-timeout", INGRESS_POLL)
        .flag("access-log-disabled", true)
}

/// The Service that pods ask for names, and the class of Ingresses.
fn objects(network: Network) -> String {
    let (dns, node) = (network.dns(), network.node());
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system, labels: {{k8s-app: kube-dns}}}}
spec:
  clusterIP: {dns}
  ports:
  - {{name: dns, protocol: UDP, port: 53}}
  - {{name: dns-tcp, protocol: TCP, port: 53}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {{kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{{addresses: [{node}], conditions: {{ready: true}}}}]
ports:
- {{name: dns, protocol: UDP, port: 53}}
- {{name: dns-tcp, protocol: TCP, port: 53}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: {INGRESS_CLASS}}}
spec: {{controller: zalando.org/skipper}}
"
    )
}
