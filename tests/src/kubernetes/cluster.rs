//! [`Cluster`]: a control plane with a node, DNS, an Ingress controller and a PostgreSQL.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::component::Component;
use super::control_plane::{Addresses, ControlPlane};
use super::enclosure::Enclosure;
use super::evidence::current_test;
use super::images;
use super::network::Network;
use super::node::Node;
use super::postgres::Postgres;
use super::services::{self, Services};

/// A running cluster, with all that [`ControlPlane`] offers. Dropping it stops it.
#[derive(Debug)]
pub struct Cluster {
    /// First, so that a failed test's objects are asked for while everything runs.
    control_plane: ControlPlane,
    _services: Services,
    postgres: Postgres,
    node: Node,
    enclosure: Arc<Enclosure>,
}

impl Cluster {
    /// Starts one of the test's own, for tests that stop parts of it.
    pub async fn start() -> Self {
        let enclosure = Arc::new(Enclosure::isolated());
        let network = Network::of(&enclosure);
        network.connect(&enclosure);
        let addresses = Addresses {
            listen: network.node(),
            advertise: network.node(),
            services: network.services(),
        };
        let control_plane = ControlPlane::start_in(Arc::clone(&enclosure), &addresses).await;
        // One after the other: on two cores nothing would be gained.
        let node = Node::start(&enclosure, &control_plane).await;
        let services = Services::start(&enclosure, &control_plane).await;
        let postgres = Postgres::start(&enclosure).await;
        Self {
            control_plane,
            _services: services,
            postgres,
            node,
            enclosure,
        }
    }

    /// The cluster that the tests of this process share, with the project's images loaded. The first
    /// call starts it; it ends with the process. Tests keep apart by namespace, and hold an
    /// [`Evidence`].
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED
            .get_or_init(async || {
                let cluster = Self::start().await;
                cluster.load_project_images();
                cluster
            })
            .await
    }

    /// Keeps the cluster's logs and objects when the test fails that holds the result.
    #[must_use]
    pub fn evidence(&self) -> Evidence<'_> {
        Evidence(self)
    }

    /// The node's address, which this machine and pods reach alike.
    #[must_use]
    pub fn node_address(&self) -> std::net::Ipv4Addr {
        self.network().node()
    }

    /// This machine's address, as pods see it.
    #[must_use]
    pub fn machine_address(&self) -> std::net::Ipv4Addr {
        self.network().machine()
    }

    /// The URL of the Ingress controller, for requests with a `Host` of their own.
    #[must_use]
    pub fn ingress_url(&self) -> String {
        services::ingress_url(self.network())
    }

    /// The database server.
    #[must_use]
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// The database server, to be stopped and started again.
    pub fn postgres_mut(&mut self) -> &mut Postgres {
        &mut self.postgres
    }

    /// Makes an image archive available to pods.
    ///
    /// # Panics
    /// When containerd refuses it.
    pub fn load_image(&self, archive: &Path) {
        images::load(&self.enclosure, archive);
    }

    /// Makes the images available that `make images` has made.
    ///
    /// # Panics
    /// When it has not.
    pub fn load_project_images(&self) {
        for archive in images::project_archives() {
            self.load_image(&archive);
        }
    }

    /// Gives an image of the node another name, which to a Deployment is another image.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn tag_image(&self, image: &str, other: &str) {
        images::tag(&self.enclosure, image, other);
    }

    /// Makes [`images::BUSYBOX`] available.
    ///
    /// # Panics
    /// Without a static busybox on this machine.
    pub fn load_busybox(&self) {
        self.load_image(&images::busybox(&self.enclosure.path("tmp")));
    }

    /// The kubelet, to be frozen: pods go on, and hear of nothing new.
    #[must_use]
    pub fn kubelet(&self) -> &Component {
        &self.node.kubelet
    }

    fn network(&self) -> Network {
        Network::of(&self.enclosure)
    }
}

impl Deref for Cluster {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.control_plane
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }
}

/// Held by a test on a shared cluster. Dropping it while the test fails keeps logs and objects.
#[derive(Debug)]
pub struct Evidence<'a>(&'a Cluster);

impl Drop for Evidence<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.keep_evidence(&current_test());
        }
    }
}
