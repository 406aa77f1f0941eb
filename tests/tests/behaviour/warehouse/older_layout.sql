-- A database of the first layout, before the columns body_text and raw, with one source that has
-- a row and another that was not attached yet. Written down and never edited, as it stands for
-- databases that exist.
CREATE SCHEMA trunkline;
COMMENT ON SCHEMA trunkline IS 'trunkline: layout';
CREATE SCHEMA trunkline_data;
COMMENT ON SCHEMA trunkline_data IS 'trunkline: layout';
CREATE TABLE trunkline.layout (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
INSERT INTO trunkline.layout (version) VALUES (1);
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
CREATE VIEW trunkline.webhook_sources WITH (security_barrier = true) AS
SELECT s.source AS name, s.url, s.cluster, s.schema || '.events' AS relation
FROM trunkline.sources s
JOIN pg_catalog.pg_namespace n ON n.nspname = s.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'events'
WHERE s.removed_at IS NULL
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND pg_catalog.has_table_privilege(c.oid, 'SELECT');
CREATE TABLE trunkline.events (
  bucket integer NOT NULL,
  source text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  delivery_id uuid NOT NULL,
  position integer NOT NULL,
  message_id text,
  type text,
  event text,
  user_id text,
  anonymous_id text,
  timestamp timestamptz,
  original_timestamp timestamptz,
  sent_at timestamptz,
  auth_scope text NOT NULL,
  dup boolean NOT NULL DEFAULT false,
  headers jsonb,
  header_values jsonb,
  body_json jsonb
) PARTITION BY LIST (bucket);

INSERT INTO trunkline.sources (source, cluster, schema, events_fingerprint)
VALUES ('default/shop', 'default/main', 'shop', 'of the older program'), ('default/web', 'default/main', 'web', NULL);
CREATE TABLE trunkline_data.bucket_1 (LIKE trunkline.events INCLUDING DEFAULTS) PARTITION BY RANGE (received_at);
CREATE TABLE trunkline_data.bucket_1_20261101 (LIKE trunkline.events INCLUDING DEFAULTS);
ALTER TABLE trunkline_data.bucket_1 ATTACH PARTITION trunkline_data.bucket_1_20261101
  FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-11-02 00:00:00+00');
ALTER TABLE trunkline.events ATTACH PARTITION trunkline_data.bucket_1 FOR VALUES IN (1);
CREATE TABLE trunkline_data.bucket_2 (LIKE trunkline.events INCLUDING DEFAULTS) PARTITION BY RANGE (received_at);
INSERT INTO trunkline.events (bucket, source, received_at, delivery_id, position, message_id, auth_scope, body_json)
VALUES (1, 'default/shop', '2026-11-01 12:00:00+00', '019a4000-0000-7000-8000-000000000001', 0, 'old', 'request', '{"kept": true}');

CREATE SCHEMA shop;
COMMENT ON SCHEMA shop IS 'trunkline: source default/shop';
CREATE VIEW shop.events AS
SELECT source, received_at, delivery_id, position, message_id, type, event, user_id, anonymous_id, timestamp,
  original_timestamp, sent_at, auth_scope, headers, body_json AS body, header_values ->> 'x-shop' AS x_shop
FROM trunkline_data.bucket_1;
GRANT SELECT ON shop.events TO PUBLIC;
