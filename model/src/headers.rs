//! Which request headers are stored with a row.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Headers that carry credentials. `all` leaves them out, because a secret's value is stored in
/// its Secret and nowhere else; `allow` can name them still.
pub const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// The selection of `spec.includeHeaders`. The default selects none.
///
/// Names are kept in lower case and HTTP delivers them so, therefore comparison ignores case (in
/// Materialize a filter in upper case silently matches nothing).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderSelection {
    /// Every header but [`CREDENTIAL_HEADERS`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Only these, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Never these, in lower case. Alone it means every other header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl HeaderSelection {
    /// Whether no header at all is stored, so that the column stays NULL.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether the header `name`, given in lower case, is stored. Deny beats allow.
    #[must_use]
    pub fn selects(&self, name: &str) -> bool {
        let listed = |names: &[String]| names.iter().any(|listed| listed == name);
        if listed(&self.deny) {
            return false;
        }
        if listed(&self.allow) {
            return true;
        }
        let everything_else = self.all || (self.allow.is_empty() && !self.deny.is_empty());
        everything_else && !CREDENTIAL_HEADERS.contains(&name)
    }
}

/// One entry of `spec.headers`: a header with a column of its own in the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderColumn {
    /// The header's name in lower case.
    pub name: String,
    /// The view's column.
    pub column: String,
    /// Whether the column is `bytea` and holds the value's bytes, which need not be text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bytes: bool,
}

impl HeaderColumn {
    /// The value's key in the column `header_values`. Bytes are there as hex digits, beside the
    /// text: no header's name has a colon.
    #[must_use]
    pub fn key(&self) -> Cow<'_, str> {
        if self.bytes {
            Cow::Owned(format!("{}:hex", self.name))
        } else {
            Cow::Borrowed(&self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(all: bool, allow: &[&str], deny: &[&str]) -> HeaderSelection {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        HeaderSelection {
            all,
            allow: owned(allow),
            deny: owned(deny),
        }
    }

    #[test]
    fn deny_beats_allow_and_credentials_need_to_be_named() {
        let cases = [
            (selection(false, &[], &[]), "user-agent", false),
            (selection(true, &[], &[]), "user-agent", true),
            (selection(true, &[], &[]), "authorization", false),
            (
                selection(false, &["authorization"], &[]),
                "authorization",
                true,
            ),
            (selection(false, &["a"], &[]), "b", false),
            (selection(false, &["a"], &["a"]), "a", false),
            (selection(true, &[], &["a"]), "a", false),
            (selection(false, &[], &["a"]), "b", true),
            (selection(false, &[], &["a"]), "cookie", false),
        ];
        for (selection, name, selected) in cases {
            assert_eq!(selection.selects(name), selected, "{selection:?} {name}");
        }
    }
}
