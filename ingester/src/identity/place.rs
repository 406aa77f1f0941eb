//! Finds the value at a path in an element.
//!
//! As jsonb would show it: keys are compared decoded, of a key that an object has twice the last
//! counts, and a number leads to a place in an array.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::{self, InvalidJson, Number, Step, StringToken, Visitor};

/// A path.
#[derive(Debug)]
pub(super) struct Place(Vec<Step>);

impl Place {
    /// The keys from the outside in.
    pub(super) fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|key| Step::new(key)).collect())
    }

    /// The value there: of a string its text, of anything else its JSON without white space. None
    /// where there is nothing, or null.
    ///
    /// # Errors
    /// [`InvalidJson`] of what is not one JSON value.
    pub(super) fn value<'a>(&self, element: &'a [u8]) -> Result<Option<Cow<'a, str>>, InvalidJson> {
        let text = json::text(element)?;
        let mut search = Search {
            steps: &self.0,
            text,
            frames: Vec::with_capacity(self.0.len()),
            passed: 0,
            leads: false,
            taking: None,
            found: None,
        };
        json::visit(text, &mut search)?;
        Ok(search.found.map(|found| match found {
            Found::String(token) => token.decoded(text),
            Found::Other(range) => compact(text.get(range).unwrap_or_default()),
        }))
    }
}

#[derive(Debug, Clone)]
enum Found {
    String(StringToken),
    Other(Range<usize>),
}

/// The walk through an element.
struct Search<'a> {
    steps: &'a [Step],
    text: &'a str,
    /// The open containers on the path, each with where the next element is if it is an array.
    frames: Vec<Option<usize>>,
    /// Containers open within those, which are not on it.
    passed: usize,
    /// Whether the key that came last leads on.
    leads: bool,
    /// Where the container at the end of the path begins, while it is open.
    taking: Option<usize>,
    found: Option<Found>,
}

/// What a value is to the search.
enum Role {
    /// It is not on the path.
    Aside,
    /// The path leads into it.
    Way,
    /// It is the end of the path.
    End,
}

impl Search<'_> {
    /// A value begins outside of what is passed over.
    fn begin(&mut self) -> Role {
        let depth = self.frames.len();
        let Some(frame) = self.frames.last_mut() else {
            return Role::Way;
        };
        let leads = match frame {
            None => self.leads,
            Some(place) => {
                let here = *place;
                *place += 1;
                let step = self.steps.get(depth - 1);
                step.is_some_and(|step| step.is_place(here))
            }
        };
        if !leads {
            return Role::Aside;
        }
        // Of two equal keys the last counts, also where the path goes on in the first alone.
        self.found = None;
        if depth < self.steps.len() {
            Role::Way
        } else {
            Role::End
        }
    }

    fn scalar(&mut self, found: Option<Found>) {
        if self.passed == 0
            && let Role::End = self.begin()
        {
            self.found = found;
        }
    }

    fn open(&mut self, start: usize, first: Option<usize>) {
        if self.passed > 0 {
            self.passed += 1;
            return;
        }
        match self.begin() {
            Role::Way => self.frames.push(first),
            Role::Aside => self.passed = 1,
            Role::End => {
                self.passed = 1;
                self.taking = Some(start);
            }
        }
    }

    fn close(&mut self, end: usize) {
        if self.passed == 0 {
            self.frames.pop();
            return;
        }
        self.passed -= 1;
        if self.passed == 0
            && let Some(start) = self.taking.take()
        {
            self.found = Some(Found::Other(start..end));
        }
    }
}

impl Visitor for Search<'_> {
    fn open_object(&mut self, start: usize) {
        self.open(start, None);
    }

    fn close_object(&mut self, end: usize) {
        self.close(end);
    }

    fn open_array(&mut self, start: usize) {
        self.open(start, Some(0));
    }

    fn close_array(&mut self, end: usize) {
        self.close(end);
    }

    fn key(&mut self, token: StringToken) {
        if self.passed > 0 {
            return;
        }
        let step = self.frames.len().checked_sub(1);
        let step = step.and_then(|step| self.steps.get(step));
        self.leads = step.is_some_and(|step| step.is_key(&token.decoded(self.text)));
    }

    fn string(&mut self, token: StringToken) {
        self.scalar(Some(Found::String(token)));
    }

    fn number(&mut self, number: Number) {
        self.scalar(Some(Found::Other(number.start..number.end)));
    }

    fn boolean(&mut self, start: usize, end: usize) {
        self.scalar(Some(Found::Other(start..end)));
    }

    fn null(&mut self, _start: usize, _end: usize) {
        self.scalar(None);
    }
}

/// JSON without white space between its tokens, which are as they were sent.
fn compact(json: &str) -> Cow<'_, str> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
    if !json.contains(is_space) {
        return Cow::Borrowed(json);
    }
    let (mut in_string, mut is_escaped) = (false, false);
    let kept = json.chars().filter(|&c| {
        if !in_string {
            in_string = c == '"';
            return !is_space(c);
        }
        if is_escaped {
            is_escaped = false;
        } else {
            is_escaped = c == '\\';
            in_string = c != '"';
        }
        true
    });
    Cow::Owned(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(keys: &[&str], json: &str) -> Option<String> {
        let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
        let value = Place::new(&keys).value(json.as_bytes()).unwrap();
        value.map(Cow::into_owned)
    }

    #[test]
    fn a_value_is_found_by_its_keys_and_places() {
        let json = r#"{"id":"top","data":{"other":{"id":1},"id":"e\u00e91","n":1.50e1,
            "list":[{"id":7},"x",{"id":8,"1":"key"}],"ok":true,"no":null,"e":""}}"#;
        for (keys, expected) in [
            (&["id"][..], Some("top")),
            (&["data", "id"], Some("eé1")),
            (&["data", "n"], Some("1.50e1")),
            (&["data", "ok"], Some("true")),
            (&["data", "no"], None),
            (&["data", "e"], Some("")),
            (&["data", "other", "id"], Some("1")),
            (&["data", "list", "0", "id"], Some("7")),
            (&["data", "list", "2", "id"], Some("8")),
            (&["data", "list", "1"], Some("x")),
            (&["data", "list", "2", "1"], Some("key")),
            (&["data", "list", "3"], None),
            (&["data", "list", "id"], None),
            (&["data", "id", "id"], None),
            (&["other", "id"], None),
            (&["*"], None),
        ] {
            assert_eq!(at(keys, json).as_deref(), expected, "{keys:?}");
        }
        for json in ["5", "null", r#""id""#, "[]", "{}"] {
            assert_eq!(at(&["id"], json), None, "{json}");
        }
        assert_eq!(at(&["0"], "[3]").as_deref(), Some("3"));
    }

    #[test]
    fn of_two_equal_keys_the_last_counts() {
        assert_eq!(at(&["a"], r#"{"a":1,"\u0061":2}"#).as_deref(), Some("2"));
        assert_eq!(at(&["a", "b"], r#"{"a":{"b":1},"a":{"c":2}}"#), None);
        assert_eq!(at(&["a", "b"], r#"{"a":{"b":1},"a":5}"#), None);
        assert_eq!(at(&["a"], r#"{"a":{"b":1},"a":null}"#), None);
        assert_eq!(
            at(&["a", "b"], r#"{"a":{"b":1,"b":{"c":[1]}}}"#).as_deref(),
            Some(r#"{"c":[1]}"#)
        );
    }

    #[test]
    fn a_container_is_its_json_without_white_space() {
        let json = "{\"a\": [ 1 , {\"b c\" : \"d \\\" \\\\\" ,\n\"e\":\t[ ] } ] }";
        assert_eq!(
            at(&["a"], json).as_deref(),
            Some(r#"[1,{"b c":"d \" \\","e":[]}]"#)
        );
        assert!(matches!(compact("[1,2]"), Cow::Borrowed("[1,2]")));
    }
}
