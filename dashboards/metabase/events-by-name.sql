-- Events per minute by name, of a day. Visualization: line, of minute and events, by event.
-- Variables: day (date, with a default), event (text, optional).
SELECT date_trunc('minute', received_at) AS minute, event_text AS event, count(*) AS events
FROM segment.tracks
WHERE received_at >= {{day}}::date AND received_at < {{day}}::date + 1
[[AND event_text = {{event}}]]
GROUP BY 1, 2
ORDER BY 1, 2
