//! What a signature is made over, written as a text with placeholders.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignedPart {
    /// The bytes of the body, as received.
    Body,
    /// The timestamp, as the request writes it.
    Timestamp,
    /// The value of a header, as received. The name is in lower case.
    Header(Cow<'static, str>),
    /// These characters.
    Literal(Cow<'static, str>),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace that is not part of a placeholder.
    #[error("has a brace without its other half; write placeholders as {{body}}")]
    Brace,
    /// A placeholder of another name.
    #[error(
        "has the placeholder {{{0}}}, which is not known; use {{body}}, {{timestamp}} or \
         {{header:NAME}}"
    )]
    Unknown(String),
    /// The body is not in it once.
    #[error("has {{body}} {0} times; the body has to be in it once")]
    Body(usize),
}

/// Reads a template such as `v0:{timestamp}:{body}`.
///
/// # Errors
/// [`TemplateError`] says what to mend. Whether a header's name is one is not looked at.
pub fn parse_template(template: &str) -> Result<Vec<SignedPart>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let Some(at) = rest.find(['{', '}']) else {
            parts.push(literal(rest));
            break;
        };
        if at > 0 {
            parts.push(literal(&rest[..at]));
        }
        let inner = rest[at..].strip_prefix('{').ok_or(TemplateError::Brace)?;
        let (name, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
        parts.push(match (name, name.split_once(':')) {
            ("body", _) => SignedPart::Body,
            ("timestamp", _) => SignedPart::Timestamp,
            (_, Some(("header", header))) if !header.is_empty() => {
                SignedPart::Header(header.to_ascii_lowercase().into())
            }
            _ => return Err(TemplateError::Unknown(name.to_owned())),
        });
        rest = after;
    }
    match parts
        .iter()
        .filter(|part| **part == SignedPart::Body)
        .count()
    {
        1 => Ok(parts),
        count => Err(TemplateError::Body(count)),
    }
}

fn literal(text: &str) -> SignedPart {
    SignedPart::Literal(text.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_its_parts_in_order() {
        let header = |name: &'static str| SignedPart::Header(name.into());
        let (body, timestamp) = (SignedPart::Body, SignedPart::Timestamp);
        for (template, parts) in [
            ("{body}", vec![body.clone()]),
            ("{timestamp}{body}", vec![timestamp.clone(), body.clone()]),
            (
                "v0:{timestamp}:{body}",
                vec![
                    literal("v0:"),
                    timestamp.clone(),
                    literal(":"),
                    body.clone(),
                ],
            ),
            (
                "{header:Webhook-Id}.{timestamp}.{body}é",
                vec![
                    header("webhook-id"),
                    literal("."),
                    timestamp,
                    literal("."),
                    body,
                    literal("é"),
                ],
            ),
        ] {
            assert_eq!(parse_template(template), Ok(parts), "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_fix() {
        for (template, word) in [
            ("", "{body} 0 times"),
            ("{timestamp}", "{body} 0 times"),
            ("{body}{body}", "{body} 2 times"),
            ("{body", "write placeholders as {body}"),
            ("body}", "write placeholders as {body}"),
            ("{body}}", "write placeholders as {body}"),
            ("{{body}}", "placeholder {{body}"),
            ("{url}{body}", "use {body}, {timestamp} or {header:NAME}"),
            ("{header:}{body}", "placeholder {header:}"),
        ] {
            let error = parse_template(template).unwrap_err().to_string();
            assert!(error.contains(word), "{template}: {error}");
        }
    }
}
