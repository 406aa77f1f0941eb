//! Names of sources, schemas and relations, and how they become PostgreSQL identifiers.
//!
//! Invariant: two different inputs never become the same identifier because of PostgreSQL's
//! 63-byte limit: what would be cut gets a hash instead (`NAMEDATALEN`, PostgreSQL cuts with a
//! NOTICE only).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// PostgreSQL's limit for identifiers, in bytes (`NAMEDATALEN` - 1).
pub const MAX_IDENTIFIER_BYTES: usize = 63;

/// Schemas that belong to PostgreSQL or to Trunkline itself.
const RESERVED_SCHEMAS: [&str; 4] = [
    "information_schema",
    "public",
    "trunkline",
    "trunkline_data",
];

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not of the form `namespace/name`.
    #[error("{0:?} is not of the form NAMESPACE/NAME")]
    NotNamespaced(String),
    /// Not a lower-case SQL identifier.
    #[error(
        "{0:?} is not a schema name; use 1 to 63 lower-case letters, digits and underscores, \
         not starting with a digit"
    )]
    NotASchema(String),
    /// Taken by PostgreSQL or by Trunkline.
    #[error("schema {0:?} is reserved; choose another name")]
    ReservedSchema(String),
}

macro_rules! namespaced_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            namespace: String,
            name: String,
        }

        impl $name {
            /// Puts the two parts together; neither may contain a `/`, as in Kubernetes.
            ///
            /// # Errors
            /// [`NameError::NotNamespaced`] when a part is empty or contains a `/`.
            pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
                format!("{namespace}/{name}").parse()
            }

            /// The Kubernetes namespace.
            #[must_use]
            pub fn namespace(&self) -> &str {
                &self.namespace
            }

            /// The object's own name.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.name
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match text.split_once('/') {
                    Some((namespace, name))
                        if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
                    {
                        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
                    }
                    _ => Err(NameError::NotNamespaced(text.to_owned())),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    };
}

namespaced_name! {
    /// A WebhookSource, as `namespace/name`. It is also the value of the column `source`.
    SourceName
}
namespaced_name! {
    /// A WebhookCluster, as `namespace/name`.
    ClusterName
}

impl SourceName {
    /// The path a source has when its manifest names none.
    #[must_use]
    pub fn default_path(&self) -> String {
        format!("/webhooks/{}/{}", self.namespace, self.name)
    }

    /// The schema a source has when its manifest names none: its name, and outside the namespace
    /// of its cluster the namespace before it, so that two teams never meet in one schema.
    ///
    /// # Errors
    /// [`NameError`] when the name makes a reserved schema or starts with a digit.
    pub fn default_schema(&self, cluster: &ClusterName) -> Result<SchemaName, NameError> {
        let name = if self.namespace == cluster.namespace {
            self.name.clone()
        } else {
            format!("{}_{}", self.namespace, self.name)
        };
        bounded_identifier(&name.replace(['-', '.'], "_")).parse()
    }
}

/// The schema of a source: lower-case letters, digits and underscores, so that analysts have to
/// quote it only when it is a reserved word of SQL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SchemaName(String);

impl SchemaName {
    /// The name, unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The relation of this schema that shows every row that arrived.
    #[must_use]
    pub fn events(&self) -> RelationName {
        RelationName {
            schema: self.clone(),
            name: "events".to_owned(),
        }
    }
}

impl FromStr for SchemaName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let first = text
            .bytes()
            .next()
            .ok_or_else(|| NameError::NotASchema(String::new()))?;
        if first.is_ascii_digit() || text.len() > MAX_IDENTIFIER_BYTES || !text.bytes().all(plain) {
            return Err(NameError::NotASchema(text.to_owned()));
        }
        if text.starts_with("pg_") || RESERVED_SCHEMAS.contains(&text) {
            return Err(NameError::ReservedSchema(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SchemaName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<SchemaName> for String {
    fn from(name: SchemaName) -> Self {
        name.0
    }
}

/// A relation of a source, as `schema.name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelationName {
    /// The source's schema.
    pub schema: SchemaName,
    /// The relation's own name.
    pub name: String,
}

impl RelationName {
    /// The name as SQL text, quoted.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!(
            "{}.{}",
            quote_identifier(self.schema.as_str()),
            quote_identifier(&self.name)
        )
    }
}

impl fmt::Display for RelationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// `name` itself when PostgreSQL takes it whole, else its beginning and a hash of all of it, 63
/// bytes together.
#[must_use]
pub fn bounded_identifier(name: &str) -> String {
    if name.len() <= MAX_IDENTIFIER_BYTES {
        return name.to_owned();
    }
    let hash = hex::encode(&Sha256::digest(name.as_bytes())[..5]);
    let mut end = MAX_IDENTIFIER_BYTES - hash.len() - 1;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{hash}", &name[..end])
}

/// An identifier as SQL text. Always quoted, because a name that needs it looks like one that does
/// not.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as an SQL literal, safe whatever `standard_conforming_strings` says.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema_of(source: &str, cluster: &str) -> Result<String, NameError> {
        let source: SourceName = source.parse().unwrap();
        source
            .default_schema(&cluster.parse().unwrap())
            .map(|schema| schema.to_string())
    }

    #[test]
    fn the_default_schema_tells_two_namespaces_apart() {
        assert_eq!(
            schema_of("default/segment", "default/main").unwrap(),
            "segment"
        );
        assert_eq!(
            schema_of("default/my-app.web", "default/main").unwrap(),
            "my_app_web"
        );
        assert_eq!(
            schema_of("team-a/segment", "default/main").unwrap(),
            "team_a_segment"
        );
    }

    #[test]
    fn a_long_name_keeps_its_difference_in_a_hash() {
        let one = schema_of(&format!("default/{}", "a".repeat(64)), "default/main").unwrap();
        let two = schema_of(&format!("default/{}", "a".repeat(65)), "default/main").unwrap();
        assert_eq!((one.len(), two.len()), (63, 63));
        assert_ne!(one, two);
        assert_eq!(bounded_identifier(&"é".repeat(40)).len(), 62 + 1);
    }

    #[test]
    fn a_reserved_or_odd_schema_is_refused() {
        for name in [
            "public",
            "trunkline",
            "trunkline_data",
            "pg_x",
            "information_schema",
        ] {
            assert_eq!(
                name.parse::<SchemaName>(),
                Err(NameError::ReservedSchema(name.to_owned())),
            );
        }
        for name in ["", "Shop", "a-b", "a\"b", "2fa", "é", &"a".repeat(64)] {
            assert_eq!(
                name.parse::<SchemaName>(),
                Err(NameError::NotASchema(name.to_owned()))
            );
        }
    }

    #[test]
    fn a_source_name_has_two_parts() {
        for text in ["segment", "/segment", "default/", "a/b/c", ""] {
            assert!(text.parse::<SourceName>().is_err(), "{text}");
        }
        let name: SourceName = "default/segment".parse().unwrap();
        assert_eq!(name.default_path(), "/webhooks/default/segment");
    }

    #[test]
    fn quoting_is_proof_against_quotes_and_backslashes() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), "E'a\\\\''b'");
    }
}
