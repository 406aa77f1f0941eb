//! What etcd holds, as it holds it: past every view that the API server gives.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::client::Client;

/// An entry of etcd.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its key, such as `/registry/secrets/default/warehouse`.
    pub key: String,
    /// Its bytes, in the API server's encoding.
    pub value: Vec<u8>,
}

impl StoredEntry {
    /// Whether the entry holds a text, as it is or in base64.
    ///
    /// Base64 of the text alone is looked for: what a manifest's `data` or an annotation would show.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        let holds = |wanted: &[u8]| {
            self.value
                .windows(wanted.len())
                .any(|window| window == wanted)
        };
        // The last group depends on what follows.
        let encoded = BASE64_STANDARD.encode(text);
        let whole_groups = text.len() / 3 * 4;
        holds(text.as_bytes()) || holds(&encoded.as_bytes()[..whole_groups])
    }
}

#[derive(Deserialize)]
struct Range {
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
}

/// Every entry, by etcd's JSON gateway (<https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/>).
pub(crate) async fn entries(etcd: SocketAddr) -> Vec<StoredEntry> {
    // Key and end of one zero byte each: everything.
    let everything = r#"{"key":"AA==","range_end":"AA=="}"#;
    let answer = Client::new(etcd)
        .post("/v3/kv/range", &[], everything)
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let range: Range = serde_json::from_str(&answer.text).unwrap();
    let decode = |text: &str| BASE64_STANDARD.decode(text).unwrap();
    range
        .kvs
        .iter()
        .map(|entry| StoredEntry {
            key: String::from_utf8_lossy(&decode(&entry.key)).into_owned(),
            value: decode(&entry.value),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_as_it_is_and_in_base64() {
        let entry = |value: &str| StoredEntry {
            key: "/registry/x".to_owned(),
            value: value.as_bytes().to_vec(),
        };
        assert!(entry("a hunter2 b").holds("hunter2"));
        let encoded = BASE64_STANDARD.encode("hunter2-and-more");
        assert!(entry(&format!("data: {encoded}")).holds("hunter2"));
        assert!(!entry("hunter").holds("hunter2"));
    }
}
