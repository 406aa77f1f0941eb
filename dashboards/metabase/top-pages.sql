-- The pages that are viewed most. Visualization: table.
-- Variables: from (date, with a default), to (date, optional), path (text, optional: begins with).
SELECT path, count(*) AS views, count(DISTINCT coalesce(user_id, anonymous_id)) AS people
FROM segment.pages
WHERE received_at >= {{from}}::date
[[AND received_at < {{to}}::date + 1]]
[[AND starts_with(path, {{path}})]]
GROUP BY path
ORDER BY views DESC, path
LIMIT 100
