//! The condition `ViewsReady` of a WebhookSource that declares views of its own.
//!
//! Invariant: it says nothing about `Ready`. Rows are taken whatever becomes of these views.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::Finding;
use super::source::{SourceFindings, Spec, Storage};
use crate::problem::Problem;

/// None where the source has no such view, and nothing is left of one that it had.
pub(super) fn views(findings: &SourceFindings<'_>, before: Option<&Condition>) -> Option<Finding> {
    let declares = !findings.object.spec.views.is_empty();
    let source = match findings.spec {
        Spec::Valid(source) => source,
        Spec::Invalid(_) => {
            return declares.then(|| {
                Finding::unknown(
                    "InvalidSpec",
                    "the spec has to be mended before its views are looked at",
                )
            });
        }
    };
    if !source.view_problems.is_empty() {
        let all = source.view_problems.iter();
        let all: Vec<_> = all.map(Problem::field_and_message).collect();
        return Some(Finding::no("InvalidView", all.join("; ")));
    }
    if let Storage::Ready { views, .. } = findings.storage
        && !views.is_empty()
    {
        return Some(Finding::no("ViewFailed", views.join("; ")));
    }
    declares.then(|| match findings.storage {
        Storage::Ready { .. } => {
            let names: Vec<_> = source
                .views
                .views
                .iter()
                .map(|view| format!("{}.{}", source.schema, view.name))
                .collect();
            Finding::yes("Ready", format!("{} can be read", names.join(", ")))
        }
        Storage::Unverified => unverified(before),
        Storage::NotYet => Finding::unknown("Progressing", "the views are being made"),
        Storage::Failed { .. } => Finding::unknown(
            "RelationFailed",
            "see RelationReady, without which there are none",
        ),
    })
}

/// What was known stays, also of what has failed.
fn unverified(before: Option<&Condition>) -> Finding {
    match before {
        Some(failed) if failed.status == "False" => {
            Finding::no(failed.reason.clone(), failed.message.clone())
        }
        before => Finding::unchanged(before).unwrap_or_else(|| {
            Finding::unknown(
                "Unverified",
                "whether the views are as they should be is not known before the owner can log in",
            )
        }),
    }
}
