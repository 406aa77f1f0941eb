-- For whoever looks after the source: requests that were answered with an error. Visualization: table.
-- Variables: from (date, with a default), reason (text, optional).
SELECT reason, status, sum(count) AS requests, max(occurred_at) AS last, min(detail) AS detail
FROM trunkline.rejections
WHERE source = (SELECT name FROM trunkline.webhook_sources WHERE relation = 'segment.events')
AND occurred_at >= {{from}}::date
[[AND reason = {{reason}}]]
GROUP BY reason, status
ORDER BY requests DESC, reason
