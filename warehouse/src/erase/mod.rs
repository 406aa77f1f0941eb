//! Deletes the rows of a person from all partitions, and writes down that it was done.
//!
//! Invariants:
//! - Nobody waits: a portion is a transaction that reads a bounded part of one partition and locks
//!   the rows that it deletes, with which neither COPY nor SELECT conflicts.
//! - What a portion has deleted is counted in `trunkline.purges` in the same transaction, so that the
//!   count is right whatever ends the work early; `finished_at` says that all was looked at.
//! - An identity is written nowhere: it travels as a parameter, which the server's log leaves out
//!   unless it is asked for parameters.

mod portions;
mod sql;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use trunkline_model::names::SourceName;

use crate::apply::{change, field};
use crate::catalog;
use crate::error::Error;
use portions::{Place, Portions};

pub use portions::Progress;

/// Identities that are looked for in one pass: each pass reads everything.
const IDENTITIES_AT_ONCE: usize = 1_000;

/// What was deleted. A hash of the identity tells whether somebody's rows were: who has the identity
/// can make it, and it gives nothing to who has not, unless identities can be guessed.
pub(crate) const CATALOG: &str = "\
CREATE TABLE trunkline.purges (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  requested_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  kind text NOT NULL CHECK (kind IN ('user_id', 'anonymous_id')),
  id_sha256 text NOT NULL,
  sources text[] NOT NULL,
  rows bigint NOT NULL DEFAULT 0,
  requested_by text NOT NULL DEFAULT current_user
);
COMMENT ON TABLE trunkline.purges IS \
'Whose rows trunkline purge has deleted, one row for each identity and run.';
COMMENT ON COLUMN trunkline.purges.finished_at IS \
'When all partitions had been looked at; NULL of a run that ended early.';
COMMENT ON COLUMN trunkline.purges.kind IS 'Which column the identity is of: user_id or anonymous_id.';
COMMENT ON COLUMN trunkline.purges.id_sha256 IS 'SHA-256 of the identity, as hexadecimal digits.';
COMMENT ON COLUMN trunkline.purges.sources IS \
'The WebhookSources that were looked at, as namespace/name.';
COMMENT ON COLUMN trunkline.purges.rows IS 'How many rows were deleted.';
COMMENT ON COLUMN trunkline.purges.requested_by IS 'The role that ran it.';
REVOKE ALL ON trunkline.purges FROM PUBLIC";

/// Which column an identity is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentityKind {
    /// `user_id`, the event's `userId`.
    User,
    /// `anonymous_id`, the event's `anonymousId`.
    Anonymous,
}

impl IdentityKind {
    /// The column.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::User => "user_id",
            Self::Anonymous => "anonymous_id",
        }
    }
}

/// A person, as events name one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Which column it is of.
    pub kind: IdentityKind,
    /// The value.
    pub id: String,
}

impl Identity {
    fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.id.as_bytes()))
    }
}

/// What is to be deleted.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// Whose rows.
    pub identities: Vec<Identity>,
    /// From which sources; none for all of the database, those included whose manifests are gone.
    pub sources: Option<Vec<SourceName>>,
    /// Whether rows are only counted, and nothing is written.
    pub is_dry_run: bool,
}

/// What was deleted of one identity, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// Whose rows.
    pub identity: Identity,
    /// `id` in `trunkline.purges`; none of a dry run.
    pub purge: Option<i64>,
    /// How many.
    pub rows: i64,
}

/// Deletes, or counts.
pub(crate) async fn erase(
    client: &Client,
    erasure: &Erasure,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Vec<Erased>, Error> {
    let identities: BTreeSet<_> = erasure.identities.iter().cloned().collect();
    let identities: Vec<_> = identities.into_iter().collect();
    let chosen = Chosen::find(client, erasure.sources.as_deref()).await?;
    let mut erased = Vec::with_capacity(identities.len());
    for identities in identities.chunks(IDENTITIES_AT_ONCE) {
        let wanted = if erasure.is_dry_run {
            Wanted::counted(identities)
        } else {
            Wanted::recorded(client, identities, &chosen.names).await?
        };
        let counts = pass(
            client,
            &wanted,
            &chosen.places,
            erasure.is_dry_run,
            &mut progress,
        )
        .await?;
        if !erasure.is_dry_run {
            wanted.finish(client).await?;
        }
        let found = identities.iter().zip(&wanted.numbers);
        erased.extend(found.map(|(identity, number)| Erased {
            identity: identity.clone(),
            purge: (!erasure.is_dry_run).then_some(*number),
            rows: counts.get(number).copied().unwrap_or(0),
        }));
    }
    Ok(erased)
}

/// Looks at every row once; how many rows there were of each number.
async fn pass(
    client: &Client,
    wanted: &Wanted,
    places: &[Place],
    is_dry_run: bool,
    progress: &mut impl FnMut(Progress<'_>),
) -> Result<BTreeMap<i64, i64>, Error> {
    let mut portions = Portions::of(client, places).await?;
    let mut counts = BTreeMap::new();
    while let Some(portion) = portions.next(client).await? {
        let (doing, sql) = if is_dry_run {
            ("count rows", sql::count(&portion))
        } else {
            ("delete rows", sql::delete(&portion))
        };
        let doing = format!("{doing} of {}", portion.table);
        let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
            (&portion.start, Type::TEXT),
            (&portion.end, Type::TEXT),
            (&wanted.users, Type::TEXT_ARRAY),
            (&wanted.anonymous, Type::TEXT_ARRAY),
            (&wanted.numbers, Type::INT8_ARRAY),
            (&wanted.kinds, Type::TEXT_ARRAY),
            (&wanted.ids, Type::TEXT_ARRAY),
            (&portion.sources, Type::TEXT_ARRAY),
        ];
        let rows = portions::unless_gone(change(client, &doing, &sql, &parameters).await)?;
        let mut found = 0;
        for row in &rows {
            let count: i64 = field(row, &doing, 1)?;
            *counts.entry(field(row, &doing, 0)?).or_default() += count;
            found += count;
        }
        progress(portions.progress(&portion, found));
    }
    Ok(counts)
}

/// Whom the `delete` events of a source name.
pub(crate) async fn deletions(
    client: &Client,
    source: &SourceName,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Vec<Identity>, Error> {
    let chosen = Chosen::find(client, Some(std::slice::from_ref(source))).await?;
    let mut portions = Portions::of(client, &chosen.places).await?;
    let mut identities = BTreeSet::new();
    while let Some(portion) = portions.next(client).await? {
        let doing = format!("look for delete events in {}", portion.table);
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
            (&portion.start, Type::TEXT),
            (&portion.end, Type::TEXT),
            (&portion.sources, Type::TEXT_ARRAY),
        ];
        let sql = sql::deletions(&portion);
        let rows = portions::unless_gone(change(client, &doing, &sql, &parameters).await)?;
        for row in &rows {
            let (user, anonymous): (Option<String>, Option<String>) =
                (field(row, &doing, 0)?, field(row, &doing, 1)?);
            let identity = |kind| move |id| Identity { kind, id };
            let user = user.map(identity(IdentityKind::User));
            identities.extend(user.or_else(|| anonymous.map(identity(IdentityKind::Anonymous))));
        }
        progress(portions.progress(&portion, 0));
    }
    Ok(identities.into_iter().collect())
}

/// The sources that are looked at.
struct Chosen {
    /// namespace/name.
    names: Vec<String>,
    places: Vec<Place>,
}

impl Chosen {
    async fn find(client: &Client, wanted: Option<&[SourceName]>) -> Result<Self, Error> {
        let rows = catalog::sources(client).await?;
        let known: BTreeSet<&str> = rows.iter().map(|row| row.source.as_str()).collect();
        let wanted: Option<BTreeSet<String>> =
            wanted.map(|names| names.iter().map(ToString::to_string).collect());
        let unknown = wanted
            .iter()
            .flatten()
            .find(|name| !known.contains(name.as_str()));
        if let Some(source_name) = unknown {
            return Err(Error::UnknownSource {
                source_name: source_name.clone(),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        }
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
        let mut places: BTreeMap<i32, Place> = BTreeMap::new();
        for row in rows.iter().filter(|row| is_wanted(&row.source)) {
            let bucket = row.bucket();
            let place = places.entry(bucket.number).or_insert_with(|| Place {
                bucket: bucket.number,
                // All of them are everything that is in there.
                is_part: bucket.is_shared && wanted.is_some(),
                sources: Vec::new(),
            });
            place.sources.push(row.source.clone());
        }
        let names = known.into_iter().filter(|name| is_wanted(name));
        Ok(Self {
            names: names.map(str::to_owned).collect(),
            places: places.into_values().collect(),
        })
    }
}

/// Whose rows are looked for, as the parameters of the statements.
struct Wanted {
    users: Vec<String>,
    anonymous: Vec<String>,
    /// Of each identity, a number that names it in what a statement gives: that of the purge.
    numbers: Vec<i64>,
    kinds: Vec<&'static str>,
    ids: Vec<String>,
}

impl Wanted {
    /// Identities that are only counted.
    fn counted(identities: &[Identity]) -> Self {
        let of_kind = |kind| -> Vec<String> {
            let of_kind = identities.iter().filter(|identity| identity.kind == kind);
            of_kind.map(|identity| identity.id.clone()).collect()
        };
        Self {
            users: of_kind(IdentityKind::User),
            anonymous: of_kind(IdentityKind::Anonymous),
            numbers: (0..).take(identities.len()).collect(),
            kinds: identities.iter().map(|it| it.kind.column()).collect(),
            ids: identities.iter().map(|it| it.id.clone()).collect(),
        }
    }

    /// The same, written down as begun.
    async fn recorded(
        client: &Client,
        identities: &[Identity],
        sources: &[String],
    ) -> Result<Self, Error> {
        let doing = "record what is to be deleted";
        let hashes: Vec<_> = identities.iter().map(Identity::sha256).collect();
        let wanted = Self::counted(identities);
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
            (&wanted.kinds, Type::TEXT_ARRAY),
            (&hashes, Type::TEXT_ARRAY),
            (&sources, Type::TEXT_ARRAY),
        ];
        let rows = change(client, doing, sql::RECORD, &parameters).await?;
        let purge = |row: &Row| {
            Ok((
                (field(row, doing, 0)?, field(row, doing, 1)?),
                field(row, doing, 2)?,
            ))
        };
        let purges: BTreeMap<(String, String), i64> =
            rows.iter().map(purge).collect::<Result<_, Error>>()?;
        let number = |(kind, hash): (&&str, String)| {
            let found = purges.get(&((*kind).to_owned(), hash)).copied();
            found.ok_or_else(|| Error::NoRow {
                doing: doing.to_owned(),
            })
        };
        let numbers = wanted.kinds.iter().zip(hashes).map(number);
        Ok(Self {
            numbers: numbers.collect::<Result<_, _>>()?,
            ..wanted
        })
    }

    /// Writes down that all was looked at.
    async fn finish(&self, client: &Client) -> Result<(), Error> {
        let doing = "record that rows were deleted";
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&self.numbers, Type::INT8_ARRAY)];
        change(client, doing, sql::FINISH, &parameters)
            .await
            .map(drop)
    }
}
