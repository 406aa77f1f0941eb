//! [`Probe`]: one run, from the first request to the account.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use trunkline_model::database::DatabaseLogin;
use trunkline_model::names::RelationName;
use trunkline_model::verification::Verification;
use uuid::Uuid;

use super::account::{Account, Largest, Rows as FoundRows};
use super::largest::{self, SMALLEST_BODY};
use super::ledger::{Count, Ledger, Waiting};
use super::rows::{Rows, RowsError};
use crate::http::{Failure, Target, post};
use crate::segment::ProbeEvents;
use crate::send::{Content, Counters, Outcome, Plan, Report, Sender, headers, headers_of};

/// Pause between two looks at the rows.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// After this long without a row an event is left to the count at the end.
const OVERDUE: Duration = Duration::from_secs(60);
/// How late a request may be: one that was due is not left out because a timer woke late.
const LATENESS: Duration = Duration::from_secs(1);
/// How long rows may take to appear after the last answer. On a primary they are there at once.
const SETTLE: Duration = Duration::from_secs(10);
/// How long a database that does not answer is waited for at the end.
const DATABASE_PATIENCE: Duration = Duration::from_secs(60);

/// The events of the first request come after so many of the seed's, which no run reaches.
const FIRST_REQUEST_AFTER: u64 = 1 << 40;

/// Everything that a run needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to post.
    pub target: Target,
    /// What the source verifies, with the secrets that sign; requests are made to pass it.
    pub verification: Verification,
    /// Whether an array is a batch to the source; else it is one event.
    pub splits_arrays: bool,
    /// Size of the first request in bytes, [`SMALLEST_BODY`] at least; 0 leaves it out.
    pub first_request: usize,
    /// How long to send.
    pub duration: Duration,
    /// Events per second, above 0; each is a request.
    pub rate: f64,
    /// How many requests may be under way at once.
    pub concurrency: NonZeroUsize,
    /// Of all requests, the part that opens a connection of its own, 0 to 1.
    pub new_connections: f64,
    /// Where the rows are; none looks for none.
    pub rows: Option<RowsAt>,
    /// Tells the events of one run from those of another.
    pub seed: u64,
}

/// Where the rows are.
#[derive(Debug, Clone)]
pub struct RowsAt {
    /// A role's connection that may read the relation.
    pub login: DatabaseLogin,
    /// The relation: `<schema>.events`.
    pub relation: RelationName,
}

impl Options {
    /// How many events the rate asks for, without those of the first request.
    #[must_use]
    pub fn count(&self) -> u64 {
        // Positive, and far below 2^53 for every time that a person waits.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number"
        )]
        let count = (self.rate * self.duration.as_secs_f64()).ceil() as u64;
        count.max(1)
    }
}

/// A run.
pub struct Probe {
    options: Options,
    sender: Sender,
    ledger: Arc<Mutex<Ledger>>,
}

impl Probe {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let plan = Plan {
            target: options.target.clone(),
            verification: options.verification.clone(),
            count: options.count(),
            rate: Some(options.rate),
            concurrency: options.concurrency,
            new_connections: options.new_connections,
            batch: None,
            content: Content::Probe,
            seed: options.seed,
        };
        let ledger = Arc::<Mutex<Ledger>>::default();
        let notes = Arc::clone(&ledger);
        let sender =
            Sender::new(plan).observe(move |request, outcome| lock(&notes).note(request, outcome));
        Self {
            options,
            sender,
            ledger,
        }
    }

    /// Counters that move while [`Probe::run`] runs; the first request is not in them.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.sender.counters()
    }

    /// Sends until the time is over or `stop` is cancelled, waits for the answers, looks for the
    /// rows, and gives the account.
    ///
    /// # Errors
    /// When the rows cannot be looked for to begin with. Nothing has been sent then.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<Account> {
        let Self {
            options,
            sender,
            ledger,
        } = self;
        let mut rows = match &options.rows {
            Some(at) => Some(Rows::open(&at.login, at.relation.clone()).await?),
            None => None,
        };
        let began = Instant::now();
        let first = first_request(&options, &ledger).await;
        lock(&ledger).start();

        // The time is over for what was not sent by then, however slow the answers are.
        let ending = stop.child_token();
        let timer = tokio::spawn({
            let (ending, duration) = (ending.clone(), options.duration);
            async move {
                tokio::time::sleep(duration + LATENESS).await;
                ending.cancel();
            }
        });
        let sent = CancellationToken::new();
        let send = async {
            let report = sender.run(ending).await;
            timer.abort();
            let gap = lock(&ledger).longest_gap();
            sent.cancel();
            (report, gap)
        };
        let ((report, gap), late) = tokio::join!(send, follow(rows.as_mut(), &ledger, &sent));
        let found = match (&mut rows, &options.rows) {
            (Some(rows), Some(at)) => {
                let prefix = ProbeEvents::prefix(options.seed);
                let mut found = settle(rows, &ledger, &prefix, began).await;
                found.relation = at.relation.to_string();
                found.late = late;
                Some(found)
            }
            _ => None,
        };
        let ledger = lock(&ledger);
        let mut account = account(&options, report, &ledger);
        account.longest_gap_ms = gap.as_secs_f64() * 1_000.0;
        account.interrupted = stop.is_cancelled();
        if account.interrupted {
            account.unsent = 0;
        }
        account.rows = found;
        if let Some((first, outcome)) = first {
            account.add(first, &outcome);
        }
        Ok(account)
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // A note is whole or not begun; a panic elsewhere leaves it usable.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends the first request, unless it is left out.
async fn first_request(options: &Options, ledger: &Mutex<Ledger>) -> Option<(Largest, Outcome)> {
    if options.first_request == 0 {
        return None;
    }
    let mut events = ProbeEvents::new(options.seed, Timestamp::now()).after(FIRST_REQUEST_AFTER);
    let bytes = options.first_request.max(SMALLEST_BODY);
    let request = largest::request(
        bytes,
        options.splits_arrays,
        &options.verification,
        &mut events,
    );
    let headers = headers_of(&request, &headers(&options.target));
    let start = Instant::now();
    let result = post(&mut None, &options.target, headers, request.body().clone()).await;
    let outcome = Outcome::new(result, start.elapsed());
    lock(ledger).note(&request, &outcome);
    Some((largest::account(&request, &outcome), outcome))
}

/// Looks for the rows of what was acknowledged, again and again until everything was sent. Returns
/// how many were seen, though not at the first look.
async fn follow(rows: Option<&mut Rows>, ledger: &Mutex<Ledger>, sent: &CancellationToken) -> u64 {
    let mut late = 0;
    let Some(rows) = rows else {
        return late;
    };
    loop {
        let is_last = tokio::select! {
            () = sent.cancelled() => true,
            () = tokio::time::sleep(LOOK_PERIOD) => false,
        };
        let waiting = lock(ledger).take_waiting();
        match rows.find(&waiting).await {
            Ok(seen) => {
                let seen: HashSet<Uuid> = seen.into_iter().collect();
                let (seen, unseen): (Vec<_>, Vec<_>) = waiting
                    .into_iter()
                    .partition(|waiting| seen.contains(&waiting.id));
                late += seen.iter().filter(|waiting| waiting.looks > 0).count() as u64;
                let unseen = unseen.into_iter().map(|waiting| Waiting {
                    looks: waiting.looks + 1,
                    ..waiting
                });
                let young = unseen.filter(|waiting| waiting.answered.elapsed() < OVERDUE);
                lock(ledger).put_back(young);
            }
            // It may come back; the count at the end says whether it did.
            Err(_) => lock(ledger).put_back(waiting),
        }
        if is_last {
            return late;
        }
    }
}

/// Counts the rows, until nothing is missing or it has been waited for long enough.
async fn settle(
    rows: &mut Rows,
    ledger: &Mutex<Ledger>,
    prefix: &str,
    began: Instant,
) -> FoundRows {
    let start = Instant::now();
    loop {
        let result: Result<Count, RowsError> = rows
            .count(prefix, began)
            .await
            .map(|rows| lock(ledger).compare(&rows));
        let patience = if result.is_ok() {
            SETTLE
        } else {
            DATABASE_PATIENCE
        };
        let is_over = start.elapsed() > patience;
        match result {
            Ok(count) if count.missing == 0 || is_over => {
                return FoundRows {
                    found: count.found,
                    missing: count.missing,
                    duplicated: count.duplicated,
                    unacknowledged: count.unacknowledged,
                    missing_ids: count.missing_ids,
                    ..FoundRows::default()
                };
            }
            Err(error) if is_over => {
                return FoundRows {
                    failure: Some(error.to_string()),
                    ..FoundRows::default()
                };
            }
            _ => tokio::time::sleep(LOOK_PERIOD).await,
        }
    }
}

/// What was sent at the rate, and the ledger's totals.
fn account(options: &Options, report: Report, ledger: &Ledger) -> Account {
    Account {
        url: options.target.to_string(),
        sent: ledger.sent(),
        acknowledged: ledger.acknowledged(),
        statuses: report.statuses,
        refusals: report.refusals,
        no_answer: report.timeouts + report.connection_errors,
        first_failure: report
            .connection_error
            .or_else(|| (report.timeouts > 0).then(|| Failure::Timeout.to_string())),
        rows: None,
        first_request: None,
        latency_ms: report.latency_ms,
        longest_gap_ms: 0.0,
        elapsed_seconds: report.elapsed_seconds,
        unsent: options.count().saturating_sub(report.events),
        message_id_prefix: ProbeEvents::prefix(options.seed),
        interrupted: false,
    }
}

impl Account {
    /// Adds the first request to what the others came to.
    fn add(&mut self, first: Largest, outcome: &Outcome) {
        match &outcome.result {
            Ok(status) => {
                *self.statuses.entry(*status).or_default() += 1;
                if !outcome.is_acknowledged() {
                    self.refusals.insert(*status, outcome.refusal.clone());
                }
            }
            Err(failure) => {
                self.no_answer += 1;
                self.first_failure = Some(failure.to_string());
            }
        }
        self.first_request = Some(first);
    }
}
