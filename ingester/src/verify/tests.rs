//! Tables of requests and verdicts.

mod generic;
mod presets;
mod segment;

use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::{Mode, NamedSecret};

use super::vectors::{BODY, NOW, SECRET, SHA256_HEX, VECTORS, Vector};
use super::*;

fn named(secret: impl Into<Vec<u8>>) -> NamedSecret {
    NamedSecret {
        name: "s/key".to_owned(),
        value: SecretBytes::new(secret),
        expires_at: None,
    }
}

fn header_map<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: hyper::header::HeaderName = name.parse().unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}
