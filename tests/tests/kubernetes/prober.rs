//! [`Prober`]: a steady stream of signed events through every way in, followed to their rows; and
//! [`Watcher`]: whether `Ready` ever says something else than the pods.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline_crds::WebhookSource;
use trunkline_tests::{Client, Ledger, events, seed, signed_single};

use crate::site::{Site, condition};

/// Requests a second, over all ways.
const RATE: u32 = 300;

/// What senders were told.
#[derive(Debug, Default)]
struct Account {
    statuses: BTreeMap<u16, u64>,
    failures: Vec<String>,
    slowest: Duration,
}

/// A running stream of events to one source.
pub(crate) struct Prober {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    account: Arc<Mutex<Account>>,
    ledger: Arc<Ledger>,
    /// What senders sign with from now on.
    pub(crate) secret: Arc<Mutex<String>>,
}

/// A way to a source: an address, and the host and the path of the request.
#[derive(Clone)]
struct Way {
    name: &'static str,
    address: SocketAddr,
    host: String,
    path: String,
    keeps_connections: bool,
}

impl Prober {
    /// Starts to post to a source of the site: through the Ingress and through the Service, on new
    /// connections and on kept ones.
    pub(crate) async fn start(site: &Site, source: &str, secret: &str) -> Self {
        let services: Api<Service> = Api::namespaced(site.cluster.client().await, &site.namespace);
        let service = services.get("main-ingester").await.unwrap();
        let address: IpAddr = service.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
        let path = format!("/webhooks/{}/{source}", site.namespace);
        let way = |name, address, keeps_connections| Way {
            name,
            address,
            host: site.host(),
            path: path.clone(),
            keeps_connections,
        };
        let ingress = SocketAddr::new(site.cluster.node_address().into(), 80);
        let service = SocketAddr::new(address, 80);
        let ways = [
            way("Ingress, kept", ingress, true),
            way("Ingress, new", ingress, false),
            way("Service, kept", service, true),
            way("Service, new", service, false),
        ];
        let prober = Self {
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            account: Arc::default(),
            ledger: Arc::default(),
            secret: Arc::new(Mutex::new(secret.to_owned())),
        };
        prober.spawn(ways)
    }

    fn spawn(mut self, ways: [Way; 4]) -> Self {
        // Several senders a way, so that one slow answer does not slow the stream.
        const SENDERS: u32 = 8;
        let pause = Duration::from_secs(1) * (ways.len() as u32 * SENDERS) / RATE;
        for (number, way) in ways.into_iter().enumerate() {
            for sender in 0..u64::from(SENDERS) {
                let seed = seed() ^ (number as u64 * 16 + sender + 1);
                self.tasks.spawn(send(
                    way.clone(),
                    seed,
                    pause,
                    self.stop.clone(),
                    Arc::clone(&self.account),
                    Arc::clone(&self.ledger),
                    Arc::clone(&self.secret),
                ));
            }
        }
        self
    }

    /// Stops, and holds that nothing was refused and nothing lost.
    pub(crate) async fn finish(mut self, site: &Site, relation: &str) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let database = site.database.connect().await;
        let verdict = self.ledger.verify(&database, relation).await;
        let account = self.account.lock().unwrap();
        println!(
            "{:?}, slowest {:?}; {verdict}",
            account.statuses, account.slowest
        );
        let refused: u64 = account
            .statuses
            .iter()
            .filter(|(status, _)| **status != 200)
            .map(|(_, count)| count)
            .sum();
        assert_eq!(
            (refused, account.failures.len()),
            (0, 0),
            "{:?} {:?}",
            account.statuses,
            &account.failures[..account.failures.len().min(20)]
        );
    }
}

async fn send(
    way: Way,
    seed: u64,
    pause: Duration,
    stop: CancellationToken,
    account: Arc<Mutex<Account>>,
    ledger: Arc<Ledger>,
    secret: Arc<Mutex<String>>,
) {
    let mut client = Client::new(way.address);
    let mut tick = tokio::time::interval(pause);
    let started = Instant::now();
    for round in 0_u64.. {
        for event in events(seed.wrapping_add(round << 32), 100) {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            let key = secret.lock().unwrap().clone();
            let (body, signature) = signed_single(key.as_bytes(), &event.json);
            let number = ledger.sending([(event.message_id.as_str(), event.json.as_str())]);
            let headers = [
                ("host", way.host.as_str()),
                ("content-type", "application/json"),
                ("x-signature", signature.as_str()),
            ];
            let answer = client.post(&way.path, &headers, body).await;
            if !way.keeps_connections {
                client.disconnect();
            }
            let mut account = account.lock().unwrap();
            match answer {
                Ok(answer) => {
                    *account.statuses.entry(answer.status).or_default() += 1;
                    account.slowest = account.slowest.max(answer.elapsed);
                    if answer.status == 200 {
                        ledger.acknowledged(number);
                    } else {
                        account.failures.push(format!(
                            "{:?} {}: {} {}",
                            started.elapsed(),
                            way.name,
                            answer.status,
                            answer.text
                        ));
                    }
                }
                Err(failure) => account.failures.push(format!(
                    "{:?} {}: {failure}",
                    started.elapsed(),
                    way.name
                )),
            }
        }
    }
}

/// Compares `Ready` with what the pods in the ready endpoints say, every 50 ms.
pub(crate) struct Watcher {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Vec<Incident>>,
}

/// A time in which `Ready` and the pods did not agree.
#[derive(Debug, Clone)]
struct Incident {
    at: Duration,
    length: Duration,
    what: String,
}

impl Watcher {
    /// Starts to watch a source.
    pub(crate) async fn start(site: &Site, source: &str) -> Self {
        let client = site.cluster.client().await;
        let stop = CancellationToken::new();
        let namespace = site.namespace.clone();
        let sources: Api<WebhookSource> = Api::namespaced(client.clone(), &namespace);
        let slices: Api<EndpointSlice> = Api::namespaced(client, &namespace);
        let task = tokio::spawn(watch(
            sources,
            slices,
            source.to_owned(),
            format!("{namespace}/{source}"),
            stop.clone(),
        ));
        Self { stop, task }
    }

    /// Stops; lists every incident and holds that none lasted for more than ten seconds.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        let incidents = self.task.await.unwrap();
        for incident in &incidents {
            println!(
                "incident at {:?} for {:?}: {}",
                incident.at, incident.length, incident.what
            );
        }
        println!("{} incidents", incidents.len());
        assert!(
            incidents
                .iter()
                .all(|incident| incident.length < Duration::from_secs(10)),
            "an incident was longer than 10 s"
        );
    }
}

async fn watch(
    sources: Api<WebhookSource>,
    slices: Api<EndpointSlice>,
    source: String,
    full_name: String,
    stop: CancellationToken,
) -> Vec<Incident> {
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let mut incidents: Vec<Incident> = Vec::new();
    let mut open: Option<(Instant, String)> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
        let Ok(Some(object)) = sources.get_opt(&source).await else {
            continue;
        };
        let Some((status, reason, _, generation)) = condition(&object, "Ready") else {
            continue;
        };
        let says = status == "True" && generation == object.metadata.generation;
        let truth = serving(&slices, &full_name, object.metadata.generation).await;
        let disagreement = match (says, &truth) {
            (true, Err(why)) => Some(format!("Ready, but {why}")),
            (false, Ok(())) => Some(format!("{reason}, but every pod serves")),
            _ => None,
        };
        match (&open, disagreement) {
            (None, Some(what)) => open = Some((Instant::now(), what)),
            (Some((since, what)), None) => {
                incidents.push(Incident {
                    at: since.duration_since(started),
                    length: since.elapsed(),
                    what: what.clone(),
                });
                open = None;
            }
            _ => {}
        }
    }
    if let Some((since, what)) = open {
        incidents.push(Incident {
            at: since.duration_since(started),
            length: since.elapsed(),
            what,
        });
    }
    incidents
}

/// Whether every pod in the ready endpoints serves the source in this generation.
async fn serving(
    slices: &Api<EndpointSlice>,
    source: &str,
    generation: Option<i64>,
) -> Result<(), String> {
    let listed = slices
        .list(&Default::default())
        .await
        .map_err(|error| error.to_string())?;
    let mut pods = 0;
    for endpoint in listed.items.iter().flat_map(|slice| &slice.endpoints) {
        let is_ready = endpoint
            .conditions
            .as_ref()
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true);
        if !is_ready {
            continue;
        }
        pods += 1;
        let address: IpAddr = endpoint.addresses[0].parse().unwrap();
        let answer = Client::new(SocketAddr::new(address, 9090))
            .get("/config")
            .await
            .map_err(|failure| format!("{address}: {failure}"))?;
        let served: serde_json::Value =
            serde_json::from_str(&answer.text).map_err(|error| error.to_string())?;
        let entry = served["sources"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|entry| entry["source"] == source);
        let serves = entry.is_some_and(|entry| {
            entry["state"] == "serving" && entry["generation"].as_i64() == generation
        });
        if !serves || served["database"]["state"] != "ready" {
            return Err(format!("{address} serves {entry:?}"));
        }
    }
    if pods == 0 {
        return Err("no pod is ready".to_owned());
    }
    Ok(())
}
