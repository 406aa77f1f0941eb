//! Texts within YAML, and within YAML that dbt takes for templates of Jinja. Pure.
//!
//! Invariant: dbt shows a text as it is, whatever is in it. Comments quote names that senders chose,
//! so that one which dbt ran could read the environment of whoever runs it.

/// A YAML scalar that is exactly this text.
pub(super) fn quoted(text: &str) -> String {
    let mut yaml = String::with_capacity(text.len() + 2);
    yaml.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => yaml.extend(['\\', character]),
            '\n' => yaml.push_str("\\n"),
            // Line breaks to YAML beside those of ASCII, what readers refuse, and the byte-order
            // mark.
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => yaml.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => yaml.push(other),
        }
    }
    yaml.push('"');
    yaml
}

/// A description, as a YAML scalar. What would begin something of Jinja's gets a space: `{ {`.
pub(super) fn description(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut before = None;
    for character in text.chars() {
        if before == Some('{') && is_opening(character) {
            plain.push(' ');
        }
        plain.push(character);
        before = Some(character);
    }
    quoted(&plain)
}

/// A name, as a YAML scalar that dbt comes to as it is.
pub(super) fn name(text: &str) -> String {
    let mut pairs = text.chars().zip(text.chars().skip(1));
    if pairs.any(|(first, second)| first == '{' && is_opening(second)) {
        quoted(&format!("{{{{ {} }}}}", jinja_literal(text)))
    } else {
        quoted(text)
    }
}

/// The value of a variable of the environment, else `default`, as a YAML scalar.
pub(super) fn from_environment(variable: &str, default: &str) -> String {
    let default = jinja_literal(default);
    quoted(&format!("{{{{ env_var('{variable}', {default}) }}}}"))
}

/// A text as an expression of Jinja, whose literals have the escapes of Python's.
fn jinja_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for character in text.chars() {
        match character {
            '\'' | '\\' => literal.extend(['\\', character]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// Whether this, behind `{`, begins something of Jinja's.
fn is_opening(character: char) -> bool {
    ['{', '%', '#'].contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no text may break: quotes, line breaks of YAML, what readers refuse, templates.
    const ODD: [&str; 14] = [
        "",
        "plain",
        "yes",
        "a: b # c",
        "it's \"quoted\" \\n",
        "two\nlines\r\n\tand a tab",
        "\u{0}\u{7}\u{7f}\u{85}\u{9f}\u{2028}\u{2029}\u{feff}\u{ffff}",
        "🦀 ü",
        "{{ env_var('DBT_ENV_SECRET_PASSWORD') }}",
        "{{{{ a }}}}",
        "{% raw %}",
        "{# never closed",
        "{",
        "ends with {{",
    ];

    fn read(yaml: &str) -> String {
        serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"))
    }

    #[test]
    fn a_text_is_read_as_it_was() {
        for text in ODD {
            assert_eq!(read(&quoted(text)), text);
        }
    }

    #[test]
    fn a_description_begins_no_template_and_loses_nothing() {
        for text in ODD {
            let read = read(&description(text));
            for opening in ["{{", "{%", "{#"] {
                assert!(!read.contains(opening), "{read}");
            }
            let squeeze = |text: &str| text.replace(' ', "");
            assert_eq!(squeeze(&read), squeeze(text));
        }
        assert_eq!(read(&description("{{{%")), "{ { { %");
        assert_eq!(read(&description("{\"a\": {}}")), "{\"a\": {}}");
    }

    #[test]
    fn a_name_with_a_template_in_it_is_one_literal() {
        assert_eq!(name("order_completed"), "\"order_completed\"");
        assert_eq!(name("a{b}"), "\"a{b}\"");
        assert_eq!(
            read(&name("it's {{ 1/0 }} \\")),
            "{{ 'it\\'s {{ 1/0 }} \\\\' }}"
        );
    }

    #[test]
    fn a_default_is_a_literal_too() {
        assert_eq!(
            read(&from_environment("DBT_USER", "o'brien")),
            "{{ env_var('DBT_USER', 'o\\'brien') }}"
        );
    }
}
