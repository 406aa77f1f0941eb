//! Takes those parameters out of a connection URL that the driver does not know, or does not know
//! well enough. Pure.
//!
//! Both forms of libpq are read: `postgres://…?name=value` and `name=value name='value'`.

use trunkline_model::url::{decode_part, encode_part};

/// `sslrootcert=system` is no file: it stands for the public authorities.
pub(crate) const SYSTEM_ROOTS: &str = "system";

/// Parameters that are read here and not by the driver.
const OURS: [&str; 6] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "channel_binding",
    "target_session_attrs",
];

/// Those of [`OURS`] that name files.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

/// A connection URL in two parts.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// What is left for the driver, in the form that it came in.
    pub(crate) rest: String,
    /// Parameters of [`OURS`], in their order; as with libpq, the last of a name holds.
    found: Vec<(&'static str, String)>,
}

impl Parts {
    /// The value of a parameter. An empty one is none, as libpq has it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let of_name = |(found, _): &&(&str, String)| *found == name;
        let (_, value) = self.found.iter().rfind(of_name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// The URL again, without the parameters that name files on this machine.
    pub(crate) fn without_files(self) -> String {
        let mut url = self.rest;
        for (name, value) in self.found {
            if !FILES.contains(&name) || value == SYSTEM_ROOTS {
                add(&mut url, name, &value);
            }
        }
        url
    }
}

/// Adds a parameter of libpq to a URL of either form, unless it has one of that name.
pub fn add_missing(url: &mut String, name: &str, value: &str) {
    if split(url).get(name).is_none() {
        add(url, name, value);
    }
}

/// Puts a parameter at the end of a URL of either form.
pub(crate) fn add(url: &mut String, name: &str, value: &str) {
    if is_url(url) {
        let after_login = url.find('@').unwrap_or_default();
        let separator = if url[after_login..].contains('?') {
            '&'
        } else {
            '?'
        };
        url.push_str(&format!(
            "{separator}{name}={}",
            encode_part(value.as_bytes())
        ));
    } else {
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        url.push_str(&format!(" {name}='{quoted}'"));
    }
}

/// Takes a URL apart. What is malformed is left to the driver, which refuses it.
pub(crate) fn split(text: &str) -> Parts {
    if is_url(text) {
        split_url(text)
    } else {
        split_words(text)
    }
}

fn is_url(text: &str) -> bool {
    ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

fn ours(name: &str) -> Option<&'static str> {
    OURS.into_iter().find(|known| *known == name)
}

fn split_url(text: &str) -> Parts {
    // A password that was not encoded may hold a question mark; the driver, too, looks behind it.
    let after_login = text.find('@').unwrap_or_default();
    let Some(question) = text[after_login..].find('?').map(|at| at + after_login) else {
        return Parts {
            rest: text.to_owned(),
            ..Parts::default()
        };
    };
    let mut parts = Parts::default();
    let mut left = Vec::new();
    for parameter in text[question + 1..].split('&') {
        match parameter
            .split_once('=')
            .and_then(|(name, value)| Some((ours(name)?, value)))
        {
            Some((name, value)) => parts.found.push((name, decode_part(value))),
            None => left.push(parameter),
        }
    }
    parts.rest = text[..question].to_owned();
    if !left.is_empty() {
        parts.rest.push('?');
        parts.rest.push_str(&left.join("&"));
    }
    parts
}

fn split_words(text: &str) -> Parts {
    let mut parts = Parts::default();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some((name, after)) = rest.split_once('=') else {
            parts.rest.push_str(rest);
            return parts;
        };
        let after = after.trim_start();
        let (value, end) = word(after);
        match ours(name.trim_end()) {
            Some(name) => parts.found.push((name, value)),
            None => {
                let whole = rest.len() - after.len() + end;
                parts.rest.push_str(&rest[..whole]);
                parts.rest.push(' ');
            }
        }
        rest = &after[end..];
    }
}

/// A value, quoted or not, and where it ends.
fn word(text: &str) -> (String, usize) {
    let is_quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if is_quoted => return (value, at + 1),
            space if !is_quoted && space.is_whitespace() => return (value, at),
            other => value.push(other),
        }
    }
    (value, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_taken_out_of_both_forms() {
        let cases = [
            ("postgres://u:p@h/d", "postgres://u:p@h/d", None),
            (
                "postgres://u:p@h/d?sslmode=verify-full",
                "postgres://u:p@h/d",
                Some("verify-full"),
            ),
            (
                "postgres://u:p?sslmode=x@h/d?a=1&sslmode=verify%2dca&b=2",
                "postgres://u:p?sslmode=x@h/d?a=1&b=2",
                Some("verify-ca"),
            ),
            (
                "postgres://h?sslmode=disable&sslmode=require",
                "postgres://h",
                Some("require"),
            ),
            ("postgres://h?sslmode=", "postgres://h", None),
            (
                "host=h sslmode = require user=u",
                "host=h user=u",
                Some("require"),
            ),
            (
                r"password='a b\'sslmode=x' sslmode='verify-full' host=h",
                r"password='a b\'sslmode=x' host=h",
                Some("verify-full"),
            ),
            ("sslmode=prefer", "", Some("prefer")),
        ];
        for (text, rest, mode) in cases {
            let parts = split(text);
            assert_eq!(
                (parts.rest.trim_end(), parts.get("sslmode")),
                (rest, mode),
                "{text}"
            );
        }
    }

    #[test]
    fn a_url_is_put_together_again_without_its_files() {
        let cases = [
            (
                "postgres://u@h/d?a=1&sslmode=verify-ca&sslrootcert=/a%20b&sslkey=k",
                "postgres://u@h/d?a=1&sslmode=verify-ca",
            ),
            (
                "postgres://h?sslrootcert=system&sslmode=verify-full",
                "postgres://h?sslrootcert=system&sslmode=verify-full",
            ),
            (
                r"host=h sslmode='a\'b\\' sslcert=c",
                r"host=h  sslmode='a\'b\\'",
            ),
        ];
        for (text, url) in cases {
            assert_eq!(split(text).without_files(), url, "{text}");
            assert_eq!(split(url).get("sslmode"), split(text).get("sslmode"));
        }
    }

    #[test]
    fn what_is_malformed_is_left_for_the_driver() {
        for text in [
            "hunter2",
            "host",
            "host=h user",
            "postgres://h?x",
            "é='",
            "a=\\",
        ] {
            assert_eq!(split(text).rest.trim_end(), text);
        }
    }
}
