//! A request's spans: one for all of it, and within it one for each part of its way.
//!
//! Without traces, and for a request that the sampler leaves out, nothing is remembered: a phase then
//! costs a look at a `None`.
//!
//! Invariant: a span says what the configuration and this code call things. No path, no header and
//! no part of a body is told, since a path may hold a token.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hyper::{Method, Request};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use trunkline_telemetry::traces::Traces;

/// The spans of one request; clones are of the same.
#[derive(Debug, Clone)]
pub(crate) struct Trace(Option<Arc<Recording>>);

#[derive(Debug)]
struct Recording {
    tracer: SdkTracer,
    /// Holds the span of the whole request.
    context: Context,
    /// What it is at, and since when.
    phase: Mutex<Option<(&'static str, SystemTime)>>,
}

impl Trace {
    /// Begins the span of a request, as a child of the sender's where it sends a `traceparent`.
    pub(crate) fn begin<B>(traces: &Traces, request: &Request<B>) -> Self {
        let Some(tracer) = traces.tracer() else {
            return Self(None);
        };
        let headers = HeaderExtractor(request.headers());
        // Not the current context of the thread: that is nobody's.
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
        let method = method(request.method());
        let span = tracer
            .span_builder(method)
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("http.request.method", method)])
            .start_with_context(tracer, &parent);
        if !span.is_recording() {
            return Self(None);
        }
        Self(Some(Arc::new(Recording {
            tracer: tracer.clone(),
            context: parent.with_span(span),
            phase: Mutex::new(None),
        })))
    }

    /// The request goes on to this part of its way.
    pub(crate) fn phase(&self, name: &'static str) {
        if let Some(recording) = &self.0 {
            recording.next(Some(name));
        }
    }

    /// The request was refused, in the part of its way that it is at.
    pub(crate) fn refused(&self, reason: &'static str) {
        if let Some(recording) = &self.0 {
            let span = recording.context.span();
            span.set_attribute(KeyValue::new("error.type", reason));
        }
    }

    /// The request is answered. `source` is `""` when there is none.
    pub(crate) fn end(&self, source: &Arc<str>, status: u16) {
        let Some(recording) = &self.0 else {
            return;
        };
        let now = recording.next(None);
        let span = recording.context.span();
        if !source.is_empty() {
            span.set_attribute(KeyValue::new("trunkline.source", Arc::clone(source)));
        }
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        // Of a server, a 4xx is its client's fault and no error.
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(now);
    }
}

impl Recording {
    /// Ends the span of the phase and remembers the next one, which begins now.
    fn next(&self, name: Option<&'static str>) -> SystemTime {
        let now = SystemTime::now();
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = mem::replace(&mut *phase, name.map(|name| (name, now)));
        if let Some((name, since)) = ended {
            let mut span = self
                .tracer
                .span_builder(name)
                .with_start_time(since)
                .start_with_context(&self.tracer, &self.context);
            span.end_with_timestamp(now);
        }
        now
    }
}

/// A name of HTTP's own methods; others are what a sender calls them.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}
