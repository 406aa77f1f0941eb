-- The tables that a careful analyst's ELT would have: a column for each property with its type, each
-- message once. The same names as the relations, so that one query asks both.
--
-- One table each with an index on received_at, and not a partition for each day: a loader appends in
-- the order of received_at, so that a day lies in one place of the table, and the index leads there.
CREATE SCHEMA typed;
CREATE TABLE typed.tracks AS
SELECT b.message_id AS id, b.anonymous_id, b.user_id,
  lower(replace(b.event, ' ', '_')) AS event, b.event AS event_text,
  b.received_at, b.sent_at, b."timestamp", b.original_timestamp, b.received_at AS uuid_ts, c.*
FROM trunkline.events AS b, {context}
WHERE b.type = 'track' AND NOT b.dup ORDER BY b.received_at;
CREATE TABLE typed.pages AS
SELECT b.message_id AS id, b.anonymous_id, b.user_id, b.body_json ->> 'name' AS name,
  b.received_at, b.sent_at, b."timestamp", b.original_timestamp, b.received_at AS uuid_ts, c.*, p.*
FROM trunkline.events AS b, {context}, jsonb_to_record(b.body_json -> 'properties')
  AS p(path text, title text, url text, search text, referrer text, category text)
WHERE b.type = 'page' AND NOT b.dup ORDER BY b.received_at;
CREATE TABLE typed.identifies AS
SELECT b.message_id AS id, b.anonymous_id, b.user_id,
  b.received_at, b.sent_at, b."timestamp", b.original_timestamp, b.received_at AS uuid_ts, c.*,
  t.email, t."firstName" AS first_name, t."lastName" AS last_name, t.plan, t.age,
  t."createdAt" AS created_at
FROM trunkline.events AS b, {context}, jsonb_to_record(b.body_json -> 'traits')
  AS t(email text, "firstName" text, "lastName" text, plan text, age numeric, "createdAt" timestamptz)
WHERE b.type = 'identify' AND NOT b.dup ORDER BY b.received_at;
CREATE TABLE typed.users AS
SELECT DISTINCT ON (i.user_id) i.user_id AS id, i.received_at, i.sent_at, i."timestamp",
  i.original_timestamp, i.uuid_ts, i.email, i.first_name, i.last_name, i.plan, i.age, i.created_at
FROM typed.identifies AS i
ORDER BY i.user_id, i."timestamp" DESC, i.received_at DESC, i.id DESC;
ALTER TABLE typed.users ADD PRIMARY KEY (id);
CREATE INDEX ON typed.tracks (received_at);
CREATE INDEX ON typed.pages (received_at);
CREATE INDEX ON typed.identifies (received_at)
