use proptest::prelude::*;
use proptest::sample::select;
use trunkline_model::redaction::RedactedPath;
use trunkline_model::secret::SecretBytes;

use super::*;

fn redaction(paths: &[(&[&str], RedactAction)]) -> Redaction {
    let path = |(path, action): &(&[&str], RedactAction)| RedactedPath {
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        action: *action,
    };
    Redaction {
        paths: paths.iter().map(path).collect(),
        key: Some(SecretBytes::new("key")),
    }
}

fn redact(redaction: &Redaction, element: &str) -> Option<String> {
    let redactor = Redactor::new(redaction).unwrap();
    let room = |_| Ok::<_, InvalidJson>(());
    redactor.redact(element.as_bytes(), room).unwrap()
}

fn hash(value: &str) -> String {
    let hasher = Hasher::new(&SecretBytes::new("key")).unwrap();
    format!("\"{}\"", hasher.hash(value.as_bytes()))
}

const DROP: RedactAction = RedactAction::Drop;
const HASH: RedactAction = RedactAction::Hash;

#[test]
fn a_member_goes_with_its_key_and_one_comma() {
    for (sent, stored) in [
        (r#"{"a":1}"#, "{}"),
        (r#"{ "a" : 1 }"#, "{ }"),
        (r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        (r#"{"b":2,"a":1}"#, r#"{"b":2}"#),
        (r#"{"b": 2 , "a": 1 , "c": 3}"#, r#"{"b": 2 , "c": 3}"#),
        (r#"{"a":1,"a":[1],"b":2,"a":{"c":"d"}}"#, r#"{"b":2}"#),
        (r#"{"\u0061":1,"b":1.0e+05}"#, r#"{"b":1.0e+05}"#),
        (
            r#"{"b":{"x":"}"},"a":{"x":"{,"},"c":[]}"#,
            r#"{"b":{"x":"}"},"c":[]}"#,
        ),
        (r#"{"a":null,"a":true,"a":"x"}"#, "{}"),
    ] {
        let stored = Some(stored.to_owned());
        assert_eq!(
            redact(&redaction(&[(&["a"], DROP)]), sent),
            stored,
            "{sent}"
        );
    }
}

#[test]
fn an_element_without_the_path_is_not_copied() {
    let redaction = redaction(&[(&["a", "b"], DROP), (&["c", "0"], HASH)]);
    for sent in [
        "{}",
        "[]",
        "1",
        "null",
        r#""a""#,
        r#"{"b":1,"A":{"b":1}}"#,
        r#"{"a":1,"x":{"a":{"b":1}}}"#,
        r#"{"a":[{"b":1}],"c":{"1":1}}"#,
        r#"{"c":[]}"#,
        // Nothing is no value.
        r#"{"c":[null]}"#,
    ] {
        assert_eq!(redact(&redaction, sent), None, "{sent}");
    }
}

#[test]
fn a_hash_is_of_the_text_of_a_string_and_of_the_json_of_all_else() {
    let redaction = redaction(&[(&["a"], HASH)]);
    for (sent, hashed) in [
        (r#""ada""#, "ada"),
        (r#""\u0061da""#, "ada"),
        (r#""""#, ""),
        ("12.50", "12.50"),
        ("true", "true"),
        (r#"[1, "x"]"#, r#"[1, "x"]"#),
        (r#"{"a":{"a":2}}"#, r#"{"a":{"a":2}}"#),
        (r#""\ud800""#, "\u{fffd}"),
    ] {
        let stored = redact(&redaction, &format!(r#"{{"b":0,"a":{sent},"c":1e400000}}"#));
        let expected = format!(r#"{{"b":0,"a":{},"c":1e400000}}"#, hash(hashed));
        assert_eq!(stored, Some(expected), "{sent}");
    }
}

#[test]
fn arrays_keep_the_places_of_what_stays() {
    for (path, stored) in [
        (&["a", "1"][..], r#"{"a":[{"b":1,"c":2}, null, [4]]}"#),
        (&["a", "*"], r#"{"a":[null, null, null]}"#),
        (&["a", "*", "b"], r#"{"a":[{"c":2}, {}, [4]]}"#),
        (&["*", "0", "c"], r#"{"a":[{"b":1}, {"b":3}, [4]]}"#),
        (
            &["a", "2", "0"],
            r#"{"a":[{"b":1,"c":2}, {"b":3}, [null]]}"#,
        ),
    ] {
        let sent = r#"{"a":[{"b":1,"c":2}, {"b":3}, [4]]}"#;
        let stored = Some(stored.to_owned());
        assert_eq!(
            redact(&redaction(&[(path, DROP)]), sent),
            stored,
            "{path:?}"
        );
    }
}

#[test]
fn where_paths_meet_the_one_that_leaves_less_counts() {
    let sent = r#"{"a":{"b":"x","c":"y"}}"#;
    let both = redaction(&[(&["a", "b"], HASH), (&["a", "*"], DROP)]);
    assert_eq!(redact(&both, sent).unwrap(), r#"{"a":{}}"#);
    let outer = redaction(&[(&["a", "b"], DROP), (&["a"], HASH)]);
    let whole = hash(r#"{"b":"x","c":"y"}"#);
    assert_eq!(redact(&outer, sent).unwrap(), format!(r#"{{"a":{whole}}}"#));
    let beside = redaction(&[(&["a", "b"], DROP), (&["a", "c"], HASH)]);
    assert_eq!(
        redact(&beside, sent).unwrap(),
        format!(r#"{{"a":{{"c":{}}}}}"#, hash("y"))
    );
}

#[test]
fn a_value_that_is_nested_deeply_is_passed_over_or_redacted_as_a_whole() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let sent = format!(r#"{{"b":{deep},"a":{deep}}}"#);
    let stored = redact(&redaction(&[(&["a"], DROP)]), &sent).unwrap();
    assert_eq!(stored, format!(r#"{{"b":{deep}}}"#));
}

#[test]
fn it_asks_for_room_before_it_grows_and_ends_where_there_is_none() {
    let redaction = redaction(&[(&["*"], HASH)]);
    let redactor = Redactor::new(&redaction).unwrap();
    let sent = format!("[{}1]", "1,".repeat(9_999));
    let mut asked = 0;
    let stored = redactor.redact(sent.as_bytes(), |bytes| {
        asked = bytes;
        Ok::<_, InvalidJson>(())
    });
    let stored = stored.unwrap().unwrap();
    assert_eq!(stored.len(), 10_000 * 35 + 1);
    assert!(
        (stored.len()..=2 * stored.len()).contains(&asked),
        "{asked}"
    );
    #[derive(Debug, PartialEq)]
    struct Full;
    impl From<InvalidJson> for Full {
        fn from(_: InvalidJson) -> Self {
            panic!("it is JSON")
        }
    }
    let room = |bytes| if bytes > 100_000 { Err(Full) } else { Ok(()) };
    assert_eq!(redactor.redact(sent.as_bytes(), room), Err(Full));
}

#[test]
fn what_cannot_be_done_is_refused_before_the_first_event() {
    let mut none = redaction(&[(&["a"], HASH)]);
    none.key = None;
    assert_eq!(Redactor::new(&none).unwrap_err(), Unredactable::NoKey);
    none.paths[0].action = DROP;
    assert!(Redactor::new(&none).is_ok());
    none.paths = vec![none.paths[0].clone(); MAX_PATHS];
    let last = RedactedPath {
        path: vec!["z".to_owned()],
        action: DROP,
    };
    none.paths[MAX_PATHS - 1] = last.clone();
    assert_eq!(redact(&none, r#"{"z":1}"#).unwrap(), "{}");
    none.paths.push(last);
    assert_eq!(
        Redactor::new(&none).unwrap_err(),
        Unredactable::TooManyPaths
    );
}

/// JSON as a tree. A key is as it is spelled, and a leaf as it is written.
#[derive(Debug, Clone)]
enum Node {
    Leaf(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// As text, with white space in some places.
    fn text(&self, space: &str) -> String {
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| item.text(space)).collect();
                format!("[{space}{}{space}]", items.join(&format!("{space},")))
            }
            Self::Object(members) => {
                let member = |(key, value): &(String, Self)| {
                    format!("\"{key}\"{space}:{}", value.text(space))
                };
                let members: Vec<_> = members.iter().map(member).collect();
                format!("{{{}{space}}}", members.join(&format!(",{space}")))
            }
        }
    }

    /// What is left of it, by the paths that lead into it: the obvious way.
    fn redacted(&self, paths: &[(Vec<String>, RedactAction)], space: &str) -> Option<Self> {
        let ends = |action| {
            paths
                .iter()
                .any(|(path, it)| path.is_empty() && *it == action)
        };
        if ends(DROP) {
            return None;
        }
        if ends(HASH) {
            let text = self.text(space);
            let string = serde_json::from_str::<String>(&text);
            return Some(Self::Leaf(match text.as_str() {
                "null" => text,
                _ => hash(string.as_deref().unwrap_or(&text)),
            }));
        }
        let below = |key: &str| -> Vec<_> {
            let leads = |path: &&(Vec<String>, RedactAction)| path.0[0] == key || path.0[0] == "*";
            let paths = paths.iter().filter(leads);
            paths
                .map(|(path, action)| (path[1..].to_vec(), *action))
                .collect()
        };
        Some(match self {
            Self::Leaf(_) => self.clone(),
            Self::Array(items) => {
                let item = |(place, item): (usize, &Self)| {
                    let left = item.redacted(&below(&place.to_string()), space);
                    left.unwrap_or_else(|| Self::Leaf("null".to_owned()))
                };
                Self::Array(items.iter().enumerate().map(item).collect())
            }
            Self::Object(members) => {
                let member = |(spelled, value): &(String, Self)| {
                    let key: String = serde_json::from_str(&format!("\"{spelled}\"")).unwrap();
                    Some((spelled.clone(), value.redacted(&below(&key), space)?))
                };
                Self::Object(members.iter().filter_map(member).collect())
            }
        })
    }
}

/// Without white space around tokens.
fn compact(json: &str) -> String {
    let (mut is_string, mut is_escaped) = (false, false);
    let keep = |it: &char| {
        let keeps = is_string || !it.is_ascii_whitespace();
        is_string ^= *it == '"' && !is_escaped;
        is_escaped = *it == '\\' && !is_escaped;
        keeps
    };
    json.chars().filter(keep).collect()
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        "\"[a-c ]{0,3}\"",
        select(vec![
            "null",
            "true",
            "0",
            "-1.50e3",
            "1e400000",
            "{}",
            "[]",
            r#""\u0061 \"\\""#,
            r#"", }""#,
            r#""{""#,
        ])
        .prop_map(str::to_owned),
    ];
    let key = select(vec!["a", "b", r"\u0061", "0", "1", "é", "*", ""]).prop_map(str::to_owned);
    leaf.prop_map(Node::Leaf)
        .prop_recursive(5, 60, 5, move |node| {
            let member = (key.clone(), node.clone());
            prop_oneof![
                prop::collection::vec(node, 0..5).prop_map(Node::Array),
                prop::collection::vec(member, 0..6).prop_map(Node::Object),
            ]
        })
}

fn paths() -> impl Strategy<Value = Vec<(Vec<String>, RedactAction)>> {
    let key = select(vec!["a", "a", "b", "0", "1", "é", "*", ""]).prop_map(str::to_owned);
    let path = prop::collection::vec(key, 1..5);
    prop::collection::vec((path, select(vec![DROP, HASH])), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_left_is_what_the_obvious_way_leaves(
        node in node(), paths in paths(), space in select(vec!["", " ", "\n\t "]),
    ) {
        let sent = node.text(space);
        let redaction = Redaction {
            paths: paths.iter().map(|(path, action)| RedactedPath {
                path: path.clone(),
                action: *action,
            }).collect(),
            key: Some(SecretBytes::new("key")),
        };
        let stored = redact(&redaction, &sent);
        prop_assert!(stored.as_ref().is_none_or(|stored| *stored != sent), "copied for nothing");
        let stored = stored.unwrap_or(sent);
        let expected = node.redacted(&paths, space).unwrap().text("");
        prop_assert_eq!(compact(&stored), expected);
        prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&stored).is_ok());
    }

    #[test]
    fn a_secret_is_gone_wherever_its_path_leads(
        before in node(), after in node(), path in prop::collection::vec("[a-z]{1,3}|[0-2]", 1..5),
        action in select(vec![DROP, HASH]), is_twice in any::<bool>(),
    ) {
        let secret = r#"["hunter\u0032",{"x":"hunter2"}]"#;
        let inner = path.iter().rev().fold(secret.to_owned(), |value, key| {
            let again = if is_twice { format!(r#","{key}":{value}"#) } else { String::new() };
            format!(r#"{{"":{},"{key}":{value}{again},"é":{}}}"#, before.text(""), after.text(" "))
        });
        let keys: Vec<_> = path.iter().map(String::as_str).collect();
        let stored = redact(&redaction(&[(&keys, action)]), &inner).unwrap();
        prop_assert!(!stored.contains("hunter"), "{}", stored);
    }
}
