//! [`AuditLog`]: who asked the API server for what.
//!
//! Every request is in it at level Metadata, which holds no body and so no secret. Left out are only
//! the reads of Kubernetes' own components, which would be most of it.

use std::path::PathBuf;

use serde::Deserialize;

/// The API server's `--audit-policy-file`.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  nonResourceURLs: ['/healthz*', '/livez*', '/readyz*', '/version']
- level: None
  verbs: [get, list, watch]
  users:
  - system:apiserver
  - system:kube-controller-manager
  - system:kube-proxy
  - system:kube-scheduler
- level: None
  verbs: [get, list, watch]
  userGroups: [system:nodes, system:serviceaccounts:kube-system]
- level: Metadata
";

/// The API server's log of requests.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
}

/// A place in the log.
#[derive(Debug, Clone, Copy)]
pub struct AuditMark(usize);

/// One request that has been answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Who asked.
    pub user: AuditUser,
    /// What the client calls itself.
    #[serde(default)]
    pub user_agent: String,
    /// For what; none for paths such as `/version`.
    pub object_ref: Option<AuditObject>,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// What was answered.
    pub response_status: Option<AuditStatus>,
    /// When it was asked, RFC 3339.
    pub request_received_timestamp: String,
}

/// Who asked.
#[derive(Debug, Clone, Deserialize)]
pub struct AuditUser {
    /// A service account is `system:serviceaccount:NAMESPACE:NAME`.
    #[serde(default)]
    pub username: String,
    /// The groups of the user.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditObject {
    /// The API group; empty for the core.
    pub api_group: String,
    /// The resource in the plural, `webhooksources`.
    pub resource: String,
    /// `status`, `log`; empty for the object itself.
    pub subresource: String,
    /// Empty for what has no namespace, and for lists of all namespaces.
    pub namespace: String,
    /// Empty for lists and for objects that the server names.
    pub name: String,
}

/// What was answered.
#[derive(Debug, Clone, Deserialize)]
pub struct AuditStatus {
    /// The HTTP status.
    #[serde(default)]
    pub code: u16,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The end of the log as it is now. An answer is in the log before its client has it.
    #[must_use]
    pub fn mark(&self) -> AuditMark {
        AuditMark(std::fs::metadata(&self.path).map_or(0, |file| {
            usize::try_from(file.len()).expect("a log that fits into memory")
        }))
    }

    /// What came after a place.
    #[must_use]
    pub fn since(&self, mark: AuditMark) -> Vec<AuditEvent> {
        let text = std::fs::read(&self.path).unwrap_or_default();
        parse(text.get(mark.0..).unwrap_or_default())
    }

    /// Everything.
    #[must_use]
    pub fn all(&self) -> Vec<AuditEvent> {
        self.since(AuditMark(0))
    }
}

impl AuditEvent {
    /// Whether it asked for a change, granted or not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// The HTTP status of the answer; 0 when there was none.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.response_status
            .as_ref()
            .map_or(0, |status| status.code)
    }

    /// `RESOURCE.GROUP/SUBRESOURCE` as in a rule of a Role; empty for what is no resource.
    #[must_use]
    pub fn resource(&self) -> String {
        let Some(object) = &self.object_ref else {
            return String::new();
        };
        let mut name = object.resource.clone();
        for (separator, part) in [('.', &object.api_group), ('/', &object.subresource)] {
            if !part.is_empty() {
                name.push(separator);
                name.push_str(part);
            }
        }
        name
    }
}

/// The events of whole lines; the last one may be being written.
fn parse(text: &[u8]) -> Vec<AuditEvent> {
    let end = text.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    text[..end]
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = r#"{"verb":"patch","requestURI":"/apis/trunkline.dev/v1alpha1/x","requestReceivedTimestamp":"2026-11-24T00:00:00.000000Z","user":{"username":"system:serviceaccount:a:b"},"objectRef":{"resource":"webhooksources","apiGroup":"trunkline.dev","subresource":"status","namespace":"default","name":"segment"},"responseStatus":{"code":200}}"#;
    const VERSION: &str = r#"{"verb":"get","requestURI":"/openapi/v3","requestReceivedTimestamp":"2026-11-24T00:00:00.000000Z","user":{}}"#;

    #[test]
    fn a_request_is_named_as_in_a_role() {
        let events = parse(format!("{PATCH}\n{VERSION}\n").as_bytes());
        let named: Vec<_> = events
            .iter()
            .map(|event| (event.resource(), event.is_write(), event.code()))
            .collect();
        assert_eq!(
            named,
            [
                ("webhooksources.trunkline.dev/status".to_owned(), true, 200),
                (String::new(), false, 0)
            ]
        );
    }

    #[test]
    fn a_line_that_is_being_written_is_left_for_later() {
        assert_eq!(
            parse(format!("{PATCH}\n{}", &PATCH[..40]).as_bytes()).len(),
            1
        );
        assert!(parse(b"").is_empty());
        assert!(parse(&PATCH.as_bytes()[..40]).is_empty());
    }
}
