//! The first request: as large as the limit of a body, so that a proxy's smaller limit shows.

use bytes::Bytes;
use jiff::Timestamp;
use trunkline_model::verification::Verification;

use super::account::Largest;
use crate::http::Failure;
use crate::segment::{Event, ProbeEvents};
use crate::send::{Outcome, SentEvent, SentRequest};
use crate::signing::proof;

/// The smallest size that can be asked for, in bytes.
pub const SMALLEST_BODY: usize = 1_024;

/// The most that Segment takes as one event; the batch is made of such.
const EVENT_BYTES: usize = 32 << 10;

/// How an ingester's own refusal of a large body begins.
const OWN_LIMIT: &str = "request body exceeds the maximum allowed size";

/// A request whose body has exactly so many bytes, [`SMALLEST_BODY`] at least: where the source
/// splits arrays a batch, else one event.
pub(super) fn request(
    bytes: usize,
    splits_arrays: bool,
    verification: &Verification,
    events: &mut ProbeEvents,
) -> SentRequest {
    let mut body = String::with_capacity(bytes);
    let mut sent = Vec::new();
    let mut add = |body: &mut String, event: Event| {
        let start = body.len();
        body.push_str(&event.json);
        sent.push(SentEvent {
            message_id: event.message_id,
            r#type: event.r#type,
            place: start..body.len(),
        });
    };
    if splits_arrays {
        body.push('[');
        loop {
            // The closing bracket stays to come.
            let left = bytes.saturating_sub(body.len() + 1);
            if left < EVENT_BYTES + SMALLEST_BODY {
                add(&mut body, events.next_event_of(left));
                break;
            }
            add(&mut body, events.next_event_of(EVENT_BYTES));
            body.push(',');
        }
        body.push(']');
    } else {
        add(&mut body, events.next_event_of(bytes));
    }
    let proof = proof(verification, &body, &sent, Timestamp::now());
    SentRequest::alone(Bytes::from(body), proof, sent)
}

/// What became of it, with what to do where it was not taken.
pub(super) fn account(request: &SentRequest, outcome: &Outcome) -> Largest {
    let bytes = request.body().len();
    let (status, said) = match &outcome.result {
        Ok(status) => (Some(*status), outcome.refusal.clone()),
        Err(failure) => (None, failure.to_string()),
    };
    Largest {
        bytes,
        events: request.events().len(),
        status,
        advice: advice(&outcome.result, &said, bytes),
        said,
        latency_ms: outcome.latency.as_secs_f64() * 1_000.0,
    }
}

fn advice(result: &Result<u16, Failure>, said: &str, bytes: usize) -> Option<String> {
    let advice = match result {
        Ok(200..=299) => return None,
        Ok(413) if said.starts_with(OWN_LIMIT) => {
            "the ingesters' own limit is smaller; give it with --first-request".to_owned()
        }
        Ok(413) => format!(
            "a proxy before the ingesters takes no body of {bytes} bytes, and Segment drops what \
             is answered with 413; raise its limit to 8 MiB (ingress-nginx: the annotation \
             nginx.ingress.kubernetes.io/proxy-body-size: 8m)"
        ),
        Ok(400) if said.starts_with("failed to validate") => {
            "the secret that signs here is none of those that the source accepts, or the clock here \
             is not the ingesters'"
                .to_owned()
        }
        Ok(400) => format!(
            "if smaller requests are taken, a proxy before the ingesters refuses bodies of {bytes} \
             bytes; raise its limit to 8 MiB"
        ),
        Ok(404) => {
            "nothing is served at this URL; compare it with the source's status.url".to_owned()
        }
        Ok(503) => "the source is not served now; trunkline status says why".to_owned(),
        Ok(_) => "this is no answer of an ingester's; look at the proxy before it".to_owned(),
        Err(Failure::Timeout) => format!(
            "Segment waits as long; is the line too slow for {bytes} bytes, or does a proxy hold \
             them back?"
        ),
        Err(Failure::Connection(_)) => format!(
            "if smaller requests are taken, a proxy cuts off bodies of {bytes} bytes; raise its \
             limit to 8 MiB"
        ),
    };
    Some(advice)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::Answer;
    use crate::segment::sign;
    use crate::signing::preset;
    use serde_json::value::RawValue;

    fn made(bytes: usize, splits_arrays: bool, signs_first_alone: bool) -> SentRequest {
        let mut events = ProbeEvents::new(1, "2026-11-24T10:00:00Z".parse().unwrap());
        let verification = preset("segment", !signs_first_alone, &["hush"]);
        request(bytes, splits_arrays, &verification, &mut events)
    }

    #[test]
    fn the_body_has_exactly_the_bytes_that_were_asked_for() {
        for bytes in [SMALLEST_BODY, 32 << 10, (33 << 10) + 1, 100_000, 6 << 20] {
            let batch = made(bytes, true, true);
            assert_eq!(batch.body().len(), bytes);
            let elements: Vec<&RawValue> = serde_json::from_slice(batch.body()).unwrap();
            assert_eq!(elements.len(), batch.events().len());
            for (element, event) in elements.iter().zip(batch.events()) {
                assert_eq!(element.get().as_bytes(), batch.json(event));
                assert!(element.get().len() < EVENT_BYTES + SMALLEST_BODY);
            }
            let single = made(bytes, false, true);
            assert_eq!((single.body().len(), single.events().len()), (bytes, 1));
        }
    }

    #[test]
    fn the_signature_covers_what_the_source_wants() {
        let batch = made(100_000, true, true);
        let first = batch.json(&batch.events()[0]).to_vec();
        for (form, signed) in [((true, true), &first[..]), ((true, false), batch.body())] {
            let request = made(100_000, form.0, form.1);
            let headers = crate::send::headers_of(&request, &Default::default());
            assert_eq!(headers["x-signature"], sign(b"hush", signed));
        }
    }

    #[test]
    fn what_is_not_taken_comes_with_what_to_do() {
        let request = made(SMALLEST_BODY, true, true);
        let outcome = |status: u16, refusal: &str| {
            let refusal = refusal.to_owned();
            Outcome::new(Ok(Answer { status, refusal }), Duration::from_millis(3))
        };
        assert_eq!(account(&request, &outcome(200, "")).advice, None);
        for (status, said, expected) in [
            (
                413,
                "<html>413 Request Entity Too Large",
                "proxy-body-size: 8m",
            ),
            (
                413,
                "request body exceeds the maximum allowed size of 9 bytes",
                "--first-request",
            ),
            (400, "failed to validate the request", "secret"),
            (400, "Bad Request", "raise its limit"),
            (404, "no object was found", "status.url"),
            (502, "", "look at the proxy"),
        ] {
            let advice = account(&request, &outcome(status, said)).advice.unwrap();
            assert!(advice.contains(expected), "{status} {said}: {advice}");
        }
        let broken = Outcome::new(Err(Failure::Connection("reset".into())), Duration::ZERO);
        let largest = account(&request, &broken);
        assert_eq!((largest.status, largest.said.as_str()), (None, "reset"));
        assert!(largest.advice.unwrap().contains("cuts off"));
    }
}
