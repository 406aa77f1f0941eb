-- Active users by day. Visualization: bar, of day and people.
-- Variables: from (date, with a default), to (date, optional: without it, until now).
SELECT date_trunc('day', received_at) AS day, count(DISTINCT coalesce(user_id, anonymous_id)) AS people
FROM segment.tracks
WHERE received_at >= {{from}}::date
[[AND received_at < {{to}}::date + 1]]
GROUP BY 1
ORDER BY 1
