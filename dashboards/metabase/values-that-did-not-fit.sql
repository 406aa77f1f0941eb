-- For whoever looks after the source: values that are NULL in their column, since they are of another
-- type. Visualization: table.
-- Variables: from (date, with a default), relation (text, optional).
SELECT relation, column_name, count(*) AS misfits, min(column_value) AS example, max(received_at) AS last
FROM segment.discards
WHERE received_at >= {{from}}::date
[[AND relation = {{relation}}]]
GROUP BY relation, column_name
ORDER BY misfits DESC, relation, column_name
