//! Marks repeats that no index of a leaf can see: across the boundary of two leaves, in rows that could
//! not be compared when they were stored, and in leaves that were made without an index.
//!
//! Invariants:
//! - Of the rows of a message the one that came first stays shown; where one is shown already, that one.
//! - Nobody waits: only rows are locked, and only rows that change. Ingesters insert and change none.
//! - What is cut short goes on at the next call: how far a leaf is settled is written in the transaction
//!   that settles it.

use tokio_postgres::Client;
use trunkline_model::names::quote_literal;
use trunkline_pgconn::Target;

use super::leaves::{self, Leaf, unsettled};
use super::{LOOK_BACK, index_ahead, indexed};
use crate::apply::{run, run_long};
use crate::connection;
use crate::error::Error;
use crate::partitions::bucket_table;
use crate::step::{Outcome, PendingReason, PendingStep, Report};

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    what: String,
    /// Statements that make one transaction.
    sql: String,
}

/// Settles what is due, and says of what; by a connection of its own where something is.
pub(crate) async fn settle(client: &Client, owner: &Target) -> Result<Report, Error> {
    let (mut report, mut failure) = (Report::default(), None);
    let mut leaves = leaves::leaves(client).await?;
    for leaf in leaves
        .iter()
        .filter(|leaf| leaf.is_ahead && !leaf.is_indexed)
    {
        let step = index_ahead(&leaf.table, leaf.is_shared);
        match run(client, &step).await {
            Ok(outcome) => report.add(&step, outcome),
            Err(error) if error.is_local() => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    let stragglers = leaves.iter().filter(|leaf| leaf.has_unsettled);
    let mut tasks: Vec<_> = stragglers.map(settle_unsettled).collect();
    tasks.extend(comparisons(&leaves));
    if tasks.is_empty() {
        return failure.map_or(Ok(report), Err);
    }
    let connected = connection::open(owner).await?;
    while !tasks.is_empty() {
        let before = report.pending.len();
        for Task { what, sql } in tasks.drain(..) {
            let sql = format!("SET LOCAL search_path = ''; {sql}");
            match run_long(&connected, &what, &sql).await {
                Ok(Outcome::Locked) => report.pending.push(PendingStep {
                    step: what,
                    reason: PendingReason::Locked,
                }),
                Ok(_) => report.changed.push(what),
                Err(error) if error.is_local() => failure = failure.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        // What could not be done would be due for ever.
        if failure.is_some() || report.pending.len() > before {
            break;
        }
        leaves = leaves::leaves(client).await?;
        tasks.extend(comparisons(&leaves));
    }
    failure.map_or(Ok(report), Err)
}

/// The next slice of each leaf.
fn comparisons(leaves: &[Leaf]) -> impl Iterator<Item = Task> {
    leaves.iter().filter_map(|leaf| comparison(leaf, leaves))
}

/// How the next slice of a leaf is compared, if that can be now and is of use.
fn comparison(leaf: &Leaf, all: &[Leaf]) -> Option<Task> {
    let slice = leaf.slice.as_ref().filter(|_| !leaf.is_ahead)?;
    // What is written down last says that nothing is left to do.
    if leaf.is_closed && leaf.has_unsettled || !leaf.is_closed && !slice.has_rows {
        return None;
    }
    if !slice.has_rows {
        return Some(compare(leaf, &[], &slice.from, &leaf.end));
    }
    let earlier: Vec<_> = all
        .iter()
        .filter(|other| other.bucket == leaf.bucket && other.start < leaf.start)
        .filter(|other| other.matters_until > slice.from)
        .collect();
    let is_indexed = leaf.is_indexed && earlier.iter().all(|other| other.is_indexed);
    match (is_indexed, earlier.is_empty(), leaf.is_closed) {
        (true, true, false) => None,
        (true, true, true) => Some(compare(leaf, &[], &slice.from, &leaf.end)),
        (true, false, _) => Some(compare(leaf, &earlier, &slice.from, &slice.until)),
        (false, _, true) => Some(compare_whole(leaf)),
        (false, _, false) => None,
    }
}

/// Rows that could not be compared go into the index, one by one, or are repeats. Where the index is
/// held by a transaction that does not end, they stay for the next time.
fn settle_unsettled(leaf: &Leaf) -> Task {
    let table = &leaf.table;
    let rows = unsettled(table, "ctid AS place");
    Task {
        what: format!("compare rows of {table} that were in others' way"),
        sql: format!(
            "DO $settle$\n\
             DECLARE\n  r record;\n\
             BEGIN\n\
             FOR r IN {rows} ORDER BY received_at, delivery_id, position LIMIT 1000 LOOP\n\
             BEGIN\n\
             UPDATE {table} SET unsettled = false WHERE ctid = r.place AND unsettled;\n\
             EXCEPTION\n\
             WHEN unique_violation THEN\n\
             UPDATE {table} SET unsettled = false, dup = true WHERE ctid = r.place AND unsettled;\n\
             WHEN lock_not_available THEN\n\
             EXIT;\n\
             END;\n\
             END LOOP;\n\
             END $settle$"
        ),
    }
}

/// Marks what of a slice of a leaf is in an earlier one, by the indexes of both, and writes down how far
/// that is done.
fn compare(leaf: &Leaf, earlier: &[&Leaf], from: &str, until: &str) -> Task {
    let table = &leaf.table;
    let there: Vec<_> = earlier
        .iter()
        .map(|other| {
            format!(
                "EXISTS (SELECT FROM {} o WHERE o.source COLLATE \"C\" = r.source \
                 AND o.message_id COLLATE \"C\" = r.message_id AND {} \
                 AND o.received_at > r.received_at - interval '{LOOK_BACK}')",
                other.table,
                of("o")
            )
        })
        .collect();
    let mark = if there.is_empty() {
        String::new()
    } else {
        format!(
            "UPDATE {table} r SET dup = true WHERE r.received_at >= {} AND r.received_at < {} \
             AND {} AND ({});\n",
            quote_literal(from),
            quote_literal(until),
            of("r"),
            there.join(" OR ")
        )
    };
    Task {
        what: format!("compare rows of {table} until {until} with earlier ones"),
        sql: format!("{mark}{}", record(table, until)),
    }
}

/// Marks all repeats of a leaf whose time is over, where not every leaf has an index: by reading it, and
/// as much of what is before it as matters.
fn compare_whole(leaf: &Leaf) -> Task {
    let Leaf {
        table, start, end, ..
    } = leaf;
    let bucket = bucket_table(leaf.bucket);
    let (first, last) = (quote_literal(start), quote_literal(end));
    Task {
        what: format!("compare all rows of {table} with earlier ones"),
        sql: format!(
            "WITH w AS (SELECT tableoid AS leaf, ctid AS place, row_number() OVER (PARTITION BY \
             source COLLATE \"C\", message_id COLLATE \"C\" \
             ORDER BY dup, received_at, delivery_id, position) AS n \
             FROM {bucket} WHERE message_id IS NOT NULL \
             AND received_at >= {first}::timestamptz - interval '{LOOK_BACK}' \
             AND received_at < {last}) \
             UPDATE {table} r SET dup = true FROM w WHERE w.leaf = {}::regclass AND w.n > 1 \
             AND NOT r.dup AND r.ctid = w.place;\n{}",
            quote_literal(table),
            record(table, "infinity")
        ),
    }
}

/// What is true of a row that an index holds.
fn of(alias: &str) -> String {
    indexed()
        .replace("NOT dup", &format!("NOT {alias}.dup"))
        .replace("NOT unsettled", &format!("NOT {alias}.unsettled"))
        .replace("(message_id)", &format!("({alias}.message_id)"))
}

/// Writes down how far a leaf is settled, and forgets those that are gone.
fn record(table: &str, until: &str) -> String {
    format!(
        "INSERT INTO trunkline.settled_partitions VALUES ({}::regclass, {}) \
         ON CONFLICT (partition) DO UPDATE SET settled_until = excluded.settled_until;\n\
         DELETE FROM trunkline.settled_partitions p \
         WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.partition)",
        quote_literal(table),
        quote_literal(until)
    )
}

#[cfg(test)]
mod tests {
    use super::super::leaves::Slice;
    use super::*;

    fn slice(from: &str, until: &str) -> Slice {
        Slice {
            from: from.to_owned(),
            until: until.to_owned(),
            all_until: until.to_owned(),
            has_rows: true,
        }
    }

    fn leaf(day: u8, is_indexed: bool) -> Leaf {
        let at = |day, hour| format!("2026-11-{day:02} {hour:02}:00:00.000000+00");
        Leaf {
            bucket: 7,
            table: format!("trunkline_data.bucket_7_202611{day:02}"),
            is_shared: false,
            is_indexed,
            is_ahead: false,
            is_closed: false,
            start: at(day, 0),
            end: at(day + 1, 0),
            matters_until: at(day + 2, 2),
            slice: Some(slice(&at(day, 1), &at(day, 2))),
            has_unsettled: false,
        }
    }

    #[test]
    fn a_leaf_is_compared_with_those_whose_rows_it_may_repeat() {
        let all = [leaf(9, true), leaf(10, true), leaf(11, true)];
        let task = comparison(&all[2], &all).unwrap();
        // At one in the morning the day before yesterday is within 26 hours.
        assert!(task.sql.contains("FROM trunkline_data.bucket_7_20261109 o"));
        assert!(task.sql.contains("FROM trunkline_data.bucket_7_20261110 o"));
        let mut later = all[2].clone();
        later.slice = Some(slice(
            "2026-11-11 03:00:00.000000+00",
            "2026-11-11 03:10:00.000000+00",
        ));
        let task = comparison(&later, &all).unwrap();
        assert!(!task.sql.contains("bucket_7_20261109"));
        assert!(task.sql.contains("bucket_7_20261110"));
    }

    #[test]
    fn what_needs_no_comparison_is_written_down_once_it_is_over() {
        let mut first = leaf(9, true);
        assert_eq!(comparison(&first, &[first.clone()]), None);
        first.is_closed = true;
        let task = comparison(&first, &[first.clone()]).unwrap();
        assert!(task.sql.starts_with("INSERT INTO"), "{}", task.sql);
        assert!(task.sql.contains("'2026-11-10 00:00:00"), "{}", task.sql);

        let mut idle = [leaf(9, true), leaf(10, true)];
        idle[1].slice.as_mut().unwrap().has_rows = false;
        assert_eq!(comparison(&idle[1], &idle), None);
        idle[1].is_closed = true;
        let task = comparison(&idle[1], &idle).unwrap();
        assert!(task.sql.starts_with("INSERT INTO"), "{}", task.sql);
        idle[1].has_unsettled = true;
        assert_eq!(comparison(&idle[1], &idle), None);
    }

    #[test]
    fn without_an_index_a_leaf_is_read_once_its_time_is_over() {
        let mut all = [leaf(10, false), leaf(11, true)];
        assert_eq!(comparison(&all[0], &all), None);
        assert_eq!(comparison(&all[1], &all), None);
        all[1].is_closed = true;
        let task = comparison(&all[1], &all).unwrap();
        assert!(task.sql.contains("row_number()"), "{}", task.sql);
        assert!(task.sql.contains("'infinity'"), "{}", task.sql);
    }

    #[test]
    fn what_the_index_holds_is_said_of_one_table() {
        assert_eq!(
            of("r"),
            "NOT r.dup AND NOT r.unsettled AND octet_length(r.message_id) <= 512"
        );
    }
}
