//! [`Ledger`]: the oracle. What was sent and acknowledged, against what the database holds.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::TryStreamExt;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Names a JSON value: equal values have equal digests, however they are written.
pub type Digest = [u8; 32];

/// The digest of JSON text. Of text that serde_json does not take as a value, such as a lone
/// surrogate, that of its bytes.
#[must_use]
pub fn digest(json: &str) -> Digest {
    let Ok(value) = serde_json::from_str(json) else {
        return Sha256::digest(json).into();
    };
    let mut canonical = String::with_capacity(json.len());
    write_canonical(&value, &mut canonical);
    Sha256::digest(canonical.as_bytes()).into()
}

/// Writes a value with sorted keys, since jsonb has an order of its own.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            for (key, value) in fields {
                out.push_str("{\u{1}");
                out.push_str(key);
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(elements) => {
            for element in elements {
                out.push_str("[\u{1}");
                write_canonical(element, out);
            }
            out.push(']');
        }
        Value::Number(number) => {
            // jsonb keeps 1.10 and writes 1e2 as 100.
            let number = number.as_f64().unwrap_or(f64::NAN);
            out.push_str(&format!("#{number}"));
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Every request that a test sends, and whether it was acknowledged.
#[derive(Debug, Default)]
pub struct Ledger {
    requests: Mutex<Vec<Request>>,
    acknowledged_events: AtomicUsize,
}

#[derive(Debug)]
struct Request {
    events: Vec<(Box<str>, Digest)>,
    is_acknowledged: bool,
}

/// The rows of one delivery, as far as they have been read.
#[derive(Debug, Clone, Copy)]
struct Rows {
    /// The number of the request.
    request: usize,
    count: usize,
    /// The sum of the marks of their positions.
    marks: u64,
}

/// What the database holds of a [`Ledger`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Requests that were acknowledged.
    pub acknowledged_requests: usize,
    /// Their events.
    pub acknowledged_events: usize,
    /// Rows in the database.
    pub rows: usize,
    /// Rows of requests that are there more than once, beyond the first.
    pub duplicates: usize,
    /// Rows of requests that were never acknowledged.
    pub unacknowledged: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events acknowledged in {} requests, all present and equal; {} rows, {} of them \
             duplicates, {} never acknowledged",
            self.acknowledged_events,
            self.acknowledged_requests,
            self.rows,
            self.duplicates,
            self.unacknowledged
        )
    }
}

impl Ledger {
    /// Notes a request before it is sent: each event's `messageId` and JSON. Returns its number.
    pub fn sending<'a>(&self, events: impl IntoIterator<Item = (&'a str, &'a str)>) -> usize {
        let events = events
            .into_iter()
            .map(|(id, json)| (id.into(), digest(json)))
            .collect();
        let mut requests = self.requests.lock().unwrap();
        requests.push(Request {
            events,
            is_acknowledged: false,
        });
        requests.len() - 1
    }

    /// Notes that a request was answered with 200.
    pub fn acknowledged(&self, number: usize) {
        let request = &mut self.requests.lock().unwrap()[number];
        request.is_acknowledged = true;
        let events = request.events.len();
        self.acknowledged_events
            .fetch_add(events, Ordering::Relaxed);
    }

    /// Events acknowledged so far.
    #[must_use]
    pub fn acknowledged_events(&self) -> usize {
        self.acknowledged_events.load(Ordering::Relaxed)
    }

    /// Compares with a view of events: whatever was acknowledged is there, equal to what was sent;
    /// each request is there as a whole or not at all; nothing else is there.
    ///
    /// Rows are read in the order in which they lie, so that millions need no sort.
    pub async fn verify(&self, database: &tokio_postgres::Client, view: &str) -> Verdict {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        let numbers: HashMap<&str, usize> = requests
            .iter()
            .enumerate()
            .flat_map(|(number, one)| one.events.iter().map(move |(id, _)| (&**id, number)))
            .collect();
        // What jsonb cannot hold as it is stands as sent in `raw`.
        let sql = format!(
            "SELECT delivery_id, position, message_id, \
             coalesce(convert_from(raw, 'UTF8'), body::text) FROM {view}"
        );
        let rows = database
            .query_raw(&sql, std::iter::empty::<i32>())
            .await
            .unwrap();
        let mut rows = pin!(rows);
        let mut deliveries: HashMap<Uuid, Rows> = HashMap::new();
        while let Some(row) = rows.try_next().await.unwrap() {
            let (delivery, position): (Uuid, i32) = (row.get(0), row.get(1));
            let (id, body): (&str, &str) = (row.get(2), row.get(3));
            let request = *numbers
                .get(id)
                .unwrap_or_else(|| panic!("{id} was never sent"));
            let position = usize::try_from(position).unwrap();
            let (sent_id, sent) = requests[request]
                .events
                .get(position)
                .unwrap_or_else(|| panic!("delivery {delivery} has more rows than its request"));
            assert_eq!(&**sent_id, id, "order in {delivery}");
            assert_eq!(&digest(body), sent, "body of {id}");
            let rows = deliveries.entry(delivery).or_insert(Rows {
                request,
                count: 0,
                marks: 0,
            });
            assert_eq!(rows.request, request, "delivery {delivery} mixes requests");
            rows.count += 1;
            rows.marks = rows.marks.wrapping_add(mark(position));
        }
        let mut copies = vec![0_usize; requests.len()];
        for (delivery, rows) in &deliveries {
            let sent = requests[rows.request].events.len();
            let marks = (0..sent).map(mark).fold(0, u64::wrapping_add);
            // Each position once: their marks would hardly add up by accident.
            assert!(
                rows.count == sent && rows.marks == marks,
                "delivery {delivery} is not whole"
            );
            copies[rows.request] += 1;
        }
        let mut verdict = Verdict {
            rows: deliveries.values().map(|rows| rows.count).sum(),
            ..Verdict::default()
        };
        for (request, copies) in requests.iter().zip(copies) {
            let events = request.events.len();
            verdict.duplicates += copies.saturating_sub(1) * events;
            if request.is_acknowledged {
                assert!(
                    copies > 0,
                    "acknowledged and lost: {:?}",
                    request.events[0].0
                );
                verdict.acknowledged_requests += 1;
                verdict.acknowledged_events += events;
            } else {
                verdict.unacknowledged += copies.min(1) * events;
            }
        }
        verdict
    }
}

/// A number for a position, as different from its neighbours' as a random one.
fn mark(position: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    position.hash(&mut hasher);
    hasher.finish()
}
