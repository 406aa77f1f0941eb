//! What was refused in the last hour, and what to do about most of it.
//!
//! Pure. What to do stands in `docs/rejections.md`, which a test of the ingester compares with the
//! reasons that there are.

use serde::Serialize;
use trunkline_operator::pods::Reasons;

const PAGE: &str = include_str!("../../../docs/rejections.md");
/// How many reasons are named.
const NAMED: usize = 3;

/// Refused requests of one source, or of none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RefusalReport {
    /// All of them.
    pub(super) count: u64,
    /// By reason, the most frequent first.
    pub(super) reasons: Vec<ReasonReport>,
    /// What to do about the first.
    pub(super) next_step: String,
}

/// Requests that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReasonReport {
    pub(super) reason: String,
    pub(super) count: u64,
}

impl RefusalReport {
    /// None when nothing was refused.
    pub(super) fn new(reasons: Option<&Reasons>) -> Option<Self> {
        let mut reasons: Vec<_> = reasons?
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| ReasonReport {
                reason: reason.clone(),
                count: *count,
            })
            .collect();
        reasons.sort_by_key(|it| std::cmp::Reverse(it.count));
        let next_step = what_to_do(&reasons.first()?.reason).to_owned();
        Some(Self {
            count: reasons.iter().map(|it| it.count).sum(),
            reasons,
            next_step,
        })
    }

    /// `132 in the last hour: signature_mismatch (120), body_too_large (12)`.
    pub(super) fn summary(&self) -> String {
        let mut named: Vec<_> = self
            .reasons
            .iter()
            .take(NAMED)
            .map(|it| format!("{} ({})", it.reason, it.count))
            .collect();
        if self.reasons.len() > NAMED {
            let others: u64 = self.reasons.iter().skip(NAMED).map(|it| it.count).sum();
            named.push(format!("others ({others})"));
        }
        format!("{} in the last hour: {}", self.count, named.join(", "))
    }
}

/// The last column of the reason's row on the page.
fn what_to_do(reason: &str) -> &'static str {
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split(" | ");
        let is_of_reason = cells.nth(1)?.trim() == format!("`{reason}`");
        is_of_reason.then(|| cells.last())?
    };
    PAGE.lines().find_map(row).map_or(
        "see docs/rejections.md of the ingesters' version",
        str::trim,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_the_most_frequent_and_counts_the_others() {
        let counts = [("a", 1), ("b", 5), ("c", 2), ("d", 9), ("e", 1)];
        let reasons = counts.map(|(reason, count)| (reason.to_owned(), count));
        let report = RefusalReport::new(Some(&Reasons::from(reasons))).unwrap();
        assert_eq!(
            report.summary(),
            "18 in the last hour: d (9), b (5), c (2), others (2)"
        );
        assert_eq!(RefusalReport::new(Some(&Reasons::new())), None);
        assert_eq!(RefusalReport::new(None), None);
    }

    #[test]
    fn the_page_says_what_to_do() {
        assert_eq!(
            what_to_do("unknown_path"),
            "Compare the sender's URL with `status.url`."
        );
        assert!(what_to_do("of_a_newer_version").contains("docs/rejections.md"));
        // Columns are told apart although cells hold code and links.
        assert!(what_to_do("source_overloaded").starts_with("A larger"));
    }
}
