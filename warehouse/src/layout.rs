//! What exists once per database: two schemas, the parent of all events, the catalog.
//!
//! Invariants:
//! - Expand only. A migration adds; nothing that a program of the version before reads or writes
//!   goes away or changes its meaning.
//! - A schema that exists without our mark is never touched.

use tokio_postgres::Client;
use trunkline_model::columns::{COLUMNS, ColumnSpec};
use trunkline_model::names::{quote_identifier, quote_literal};

use crate::apply::{CURRENT_ROLE, run_needed, run_or_fail};
use crate::casts;
use crate::catalog;
use crate::erase;
use crate::error::Error;
use crate::indexes;
use crate::materialize;
use crate::own_views;
use crate::preflight::Preflight;
use crate::rejections;
use crate::relations;
use crate::repeats;
use crate::retention;
use crate::seen_keys;
use crate::shapes;
use crate::shared;
use crate::statistics;
use crate::step::{Report, Step, Test};
use crate::upkeep;

/// The comment on the two schemas that says that they are ours.
const MARK: &str = "trunkline: layout";

/// Trunkline's own schemas: the catalog and the parent; the partitions, which nobody names.
const SCHEMAS: [&str; 2] = ["trunkline", "trunkline_data"];

/// The parent of all partitions.
pub(crate) const EVENTS: &str = "trunkline.events";

/// A change of the layout that the list of columns does not describe.
struct Migration {
    /// The version that the database has afterwards.
    version: i32,
    what: &'static str,
    sql: fn() -> String,
}

/// All of them, in order. A migration that has been released is never edited: a database that went
/// through it would differ from one that did not.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        what: "create the catalog and trunkline.events",
        sql: first_layout,
    },
    Migration {
        version: 2,
        what: "create trunkline.readers",
        sql: || READERS.to_owned(),
    },
    Migration {
        version: 3,
        what: "create trunkline.dropped_partitions",
        sql: || retention::CATALOG.to_owned(),
    },
    Migration {
        version: 4,
        what: "add column partition_by to trunkline.sources",
        sql: || PARTITION_BY.to_owned(),
    },
    Migration {
        version: 5,
        what: "create trunkline.frozen_partitions",
        sql: || upkeep::CATALOG.to_owned(),
    },
    Migration {
        version: 6,
        what: "create trunkline.source_statistics",
        sql: statistics::view,
    },
    Migration {
        version: 7,
        what: "create trunkline.rejections",
        sql: || rejections::CATALOG.to_owned(),
    },
    Migration {
        version: 8,
        what: "create trunkline.shared_buckets",
        sql: || format!("{};\n{}", shared::CATALOG, statistics::view_of_buckets()),
    },
    Migration {
        version: 9,
        what: "create trunkline.shapes",
        sql: || shapes::CATALOG.to_owned(),
    },
    Migration {
        version: 10,
        what: "create trunkline.relations",
        sql: relations::catalog,
    },
    Migration {
        version: 11,
        what: "create trunkline.own_views and safe casts",
        sql: || format!("{};\n{}", own_views::CATALOG, casts::CATALOG),
    },
    Migration {
        version: 12,
        what: "create trunkline.repeats",
        sql: repeats::catalog,
    },
    Migration {
        version: 13,
        what: "create trunkline.purges",
        sql: || erase::CATALOG.to_owned(),
    },
    Migration {
        version: 14,
        what: "let owners shape relations",
        sql: relations::shaping_catalog,
    },
    Migration {
        version: 15,
        what: "create trunkline.seen_keys",
        sql: seen_keys::catalog,
    },
    Migration {
        version: 16,
        what: "create trunkline.materialized_tables",
        sql: materialize::catalog,
    },
    Migration {
        version: 17,
        what: "let sources ask for indexes, and times be read in parallel",
        sql: || format!("{};\n{}", indexes::CATALOG, relations::TIMES),
    },
    Migration {
        version: 18,
        what: "remember partitions that cannot be indexed",
        sql: || indexes::REFUSALS.to_owned(),
    },
    Migration {
        version: 19,
        what: "let views read all of a materialised table",
        sql: || materialize::WHOLE.to_owned(),
    },
];

/// The version that this program brings a database to.
fn known_version() -> i32 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

/// Brings an empty or older database to the layout of this version.
pub(crate) async fn ensure(client: &Client, server: &Preflight) -> Result<Report, Error> {
    refuse_newer(catalog::layout_version(client).await?)?;
    let mut report = Report::default();
    let marks = catalog::schema_marks(client, &SCHEMAS).await?;
    if let Some((schema, _)) = marks.iter().find(|(_, mark)| mark.as_deref() != Some(MARK)) {
        return Err(Error::ForeignSchema {
            schema: schema.clone(),
            mark: MARK.to_owned(),
        });
    }
    report.absorb(run_needed(client, &foundation(&server.database)).await?);

    // Another process may be a version ahead and have been faster.
    let version = catalog::layout_version(client).await?;
    refuse_newer(version)?;
    for migration in MIGRATIONS
        .iter()
        .filter(|next| Some(next.version) > version)
    {
        report.absorb(run_or_fail(client, &migrate(migration)).await?);
    }
    report.absorb(run_needed(client, &[restore_events()]).await?);
    // A table that is detached (a run ended before its last step) has to match the parent again
    // before it can be attached.
    let mut tables = vec![EVENTS.to_owned()];
    tables.extend(catalog::detached_tables(client).await?);
    let columns: Vec<_> = tables
        .iter()
        .flat_map(|table| add_columns(table, COLUMNS))
        .collect();
    report.absorb(run_needed(client, &columns).await?);
    Ok(report)
}

/// Everything that an empty database needs.
pub(crate) fn from_nothing(database: &str) -> Vec<Step> {
    let mut steps = foundation(database);
    steps.extend(MIGRATIONS.iter().map(migrate));
    steps
}

/// What has to be there before the first version.
fn foundation(database: &str) -> Vec<Step> {
    let mut steps: Vec<_> = SCHEMAS
        .iter()
        .map(|name| create_schema(name, MARK, database))
        .collect();
    steps.push(create_version_table());
    steps
}

/// Refuses a database that this program must not provision: no layout, or one from the future.
pub(crate) async fn require(client: &Client) -> Result<(), Error> {
    let version = catalog::layout_version_if_any(client).await?;
    refuse_newer(version)?;
    if version == Some(known_version()) {
        Ok(())
    } else {
        Err(Error::NoLayout)
    }
}

fn refuse_newer(version: Option<i32>) -> Result<(), Error> {
    let known = known_version();
    match version {
        Some(found) if found > known => Err(Error::NewerLayout { found, known }),
        _ => Ok(()),
    }
}

/// A schema with its mark. Nobody gets at it by default privileges that were meant for others.
pub(crate) fn create_schema(name: &str, mark: &str, database: &str) -> Step {
    let quoted = quote_identifier(name);
    Step {
        what: format!("create schema {name}"),
        needed: Test::new(
            "NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
            [name],
        ),
        sql: format!(
            "CREATE SCHEMA {quoted};\n\
             REVOKE ALL ON SCHEMA {quoted} FROM PUBLIC;\n\
             COMMENT ON SCHEMA {quoted} IS {}",
            quote_literal(mark)
        ),
        fix: format!(
            "GRANT CREATE ON DATABASE {} TO {CURRENT_ROLE}",
            quote_identifier(database)
        ),
    }
}

fn create_version_table() -> Step {
    Step {
        what: "create table trunkline.layout".to_owned(),
        needed: Test::new(catalog::LACKS_LAYOUT, []),
        sql: "CREATE TABLE trunkline.layout (\n  \
              version integer PRIMARY KEY,\n  \
              applied_at timestamptz NOT NULL DEFAULT now()\n);\n\
              REVOKE ALL ON trunkline.layout FROM PUBLIC;\n\
              COMMENT ON TABLE trunkline.layout IS 'Versions of the layout of this database.'"
            .to_owned(),
        fix: grant_schemas(),
    }
}

fn migrate(migration: &Migration) -> Step {
    let version = migration.version;
    Step {
        what: format!("{} (layout version {version})", migration.what),
        needed: Test::new(
            "NOT EXISTS (SELECT FROM trunkline.layout WHERE version >= $1::integer)",
            [&version.to_string()],
        ),
        sql: format!(
            "{};\nINSERT INTO trunkline.layout (version) VALUES ({version})",
            (migration.sql)()
        ),
        fix: grant_schemas(),
    }
}

fn grant_schemas() -> String {
    format!("GRANT ALL ON SCHEMA trunkline, trunkline_data TO {CURRENT_ROLE}")
}

fn first_layout() -> String {
    format!("{};\n{CATALOG}", events())
}

/// The parent, with the columns of this version.
fn events() -> String {
    let columns: Vec<_> = COLUMNS
        .iter()
        .map(|spec| format!("  {}", definition(spec)))
        .collect();
    let comments: Vec<_> = COLUMNS.iter().map(|spec| comment(EVENTS, spec)).collect();
    format!(
        "CREATE TABLE {EVENTS} (\n{}\n) PARTITION BY LIST (bucket);\n\
         COMMENT ON TABLE {EVENTS} IS 'All events of all sources. Read the views of the sources \
         (trunkline.webhook_sources names them) and not this table.';\n\
         {};\n\
         REVOKE ALL ON {EVENTS} FROM PUBLIC",
        columns.join(",\n"),
        comments.join(";\n"),
    )
}

/// Makes the parent again when somebody has dropped it by hand: its rows are gone, and until it is
/// there no sender can be served.
fn restore_events() -> Step {
    Step {
        what: format!("create {EVENTS}, which was dropped"),
        needed: Test::new("to_regclass($1) IS NULL", [EVENTS]),
        sql: events(),
        fix: grant_schemas(),
    }
}

/// The catalog. Its view shows a reader the relations that the reader may read.
///
/// It joins the system catalogs by name because `to_regclass` fails for a schema that the reader
/// may not use. Functions in a view run as whoever reads it, so that the privileges asked for are
/// the reader's.
const CATALOG: &str = "\
CREATE TABLE trunkline.sources (
  bucket integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source text NOT NULL UNIQUE,
  cluster text NOT NULL,
  schema text NOT NULL UNIQUE,
  url text,
  events_fingerprint text,
  created_at timestamptz NOT NULL DEFAULT now(),
  removed_at timestamptz
);
COMMENT ON TABLE trunkline.sources IS \
'Sources that have storage in this database, removed ones included: their rows are kept.';
COMMENT ON COLUMN trunkline.sources.bucket IS \
'Partition of trunkline.events that holds the rows. Never given to another source.';
COMMENT ON COLUMN trunkline.sources.events_fingerprint IS \
'Names the definition that the view events was last given.';
CREATE VIEW trunkline.webhook_sources WITH (security_barrier = true) AS
SELECT s.source AS name, s.url, s.cluster, s.schema || '.events' AS relation
FROM trunkline.sources s
JOIN pg_catalog.pg_namespace n ON n.nspname = s.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'events'
WHERE s.removed_at IS NULL
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND pg_catalog.has_table_privilege(c.oid, 'SELECT');
COMMENT ON VIEW trunkline.webhook_sources IS 'Webhook sources whose relation you may read.';
COMMENT ON COLUMN trunkline.webhook_sources.name IS 'The WebhookSource, as namespace/name.';
COMMENT ON COLUMN trunkline.webhook_sources.url IS 'Where senders post to.';
COMMENT ON COLUMN trunkline.webhook_sources.cluster IS 'The WebhookCluster that serves it.';
COMMENT ON COLUMN trunkline.webhook_sources.relation IS 'The view with its events.';
REVOKE ALL ON trunkline.sources, trunkline.webhook_sources FROM PUBLIC";

/// How long a time the next partitions of a source hold. Before there was a choice, it was a day.
const PARTITION_BY: &str = "\
ALTER TABLE trunkline.sources ADD COLUMN partition_by text NOT NULL DEFAULT 'Day' \
CHECK (partition_by IN ('Hour', 'Day', 'Month'));
COMMENT ON COLUMN trunkline.sources.partition_by IS \
'How long a time (UTC) each partition holds that is made from now on'";

/// Which rights to read were given by us, so that only these are taken back.
const READERS: &str = "\
CREATE TABLE trunkline.readers (
  bucket integer NOT NULL REFERENCES trunkline.sources ON DELETE CASCADE,
  role text NOT NULL,
  by_group boolean NOT NULL,
  granted_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (bucket, role, by_group)
);
COMMENT ON TABLE trunkline.readers IS \
'Roles that trunkline let read a source, until the manifests no longer list them.';
COMMENT ON COLUMN trunkline.readers.by_group IS \
'Whether the role was made a member of the group of readers, or was granted the rights itself.';
REVOKE ALL ON trunkline.readers FROM PUBLIC";

/// Adds what `table` lacks of `columns`. On the parent this reaches every partition. A constant or
/// stable default is kept in the catalog, so that no row is rewritten (PostgreSQL 11 and newer),
/// but the lock is ACCESS EXCLUSIVE on the whole tree.
fn add_columns(table: &str, columns: &[ColumnSpec]) -> Vec<Step> {
    let add = |spec: &ColumnSpec| Step {
        what: format!("add column {} to {table}", spec.name),
        needed: Test::new(
            "EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1)) AND NOT EXISTS \
             (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 \
             AND NOT attisdropped)",
            [table, spec.name],
        ),
        sql: format!(
            "ALTER TABLE {table} ADD COLUMN {};\n{}",
            definition(spec),
            comment(table, spec)
        ),
        fix: format!("ALTER TABLE {table} OWNER TO {CURRENT_ROLE}"),
    };
    columns.iter().map(add).collect()
}

fn definition(spec: &ColumnSpec) -> String {
    let default = spec
        .default
        .map(|sql| format!(" DEFAULT {sql}"))
        .unwrap_or_default();
    let not_null = if spec.not_null { " NOT NULL" } else { "" };
    format!(
        "{} {}{default}{not_null}",
        quote_identifier(spec.name),
        spec.sql_type
    )
}

fn comment(table: &str, spec: &ColumnSpec) -> String {
    format!(
        "COMMENT ON COLUMN {table}.{} IS {}",
        quote_identifier(spec.name),
        quote_literal(spec.doc)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_column_comes_with_a_new_version() {
        assert_eq!(
            (known_version(), COLUMNS.len()),
            (19, 21),
            "add a migration, even one that does nothing else: a program that does not know the \
             column would make the views anew without it"
        );
    }

    #[test]
    fn versions_rise_by_one_from_one() {
        let versions: Vec<_> = MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .collect();
        assert_eq!(versions, (1..=known_version()).collect::<Vec<_>>());
    }

    #[test]
    fn a_newer_layout_is_refused_and_an_older_one_is_not() {
        let known = known_version();
        assert!(refuse_newer(None).is_ok());
        assert!(refuse_newer(Some(known)).is_ok());
        assert!(matches!(
            refuse_newer(Some(known + 1)),
            Err(Error::NewerLayout { found, .. }) if found == known + 1
        ));
    }

    #[test]
    fn the_parent_has_every_column_and_is_listed_by_bucket() {
        let sql = first_layout();
        let table = &sql[..sql.find(';').unwrap()];
        assert!(
            table.starts_with("CREATE TABLE trunkline.events (\n  \"bucket\" integer NOT NULL,\n")
        );
        assert!(table.contains("  \"received_at\" timestamptz DEFAULT now() NOT NULL,\n"));
        assert!(table.contains("  \"dup\" boolean DEFAULT false NOT NULL,\n"));
        assert!(table.ends_with(
            "  \"raw\" bytea,\n  \"unsettled\" boolean DEFAULT false NOT NULL\n) \
             PARTITION BY LIST (bucket)"
        ));
        assert_eq!(table.lines().count(), COLUMNS.len() + 2);
        assert!(!sql.to_lowercase().contains("default partition"));
        for spec in COLUMNS {
            assert!(sql.contains(&comment(EVENTS, spec)), "{}", spec.name);
        }
    }

    #[test]
    fn a_missing_column_is_added_with_its_default() {
        let steps = add_columns(EVENTS, COLUMNS);
        assert_eq!(steps.len(), COLUMNS.len());
        let dup = steps.iter().find(|step| step.what.contains("dup")).unwrap();
        assert!(
            dup.sql.starts_with(
                "ALTER TABLE trunkline.events ADD COLUMN \"dup\" boolean DEFAULT false NOT NULL;\n"
            ),
            "{}",
            dup.sql
        );
        let needed = dup.needed.sql();
        assert!(needed.contains("attname = 'dup'"), "{needed}");
    }

    #[test]
    fn a_schema_is_marked_and_closed() {
        let step = create_schema("shop", "trunkline: source a/shop", "App");
        assert_eq!(
            step.sql,
            "CREATE SCHEMA \"shop\";\nREVOKE ALL ON SCHEMA \"shop\" FROM PUBLIC;\n\
             COMMENT ON SCHEMA \"shop\" IS 'trunkline: source a/shop'"
        );
        assert_eq!(step.fix, "GRANT CREATE ON DATABASE \"App\" TO {owner}");
    }
}
