-- One day of events of a shop, as its website would send them: three quarters are track calls of
-- twenty names, whose frequencies follow Zipf's law, with fifteen properties each.
--
-- $1 bucket, $2 source, $3 first moment of the day, $4 events of a day, $5 days before it, $6 users.
--
-- Everything is made of the event's number by a hash, so that two runs have the same events. One in
-- a hundred repeats an earlier one, and is marked as an ingester or the upkeep would have marked it;
-- a tenth of these come a day later.
INSERT INTO trunkline.events (bucket, source, received_at, delivery_id, position, message_id, type,
  event, user_id, anonymous_id, "timestamp", original_timestamp, sent_at, auth_scope, dup, body_json)
SELECT $1::integer, $2::text, c.received_at, md5('delivery' || c.n)::uuid, 0, e.message_id, e.type,
  e.event, e.user_id, e.anonymous_id, e.at, e.at, e.sent, 'request', c.m <> c.n,
  jsonb_strip_nulls(jsonb_build_object(
    'messageId', e.message_id,
    'type', e.type,
    'event', e.event,
    'userId', e.user_id,
    'anonymousId', e.anonymous_id,
    'timestamp', to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'originalTimestamp', to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'sentAt', to_char(e.sent AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'integrations', '{}'::jsonb,
    'name', CASE e.type WHEN 'page' THEN 'Product' END,
    'context', jsonb_build_object(
      'ip', '198.51.' || e.u % 256 || '.' || e.u / 256 % 256,
      'locale', (ARRAY['en-US', 'en-GB', 'de-DE', 'fr-FR', 'pt-BR'])[1 + e.u % 5],
      'timezone', (ARRAY['America/New_York', 'Europe/London', 'Europe/Berlin', 'Europe/Paris'])[1 + e.u % 4],
      'library', '{"name": "analytics.js", "version": "next-1.70.0"}'::jsonb,
      'userAgent', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36',
      'screen', jsonb_build_object('width', 1280 + e.u % 3 * 320, 'height', 720 + e.u % 3 * 180, 'density', 2),
      'page', jsonb_build_object(
        'path', '/products/' || e.product, 'title', 'Product ' || e.product || ' | Shop',
        'url', 'https://shop.example.com/products/' || e.product,
        'search', '', 'referrer', 'https://www.google.com/'),
      'campaign', CASE WHEN e.campaign < 0.1 THEN jsonb_build_object(
        'name', 'spring-' || (e.campaign * 100)::integer,
        'source', (ARRAY['google', 'newsletter', 'facebook', 'bing'])[1 + (e.campaign * 1000)::integer % 4],
        'medium', (ARRAY['cpc', 'email'])[1 + (e.campaign * 1000)::integer % 2]) END),
    'traits', CASE e.type WHEN 'identify' THEN jsonb_build_object(
      'email', 'user' || e.u || '@example.com', 'firstName', 'Ada', 'lastName', 'Okafor-' || e.u % 1000,
      'plan', (ARRAY['free', 'starter', 'business'])[1 + (e.value * 3)::integer % 3],
      'age', 18 + e.u % 60, 'createdAt', '2026-01-01T00:00:00Z') END,
    'properties', CASE e.type
      WHEN 'page' THEN jsonb_build_object(
        'path', '/products/' || e.product, 'title', 'Product ' || e.product || ' | Shop',
        'url', 'https://shop.example.com/products/' || e.product,
        'search', '', 'referrer', 'https://www.google.com/', 'category', e.category)
      WHEN 'track' THEN jsonb_build_object(
        'order_id', 'ord_' || c.m, 'product_id', 'prod_' || e.product, 'sku', 'SKU-' || e.product * 7,
        'name', 'Product number ' || e.product, 'category', e.category, 'brand', 'Brand ' || e.product % 40,
        'variant', (ARRAY['black', 'white', 'green'])[1 + e.product % 3],
        'price', round((e.value * 100)::numeric, 2), 'quantity', 1 + e.product % 4,
        'value', round((e.value * 300)::numeric, 2), 'currency', 'USD',
        'coupon', CASE WHEN e.campaign < 0.05 THEN 'SUMMER-25' END,
        'position', e.product % 50, 'is_gift', e.product % 9 = 0,
        'ships_at', to_char((e.at + interval '2 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) END))
FROM (
  SELECT n, $3::text::timestamptz + (n - $5 * $4) * interval '1 day' / $4 AS received_at,
    CASE WHEN n % 1000 = 999 AND n > $4 THEN n - $4 - 1
      WHEN n % 100 = 99 THEN n - 1 - (hashint8extended(n, 1) & 63) % least(98, n)
      ELSE n END AS m
  FROM generate_series($5::bigint * $4::bigint, ($5 + 1) * $4 - 1) AS n
) AS c
CROSS JOIN LATERAL (
  SELECT (hashint8extended(c.m, 2) & 1048575) / 1048576.0::float8 AS kind,
    (hashint8extended(c.m, 3) & 1048575) / 1048576.0::float8 AS which,
    -- Some users do much, most do little.
    floor($6::integer * power((hashint8extended(c.m, 4) & 1048575) / 1048576.0::float8, 3))::integer AS u,
    (hashint8extended(c.m, 5) & 1048575) / 1048576.0::float8 AS value,
    (hashint8extended(c.m, 6) & 1048575) / 1048576.0::float8 AS campaign,
    (hashint8extended(c.m, 7) & 1023)::integer AS product
) AS h
CROSS JOIN LATERAL (
  SELECT CASE WHEN h.kind < 0.75 THEN 'track' WHEN h.kind < 0.92 THEN 'page' ELSE 'identify' END AS type
) AS k
CROSS JOIN LATERAL (
  SELECT k.type, h.u, h.value, h.campaign, h.product,
    'ajs-next-' || md5('message' || c.m) AS message_id,
    CASE k.type WHEN 'track' THEN (ARRAY[
      'Product Viewed', 'Product List Viewed', 'Product Clicked', 'Product Added', 'Cart Viewed',
      'Checkout Started', 'Order Completed', 'Product Removed', 'Promotion Viewed', 'Promotion Clicked',
      'Products Searched', 'Checkout Step Viewed', 'Checkout Step Completed', 'Payment Info Entered',
      'Coupon Entered', 'Coupon Applied', 'Wishlist Viewed', 'Product Shared', 'Order Refunded',
      'Product Reviewed'])[1 + width_bucket(h.which, ARRAY[
      0.27795, 0.41693, 0.50958, 0.57907, 0.63466, 0.68099, 0.72070, 0.75544, 0.78633, 0.81412,
      0.83939, 0.86255, 0.88393, 0.90379, 0.92232, 0.93969, 0.95604, 0.97148, 0.98611])] END AS event,
    CASE WHEN k.type = 'identify' OR h.u % 10 < 7 THEN 'usr_' || h.u END AS user_id,
    md5('visitor' || h.u)::uuid::text AS anonymous_id,
    'Category ' || h.product % 25 AS category,
    date_trunc('milliseconds', c.received_at - (c.n - c.m) * interval '1 day' / $4 - interval '900 ms') AS at,
    date_trunc('milliseconds', c.received_at - interval '120 ms') AS sent
) AS e
