//! Generated and spoilt bodies, judged by our pass, by serde_json, and by PostgreSQL itself: what we
//! call good, jsonb takes; what we repair, it takes after; what we refuse, neither takes.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::value::RawValue;
use trunkline_ingester::json::{ArrayRows, decode};
use trunkline_tests::{Database, scaled, seed};

/// Bodies of one question to the server.
const ROUND: usize = 2_000;

/// Says of each text whether jsonb takes it.
const TAKES: &str = "
    CREATE FUNCTION takes(body text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM body::jsonb;
        RETURN true;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        RETURN false;
    END $$";

fn pick<'a>(random: &mut StdRng, choices: &[&'a str]) -> &'a str {
    choices[random.random_range(0..choices.len())]
}

fn space(random: &mut StdRng) -> &'static str {
    pick(random, &["", "", "", "", " ", "\n", "\t", "\r\n  "])
}

fn string(random: &mut StdRng) -> String {
    let pieces = [
        "a",
        "event",
        "userId",
        "é",
        "🦀",
        "\u{2028}",
        "\u{7f}",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u00e9",
        "\\u0000",
        "\\ud800",
        "\\udfff",
        "\\ud83e\\udd80",
        "\\uD83E",
        "\\uDD80",
        "\\u005c",
        "u0000",
        "\u{fffd}",
        "{",
        "]",
        ",",
    ];
    let count = random.random_range(0..4);
    let text: String = (0..count).map(|_| pick(random, &pieces)).collect();
    format!("\"{text}\"")
}

fn digits(random: &mut StdRng, most: usize) -> String {
    let count = random.random_range(1..=most);
    let digits = (0..count).map(|_| char::from(b'0' + random.random_range(0..10)));
    digits.collect()
}

fn number(random: &mut StdRng) -> String {
    let mut text = pick(random, &["", "-"]).to_owned();
    match random.random_range(0..4) {
        0 => text.push('0'),
        // Sometimes with a zero in front, which is no JSON.
        _ => text += &digits(random, 25),
    }
    if random.random_bool(0.4) {
        text += &format!(".{}", digits(random, 20));
    }
    if random.random_bool(0.4) {
        let most = random.random_range(1..7);
        let sign = pick(random, &["", "+", "-"]);
        text += &format!(
            "{}{sign}{}",
            pick(random, &["e", "E"]),
            digits(random, most)
        );
    }
    text
}

fn value(random: &mut StdRng, depth: usize) -> String {
    let kinds = if depth == 0 { 4 } else { 7 };
    match random.random_range(0..kinds) {
        0 => pick(random, &["true", "false", "null", "{}", "[]", "[ ]"]).to_owned(),
        1 => number(random),
        2 | 3 => string(random),
        4 => {
            let depth = random.random_range(1..1_500);
            "[".repeat(depth) + &"]".repeat(depth)
        }
        kind => {
            let count = random.random_range(0..5);
            let members: Vec<_> = (0..count)
                .map(|_| {
                    let (before, after) = (space(random), space(random));
                    let value = value(random, depth - 1);
                    if kind == 5 {
                        format!("{before}{value}{after}")
                    } else {
                        format!("{before}{}{after}:{value}{after}", string(random))
                    }
                })
                .collect();
            let (open, close) = if kind == 5 { ('[', ']') } else { ('{', '}') };
            format!("{open}{}{close}", members.join(","))
        }
    }
}

/// One value, and in most cases some bytes of it changed.
fn body(random: &mut StdRng) -> Vec<u8> {
    let mut body = value(random, 4).into_bytes();
    let spoils = random.random_range(0..3);
    for _ in 0..spoils {
        let place = random.random_range(0..=body.len());
        let byte = match random.random_range(0..3) {
            0 => random.random(),
            _ => pick(
                random,
                &["\"", "\\", "{", "]", ",", ":", "0", "e", "u", " ", "\n"],
            )
            .as_bytes()[0],
        };
        match random.random_range(0..4) {
            0 if place < body.len() => body[place] = byte,
            1 if place < body.len() => drop(body.remove(place)),
            2 => body.truncate(place),
            _ => body.insert(place, byte),
        }
    }
    body
}

/// What our pass makes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Good,
    Repaired,
    Refused,
}

/// The kind of a body, and what the server shall be asked about.
fn judge(body: &[u8]) -> Vec<(Kind, String)> {
    let decoded = decode(body, ArrayRows::Whole).ok();
    let reference: Option<Vec<&RawValue>> = serde_json::Deserializer::from_slice(body)
        .into_iter()
        .collect::<Result<_, _>>()
        .ok();
    let texts = |rows: &Vec<trunkline_ingester::json::Element<'_>>| -> Vec<String> {
        let text = |row: &[u8]| String::from_utf8(row.to_vec()).unwrap();
        rows.iter().map(|row| text(row.text)).collect()
    };
    assert_eq!(
        decoded.as_ref().map(texts),
        reference.map(|values| values.iter().map(|value| value.get().to_owned()).collect()),
        "serde_json sees {} otherwise",
        body.escape_ascii()
    );
    match decoded {
        Some(rows) => rows
            .iter()
            .map(|row| {
                let is_as_sent = row.body.as_bytes() == row.text;
                let kind = if is_as_sent {
                    Kind::Good
                } else {
                    Kind::Repaired
                };
                (kind, row.body.clone().into_owned())
            })
            .collect(),
        None => match String::from_utf8(body.to_vec()) {
            Ok(text) if !text.contains('\0') => vec![(Kind::Refused, text)],
            // No such text can be sent to a server.
            _ => Vec::new(),
        },
    }
}

#[tokio::test]
async fn what_we_call_good_or_repair_jsonb_takes_and_what_we_refuse_it_refuses() {
    let database = Database::start().await;
    let client = database.connect().await;
    client.batch_execute(TAKES).await.unwrap();
    let mut random = StdRng::seed_from_u64(seed());
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for _ in 0..scaled(20_000, 1_000_000) / ROUND {
        let judged: Vec<_> = (0..ROUND).flat_map(|_| judge(&body(&mut random))).collect();
        let (kinds, texts): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
        let asked = "SELECT takes(body) FROM unnest($1::text[]) WITH ORDINALITY asked (body, n) \
                     ORDER BY n";
        let answers = client.query(asked, &[&texts]).await.unwrap();
        assert_eq!(answers.len(), texts.len());
        for ((kind, text), answer) in kinds.iter().zip(&texts).zip(&answers) {
            let expected = matches!(kind, Kind::Good | Kind::Repaired);
            assert_eq!(answer.get::<_, bool>(0), expected, "{kind:?}: {text:?}");
            *counts.entry(*kind).or_default() += 1;
        }
    }
    println!("{counts:?}");
    for kind in [Kind::Good, Kind::Repaired, Kind::Refused] {
        assert!(counts.contains_key(&kind), "no body is {kind:?}");
    }
}
