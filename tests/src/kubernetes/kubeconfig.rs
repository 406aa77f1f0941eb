//! Kubeconfig files: which server, and as whom.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::enclosure::write_private;
use super::pki::Identity;

/// What a client shows to the server.
pub(crate) enum Credentials<'a> {
    /// A client certificate.
    Certificate(&'a Identity),
    /// A bearer token.
    Token(&'a str),
}

/// Writes a kubeconfig that needs no other file, so that it can be moved.
pub(crate) fn write(path: &Path, server: &str, authority: &Path, credentials: &Credentials<'_>) {
    let user = match credentials {
        Credentials::Certificate(identity) => format!(
            "{{client-certificate-data: {}, client-key-data: {}}}",
            encoded(&identity.certificate),
            encoded(&identity.key)
        ),
        Credentials::Token(token) => format!("{{token: {token}}}"),
    };
    let text = format!(
        "apiVersion: v1
kind: Config
current-context: trunkline
contexts: [{{name: trunkline, context: {{cluster: trunkline, user: trunkline}}}}]
clusters:
- name: trunkline
  cluster: {{server: \"{server}\", certificate-authority-data: {}}}
users:
- name: trunkline
  user: {user}
",
        encoded(authority)
    );
    write_private(path, &text);
}

fn encoded(file: &Path) -> String {
    STANDARD.encode(std::fs::read(file).unwrap())
}
