-- How many people took three steps, one after the other. Visualization: funnel, of step and people.
-- Variables: from (date, with a default), to (date, optional), first, second, third (text, each with
-- the name of an event as its default).
WITH event AS (
  SELECT coalesce(user_id, anonymous_id) AS who, event_text AS name,
    coalesce(timestamp, received_at) AS at
  FROM segment.tracks
  WHERE received_at >= {{from}}::date
  [[AND received_at < {{to}}::date + 1]]
  AND event_text IN ({{first}}, {{second}}, {{third}})
), one AS (
  SELECT who, min(at) AS at FROM event WHERE name = {{first}} GROUP BY who
), two AS (
  SELECT who, min(event.at) AS at FROM event JOIN one USING (who)
  WHERE name = {{second}} AND event.at >= one.at GROUP BY who
), three AS (
  SELECT who FROM event JOIN two USING (who)
  WHERE name = {{third}} AND event.at >= two.at GROUP BY who
)
SELECT 1 AS number, {{first}} AS step, count(*) AS people FROM one
UNION ALL SELECT 2, {{second}}, count(*) FROM two
UNION ALL SELECT 3, {{third}}, count(*) FROM three
ORDER BY number
