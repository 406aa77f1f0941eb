//! Runs steps: which are needed, then each in a transaction of its own.
//!
//! Invariants:
//! - Nobody waits behind us for long: a statement that does not get its lock within
//!   [`LOCK_TIMEOUT_MS`] gives up its place in the queue, and is tried again after a random pause
//!   (everyone who comes after a waiting ACCESS EXCLUSIVE waits with it).
//! - No lock that others want is held while a packet travels or a disk is waited for: the statements
//!   and their COMMIT are sent together, and what they wrote is flushed afterwards.
//! - No session state, for PgBouncer's transaction pooling: SET LOCAL, advisory locks of the
//!   transaction, and only the calls of the driver that leave no named statement behind
//!   (`batch_execute`, `query_typed` with built-in result types).

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use trunkline_pgconn::{Connected, Target};

use crate::connection;
use crate::error::Error;
use crate::step::{Outcome, Report, Step, fill};

/// How long a statement may queue for a lock that others want, in milliseconds. Each try can stall
/// them that long.
const LOCK_TIMEOUT_MS: u32 = 50;

/// How often a step is tried before it is left for the next run.
const TRIES: u32 = 6;

/// Shortest and longest pause between two tries, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 100..400;

/// Serialises everything that changes the schema of one database: an advisory lock's key is its
/// database's own. ASCII of `trunklin`.
const DDL_LOCK: i64 = 0x7472_756e_6b6c_696e;

/// How long to queue for [`DDL_LOCK`], in milliseconds. Nobody but us queues there.
const DDL_LOCK_TIMEOUT_MS: u32 = 20_000;

/// When the server gives up on a statement, in milliseconds. A connection that has to be given up
/// must not leave a statement behind that waits in a queue.
const STATEMENT_TIMEOUT_MS: u32 = 30_000;

/// Makes what was committed before durable, on the standbys too that commits wait for: it commits a
/// record in the log that nothing reads.
const FLUSH: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'trunkline', '')";

/// How long a statement that takes long may queue for its lock, in milliseconds. Nobody but other
/// maintenance of the same table waits behind it.
const LONG_LOCK_TIMEOUT_MS: u32 = 2_000;

/// After how much work a VACUUM or ANALYZE sleeps for a moment, in milliseconds: as autovacuum does.
/// By hand they take a whole processor, which senders may need, and fill the log that commits wait for.
const VACUUM_COST_DELAY_MS: u32 = 2;

/// When we give up on an answer: above all of the server's own limits together.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads rows, with names resolved as written.
///
/// The result's types must be built-in ones: for others the driver would prepare a statement. It
/// takes one round trip, and several that are polled together still take one.
pub(crate) async fn read(
    client: &Client,
    doing: &str,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, Error> {
    answered(doing, async {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; \
                     SET LOCAL search_path = ''";
        // All three are on their way before the first is answered. ROLLBACK also after an error, so
        // that the session is left clean.
        let (begun, rows, ended) = tokio::join!(
            biased;
            client.batch_execute(begin),
            client.query_typed(sql, parameters),
            client.batch_execute("ROLLBACK"),
        );
        begun?;
        let rows = rows?;
        ended.map(|()| rows)
    })
    .await
}

/// Changes rows by one statement, in a transaction of its own, and gives what that gives. Its values
/// are parameters, which the server's log of a failure leaves out.
///
/// Nobody but other maintenance of the same rows waits for it.
pub(crate) async fn change(
    client: &Client,
    doing: &str,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, Error> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; \
         SET LOCAL search_path = ''; \
         SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}; \
         SET LOCAL lock_timeout = {LONG_LOCK_TIMEOUT_MS}"
    );
    for attempt in 1..=TRIES {
        // As in `read`. COMMIT after an error rolls back.
        let changed = answered(doing, async {
            let (begun, rows, ended) = tokio::join!(
                biased;
                client.batch_execute(&begin),
                client.query_typed(sql, parameters),
                client.batch_execute("COMMIT"),
            );
            begun?;
            let rows = rows?;
            ended.map(|()| rows)
        });
        match changed.await {
            Err(error) if error.code().is_some_and(|code| is_contention(code, &error)) => {
                tracing::debug!(step = doing, attempt, "lock not available");
            }
            outcome => return outcome,
        }
        let pause = rand::rng().random_range(PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Err(Error::Locked {
        doing: doing.to_owned(),
    })
}

/// For each step, whether it is needed.
pub(crate) async fn needed(client: &Client, steps: &[&Step]) -> Result<Vec<bool>, Error> {
    let doing = "compare the database with what is desired";
    let mut kinds: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        kinds
            .entry(step.needed.condition())
            .or_default()
            .push(index);
    }
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let (mut selected, mut parameters) = (Vec::new(), Vec::new());
    for (condition, indices) in &kinds {
        let (sql, blanks) = question(condition, indices, steps, parameters.len());
        selected.push(sql);
        parameters.extend(blanks);
    }
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> = parameters
        .iter()
        .map(|blank| (blank as &(dyn ToSql + Sync), Type::TEXT_ARRAY))
        .collect();
    let sql = format!("SELECT {}", selected.join(",\n"));
    let rows = read(client, doing, &sql, &parameters).await?;
    let mut verdicts = vec![false; steps.len()];
    for (kind, indices) in kinds.values().enumerate() {
        let answers: Vec<bool> = column(&rows, doing, kind)?;
        for (&index, answer) in indices.iter().zip(answers) {
            verdicts[index] = answer;
        }
    }
    Ok(verdicts)
}

/// Asks for the steps of one kind: an SQL array of their answers, and the values of its parameters,
/// one for each blank, which are numbered after the `before` others.
fn question<'a>(
    condition: &str,
    indices: &[usize],
    steps: &[&'a Step],
    before: usize,
) -> (String, Vec<Vec<&'a str>>) {
    let blanks = steps[indices[0]].needed.blanks().len();
    let values = (0..blanks)
        .map(|blank| {
            let of_step = |&index: &usize| steps[index].needed.blanks()[blank].as_str();
            indices.iter().map(of_step).collect()
        })
        .collect();
    // Without a blank all steps of the kind are the same one.
    let rows = if blanks == 0 {
        format!("generate_series(1, {}) AS step(n)", indices.len())
    } else {
        let arrays: Vec<_> = (1..=blanks)
            .map(|blank| format!("${}", before + blank))
            .collect();
        let names: Vec<_> = (0..blanks).map(|blank| format!("b{blank}")).collect();
        format!(
            "unnest({}) WITH ORDINALITY AS step({}, n)",
            arrays.join(", "),
            names.join(", ")
        )
    };
    let filled = fill(condition, |blank| format!("step.b{blank}"));
    let sql = format!("ARRAY(SELECT {filled} FROM {rows} ORDER BY step.n)");
    (sql, values)
}

/// Does what is needed of `steps`; one whose lock is not to be had is left pending.
pub(crate) async fn run_needed(client: &Client, steps: &[Step]) -> Result<Report, Error> {
    let mut report = Report::default();
    let verdicts = needed(client, &steps.iter().collect::<Vec<_>>()).await?;
    for (step, _) in steps.iter().zip(verdicts).filter(|(_, needed)| *needed) {
        report.add(step, run(client, step).await?);
    }
    Ok(report)
}

/// Does a step that everything after it rests on.
pub(crate) async fn run_or_fail(client: &Client, step: &Step) -> Result<Report, Error> {
    match run(client, step).await? {
        Outcome::Locked => Err(Error::Locked {
            doing: step.what.clone(),
        }),
        outcome => Ok(Report::of(step, outcome)),
    }
}

/// Does a step if it is still needed once we hold the DDL lock.
pub(crate) async fn run(client: &Client, step: &Step) -> Result<Outcome, Error> {
    for attempt in 1..=TRIES {
        match try_once(client, step).await? {
            Outcome::Locked => tracing::debug!(step = step.what, attempt, "lock not available"),
            outcome => return Ok(outcome),
        }
        let pause = rand::rng().random_range(PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(Outcome::Locked)
}

/// The same in a single try, for a step that others have no reason to wait for.
pub(crate) async fn try_once(client: &Client, step: &Step) -> Result<Outcome, Error> {
    match answered(&step.what, attempt_once(client, step)).await {
        Err(error) if error.code().is_some_and(|code| is_contention(code, &error)) => {
            Ok(Outcome::Locked)
        }
        Err(error) => Err(explain(client, step, error).await),
        outcome => outcome,
    }
}

async fn attempt_once(client: &Client, step: &Step) -> Result<Outcome, tokio_postgres::Error> {
    let outcome = async {
        // A process that is stopped between two packets must not keep the DDL lock for ever.
        client
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; \
                 SET LOCAL search_path = ''; \
                 SET LOCAL client_min_messages = error; \
                 SET LOCAL synchronous_commit = off; \
                 SET LOCAL idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_MS}; \
                 SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}; \
                 SET LOCAL lock_timeout = {DDL_LOCK_TIMEOUT_MS}; \
                 SELECT pg_advisory_xact_lock({DDL_LOCK}); \
                 SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"
            ))
            .await?;
        // Reading from a table makes the session learn what others committed while it waited for
        // the DDL lock: the caches behind `to_regclass` and its like are refreshed when a lock on a
        // relation is taken, which an advisory lock is not.
        let test = format!(
            "SELECT {} FROM pg_namespace WHERE nspname = 'pg_catalog'",
            step.needed.sql()
        );
        let rows = client.query_typed(&test, &[]).await?;
        let needed = rows
            .first()
            .map(|row| row.try_get(0))
            .transpose()?
            .unwrap_or(false);
        if !needed {
            client.batch_execute("ROLLBACK").await?;
            return Ok(Outcome::NotNeeded);
        }
        client
            .batch_execute(&format!("{}; COMMIT", step.sql))
            .await?;
        // A commit that waits for its flush keeps its locks meanwhile: on a busy disk for a second.
        match client.batch_execute(FLUSH).await {
            // It is refused that record, and done; whatever is committed next makes it durable too.
            Err(error) if error.as_db_error().is_none() => Err(error),
            _ => Ok(Outcome::Done),
        }
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        // When this fails too, the connection is gone and the transaction with it.
        let _ = client.batch_execute("ROLLBACK").await;
    }
    outcome
}

/// Whether another try can succeed by itself.
fn is_contention(code: &SqlState, error: &Error) -> bool {
    match *code {
        SqlState::LOCK_NOT_AVAILABLE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::T_R_SERIALIZATION_FAILURE => true,
        // Two sessions granted on one object, or altered one role, at the same time; roles are
        // shared by all databases of the server and the DDL lock is not. The catalog has no
        // SQLSTATE of its own for it: "tuple concurrently updated".
        SqlState::INTERNAL_ERROR => match error {
            Error::Statement { source, .. } => source
                .as_db_error()
                .is_some_and(|error| error.message().contains("tuple concurrently")),
            _ => false,
        },
        _ => false,
    }
}

/// Adds to a refusal of rights what would allow the step.
async fn explain(client: &Client, step: &Step, error: Error) -> Error {
    let Error::Statement { doing, source } = error else {
        return error;
    };
    if source.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Error::Statement { doing, source };
    }
    let rows = read(
        client,
        "read the role's name",
        "SELECT current_user::text",
        &[],
    )
    .await;
    let role = rows
        .and_then(|rows| column(&rows, "read the role's name", 0))
        .unwrap_or_else(|_| "of the database URL".to_owned());
    let fix = step.fix.replace(
        CURRENT_ROLE,
        &trunkline_model::names::quote_identifier(&role),
    );
    Error::Denied {
        role,
        doing,
        fix,
        source,
    }
}

/// Stands for the owner's role in [`Step::fix`].
pub(crate) const CURRENT_ROLE: &str = "{owner}";

/// The value of the first row's column, as a type that the query's text guarantees.
pub(crate) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    rows: &'a [Row],
    doing: &str,
    index: usize,
) -> Result<T, Error> {
    let row = rows.first().ok_or_else(|| Error::NoRow {
        doing: doing.to_owned(),
    })?;
    field(row, doing, index)
}

/// A row's column, as a type that the query's text guarantees.
pub(crate) fn field<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    doing: &str,
    index: usize,
) -> Result<T, Error> {
    row.try_get(index).map_err(|source| Error::Statement {
        doing: doing.to_owned(),
        source,
    })
}

/// Runs one statement that PostgreSQL runs in no transaction block, on a connection of its own, and
/// cancels it when it is not done within `patience`. It never gives up by itself on a lock.
///
/// The settings hold for the session, and are taken back for whoever a pooler gives it to next.
/// Behind one they may miss the statement, which then may end early, as if it had been cancelled.
pub(crate) async fn run_alone(
    target: &Target,
    doing: &str,
    sql: &str,
    patience: Duration,
) -> Result<Outcome, Error> {
    let connected = connection::open(target).await?;
    let client = &connected.client;
    let statement = async {
        let settings = "SET lock_timeout = 0; SET statement_timeout = 0";
        client.batch_execute(settings).await?;
        let done = client.batch_execute(sql).await;
        let defaults = "RESET lock_timeout; RESET statement_timeout";
        // Of no more use to us: a session that is gone needs none.
        let _ = client.batch_execute(defaults).await;
        done
    };
    match tokio::time::timeout(patience, statement).await {
        Ok(done) => done
            .map(|()| Outcome::Done)
            .map_err(|source| Error::statement(doing, source)),
        Err(_) => {
            // When this fails, the statement goes on until its turn comes.
            connected.canceller().await;
            Ok(Outcome::Locked)
        }
    }
}

/// Runs one statement that PostgreSQL runs in no transaction block, for as long as it takes once it
/// has its lock. Dropping the future cancels the statement.
pub(crate) async fn run_long(
    connected: &Connected,
    doing: &str,
    sql: &str,
) -> Result<Outcome, Error> {
    run_waiting(connected, doing, sql, LONG_LOCK_TIMEOUT_MS).await
}

/// The same for a statement that waits for others in between, and would have to begin anew if it gave
/// up on one of them.
pub(crate) async fn run_patiently(
    connected: &Connected,
    doing: &str,
    sql: &str,
) -> Result<Outcome, Error> {
    run_waiting(connected, doing, sql, 0).await
}

/// Waits for each lock for so many milliseconds; 0 for ever.
async fn run_waiting(
    connected: &Connected,
    doing: &str,
    sql: &str,
    lock_timeout_ms: u32,
) -> Result<Outcome, Error> {
    let mut cancel = CancelOnDrop(Some(connected.canceller()));
    let client = &connected.client;
    let settings = format!(
        "SET lock_timeout = {lock_timeout_ms}; SET statement_timeout = 0; \
         SET vacuum_cost_delay = {VACUUM_COST_DELAY_MS}; SET max_parallel_maintenance_workers = 0"
    );
    let done = async {
        client.batch_execute(&settings).await?;
        let done = client.batch_execute(sql).await;
        let defaults = "RESET lock_timeout; RESET statement_timeout; \
                        RESET vacuum_cost_delay; RESET max_parallel_maintenance_workers";
        // Of no more use to us: a session that is gone needs none.
        let _ = client.batch_execute(defaults).await;
        done
    }
    .await;
    cancel.0 = None;
    match done {
        Ok(()) => Ok(Outcome::Done),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(Outcome::Locked),
        Err(source) => Err(Error::statement(doing, source)),
    }
}

/// Cancels a statement whose caller has gone.
struct CancelOnDrop<F: Future<Output = ()> + Send + 'static>(Option<F>);

impl<F: Future<Output = ()> + Send + 'static> Drop for CancelOnDrop<F> {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(cancel);
        }
    }
}

/// Bounds a conversation with the server.
async fn answered<T>(
    doing: &str,
    conversation: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_TIMEOUT, conversation).await {
        Ok(result) => result.map_err(|source| Error::statement(doing, source)),
        Err(_) => Err(Error::Unanswered {
            doing: doing.to_owned(),
            within: ANSWER_TIMEOUT,
        }),
    }
}
