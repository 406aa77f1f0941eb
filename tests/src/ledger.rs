//! [`Ledger`]: the oracle. What was sent and acknowledged, against what the database holds.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Mutex;

use futures_util::TryStreamExt;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Names a JSON value: equal values have equal digests, however they are written.
pub type Digest = [u8; 32];

/// The digest of JSON text.
#[must_use]
pub fn digest(json: &str) -> Digest {
    let value: Value = serde_json::from_str(json).expect("JSON");
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
pub struct Ledger(Mutex<Vec<Request>>);

#[derive(Debug)]
struct Request {
    events: Vec<(String, Digest)>,
    is_acknowledged: bool,
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
            .map(|(id, json)| (id.to_owned(), digest(json)))
            .collect();
        let mut requests = self.0.lock().unwrap();
        requests.push(Request {
            events,
            is_acknowledged: false,
        });
        requests.len() - 1
    }

    /// Notes that a request was answered with 200.
    pub fn acknowledged(&self, number: usize) {
        self.0.lock().unwrap()[number].is_acknowledged = true;
    }

    /// Events acknowledged so far.
    #[must_use]
    pub fn acknowledged_events(&self) -> usize {
        let requests = self.0.lock().unwrap();
        requests
            .iter()
            .filter(|one| one.is_acknowledged)
            .map(|one| one.events.len())
            .sum()
    }

    /// Compares with a view of events: whatever was acknowledged is there, equal to what was sent;
    /// each request is there as a whole or not at all; nothing else is there.
    pub async fn verify(&self, database: &tokio_postgres::Client, view: &str) -> Verdict {
        let requests = std::mem::take(&mut *self.0.lock().unwrap());
        let numbers: HashMap<&str, usize> = requests
            .iter()
            .enumerate()
            .flat_map(|(number, one)| one.events.iter().map(move |(id, _)| (id.as_str(), number)))
            .collect();
        let mut copies = vec![0_usize; requests.len()];
        let sql = format!(
            "SELECT delivery_id, position, message_id, body::text FROM {view} \
             ORDER BY delivery_id, position"
        );
        let rows = database
            .query_raw(&sql, std::iter::empty::<i32>())
            .await
            .unwrap();
        let mut rows = pin!(rows);
        let mut open: Option<(Uuid, usize, usize)> = None;
        let mut verdict = Verdict::default();
        let whole = |(delivery, number, seen): (Uuid, usize, usize)| {
            let sent = requests[number].events.len();
            assert_eq!(seen, sent, "delivery {delivery} is not whole");
        };
        while let Some(row) = rows.try_next().await.unwrap() {
            let (delivery, position): (Uuid, i32) = (row.get(0), row.get(1));
            let (id, body): (&str, &str) = (row.get(2), row.get(3));
            let number = *numbers
                .get(id)
                .unwrap_or_else(|| panic!("{id} was never sent"));
            let seen = match open {
                Some((same, of, seen)) if same == delivery => {
                    assert_eq!(of, number, "delivery {delivery} mixes requests");
                    seen
                }
                _ => {
                    if let Some(before) = open {
                        whole(before);
                    }
                    copies[number] += 1;
                    0
                }
            };
            assert_eq!(
                usize::try_from(position).unwrap(),
                seen,
                "order in {delivery}"
            );
            let (sent_id, sent) = requests[number]
                .events
                .get(seen)
                .unwrap_or_else(|| panic!("delivery {delivery} has more rows than its request"));
            assert_eq!(sent_id, id, "order in {delivery}");
            assert_eq!(&digest(body), sent, "body of {id}");
            open = Some((delivery, number, seen + 1));
            verdict.rows += 1;
        }
        if let Some(last) = open {
            whole(last);
        }
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
