//! The event as a whole: the fields that the Segment Spec gives to every call.
//!
//! Fields stand in alphabetical order, which is their order in the JSON.

use jiff::Timestamp;
use serde::Serialize;

use super::EventType;
use super::context::Context;
use super::properties::{Properties, Traits};

/// An event before it is written. What a call does not have is left out; an unknown visitor's
/// `userId` is `null`, as analytics.js sends it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) anonymous_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) category: Option<&'static str>,
    pub(super) channel: &'static str,
    pub(super) context: Context,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group_id: Option<&'static str>,
    pub(super) integrations: Integrations,
    pub(super) message_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'static str>,
    pub(super) original_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) properties: Option<Properties>,
    pub(super) received_at: String,
    pub(super) sent_at: String,
    pub(super) timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traits: Option<Traits>,
    #[serde(rename = "type")]
    pub(super) kind: EventType,
    pub(super) user_id: Option<String>,
    pub(super) version: u32,
}

/// Which destinations an event is meant for; empty means all.
#[derive(Debug, Default, Serialize)]
pub(super) struct Integrations {
    #[serde(rename = "All", skip_serializing_if = "Option::is_none")]
    pub(super) all: Option<bool>,
    #[serde(rename = "Google Analytics 4", skip_serializing_if = "Option::is_none")]
    pub(super) analytics: Option<bool>,
}

/// Written as JavaScript's `toISOString` writes it: UTC, milliseconds, `Z`.
pub(super) struct Millis(pub(super) Timestamp);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}
