//! What a pod says on `GET /refusals`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How often each reason was met in the last hour.
pub type Reasons = BTreeMap<String, u64>;

/// What a pod, or several, refused in the last hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// By the source, as `namespace/name`; none is for requests that no source has the path of.
    pub sources: BTreeMap<Option<String>, Reasons>,
}

impl Refusals {
    /// Counts what another pod refused.
    pub fn add(&mut self, other: &Self) {
        for (source, reasons) in &other.sources {
            let sum = self.sources.entry(source.clone()).or_default();
            for (reason, count) in reasons {
                *sum.entry(reason.clone()).or_default() += count;
            }
        }
    }

    /// The reasons of one source.
    #[must_use]
    pub fn of(&self, source: &str) -> Option<&Reasons> {
        self.sources.get(&Some(source.to_owned()))
    }
}

/// The answer as it comes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) pod_uid: Option<String>,
    #[serde(default)]
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
struct Source {
    source: Option<String>,
    reasons: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    reason: String,
    count: u64,
}

impl From<Answer> for Refusals {
    fn from(answer: Answer) -> Self {
        let reasons = |source: Source| {
            let counts = source.reasons.into_iter().map(|it| (it.reason, it.count));
            (source.source, counts.collect())
        };
        Self {
            sources: answer.sources.into_iter().map(reasons).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(text: &str) -> Refusals {
        serde_json::from_str::<Answer>(text).unwrap().into()
    }

    #[test]
    fn what_pods_refused_is_one_sum() {
        let mut one = refusals(
            r#"{"podUid":"a","windowSeconds":3600,"sources":[
                {"source":null,"reasons":[{"reason":"unknown_path","count":2}]},
                {"source":"a/b","reasons":[{"reason":"x","count":1},{"reason":"y","count":4}]}]}"#,
        );
        let other = refusals(
            r#"{"podUid":"b","sources":[{"source":"a/b","reasons":[{"reason":"x","count":9}]}]}"#,
        );
        one.add(&other);
        assert_eq!(one.of("a/b").unwrap()["x"], 10);
        assert_eq!(one.of("a/b").unwrap()["y"], 4);
        assert_eq!(one.sources[&None]["unknown_path"], 2);
        assert_eq!(one.of("a/c"), None);
    }
}
