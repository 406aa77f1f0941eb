-- What ingesters would have noted of the events: calls, names, and what is in them of which kind.
--
-- $1 source. Of some thousand events, in which everything occurs that there is.
WITH RECURSIVE seen AS (
  SELECT type, event, body_json FROM trunkline.events WHERE source = $1::text LIMIT 5000
), leaf(call, event, path, value) AS (
  SELECT type, CASE root WHEN 'context' THEN NULL ELSE event END, ARRAY[root], body_json -> root
  FROM seen, unnest(ARRAY['properties', 'traits', 'context']) AS root
  UNION ALL
  SELECT leaf.call, leaf.event, leaf.path || field.key, field.value
  FROM leaf, jsonb_each(CASE jsonb_typeof(leaf.value) WHEN 'object' THEN leaf.value END) AS field
), shape AS (
  SELECT DISTINCT call, event, path, CASE jsonb_typeof(value)
    WHEN 'string' THEN CASE WHEN value #>> '{}' ~ '^\d{4}-\d\d-\d\dT' THEN 'timestamp' ELSE 'text' END
    ELSE jsonb_typeof(value) END AS kind
  FROM leaf WHERE jsonb_typeof(value) NOT IN ('object', 'null')
  UNION SELECT DISTINCT type, event, ARRAY[]::text[], 'seen' FROM seen
)
INSERT INTO trunkline.shapes (id, source, call, event, path, kind)
SELECT encode(substr(sha256(convert_to(json_build_array($1, call, event, path, kind)::text,
  'UTF8')), 1, 16), 'hex')::uuid, $1, call, event, path, kind
FROM shape ON CONFLICT DO NOTHING
