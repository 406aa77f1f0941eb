//! The tables that an analyst would have made by hand of the same events.

use anyhow::Context;
use tokio_postgres::Client;

/// All but those of single events.
const TABLES: &str = include_str!("typed.sql");

/// The columns that each of them has of `context`.
const CONTEXT: &str = "LATERAL (SELECT \
     b.body_json #>> '{context,ip}' AS context_ip, \
     b.body_json #>> '{context,locale}' AS context_locale, \
     b.body_json #>> '{context,timezone}' AS context_timezone, \
     b.body_json #>> '{context,library,name}' AS context_library_name, \
     b.body_json #>> '{context,library,version}' AS context_library_version, \
     b.body_json #>> '{context,userAgent}' AS context_user_agent, \
     b.body_json #>> '{context,page,path}' AS context_page_path, \
     b.body_json #>> '{context,page,title}' AS context_page_title, \
     b.body_json #>> '{context,page,url}' AS context_page_url, \
     b.body_json #>> '{context,page,search}' AS context_page_search, \
     b.body_json #>> '{context,page,referrer}' AS context_page_referrer, \
     b.body_json #>> '{context,campaign,name}' AS context_campaign_name, \
     b.body_json #>> '{context,campaign,source}' AS context_campaign_source, \
     b.body_json #>> '{context,campaign,medium}' AS context_campaign_medium) AS c";

/// The properties of track events.
const PROPERTIES: &str = "jsonb_to_record(b.body_json -> 'properties') AS p(order_id text, \
     product_id text, sku text, name text, category text, brand text, variant text, price numeric, \
     quantity numeric, value numeric, currency text, coupon text, position numeric, \
     is_gift boolean, ships_at timestamptz)";

/// The events that are asked about, each with a table.
const EVENTS: [&str; 4] = [
    "Product Viewed",
    "Product Added",
    "Order Completed",
    "Product Shared",
];

/// Makes and fills them. Slow: it reads all events once for each.
pub(crate) async fn make(client: &Client) -> anyhow::Result<()> {
    let mut statements = vec![TABLES.replace("{context}", CONTEXT)];
    for event in EVENTS {
        let table = format!("typed.{}", event.to_lowercase().replace(' ', "_"));
        statements.push(format!(
            "CREATE TABLE {table} AS SELECT b.message_id AS id, b.anonymous_id, b.user_id, \
             '{event}'::text AS event_text, b.received_at, b.sent_at, b.\"timestamp\", \
             b.original_timestamp, b.received_at AS uuid_ts, c.*, p.* \
             FROM trunkline.events AS b, {CONTEXT}, {PROPERTIES} \
             WHERE b.type = 'track' AND b.event = '{event}' AND NOT b.dup ORDER BY b.received_at; \
             CREATE INDEX ON {table} (received_at)"
        ));
    }
    for sql in &statements {
        client
            .batch_execute(sql)
            .await
            .context("making the typed tables")?;
    }
    let list = "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables \
                WHERE schemaname = 'typed'";
    let tables: String = client.query_one(list, &[]).await?.get(0);
    let vacuum = format!("VACUUM (FREEZE, ANALYZE) {tables}");
    client.batch_execute(&vacuum).await?;
    Ok(())
}

/// What they take on disk with their indexes, in bytes.
pub(crate) async fn bytes(client: &Client) -> anyhow::Result<i64> {
    let sql = "SELECT sum(pg_total_relation_size(format('%I.%I', schemaname, tablename)))::bigint \
               FROM pg_tables WHERE schemaname = 'typed'";
    Ok(client.query_one(sql, &[]).await?.get(0))
}
