//! Casts that give NULL where a value does not fit, and never an error: what somebody sends must not
//! break the queries of those who read.
//!
//! Invariants:
//! - A cast never raises an error, whatever the value is.
//! - Its result follows from the value alone, and not from the reader's session: TimeZone, DateStyle
//!   and the locale decide nothing, and every version of PostgreSQL gives the same.

use std::fmt;

use trunkline_model::names::quote_literal;

/// What a value can be cast to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CastType {
    /// Everything is that; an object or an array becomes its JSON.
    Text,
    /// A JSON number, or a text of at most 63 characters that is one.
    Numeric,
    /// The same without a fraction, within 64 bits.
    Bigint,
    /// `true` or `false`, as JSON or as text.
    Boolean,
    /// A date and a time of ISO 8601 in the years 1 to 9999, with an offset.
    Timestamptz,
    /// JSON as it is; a JSON null is NULL.
    Jsonb,
}

impl CastType {
    /// The type as SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Numeric => "numeric",
            Self::Bigint => "bigint",
            Self::Boolean => "boolean",
            Self::Timestamptz => "timestamptz",
            Self::Jsonb => "jsonb",
        }
    }
}

impl fmt::Display for CastType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What `numeric` takes on every version: it also knows NaN, and since version 16 0x1F and 1_000.
/// Digits are spelled out, since under some locales other scripts' count as such; the exponent and
/// the length are bounded, since 1e999999 is an error.
const NUMERIC: &str = "^ *[+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:[eE][+-]?[0-9]{1,3})? *$";

/// As many digits as the largest `bigint` has.
const BIGINT: &str = "^ *[+-]?[0-9]{1,19}(?:[.]0*)? *$";

/// The value at `path` of an expression of type jsonb.
pub(crate) fn from_json(json: &str, path: &[String], to: CastType) -> String {
    let keys: Vec<_> = path.iter().map(|key| quote_literal(key)).collect();
    let keys = format!("ARRAY[{}]", keys.join(", "));
    let text = format!("{json} #>> {keys}");
    match to {
        CastType::Text => text,
        CastType::Jsonb => format!("nullif({json} #> {keys}, 'null'::jsonb)"),
        // Numbers in JSON are not bounded in length, and need no look at their text.
        CastType::Numeric => format!(
            "CASE jsonb_typeof({json} #> {keys}) WHEN 'number' THEN ({json} #> {keys})::numeric \
             WHEN 'string' THEN {} END",
            numeric(&text)
        ),
        CastType::Bigint => bigint(&text),
        CastType::Boolean => boolean(&text),
        CastType::Timestamptz => timestamptz(&text),
    }
}

/// The value of an expression of type text. None: there is no such cast.
pub(crate) fn from_text(text: &str, to: CastType) -> Option<String> {
    Some(match to {
        CastType::Text => text.to_owned(),
        CastType::Numeric => numeric(text),
        CastType::Bigint => bigint(text),
        CastType::Boolean => boolean(text),
        CastType::Timestamptz => timestamptz(text),
        CastType::Jsonb => return None,
    })
}

/// A CASE is what PostgreSQL promises to evaluate in order; AND is not.
fn numeric(text: &str) -> String {
    format!("CASE WHEN length({text}) < 64 AND ({text}) ~ '{NUMERIC}' THEN ({text})::numeric END")
}

fn bigint(text: &str) -> String {
    let (smallest, largest) = (i64::MIN, i64::MAX);
    format!(
        "CASE WHEN length({text}) < 64 AND ({text}) ~ '{BIGINT}' THEN CASE WHEN ({text})::numeric \
         BETWEEN {smallest} AND {largest} THEN ({text})::numeric::bigint END END"
    )
}

fn boolean(text: &str) -> String {
    format!("CASE {text} WHEN 'true' THEN true WHEN 'false' THEN false END")
}

fn timestamptz(text: &str) -> String {
    format!("trunkline.timestamptz_or_null({text})")
}

/// The functions behind the casts. Views run them as whoever reads, so that everybody may.
///
/// It catches no exception: that would be a subtransaction for each value, which no parallel query
/// may have before version 18. The pattern leaves the days that a month does not have.
pub(crate) const CATALOG: &str = "\
CREATE FUNCTION trunkline.timestamptz_or_null(value text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  day text;
  year integer;
BEGIN
  IF value !~ '^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt ]\
(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,9})?)?\
(?:[Zz]|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)$' THEN
    RETURN NULL;
  END IF;
  day := substr(value, 6, 5);
  year := substr(value, 1, 4);
  IF year = 0 OR day IN ('02-30', '02-31', '04-31', '06-31', '09-31', '11-31')
    OR day = '02-29' AND (year % 4 <> 0 OR year % 100 = 0 AND year % 400 <> 0) THEN
    RETURN NULL;
  END IF;
  RETURN value::timestamptz;
END $$;
COMMENT ON FUNCTION trunkline.timestamptz_or_null(text) IS \
'A date and a time of ISO 8601 with an offset, such as 2026-11-24T08:15:00.5Z; NULL for anything else.';
GRANT EXECUTE ON FUNCTION trunkline.timestamptz_or_null(text) TO PUBLIC";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(keys: &[&str], to: CastType) -> String {
        let path: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
        from_json("\"body_json\"", &path, to)
    }

    #[test]
    fn a_path_is_read_as_the_type_asks() {
        assert_eq!(
            at(&["it's", "a\\b"], CastType::Text),
            "\"body_json\" #>> ARRAY['it''s', E'a\\\\b']"
        );
        assert_eq!(
            at(&["a"], CastType::Jsonb),
            "nullif(\"body_json\" #> ARRAY['a'], 'null'::jsonb)"
        );
        assert_eq!(
            at(&["a"], CastType::Boolean),
            "CASE \"body_json\" #>> ARRAY['a'] WHEN 'true' THEN true WHEN 'false' THEN false END"
        );
        assert_eq!(
            at(&["a"], CastType::Timestamptz),
            "trunkline.timestamptz_or_null(\"body_json\" #>> ARRAY['a'])"
        );
        let numeric = at(&["a"], CastType::Numeric);
        assert!(
            numeric.starts_with(
                "CASE jsonb_typeof(\"body_json\" #> ARRAY['a']) WHEN 'number' THEN \
                 (\"body_json\" #> ARRAY['a'])::numeric WHEN 'string' THEN CASE WHEN length("
            ),
            "{numeric}"
        );
        assert!(
            at(&["a"], CastType::Bigint)
                .contains("BETWEEN -9223372036854775808 AND 9223372036854775807")
        );
    }

    #[test]
    fn text_is_no_json() {
        assert_eq!(from_text("\"event\"", CastType::Text).unwrap(), "\"event\"");
        assert_eq!(from_text("\"event\"", CastType::Jsonb), None);
        assert!(
            from_text("\"event\"", CastType::Numeric)
                .unwrap()
                .starts_with("CASE WHEN length(\"event\") < 64 AND (\"event\") ~ '^ *")
        );
    }
}
