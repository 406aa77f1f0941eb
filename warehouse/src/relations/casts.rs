//! Types of columns, and casts that no value makes fail.
//!
//! Invariant: a cast depends on the value alone. A time needs no setting of the session: it is ISO
//! 8601 with the year first, and one without an offset is UTC, as in the columns of the envelope.

use trunkline_model::names::quote_literal;
use trunkline_model::naming::Naming;

use super::shape::Kind;

/// The type of a column that was made of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `true` or `false`, also as text.
    Boolean,
    /// A number, or a text that is one.
    Numeric,
    /// A date and a time of ISO 8601.
    Timestamptz,
    /// Any value; an object or an array as its JSON.
    Text,
    /// JSON as it is.
    Jsonb,
}

impl ColumnType {
    const ALL: [Self; 5] = [
        Self::Boolean,
        Self::Numeric,
        Self::Timestamptz,
        Self::Text,
        Self::Jsonb,
    ];

    /// In SQL and in the catalog.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Numeric => "numeric",
            Self::Timestamptz => "timestamptz",
            Self::Text => "text",
            Self::Jsonb => "jsonb",
        }
    }

    pub(crate) fn from_catalog(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// The type of a column whose first value is of that kind; None where there is no value.
    ///
    /// Every number is `numeric`: an integer of today is followed by a fraction, and one of twenty
    /// digits by none that `bigint` holds.
    pub(crate) const fn of(kind: Kind, naming: Naming) -> Option<Self> {
        Some(match (kind, naming) {
            (Kind::Seen, _) => return None,
            (Kind::Boolean, _) => Self::Boolean,
            (Kind::Number, _) => Self::Numeric,
            (Kind::Timestamp, _) => Self::Timestamptz,
            // As a string of JSON, in Segment's warehouses.
            (Kind::Text, _) | (Kind::Array | Kind::Object, Naming::Segment) => Self::Text,
            (Kind::Array | Kind::Object, Naming::Rudderstack) => Self::Jsonb,
        })
    }

    /// Whether there are values that it cannot hold.
    pub(crate) const fn is_strict(self) -> bool {
        matches!(self, Self::Boolean | Self::Numeric | Self::Timestamptz)
    }

    /// Whether every value of that kind has a place in it.
    pub(crate) const fn fits(self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::Text | Self::Jsonb, _)
                | (Self::Boolean, Kind::Boolean)
                | (Self::Numeric, Kind::Number)
                | (Self::Timestamptz, Kind::Timestamp)
        )
    }

    /// The value at `path` of the event `b`, as this type; NULL where it does not fit.
    pub(crate) fn value(self, path: &[String]) -> String {
        let value = format!("b.\"body_json\" #> {}", path_literal(path));
        match self {
            Self::Boolean => format!("trunkline.boolean_of({value})"),
            Self::Numeric => format!("trunkline.number_of({value})"),
            Self::Timestamptz => format!("trunkline.time_of({value})"),
            Self::Text => text_value(path),
            Self::Jsonb => format!("nullif({value}, 'null'::jsonb)"),
        }
    }
}

/// The value at `path` of the event `b` as text; NULL where there is none.
pub(crate) fn text_value<S: AsRef<str>>(path: &[S]) -> String {
    format!("b.\"body_json\" #>> {}", path_literal(path))
}

/// A path as SQL: `'{"properties","plan"}'::text[]`. Every key is quoted, because one that needs it
/// looks like one that does not.
fn path_literal<S: AsRef<str>>(path: &[S]) -> String {
    let keys: Vec<_> = path
        .iter()
        .map(|key| {
            let key = key.as_ref().replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{key}\"")
        })
        .collect();
    format!(
        "{}::text[]",
        quote_literal(&format!("{{{}}}", keys.join(",")))
    )
}

/// What a number has to look like in a string. No exponent that `numeric` does not hold, and no white
/// space, of which the expression knows more kinds than the cast.
const NUMBER: &str = "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$";

/// What a time has to look like, before the cast says whether there is such a day.
const TIME: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,20})?)?\
     (Z|[+-][0-9]{2}(:?[0-9]{2})?)?$";

/// The functions behind [`ColumnType::value`]. A view calls them as whoever reads it, and so everybody
/// may.
///
/// Those in SQL have a body that is parsed here, so that no `search_path` has a say in it, and are
/// inlined where they are used. Before PostgreSQL 16 a cast can be tried by an exception alone, which
/// takes a subtransaction for each value that looks like a time.
pub(crate) fn functions() -> String {
    let text = "(value #>> '{}')";
    let with_offset =
        format!("({text} || CASE WHEN substr({text}, 11) ~ '[Z+-]' THEN '' ELSE 'Z' END)");
    let number = format!(
        "CREATE FUNCTION trunkline.number_of(value jsonb) RETURNS numeric \
         LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE jsonb_typeof(value) \
         WHEN 'number' THEN value::numeric \
         WHEN 'string' THEN CASE WHEN length({text}) < 64 AND {text} ~ '{NUMBER}' \
         THEN {text}::numeric END END"
    );
    let boolean = format!(
        "CREATE FUNCTION trunkline.boolean_of(value jsonb) RETURNS boolean \
         LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN \
         CASE {text} WHEN 'true' THEN true WHEN 'false' THEN false END"
    );
    let time = format!(
        "CREATE FUNCTION trunkline.time_of(value jsonb) RETURNS timestamptz \
         LANGUAGE sql STABLE PARALLEL SAFE RETURN CASE WHEN jsonb_typeof(value) = 'string' \
         AND {text} ~ '{TIME}' AND pg_input_is_valid({with_offset}, 'timestamptz') \
         THEN {with_offset}::timestamptz END"
    );
    let time_by_exception = format!(
        "CREATE FUNCTION trunkline.time_of(value jsonb) RETURNS timestamptz \
         LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = '' AS {}",
        quote_literal(&format!(
            "BEGIN \
             IF jsonb_typeof(value) = 'string' AND {text} ~ '{TIME}' THEN \
             BEGIN RETURN {with_offset}::timestamptz; \
             EXCEPTION WHEN data_exception THEN RETURN NULL; END; \
             END IF; RETURN NULL; END"
        ))
    );
    let by_version = format!(
        "BEGIN IF current_setting('server_version_num')::integer >= 160000 \
         THEN EXECUTE {}; ELSE EXECUTE {}; END IF; END",
        quote_literal(&time),
        quote_literal(&time_by_exception)
    );
    let comments = [
        (
            "number_of",
            "The number that a JSON value is, or that its string says; NULL for any other.",
        ),
        (
            "boolean_of",
            "The boolean that a JSON value is, or that its string says; NULL for any other.",
        ),
        (
            "time_of",
            "The time that a JSON string says by ISO 8601, as UTC where it has no offset; NULL for \
             any other value.",
        ),
    ]
    .map(|(name, text)| {
        let text = quote_literal(text);
        format!("COMMENT ON FUNCTION trunkline.{name}(jsonb) IS {text}")
    });
    format!(
        "{number};\n{boolean};\nDO {};\n\
         GRANT EXECUTE ON FUNCTION trunkline.number_of(jsonb), trunkline.boolean_of(jsonb), \
         trunkline.time_of(jsonb) TO PUBLIC;\n{}",
        quote_literal(&by_version),
        comments.join(";\n")
    )
}

/// The function for times where PostgreSQL cannot be asked whether a text is one: without the exception
/// that it had, whose subtransaction fails in a parallel plan. The pattern leaves the days that a month
/// does not have.
pub(crate) const TIMES: &str = r#"DO $do$ BEGIN
IF current_setting('server_version_num')::integer < 160000 THEN
CREATE OR REPLACE FUNCTION trunkline.time_of(value jsonb) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = '' AS $function$
DECLARE
  said text := value #>> '{}';
  day text := substr(said, 6, 5);
  year integer;
BEGIN
  IF jsonb_typeof(value) <> 'string' OR said !~ ('^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])'
    'T(([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)([.][0-9]{1,20})?)?|24:00(:00([.]0{1,20})?)?)'
    '(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)?$') THEN
    RETURN NULL;
  END IF;
  year := substr(said, 1, 4);
  IF year = 0 OR day IN ('02-30', '02-31', '04-31', '06-31', '09-31', '11-31')
    OR day = '02-29' AND (year % 4 <> 0 OR year % 100 = 0 AND year % 400 <> 0) THEN
    RETURN NULL;
  END IF;
  RETURN (said || CASE WHEN substr(said, 11) ~ '[Z+-]' THEN '' ELSE 'Z' END)::timestamptz;
END
$function$;
END IF;
END $do$"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_key_by_key() {
        let path = ["properties", "it's", "a\"b", "c\\d", "e,f}", "🦀"];
        assert_eq!(
            path_literal(&path),
            "E'{\"properties\",\"it''s\",\"a\\\\\"b\",\"c\\\\\\\\d\",\"e,f}\",\"🦀\"}'::text[]"
        );
        assert_eq!(path_literal(&["a", ""]), "'{\"a\",\"\"}'::text[]");
    }

    #[test]
    fn a_type_is_read_back_from_the_catalog() {
        for known in ColumnType::ALL {
            assert_eq!(ColumnType::from_catalog(known.as_str()), Some(known));
        }
        assert_eq!(ColumnType::from_catalog("bigint"), None);
    }
}
