//! Columns that are there before anybody has sent a value for them, since models read them by name:
//! dbt-labs/segment all of those of `pages`, rudderlabs/dbt-id-stitching an `email`.

use trunkline_model::naming::Call;

/// What [`expected`] gives for pages.
const OF_PAGES: &[&[&str]] = &[
    &["properties", "url"],
    &["properties", "path"],
    &["properties", "title"],
    &["properties", "search"],
    &["properties", "referrer"],
    &["context", "campaign", "source"],
    &["context", "campaign", "medium"],
    &["context", "campaign", "name"],
    &["context", "campaign", "term"],
    &["context", "campaign", "content"],
    &["context", "ip"],
    &["context", "userAgent"],
];

/// The paths of such columns in the relations of a call. Each is text.
pub(super) const fn expected(call: Call) -> &'static [&'static [&'static str]] {
    match call {
        Call::Page => OF_PAGES,
        Call::Identify => &[
            &["traits", "email"],
            &["context", "ip"],
            &["context", "userAgent"],
        ],
        _ => &[&["context", "ip"], &["context", "userAgent"]],
    }
}
