//! From the bytes of a verified body to encoded rows, as the source's format says.
//!
//! Invariant: no row leaves before the whole body is found to be what the format says, and what it
//! takes is reserved. Of an element that is redacted, nothing is made of the text that was sent.

use std::borrow::Cow;

use trunkline_model::document::Limits;
use trunkline_model::request::BodyFormat;
use trunkline_model::verification::AuthScope;

use super::budget::Reservation;
use super::form;
use super::prepare::Prepared;
use super::refusal::Refusal;
use crate::identity::Identifier;
use crate::json::{ArrayRows, Element, Elements, InvalidJson, Outline};
use crate::redact::Redactor;
use crate::rows::{DeliveryFields, Keys, Row, RowBody, RowEncoder};
use crate::shapes::Noting;
use crate::verify::Verdict;

/// Bound on the encoded rows of a request, in bodies of the largest size. Each row repeats the
/// request's headers, so a body of very many tiny elements would otherwise grow a hundredfold.
const MAX_ROWS_PER_BODY: usize = 8;

/// How the bodies of a source become rows.
pub(super) struct Reading<'a> {
    pub(super) format: BodyFormat,
    /// Whether each element of a top-level array is a row.
    pub(super) is_split: bool,
    /// What is taken out of JSON before it is stored.
    pub(super) redactor: Option<&'a Redactor>,
    /// What repeats are told by, where they are not stored, and what is known of it already.
    pub(super) identifier: Option<&'a Identifier>,
    pub(super) keys: Keys,
    /// Looks at the events.
    pub(super) noting: Option<Noting<'a>>,
}

/// The rows of a request as they grow, and their bounds.
struct Rows<'a> {
    encoder: RowEncoder<'a>,
    /// Bytes that are held besides the rows.
    body_bytes: usize,
    limit: usize,
    events: u64,
    repaired: u64,
    reservation: Reservation,
    redactor: Option<&'a Redactor>,
    identifier: Option<&'a Identifier>,
    noting: Option<Noting<'a>>,
}

/// Encodes a body.
pub(super) fn encode<'a>(
    fields: DeliveryFields<'a>,
    reading: Reading<'a>,
    verdict: Verdict,
    body: &[u8],
    limits: Limits,
    reservation: Reservation,
) -> Result<Prepared, Refusal> {
    let mut rows = Rows {
        encoder: RowEncoder::new(fields, body.len()).keyed(reading.keys),
        body_bytes: body.len(),
        limit: limits.max_body_bytes.saturating_mul(MAX_ROWS_PER_BODY),
        events: 0,
        repaired: 0,
        reservation,
        redactor: reading.redactor,
        identifier: reading.identifier,
        noting: reading.noting,
    };
    match reading.format {
        BodyFormat::Json => rows.json(body, reading.is_split, verdict)?,
        BodyFormat::Text => rows.text(body, verdict)?,
        BodyFormat::Bytes => rows.bytes(body, verdict)?,
        BodyFormat::Form => rows.form(body, verdict)?,
    }
    Ok(Prepared {
        rows: rows.encoder.finish(),
        events: rows.events,
        repaired: rows.repaired,
        unverified: verdict.failure(),
        news: rows.noting.and_then(Noting::finish),
        reservation: rows.reservation,
    })
}

impl Rows<'_> {
    /// A row for each value, or for each element of an array.
    fn json(&mut self, body: &[u8], is_split: bool, verdict: Verdict) -> Result<(), Refusal> {
        let arrays = if is_split {
            ArrayRows::Elements
        } else {
            ArrayRows::Whole
        };
        let mut elements = self.elements(body, arrays)?;
        let mut position = 0;
        while let Some(element) = elements.next() {
            let element = element?;
            let scope = verdict.scope(position, is_split);
            match self.redacted(&element)? {
                None => self.element(&element, elements.outline(), scope)?,
                Some(text) => self.rewritten(&text, scope)?,
            }
            position += 1;
        }
        Ok(())
    }

    /// The elements of a JSON body, with outlines where somebody looks at them.
    fn elements<'b>(&self, body: &'b [u8], rows: ArrayRows) -> Result<Elements<'b>, InvalidJson> {
        let elements = Elements::new(body, rows)?;
        Ok(match self.noting {
            Some(_) => elements.outlined(),
            None => elements,
        })
    }

    /// A row of an element, with its outline and what that was made in.
    fn element(
        &mut self,
        element: &Element<'_>,
        outline: Option<(&Outline, &str)>,
        scope: AuthScope,
    ) -> Result<(), Refusal> {
        self.encoder.push(element, scope);
        self.identify(element)?;
        self.count(element.exact)?;
        if let (Some(noting), Some((outline, body))) = (&mut self.noting, outline) {
            noting.element(&element.envelope, outline, body);
        }
        Ok(())
    }

    /// The text of an element without what may not be stored; None where nothing of it has to go.
    fn redacted(&mut self, element: &Element<'_>) -> Result<Option<String>, Refusal> {
        let Some(redactor) = self.redactor else {
            return Ok(None);
        };
        let held = self.held();
        let (limit, reservation) = (self.limit, &mut self.reservation);
        redactor.redact(element.text, |bytes| {
            if bytes > limit {
                return Err(Refusal::RowsTooLarge { limit });
            }
            Ok(reservation.cover(held.saturating_add(bytes))?)
        })
    }

    /// A row of an element's text as it became by redaction, as if that had been sent.
    fn rewritten(&mut self, text: &str, scope: AuthScope) -> Result<(), Refusal> {
        let mut elements = self.elements(text.as_bytes(), ArrayRows::Whole)?;
        while let Some(element) = elements.next() {
            let element = element?;
            self.element(&element, elements.outline(), scope)?;
        }
        Ok(())
    }

    /// One row. PostgreSQL's text holds every character but NUL.
    fn text(&mut self, body: &[u8], verdict: Verdict) -> Result<(), Refusal> {
        let sent = std::str::from_utf8(body).map_err(|error| Refusal::NotText {
            offset: error.valid_up_to(),
        })?;
        let text = match memchr::memchr(0, body) {
            None => Cow::Borrowed(sent),
            Some(_) => {
                // A NUL is one byte, its replacement three.
                let held = super::body::held(body.len()).saturating_add(4 * body.len());
                self.cover(held)?;
                Cow::Owned(sent.replace('\0', "\u{fffd}"))
            }
        };
        let exact = matches!(text, Cow::Borrowed(_));
        let row = Row {
            body: RowBody::Text(&text),
            raw: (!exact).then_some(body),
            envelope: None,
        };
        self.encoder.push(row, verdict.scope(0, false));
        self.count(exact)
    }

    /// One row of the bytes alone.
    fn bytes(&mut self, body: &[u8], verdict: Verdict) -> Result<(), Refusal> {
        let row = Row {
            body: RowBody::Bytes,
            raw: Some(body),
            envelope: None,
        };
        self.encoder.push(row, verdict.scope(0, false));
        self.count(true)
    }

    /// One row: an object of the fields, which is never exactly what was sent.
    fn form(&mut self, body: &[u8], verdict: Verdict) -> Result<(), Refusal> {
        self.cover(super::body::held(body.len()).saturating_add(form::held(body)))?;
        let form = form::read(body).map_err(|form::TooManyFields| Refusal::TooManyFields)?;
        self.body_bytes += form.json.len();
        // Repairs what jsonb refuses, and finds the envelope.
        for element in Elements::new(form.json.as_bytes(), ArrayRows::Whole)? {
            let element = element?;
            let scope = verdict.scope(0, false);
            if let Some(text) = self.redacted(&element)? {
                // What was sent is not kept.
                self.rewritten(&text, scope)?;
                continue;
            }
            let row = Row {
                raw: Some(body),
                ..Row::from(&element)
            };
            self.encoder.push(row, scope);
            self.identify(&element)?;
            self.count(form.exact && element.exact)?;
        }
        Ok(())
    }

    /// Gives the row that was pushed last what its repeats are told by.
    fn identify(&mut self, element: &Element<'_>) -> Result<(), Refusal> {
        if let Some(identifier) = self.identifier
            && let Some(key) = identifier.element(element)?
        {
            self.encoder.identify(key);
        }
        Ok(())
    }

    fn cover(&mut self, bytes: usize) -> Result<(), Refusal> {
        Ok(self.reservation.cover(bytes)?)
    }

    /// Counts the row that was pushed last, and looks at the bounds.
    fn count(&mut self, exact: bool) -> Result<(), Refusal> {
        self.events += 1;
        self.repaired += u64::from(!exact);
        let rows = self.encoder.byte_len();
        if rows > self.limit {
            return Err(Refusal::RowsTooLarge { limit: self.limit });
        }
        self.cover(self.held())
    }

    /// Bytes that the rows and what they are made of take.
    fn held(&self) -> usize {
        // The rows lie in a buffer that doubles when it is full, and so do their keys.
        let rows = self.encoder.byte_len() + self.encoder.key_byte_len();
        let rows = rows.saturating_mul(2);
        rows.saturating_add(self.body_bytes)
    }
}
