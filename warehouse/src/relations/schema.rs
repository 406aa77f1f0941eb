//! What the catalog keeps of relations.

use super::casts;

/// The tables, and the functions that views call.
///
/// A relation's layout is the one that it was made by: what others have built on it may keep it beyond
/// a change of the source's.
const TABLES: &str = "\
ALTER TABLE trunkline.sources ADD COLUMN layout text CHECK (layout IN ('segment', 'rudderstack'));
COMMENT ON COLUMN trunkline.sources.layout IS \
'Whose tables its relations are like; NULL without relations beside events.';
CREATE TABLE trunkline.relations (
  source_number integer NOT NULL REFERENCES trunkline.sources ON DELETE CASCADE,
  relation text NOT NULL,
  layout text NOT NULL,
  fingerprint text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (source_number, relation)
);
COMMENT ON TABLE trunkline.relations IS \
'Views in the schemas of sources that trunkline made beside events; no others are changed or dropped.';
COMMENT ON COLUMN trunkline.relations.source_number IS 'The source, by trunkline.sources.bucket.';
COMMENT ON COLUMN trunkline.relations.layout IS 'Whose table it is like.';
COMMENT ON COLUMN trunkline.relations.fingerprint IS \
'Names the definition that the view was last given.';
CREATE TABLE trunkline.relation_columns (
  source_number integer NOT NULL,
  relation text NOT NULL,
  position integer NOT NULL,
  \"column\" text NOT NULL,
  sql_type text NOT NULL,
  paths text[] NOT NULL,
  has_misfits boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (source_number, relation, \"column\"),
  FOREIGN KEY (source_number, relation) REFERENCES trunkline.relations ON DELETE CASCADE
);
COMMENT ON TABLE trunkline.relation_columns IS \
'Columns that were made of what was sent. They are only ever added.';
COMMENT ON COLUMN trunkline.relation_columns.position IS \
'Its place, from 1, behind the columns that are always there.';
COMMENT ON COLUMN trunkline.relation_columns.sql_type IS 'As the first value decided.';
COMMENT ON COLUMN trunkline.relation_columns.paths IS \
'Where it is in an event, each a JSON array of keys from the outside in; the first counts that fits.';
COMMENT ON COLUMN trunkline.relation_columns.has_misfits IS \
'Whether something was sent that may not fit the type, for discards to show.';
CREATE TABLE trunkline.event_names (
  source_number integer NOT NULL REFERENCES trunkline.sources ON DELETE CASCADE,
  event text NOT NULL,
  slug text NOT NULL,
  relation text,
  PRIMARY KEY (source_number, event)
);
COMMENT ON TABLE trunkline.event_names IS 'Names of track events.';
COMMENT ON COLUMN trunkline.event_names.event IS 'As it was sent.';
COMMENT ON COLUMN trunkline.event_names.slug IS 'As the layout writes it, in the column event.';
COMMENT ON COLUMN trunkline.event_names.relation IS \
'The relation that shows it; NULL when there are too many.';
CREATE TABLE trunkline.schema_changes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  changed_at timestamptz NOT NULL DEFAULT now(),
  source text NOT NULL,
  relation text NOT NULL,
  \"column\" text,
  change text NOT NULL CHECK (change IN ('added', 'dropped', 'overflow')),
  detail text NOT NULL
);
CREATE UNIQUE INDEX schema_changes_overflow_idx ON trunkline.schema_changes \
(source, relation, coalesce(\"column\", '')) WHERE change = 'overflow';
COMMENT ON TABLE trunkline.schema_changes IS \
'What changed in the relations of sources, and what had no room in them.';
COMMENT ON COLUMN trunkline.schema_changes.source IS 'The WebhookSource, as namespace/name.';
COMMENT ON COLUMN trunkline.schema_changes.\"column\" IS 'NULL when it is the relation itself.';
COMMENT ON COLUMN trunkline.schema_changes.change IS \
'added, dropped, or overflow: what is not there because there was no room for it.';
COMMENT ON COLUMN trunkline.schema_changes.detail IS 'The type and what it was made of, or why.';
REVOKE ALL ON trunkline.relations, trunkline.relation_columns, trunkline.event_names, \
trunkline.schema_changes FROM PUBLIC";

/// What a source's owner decides of its relations, and more that there is to list.
const SHAPING: &str = "\
ALTER TABLE trunkline.sources ADD COLUMN pinned boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN trunkline.sources.pinned IS \
'Whether what is new is held back from its relations beside events.';
ALTER TABLE trunkline.sources ADD COLUMN overrides jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN trunkline.sources.overrides IS \
'Names and types of columns in place of those that they would have: relation, column, type, name.';
ALTER TABLE trunkline.relation_columns ADD COLUMN other_name text, ADD COLUMN other_type text;
COMMENT ON COLUMN trunkline.relation_columns.other_name IS \
'Its name in the view where that is not \"column\".';
COMMENT ON COLUMN trunkline.relation_columns.other_type IS \
'Its type in the view where that is not sql_type.';
ALTER TABLE trunkline.schema_changes DROP CONSTRAINT schema_changes_change_check, \
ADD CONSTRAINT schema_changes_change_check CHECK (change IN \
('added', 'dropped', 'renamed', 'retyped', 'overflow', 'held', 'blocked'));
CREATE UNIQUE INDEX schema_changes_held_idx ON trunkline.schema_changes \
(source, relation, coalesce(\"column\", '')) WHERE change = 'held';
CREATE INDEX schema_changes_left_out_idx ON trunkline.schema_changes (source) \
WHERE change IN ('overflow', 'held', 'blocked');
COMMENT ON COLUMN trunkline.schema_changes.change IS \
'added, dropped, renamed, retyped; or, of what is not there: overflow, there was no room for it; held, \
the source is pinned; blocked, a column cannot be as spec.warehouse.overrides says.';
COMMENT ON COLUMN trunkline.event_names.relation IS \
'The relation that shows it; NULL when there are too many, or when the source is pinned.'";

/// The migration that makes room for [`super::Shaping`].
pub(crate) fn shaping_catalog() -> String {
    SHAPING.to_owned()
}

/// The migration.
pub(crate) fn catalog() -> String {
    format!("{TABLES};\n{}", casts::functions())
}
