-- The newest events. Visualization: table.
-- Variables: user (text, optional), event (text, optional), hours (number, with the default 1).
SELECT received_at, event_text AS event, user_id, anonymous_id,
  _raw #>> '{context,page,path}' AS page, id
FROM segment.tracks
WHERE received_at >= now() - {{hours}} * interval '1 hour'
[[AND user_id = {{user}}]]
[[AND event_text = {{event}}]]
ORDER BY received_at DESC, id
LIMIT 100
