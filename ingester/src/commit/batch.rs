//! Commits a batch of deliveries, and when a row is refused finds the delivery that holds it.
//!
//! Invariants: a delivery is written whole in one transaction or not at all. A delivery is answered
//! `Ok` only after the commit that held it. Whoever is refused because of a row is the delivery
//! that holds the row. Where it cannot be told which events are repeats, only deliveries that need to
//! know are refused. A delivery whose caller has gone is not written.

use std::time::Instant;

use tokio_postgres::error::SqlState;

use super::error::{CommitError, Reason};
use super::isolate::isolate;
use super::metrics::CommitMetrics;
use super::queue::{Committed, Delivery};
use super::store::{LeftOut, Store, StoreError};

/// What a batch has shown of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// It takes commits.
    Good,
    /// It refused the last commit; the session is still good.
    Failing(Reason),
    /// The session must not be used again.
    Ended {
        /// Why.
        reason: Reason,
        /// As in [`StoreError::Lost`].
        is_silent: bool,
    },
}

/// Commits every delivery and answers it.
pub(super) async fn deliver(
    store: &mut impl Store,
    batch: Vec<Delivery>,
    metrics: &CommitMetrics,
) -> Health {
    // What is still to commit, the next group last.
    let mut groups = vec![batch];
    while let Some(mut group) = groups.pop() {
        group.retain(|delivery| !delivery.is_abandoned());
        if group.is_empty() {
            continue;
        }
        let mut outcome = commit(store, &group, metrics).await;
        if let Err(StoreError::Undecided(reason)) = outcome {
            let (keyed, others): (Vec<_>, Vec<_>) = group
                .into_iter()
                .partition(|delivery| delivery.rows().has_keys());
            refuse_all(keyed, &CommitError::Undecided(reason));
            groups.push(others);
            continue;
        }
        if let Err(StoreError::Rows(code)) = outcome {
            let [delivery] = group.as_slice() else {
                metrics.bisected();
                let rest = group.split_off(group.len() / 2);
                groups.extend([rest, group]);
                continue;
            };
            outcome = isolate(store, delivery, code, metrics).await;
        }
        let (error, health) = match outcome {
            Ok(left_out) => {
                for (place, delivery) in group.into_iter().enumerate() {
                    let left_out = left_out.of(place);
                    delivery.answer(Ok(Committed { left_out }));
                }
                continue;
            }
            Err(StoreError::Rows(code)) => (refusal(code), Health::Good),
            Err(StoreError::Undecided(reason)) => (CommitError::Undecided(reason), Health::Good),
            Err(StoreError::Doubtful(reason)) => {
                (CommitError::UnknownOutcome(reason), Health::Good)
            }
            Err(StoreError::Refused(reason)) => (
                CommitError::Unavailable(reason.clone()),
                Health::Failing(reason),
            ),
            Err(StoreError::Barred(reason)) => (
                CommitError::Unavailable(reason.clone()),
                Health::Ended {
                    reason,
                    is_silent: false,
                },
            ),
            Err(StoreError::Lost { reason, is_silent }) => (
                CommitError::UnknownOutcome(reason.clone()),
                Health::Ended { reason, is_silent },
            ),
        };
        refuse_all(group, &error);
        if let Health::Failing(reason) | Health::Ended { reason, .. } = &health {
            // The other groups have not been sent.
            let unavailable = CommitError::Unavailable(reason.clone());
            refuse_all(groups.into_iter().flatten(), &unavailable);
            return health;
        }
    }
    Health::Good
}

fn refuse_all(deliveries: impl IntoIterator<Item = Delivery>, error: &CommitError) {
    for delivery in deliveries {
        delivery.answer(Err(error.clone()));
    }
}

fn refusal(code: SqlState) -> CommitError {
    if code == SqlState::CHECK_VIOLATION {
        CommitError::NoPartition
    } else {
        CommitError::Unacceptable(code)
    }
}

async fn commit(
    store: &mut impl Store,
    group: &[Delivery],
    metrics: &CommitMetrics,
) -> Result<LeftOut, StoreError> {
    let rows: Vec<_> = group.iter().map(Delivery::rows).collect();
    let begun = Instant::now();
    let stored = store.commit(&rows).await?;
    metrics.committed(&rows, &stored, begun.elapsed());
    Ok(stored.left_out)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use tokio::sync::oneshot;
    use trunkline_model::verification::AuthScope;
    use uuid::Uuid;

    use super::super::isolate::MAX_PROBES;
    use super::super::queue::Answer;
    use super::super::store::Stored;
    use super::*;
    use crate::json::{ArrayRows, decode};
    use crate::rows::testing::{self, DELIVERY};
    use crate::rows::{EncodedRows, Keys, RowEncoder};

    /// A database that refuses rows whose body is the string `poison`, but not a string that holds
    /// the text of one, and deliveries with a body `lost partition` in any form.
    #[derive(Default)]
    struct Fake {
        stored: Vec<EncodedRows>,
        probes: usize,
        /// The error of the next commit, whatever it holds.
        trouble: Option<StoreError>,
        /// Whether it cannot tell repeats.
        is_undecided: bool,
    }

    impl Fake {
        fn judge(tuples: &[u8]) -> Result<(), StoreError> {
            let holds = |text: &[u8]| tuples.windows(text.len()).any(|window| window == text);
            if holds(b"lost partition") {
                return Err(StoreError::Rows(SqlState::CHECK_VIOLATION));
            }
            if holds(b"\x01\"poison") {
                return Err(StoreError::Rows(SqlState::STATEMENT_TOO_COMPLEX));
            }
            Ok(())
        }
    }

    impl Store for Fake {
        async fn commit(&mut self, deliveries: &[&EncodedRows]) -> Result<Stored, StoreError> {
            if let Some(trouble) = self.trouble.take() {
                return Err(trouble);
            }
            if self.is_undecided && deliveries.iter().any(|rows| rows.has_keys()) {
                return Err(StoreError::Undecided("held".into()));
            }
            for rows in deliveries {
                Self::judge(rows.bytes())?;
            }
            self.stored
                .extend(deliveries.iter().map(|&rows| rows.clone()));
            Ok(Stored::default())
        }

        async fn probe(&mut self, rows: &[&[u8]]) -> Result<(), StoreError> {
            self.probes += 1;
            Self::judge(&rows.concat())
        }
    }

    fn encode(body: &str) -> EncodedRows {
        testing::encode(DELIVERY, body, AuthScope::None)
    }

    /// The answer to a delivery of which every row is stored.
    fn stored() -> Answer {
        Ok(Committed::default())
    }

    fn deliver_bodies(
        fake: &mut Fake,
        bodies: &[&str],
    ) -> (Vec<oneshot::Receiver<Answer>>, Health, CommitMetrics) {
        let metrics = CommitMetrics::default();
        let (batch, answers): (Vec<_>, Vec<_>) = bodies
            .iter()
            .map(|body| Delivery::new(encode(body), Box::new(())))
            .unzip();
        let health = deliver(fake, batch, &metrics).now_or_never().unwrap();
        (answers, health, metrics)
    }

    fn answers(receivers: Vec<oneshot::Receiver<Answer>>) -> Vec<Answer> {
        receivers
            .into_iter()
            .map(|mut answer| answer.try_recv().unwrap())
            .collect()
    }

    #[test]
    fn a_bad_row_is_quarantined_and_its_neighbours_are_stored_as_they_are() {
        let mut fake = Fake::default();
        let bodies = ["[1,2]", r#"[3,"poison",5]"#, "6", r#""poison""#, "7"];
        let (receivers, health, metrics) = deliver_bodies(&mut fake, &bodies);
        assert_eq!(health, Health::Good);
        assert!(answers(receivers).iter().all(Result::is_ok));
        assert_eq!(metrics.quarantined_rows(), 2);
        let expected: Vec<_> = bodies
            .iter()
            .map(|body| {
                let rows = encode(body);
                let bad = body.find("poison").map(|_| rows.len() / 2);
                rows.with_quarantined(|row| Some(row) == bad)
            })
            .collect();
        assert_eq!(fake.stored, expected);
    }

    #[test]
    fn a_missing_partition_refuses_only_its_delivery() {
        let mut fake = Fake::default();
        let bodies = ["1", r#"["lost partition","poison"]"#, "2"];
        let (receivers, health, _) = deliver_bodies(&mut fake, &bodies);
        assert_eq!(health, Health::Good);
        let answers = answers(receivers);
        assert_eq!(answers, [stored(), Err(CommitError::NoPartition), stored()]);
        assert_eq!(fake.stored, [encode("1"), encode("2")]);
        assert_eq!(fake.probes, 0);
    }

    #[test]
    fn a_lost_connection_leaves_only_what_was_in_flight_unknown() {
        let lost = StoreError::Lost {
            reason: "gone".into(),
            is_silent: true,
        };
        let unknown = Err(CommitError::UnknownOutcome("gone".into()));

        let mut fake = Fake {
            trouble: Some(lost),
            ..Fake::default()
        };
        let (receivers, health, _) = deliver_bodies(&mut fake, &["1", "2"]);
        assert_eq!(
            health,
            Health::Ended {
                reason: "gone".into(),
                is_silent: true
            }
        );
        assert_eq!(answers(receivers), [unknown.clone(), unknown]);

        let barred = StoreError::Barred("read-only".into());
        let mut fake = Fake {
            trouble: Some(barred),
            ..Fake::default()
        };
        let (receivers, _, _) = deliver_bodies(&mut fake, &["1"]);
        assert_eq!(
            answers(receivers),
            [Err(CommitError::Unavailable("read-only".into()))]
        );
        assert!(fake.stored.is_empty());
    }

    #[test]
    fn a_doubtful_commit_is_not_acknowledged() {
        let doubtful = StoreError::Doubtful("warned".into());
        let mut fake = Fake {
            trouble: Some(doubtful),
            ..Fake::default()
        };
        let (receivers, health, _) = deliver_bodies(&mut fake, &["1"]);
        assert_eq!(health, Health::Good);
        assert_eq!(
            answers(receivers),
            [Err(CommitError::UnknownOutcome("warned".into()))]
        );
    }

    #[test]
    fn where_repeats_cannot_be_told_only_deliveries_with_keys_are_refused() {
        let mut fake = Fake {
            is_undecided: true,
            ..Fake::default()
        };
        let keyed = |body: &str| {
            let keys = Keys::Delivery {
                key: Uuid::nil(),
                window_seconds: 60,
            };
            let mut encoder = RowEncoder::new(DELIVERY, 0).keyed(keys);
            for element in decode(body.as_bytes(), ArrayRows::Elements).unwrap() {
                encoder.push(&element, AuthScope::None);
            }
            encoder.finish()
        };
        let rows = [encode("1"), keyed("2"), encode(r#""poison""#), keyed("4")];
        let (batch, receivers): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .map(|rows| Delivery::new(rows, Box::new(())))
            .unzip();
        let metrics = CommitMetrics::default();
        let health = deliver(&mut fake, batch, &metrics).now_or_never().unwrap();
        assert_eq!(health, Health::Good);
        let undecided = Err(CommitError::Undecided("held".into()));
        assert_eq!(
            answers(receivers),
            [stored(), undecided.clone(), stored(), undecided]
        );
        assert_eq!(fake.stored.len(), 2);
    }

    #[test]
    fn an_abandoned_delivery_is_not_written() {
        let mut fake = Fake::default();
        let (gone, receiver) = Delivery::new(encode("1"), Box::new(()));
        drop(receiver);
        let (stays, _receiver) = Delivery::new(encode("2"), Box::new(()));
        let metrics = CommitMetrics::default();
        deliver(&mut fake, vec![gone, stays], &metrics)
            .now_or_never()
            .unwrap();
        assert_eq!(fake.stored, [encode("2")]);
    }

    #[test]
    fn the_search_for_bad_rows_is_bounded_and_loses_nothing() {
        let mut fake = Fake::default();
        let body = format!("[{}]", vec![r#""poison""#; 4_000].join(","));
        let (receivers, _, metrics) = deliver_bodies(&mut fake, &[&body]);
        assert_eq!(answers(receivers), [stored()]);
        assert!(fake.probes <= MAX_PROBES + 1, "{}", fake.probes);
        assert_eq!(metrics.quarantined_rows(), 4_000);
    }

    proptest! {
        #[test]
        fn every_delivery_is_stored_whole_and_once_or_refused(
            kinds in prop::collection::vec(prop::collection::vec(0_u8..40, 1..30), 1..20),
        ) {
            let text = |kind: u8| match kind {
                0 => r#""lost partition""#.to_owned(),
                1 | 2 => r#""poison""#.to_owned(),
                kind => kind.to_string(),
            };
            let bodies: Vec<_> = kinds
                .iter()
                .map(|rows| {
                    let rows: Vec<_> = rows.iter().map(|&kind| text(kind)).collect();
                    format!("[{}]", rows.join(","))
                })
                .collect();
            let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
            let mut fake = Fake::default();
            let (receivers, health, _) = deliver_bodies(&mut fake, &bodies);
            prop_assert_eq!(health, Health::Good);
            let mut expected = Vec::new();
            for (kinds, answer) in kinds.iter().zip(answers(receivers)) {
                if kinds.contains(&0) {
                    prop_assert_eq!(answer, Err(CommitError::NoPartition));
                    continue;
                }
                prop_assert_eq!(answer, stored());
                let bodies: Vec<_> = kinds.iter().map(|&kind| text(kind)).collect();
                let rows = encode(&format!("[{}]", bodies.join(",")));
                expected.push(rows.with_quarantined(|row| matches!(kinds[row], 1 | 2)));
            }
            prop_assert_eq!(fake.stored, expected);
        }
    }
}
