//! The casts of views: what fits, what does not, and that nothing is ever an error.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trunkline_tests::seed;
use trunkline_warehouse::{CastType, DesiredSource, OwnColumn, OwnValue};

use super::harness::*;

const TYPES: [CastType; 6] = [
    CastType::Text,
    CastType::Numeric,
    CastType::Bigint,
    CastType::Boolean,
    CastType::Timestamptz,
    CastType::Jsonb,
];

/// A source whose view `casts` shows `v` of the body as every type, and the message's ID, a text
/// column, as every type that text can be cast to.
fn casting() -> DesiredSource {
    let column = |prefix: &str, cast: CastType, value: OwnValue| OwnColumn {
        name: format!("{prefix}_{cast}"),
        values: vec![value],
        cast: Some(cast),
    };
    let mut views = own_views(&["casts"]);
    let path = || OwnValue::Path(vec!["v".to_owned()]);
    let id = || OwnValue::Column("message_id".to_owned());
    views.views[0].columns = TYPES
        .iter()
        .map(|&cast| column("json", cast, path()))
        .chain(TYPES[..5].iter().map(|&cast| column("text", cast, id())))
        .collect();
    DesiredSource {
        views: Some(views),
        ..source("shop")
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_null_and_no_setting_of_a_reader_decides() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let shop = ensure_one(&warehouse, casting()).await;
    assert_eq!(shop.views, [""; 0]);
    // JSON; as text, numeric, bigint, boolean, timestamptz, jsonb.
    let cases = [
        ("null", "-|-|-|-|-|-"),
        ("\"\"", "|-|-|-|-|\"\""),
        ("1", "1|1|1|-|-|1"),
        ("-0.50", "-0.50|-0.50|-|-|-|-0.50"),
        ("1.0", "1.0|1.0|1|-|-|1.0"),
        ("1e3", "1000|1000|1000|-|-|1000"),
        (
            "9223372036854775807",
            "9223372036854775807|9223372036854775807|9223372036854775807|-|-|9223372036854775807",
        ),
        (
            "9223372036854775808",
            "9223372036854775808|9223372036854775808|-|-|-|9223372036854775808",
        ),
        (
            "-9223372036854775808",
            "-9223372036854775808|-9223372036854775808|-9223372036854775808|-|-|-9223372036854775808",
        ),
        ("\" +12 \"", " +12 |12|12|-|-|\" +12 \""),
        ("\".5e-3\"", ".5e-3|0.0005|-|-|-|\".5e-3\""),
        ("\"1e1000\"", "1e1000|-|-|-|-|\"1e1000\""),
        ("\"0x1F\"", "0x1F|-|-|-|-|\"0x1F\""),
        ("\"1_000\"", "1_000|-|-|-|-|\"1_000\""),
        ("\"1,5\"", "1,5|-|-|-|-|\"1,5\""),
        ("\"NaN\"", "NaN|-|-|-|-|\"NaN\""),
        ("\"\u{0661}\"", "\u{0661}|-|-|-|-|\"\u{0661}\""),
        ("\"\u{00a0}1\"", "\u{00a0}1|-|-|-|-|\"\u{00a0}1\""),
        ("true", "true|-|-|t|-|true"),
        ("\"false\"", "false|-|-|f|-|\"false\""),
        ("\"yes\"", "yes|-|-|-|-|\"yes\""),
        ("[1, \"a\"]", "[1, \"a\"]|-|-|-|-|[1, \"a\"]"),
        ("{\"a\": null}", "{\"a\": null}|-|-|-|-|{\"a\": null}"),
    ];
    let times = [
        ("2026-11-24T08:15:00Z", "2026-11-24 08:15:00+00"),
        ("2026-11-24T08:15:00.123Z", "2026-11-24 08:15:00.123+00"),
        (
            "2026-11-24t08:15:00.123456789z",
            "2026-11-24 08:15:00.123457+00",
        ),
        ("2026-11-24 08:15:00+05:30", "2026-11-24 02:45:00+00"),
        ("2026-11-24T08:15-0800", "2026-11-24 16:15:00+00"),
        ("2026-11-24T08:15:00+01", "2026-11-24 07:15:00+00"),
        ("2024-02-29T00:00:00Z", "2024-02-29 00:00:00+00"),
        ("2000-02-29T00:00:00Z", "2000-02-29 00:00:00+00"),
        ("0001-01-01T00:00:00+15:59", "0001-12-31 08:01:00+00 BC"),
        (
            "9999-12-31T23:59:59.9999999-15:59",
            "10000-01-01 15:59:00+00",
        ),
        ("2026-11-24T08:15:00", "-"),
        ("2026-11-24", "-"),
        ("11/24/2026 08:15:00Z", "-"),
        ("24-11-2026T08:15:00Z", "-"),
        ("2026-02-29T00:00:00Z", "-"),
        ("1900-02-29T00:00:00Z", "-"),
        ("2026-02-30T00:00:00Z", "-"),
        ("2026-04-31T00:00:00Z", "-"),
        ("2026-13-01T00:00:00Z", "-"),
        ("2026-00-01T00:00:00Z", "-"),
        ("2026-01-00T00:00:00Z", "-"),
        ("2026-01-01T24:00:00Z", "-"),
        ("2026-01-01T23:59:60Z", "-"),
        ("2026-01-01T00:00:00+16:00", "-"),
        ("2026-01-01T00:00:00.Z", "-"),
        ("2026-01-01T00:00:00Z\n", "-"),
        ("2026-01-01T00:00:00 Z", "-"),
        ("0000-01-01T00:00:00Z", "-"),
        ("+275760-09-13T00:00:00Z", "-"),
        ("275760-09-13T00:00:00Z", "-"),
        ("now", "-"),
        ("infinity", "-"),
        ("garbage", "-"),
    ];
    let mut expected = Vec::new();
    for (number, (json, row)) in cases.iter().enumerate() {
        let body = format!("'{{\"v\": {json}}}'");
        let at = format!("now() + {number} * interval '1 microsecond'");
        store_event(&admin, &shop, &[("body_json", &body), ("received_at", &at)]).await;
        expected.push((*row).to_owned());
    }
    for (number, (text, row)) in times.iter().enumerate() {
        let body = format!("jsonb_build_object('v', '{text}')");
        let at = format!("now() + (100 + {number}) * interval '1 microsecond'");
        let columns = [
            ("body_json", body.as_str()),
            ("message_id", &format!("'{text}'")),
            ("received_at", &at),
        ];
        store_event(&admin, &shop, &columns).await;
        let quoted = text.replace('\n', "\\n");
        expected.push(format!("{text}|-|-|-|{row}|\"{quoted}\""));
    }
    for settings in [
        "SET TimeZone = 'UTC'",
        "SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'",
        "SET TimeZone = 'America/New_York'; SET DateStyle = 'German, YMD'; SET search_path = ''",
    ] {
        let session = database.admin().await;
        session.batch_execute(settings).await.unwrap();
        let epoch = "SELECT json_text, json_numeric, json_bigint, json_boolean, \
                     extract(epoch FROM json_timestamptz), json_jsonb FROM shop.casts r";
        let found = rows(&session, epoch).await;
        let mut wanted = Vec::new();
        for row in &expected {
            let mut fields: Vec<_> = row.split('|').map(str::to_owned).collect();
            if fields.len() == 6 && fields[4] != "-" {
                let epoch = format!("SELECT extract(epoch FROM timestamptz '{}')", fields[4]);
                fields[4] = value(&admin, &epoch).await;
            }
            wanted.push(fields.join("|"));
        }
        let (mut found, mut wanted) = (found, wanted);
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{settings}");
        // A text column by the same rules.
        let as_text = "SELECT count(*) FROM shop.casts WHERE text_text IS NOT NULL \
                       AND text_timestamptz IS NOT DISTINCT FROM json_timestamptz";
        let times = times.len().to_string();
        assert_eq!(value(&session, as_text).await, times, "{settings}");
    }
    let types = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
                 WHERE attrelid = 'shop.casts'::regclass AND attnum > 0 ORDER BY attnum";
    let types = rows(&admin, types).await;
    for (line, cast) in types.iter().zip(TYPES) {
        let full = cast
            .as_str()
            .replace("timestamptz", "timestamp with time zone");
        assert_eq!(*line, format!("json_{cast}|{full}"));
    }
}

/// Texts near to times and numbers, of which the server would refuse many.
fn near_misses(count: usize) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed());
    let mut texts = Vec::with_capacity(count);
    for _ in 0..count {
        let mut number =
            |most: u32, digits: usize| format!("{:0digits$}", random.random_range(0..=most));
        let mut text = format!(
            "{}-{}-{}T{}:{}:{}.{}",
            number(9999, 4),
            number(13, 2),
            number(32, 2),
            number(24, 2),
            number(60, 2),
            number(60, 2),
            number(999_999_999, 1)
        );
        let offset = match random.random_range(0..5) {
            0 => "Z".to_owned(),
            1 => format!(
                "+{:02}:{:02}",
                random.random_range(0..17),
                random.random_range(0..61)
            ),
            2 => format!("-{:02}", random.random_range(0..17)),
            3 => format!(
                "+{:02}{:02}",
                random.random_range(0..17),
                random.random_range(0..61)
            ),
            _ => String::new(),
        };
        text.push_str(&offset);
        if random.random_range(0..4) == 0 {
            text = format!(
                "{}e{}",
                random.random_range(-5.0e20..5.0e20),
                random.random_range(-2000..2000)
            );
        }
        if random.random_range(0..4) == 0 {
            let at = random.random_range(0..text.len());
            let with =
                ["", "0", "9", "-", "+", " ", ".", "e", "Z", ":"][random.random_range(0..10)];
            text.replace_range(at..=at, with);
        }
        texts.push(text);
    }
    texts
}

#[tokio::test]
async fn no_text_is_an_error_and_what_is_not_null_is_what_the_server_reads() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure_one(&warehouse, casting()).await;
    let texts = near_misses(20_000);
    let sql = "INSERT INTO trunkline.events (bucket, source, delivery_id, position, message_id, \
               auth_scope, body_json) SELECT 1, 'default/shop', gen_random_uuid(), 0, v, 'none', \
               jsonb_build_object('v', v) FROM unnest($1::text[]) v";
    admin.execute(sql, &[&texts]).await.unwrap();
    let compared = "SELECT count(*), count(json_timestamptz) > 1000, count(json_numeric) > 1000, \
         bool_and(json_timestamptz IS NULL OR json_timestamptz = json_text::timestamptz), \
         bool_and(json_numeric IS NULL OR json_numeric = json_text::numeric), \
         bool_and(json_timestamptz IS NOT DISTINCT FROM text_timestamptz \
         AND json_numeric IS NOT DISTINCT FROM text_numeric \
         AND json_bigint IS NOT DISTINCT FROM text_bigint) FROM shop.casts";
    // The comparison casts without care, and so only what is not NULL.
    let compared = compared
        .replace(
            "= json_text::timestamptz",
            "= CASE WHEN json_timestamptz IS NOT NULL THEN json_text::timestamptz END",
        )
        .replace(
            "= json_text::numeric",
            "= CASE WHEN json_numeric IS NOT NULL THEN json_text::numeric END",
        );
    assert_eq!(value(&admin, &compared).await, "20000|t|t|t|t|t");
}

#[tokio::test]
async fn a_view_with_casts_can_be_read_by_parallel_workers() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let shop = ensure_one(&warehouse, casting()).await;
    store(&admin, shop.bucket, "default/shop", 1_000).await;
    let session = database.admin().await;
    let settings = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; \
                    SET min_parallel_table_scan_size = 0";
    session.batch_execute(settings).await.unwrap();
    let count = "SELECT count(json_timestamptz), count(*) FROM shop.casts";
    let plan = rows(&session, &format!("EXPLAIN {count}")).await.join("\n");
    assert!(plan.contains("Workers Planned"), "{plan}");
    assert_eq!(value(&session, count).await, "0|1000");
}
