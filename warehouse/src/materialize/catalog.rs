//! What the catalog keeps of materialised rows, and the function that keeps these in step with events.

/// The migration.
///
/// A source's number is no foreign key: when everything of a source is forgotten, its tables are still
/// to be dropped.
const TABLES: &str = "\
ALTER TABLE trunkline.sources ADD COLUMN materialized boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN trunkline.sources.materialized IS \
'Whether the rows of its relations beside events are also kept in tables, of partitions whose time is over.';
ALTER TABLE trunkline.relations ADD COLUMN materialized jsonb;
COMMENT ON COLUMN trunkline.relations.materialized IS \
'What the view reads from a materialised table: its name, what names the columns, the partitions.';
CREATE TABLE trunkline.materialized_tables (
  name text PRIMARY KEY,
  source_number integer NOT NULL,
  relation text NOT NULL,
  rows text NOT NULL,
  columns text[] NOT NULL,
  expressions text[] NOT NULL,
  event_type text NOT NULL,
  events text[],
  fill text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (source_number, relation)
);
COMMENT ON TABLE trunkline.materialized_tables IS \
'Tables in the schema trunkline_data that hold rows of relations, of partitions whose time is over.';
COMMENT ON COLUMN trunkline.materialized_tables.source_number IS 'The source, by trunkline.sources.bucket.';
COMMENT ON COLUMN trunkline.materialized_tables.relation IS \
'The relation whose rows it has. That of identifies is read by users too, that of groups by accounts.';
COMMENT ON COLUMN trunkline.materialized_tables.rows IS 'Names the condition that these rows satisfy.';
COMMENT ON COLUMN trunkline.materialized_tables.columns IS \
'Its columns in the order in which they came, each named after its expression.';
COMMENT ON COLUMN trunkline.materialized_tables.expressions IS 'What each is made of, of the event b.';
COMMENT ON COLUMN trunkline.materialized_tables.fill IS \
'Makes rows of events, as a text for format(): the table, the events, their places.';
CREATE TABLE trunkline.materialized_partitions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  table_name text NOT NULL REFERENCES trunkline.materialized_tables ON DELETE CASCADE,
  name text NOT NULL UNIQUE,
  partition text NOT NULL,
  range_start timestamptz NOT NULL,
  range_end timestamptz NOT NULL,
  rows text NOT NULL,
  columns integer NOT NULL,
  filled_by xid,
  is_ready boolean NOT NULL DEFAULT false,
  keys text[],
  revision integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (table_name, partition)
);
CREATE INDEX materialized_partitions_partition_idx ON trunkline.materialized_partitions (partition);
COMMENT ON TABLE trunkline.materialized_partitions IS 'Partitions of the materialised tables.';
COMMENT ON COLUMN trunkline.materialized_partitions.partition IS \
'The partition with the events, within trunkline_data.';
COMMENT ON COLUMN trunkline.materialized_partitions.columns IS \
'How many of the columns of its table it was filled with; the others are NULL in all of its rows.';
COMMENT ON COLUMN trunkline.materialized_partitions.filled_by IS 'The transaction that filled it.';
COMMENT ON COLUMN trunkline.materialized_partitions.is_ready IS \
'Whether it has the rows of the partition, and is kept in step with it.';
COMMENT ON COLUMN trunkline.materialized_partitions.keys IS \
'Which keys there are in its events; NULL while nobody has looked.';
COMMENT ON COLUMN trunkline.materialized_partitions.revision IS 'Counts what may have brought others.';
CREATE TABLE trunkline.materialized_changes (
  id bigint NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE trunkline.materialized_changes IS \
'Partitions of materialised tables in which rows have changed since they were vacuumed.';
REVOKE ALL ON trunkline.materialized_tables, trunkline.materialized_partitions, \
trunkline.materialized_changes FROM PUBLIC";

/// Whatever changes an event of a partition that is materialised changes its rows there, in the same
/// transaction. While one is being filled, the change is noted, and it is filled anew.
///
/// It runs as the owner, since whoever may change an event need not know of its copies. A row of a
/// partition whose time is over changes when somebody's rows are deleted or when it turns out to repeat
/// another, and no sender's ever does: so it asks for each row what is to be done.
const FUNCTION: &str = "\
CREATE FUNCTION trunkline.keep_materialized() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $function$
DECLARE
  leaf record;
BEGIN
  FOR leaf IN
    SELECT p.id, p.name, p.is_ready, t.fill, t.event_type, t.events
    FROM trunkline.materialized_partitions p
    JOIN trunkline.materialized_tables t ON t.name = p.table_name
    WHERE p.partition = TG_TABLE_NAME
  LOOP
    IF NOT EXISTS (SELECT FROM trunkline.materialized_changes c WHERE c.id = leaf.id) THEN
      INSERT INTO trunkline.materialized_changes (id) VALUES (leaf.id);
    END IF;
    CONTINUE WHEN NOT leaf.is_ready;
    IF TG_OP = 'TRUNCATE' THEN
      EXECUTE format('DELETE FROM trunkline_data.%I', leaf.name);
      CONTINUE;
    END IF;
    IF TG_OP <> 'INSERT' THEN
      IF OLD.type = leaf.event_type AND (leaf.events IS NULL OR OLD.event = ANY (leaf.events)) THEN
        EXECUTE format('DELETE FROM trunkline_data.%I WHERE received_at = $1 AND delivery_id = $2
          AND \"position\" = $3', leaf.name) USING OLD.received_at, OLD.delivery_id, OLD.position;
      END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
      IF NOT NEW.dup AND NEW.type = leaf.event_type
        AND (leaf.events IS NULL OR NEW.event = ANY (leaf.events))
      THEN
        EXECUTE format(leaf.fill, leaf.name, '(SELECT ($1).*)', 'NULL::tid') USING NEW;
        UPDATE trunkline.materialized_partitions SET keys = NULL, revision = revision + 1
        WHERE id = leaf.id;
      END IF;
    END IF;
  END LOOP;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION trunkline.keep_materialized() IS \
'Keeps materialised rows in step with the events of a partition.';
REVOKE ALL ON FUNCTION trunkline.keep_materialized() FROM PUBLIC";

/// A migration for what it keeps out: a program that does not know of it would add partitions to a table
/// that views read all of.
pub(crate) const WHOLE: &str = "\
COMMENT ON COLUMN trunkline.relations.materialized IS \
'What the view reads from a materialised table: its name, what names the columns, the partitions, and \
whether these are to be all that the table has.'";

pub(crate) fn catalog() -> String {
    format!("{TABLES};\n{FUNCTION}")
}
