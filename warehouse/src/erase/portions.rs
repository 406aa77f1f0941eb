//! The partitions of some sources, in portions of a bounded size.
//!
//! A portion is a range of a table's blocks, which PostgreSQL reads without an index and without the
//! blocks before it: there is no index on who an event is of, and it would cost every sender.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::apply::{column, read};
use crate::catalog;
use crate::error::Error;

/// Blocks of one portion: 32 MiB of the usual 8 KiB, which a disk reads in a fraction of a second.
const BLOCKS_AT_ONCE: i64 = 4_096;

/// The rows of one bucket that are looked at.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) bucket: i32,
    /// Whether others' rows are in there that are not looked at.
    pub(super) is_part: bool,
    /// Whose rows are.
    pub(super) sources: Vec<String>,
}

/// How far the work has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The partition that was looked at last.
    pub partition: &'a str,
    /// Bytes of partitions that were looked at, and of all that were there at the beginning.
    pub looked_at: i64,
    /// See `looked_at`.
    pub total: i64,
    /// Rows that were found in the last portion.
    pub found: i64,
}

/// A part of one partition.
#[derive(Debug)]
pub(super) struct Portion {
    /// The partition, as SQL.
    pub(super) table: String,
    /// Its first row's place, and that of the row behind the last, as text.
    pub(super) start: String,
    pub(super) end: String,
    /// Whether the rows of `sources` are not all of them.
    pub(super) is_part: bool,
    pub(super) sources: Vec<String>,
}

/// All portions, one after another.
#[derive(Debug)]
pub(super) struct Portions<'a> {
    /// Those that are left, the last first.
    leaves: Vec<(&'a Place, String)>,
    /// Where the next portion begins in the last of them.
    block: i64,
    looked_at: i64,
    total: i64,
}

impl<'a> Portions<'a> {
    pub(super) async fn of(client: &Client, places: &'a [Place]) -> Result<Self, Error> {
        let mut leaves = Vec::new();
        for place in places {
            let names = catalog::leaves(client, place.bucket).await?;
            let table = |leaf: String| (place, format!("trunkline_data.{leaf}"));
            leaves.extend(names.into_iter().map(table));
        }
        leaves.reverse();
        let doing = "measure partitions";
        let tables: Vec<&str> = leaves.iter().map(|(_, table)| table.as_str()).collect();
        let sql = "SELECT coalesce(sum(pg_relation_size(to_regclass(name))), 0)::bigint \
                   FROM unnest($1) AS name";
        let rows = read(client, doing, sql, &[(&tables, Type::TEXT_ARRAY)]).await?;
        Ok(Self {
            total: column(&rows, doing, 0)?,
            leaves,
            block: 0,
            looked_at: 0,
        })
    }

    /// The next portion. What a partition has grown by meanwhile is part of it.
    pub(super) async fn next(&mut self, client: &Client) -> Result<Option<Portion>, Error> {
        while let Some((place, table)) = self.leaves.last() {
            let (blocks, block_bytes) = size(client, table).await?;
            if self.block >= blocks {
                self.leaves.pop();
                self.block = 0;
                continue;
            }
            let start = self.block;
            self.block += BLOCKS_AT_ONCE;
            self.looked_at += (self.block.min(blocks) - start) * block_bytes;
            return Ok(Some(Portion {
                table: table.clone(),
                start: format!("({start},0)"),
                end: format!("({},0)", self.block),
                is_part: place.is_part,
                sources: place.sources.clone(),
            }));
        }
        Ok(None)
    }

    /// How far it has come with a portion.
    pub(super) fn progress<'p>(&self, portion: &'p Portion, found: i64) -> Progress<'p> {
        Progress {
            partition: &portion.table,
            looked_at: self.looked_at,
            // It may have grown.
            total: self.total.max(self.looked_at),
            found,
        }
    }
}

/// How many blocks a table has, and of how many bytes; none when it is gone.
async fn size(client: &Client, table: &str) -> Result<(i64, i64), Error> {
    let doing = format!("measure {table}");
    let sql = "SELECT coalesce(pg_relation_size(to_regclass($1)) / b, 0), b \
               FROM (SELECT current_setting('block_size')::bigint) AS block(b)";
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&table, Type::TEXT)];
    let rows = read(client, &doing, sql, &parameters).await?;
    Ok((column(&rows, &doing, 0)?, column(&rows, &doing, 1)?))
}

/// No rows, where retention has dropped the partition meanwhile.
pub(super) fn unless_gone(rows: Result<Vec<Row>, Error>) -> Result<Vec<Row>, Error> {
    match rows {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Vec::new()),
        rows => rows,
    }
}
