//! What was seen in the events of sources: which calls, which event names, which properties of
//! which kind. Ingesters note it, once for each shape, and the owner makes relations of it.
//!
//! Invariants:
//! - A shape is one row, whichever ingesters note it how often: its id is made of what it says.
//! - No value of an event is in it: names and kinds only.
//! - Ingesters insert and cannot read; nobody else gets at it but the owner.

/// Where ingesters note shapes.
pub(crate) const SHAPES: &str = "trunkline.shapes";

/// The table. `INSERT … ON CONFLICT DO NOTHING` needs no right to read as long as it names no
/// columns to conflict on, so that the ingesters' role gets INSERT alone.
pub(crate) const CATALOG: &str = "\
CREATE TABLE trunkline.shapes (
  id uuid PRIMARY KEY,
  source text NOT NULL,
  call text NOT NULL,
  event text,
  path text[] NOT NULL,
  kind text NOT NULL CHECK (kind IN \
('seen', 'boolean', 'number', 'timestamp', 'text', 'array', 'object')),
  noted_at timestamptz NOT NULL DEFAULT now(),
  handled_at timestamptz
);
CREATE INDEX shapes_news_idx ON trunkline.shapes (noted_at) WHERE handled_at IS NULL;
COMMENT ON TABLE trunkline.shapes IS \
'Calls, event names and properties that were seen in the events of sources, one row for each.';
COMMENT ON COLUMN trunkline.shapes.id IS \
'First 16 bytes of SHA-256 over the JSON array [source, call, event, path, kind].';
COMMENT ON COLUMN trunkline.shapes.source IS 'The WebhookSource, as namespace/name.';
COMMENT ON COLUMN trunkline.shapes.call IS \
'What the event says in type: track, identify, page, screen, group, alias or delete.';
COMMENT ON COLUMN trunkline.shapes.event IS \
'Name of the event, of track; NULL for other calls and for what is in context.';
COMMENT ON COLUMN trunkline.shapes.path IS \
'Keys from the outside in, as in body #>> path; empty when the call as such was seen.';
COMMENT ON COLUMN trunkline.shapes.kind IS \
'What was found there: boolean, number, timestamp, text, array, object; seen with an empty path.';
COMMENT ON COLUMN trunkline.shapes.noted_at IS 'When an ingester saw it first.';
COMMENT ON COLUMN trunkline.shapes.handled_at IS \
'When the owner took it into account; NULL while it is news.';
REVOKE ALL ON trunkline.shapes FROM PUBLIC";
