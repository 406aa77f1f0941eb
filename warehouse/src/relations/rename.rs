//! Names of relations and of their columns, as SQL. Pure.

use trunkline_model::names::{quote_identifier, quote_literal};

/// A relation's name as SQL.
pub(super) fn quoted(schema: &str, relation: &str) -> String {
    format!(
        "{}.{}",
        quote_identifier(schema),
        quote_identifier(relation)
    )
}

/// Gives columns of a view other names, by way of names that no other has, since two may change places.
/// One that is not there is left out: the view may be another one than the catalog knows.
pub(super) fn rename(view: &str, renames: &[(String, String)]) -> String {
    let between = |place: usize| format!("trunkline renames {place}");
    let places = || renames.iter().enumerate();
    let away = places().map(|(place, (before, _))| (before.clone(), between(place)));
    let back = places().map(|(place, (_, behind))| (between(place), behind.clone()));
    let each: Vec<_> = away
        .chain(back)
        .map(|(from, to)| {
            format!(
                "IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass({}) \
                 AND attname = {} AND NOT attisdropped) \
                 THEN ALTER VIEW {view} RENAME COLUMN {} TO {}; END IF;",
                quote_literal(view),
                quote_literal(&from),
                quote_identifier(&from),
                quote_identifier(&to)
            )
        })
        .collect();
    let all = format!("BEGIN {} END", each.join(" "));
    format!("DO {}", quote_literal(&all))
}
