//! What is asked, as an analyst writes it: the same words for the relations and for the typed tables.

use jiff::civil::Date;

use crate::product::Product;

/// A question.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) name: String,
    /// SQL with `{schema}` in the place of the schema.
    sql: String,
    /// The day whose partition, and at most the one before, it may read. None: it reads more.
    pub(crate) only: Option<Date>,
}

impl Query {
    /// The question to one of both.
    pub(crate) fn of(&self, schema: &str) -> String {
        self.sql.replace("{schema}", schema)
    }
}

/// Questions about some time until last midnight: name, SQL with `{during}`, and the days.
const TIMED: &[(&str, &str, &[u16])] = &[
    (
        "events by name",
        "SELECT event, count(*) FROM {schema}.tracks WHERE {during} GROUP BY event",
        &[1, 30],
    ),
    (
        "sum by category",
        "SELECT category, sum(value), count(*) FROM {schema}.product_viewed WHERE {during} \
         GROUP BY category",
        &[1, 30],
    ),
    (
        "sum, a rare event",
        "SELECT category, sum(value), count(*) FROM {schema}.product_shared WHERE {during} \
         GROUP BY category",
        &[1, 30],
    ),
    (
        "active users",
        "SELECT date_trunc('day', received_at) AS day, \
         count(DISTINCT coalesce(user_id, anonymous_id)) FROM {schema}.tracks WHERE {during} \
         GROUP BY 1",
        &[1, 7, 30],
    ),
    (
        "funnel",
        "WITH viewed AS (SELECT anonymous_id, min(timestamp) AS at FROM {schema}.product_viewed \
         WHERE {during} GROUP BY 1), \
         added AS (SELECT v.anonymous_id, min(a.timestamp) AS at FROM viewed v \
         JOIN {schema}.product_added a ON a.anonymous_id = v.anonymous_id AND a.timestamp > v.at \
         WHERE {during} GROUP BY 1), \
         ordered AS (SELECT a.anonymous_id FROM added a JOIN {schema}.order_completed o \
         ON o.anonymous_id = a.anonymous_id AND o.timestamp > a.at WHERE {during} GROUP BY 1) \
         SELECT (SELECT count(*) FROM viewed), (SELECT count(*) FROM added), \
         (SELECT count(*) FROM ordered)",
        &[1, 7, 30],
    ),
    (
        "last touch",
        "WITH ordered AS (SELECT id, anonymous_id, timestamp, value FROM {schema}.order_completed \
         WHERE {during}), \
         touched AS (SELECT anonymous_id, timestamp, id, context_campaign_source AS source \
         FROM {schema}.pages WHERE {during or the day before} \
         AND context_campaign_source IS NOT NULL) \
         SELECT source, count(*), sum(value) FROM (\
         SELECT DISTINCT ON (o.id) o.id, o.value, t.source FROM ordered o \
         LEFT JOIN touched t ON t.anonymous_id = o.anonymous_id AND t.timestamp <= o.timestamp \
         ORDER BY o.id, t.timestamp DESC NULLS LAST, t.id) AS last GROUP BY source",
        &[1, 30],
    ),
];

/// Questions about all that there is.
const UNTIMED: &[(&str, &str)] = &[
    (
        "users",
        "SELECT plan, count(*), sum(age) FROM {schema}.users GROUP BY plan",
    ),
    (
        "one user",
        "SELECT id, email, first_name, last_name, plan, age, created_at FROM {schema}.users \
         WHERE id = 'usr_7'",
    ),
];

/// All questions that so many days can answer.
pub(crate) fn all(product: &Product, days: u16) -> anyhow::Result<Vec<Query>> {
    let mut queries = Vec::new();
    let (yesterday, today) = (product.day(1)?, product.day(0)?);
    for &(name, sql, spans) in TIMED {
        for span in spans.iter().map(|&span| span.min(days)) {
            let name = format!("{name}, {span} d");
            if queries.iter().any(|known: &Query| known.name == name) {
                continue;
            }
            let during = |age: u16| -> anyhow::Result<String> {
                let from = product.day(age)?;
                Ok(format!(
                    "received_at >= '{from} 00:00+00' AND received_at < '{today} 00:00+00'"
                ))
            };
            queries.push(Query {
                name,
                sql: sql
                    .replace("{during}", &during(span)?)
                    .replace("{during or the day before}", &during(span + 1)?),
                only: (span == 1).then_some(yesterday),
            });
        }
    }
    queries.extend(UNTIMED.iter().map(|&(name, sql)| Query {
        name: name.to_owned(),
        sql: sql.to_owned(),
        only: None,
    }));
    Ok(queries)
}
