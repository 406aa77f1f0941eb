//! The operator at work: what changes wakes the cluster that it concerns, and each cluster is
//! reconciled by one task at a time.

mod cluster;
mod context;
mod finalize;
mod nudge;
mod objects;
mod orphan;
mod plan;
mod read;
mod report;
mod rollout;
mod statuses;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use context::Options;

use crate::metrics::Metrics;
use crate::pods::PodAccess;
use crate::sync::lock;
use crate::watches::{Guarded, Scope, Stores};
use cluster::ReconcileError;
use context::Context;
use wake::Waker;

/// Reconciliations at once: each is of another cluster.
const CONCURRENCY: u16 = 16;

/// Watches that run, and what is to be done with what they see.
pub struct Operator {
    client: Client,
    options: Options,
    access: PodAccess,
    metrics: Arc<Metrics>,
    stores: Stores,
    waker: Waker,
    wakeups: wake::Wakeups,
    tasks: JoinSet<()>,
}

impl Operator {
    /// Starts the watches of a scope. Nothing is written before [`Operator::run`].
    #[must_use]
    pub fn start(
        client: Client,
        scope: &Scope,
        options: Options,
        access: PodAccess,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (waker, wakeups) = wake::channel();
        let mut tasks = JoinSet::new();
        let changes = waker.clone();
        let stores = Stores::start(&client, scope, &mut tasks, move |change| {
            changes.on_change(change);
        });
        waker.knows(stores.clone());
        Self {
            client,
            options,
            access,
            metrics,
            stores,
            waker,
            wakeups,
            tasks,
        }
    }

    /// Waits until everything that there is has been seen.
    pub async fn wait_until_ready(&self) {
        self.stores.wait_until_ready().await;
    }

    /// Reconciles until `stop` is cancelled; what has begun is ended.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            client,
            options,
            access,
            metrics,
            stores,
            waker,
            wakeups,
            mut tasks,
        } = self;
        let context = Arc::new(Context::new(
            client,
            stores.clone(),
            options,
            access,
            metrics,
            waker.clusters(),
        ));
        waker.acts_for(&context);
        let clusters = Controller::for_stream(stream::pending(), stores.clusters.clone())
            .with_config(Config::default().concurrency(CONCURRENCY))
            .reconcile_on(references(wakeups.clusters, |name| {
                ObjectRef::new(name.name()).within(name.namespace())
            }))
            .graceful_shutdown_on(stop.clone().cancelled_owned())
            .run(
                |object, context| attempt(cluster::reconcile, object, context),
                failed,
                Arc::clone(&context),
            )
            .for_each(|_| std::future::ready(()));
        let orphans = Controller::for_stream(stream::pending(), stores.sources.clone())
            .with_config(Config::default().concurrency(CONCURRENCY))
            .reconcile_on(references(wakeups.sources, |name| {
                ObjectRef::new(name.name()).within(name.namespace())
            }))
            .graceful_shutdown_on(stop.cancelled_owned())
            .run(
                |object, context| attempt(orphan::reconcile, object, context),
                failed,
                Arc::clone(&context),
            )
            .for_each(|_| std::future::ready(()));
        waker.everything();
        tokio::join!(clusters, orphans);
        tasks.shutdown().await;
    }
}

/// What is asked for, as the controller takes it.
fn references<N, K>(
    receiver: mpsc::UnboundedReceiver<N>,
    reference: fn(&N) -> ObjectRef<K>,
) -> impl stream::Stream<Item = ObjectRef<K>> + Send
where
    N: Send + 'static,
    K: Resource<DynamicType = ()> + 'static,
{
    stream::unfold(receiver, move |mut receiver| async move {
        let name = receiver.recv().await?;
        Some((reference(&name), receiver))
    })
}

/// Reconciles; a success lets the pauses after failures begin anew.
async fn attempt<K, W>(
    reconcile: impl FnOnce(Arc<Guarded<K>>, Arc<Context>) -> W,
    object: Arc<Guarded<K>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError>
where
    K: Resource<DynamicType = ()>,
    W: Future<Output = Result<Action, ReconcileError>>,
{
    let key = object.uid().unwrap_or_default();
    let outcome = reconcile(object, Arc::clone(&context)).await;
    if outcome.is_ok() {
        lock(&context.backoff).succeeded(&key);
    }
    outcome
}

/// The pause after a failure.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the form that the controller calls"
)]
fn failed<K>(object: Arc<Guarded<K>>, error: &ReconcileError, context: Arc<Context>) -> Action
where
    K: Resource<DynamicType = ()>,
{
    let key = object.uid().unwrap_or_default();
    let pause: Duration = lock(&context.backoff).failed(key);
    tracing::warn!(
        kind = %K::kind(&()),
        namespace = %object.namespace().unwrap_or_default(),
        name = %object.name_any(),
        retry_seconds = pause.as_secs_f64(),
        "{}",
        crate::chain(error)
    );
    Action::requeue(pause)
}
