use super::*;
use crate::deduplication::Identity;
use crate::presets::Preset;
use crate::redaction::{RedactAction, RedactedPath};
use crate::request::{Cors, RequestMethod};
use crate::verification::{Mode, NamedSecret};

#[test]
fn a_cluster_without_certificates_is_written_as_before_there_were_any() {
    let mut cluster = ClusterSettings {
        name: "a/main".parse().unwrap(),
        hash_key: SecretBytes::new("k"),
        database_url: SecretBytes::new("postgres://u:p@h/d"),
        database_certificates: Certificates::default(),
        limits: Limits {
            max_body_bytes: 1,
            bytes_in_flight: 2,
            writers: 3,
            max_connections: None,
        },
    };
    let text = serde_json::to_string(&cluster).unwrap();
    assert!(!text.contains("ertificates"), "{text}");
    assert_eq!(
        serde_json::from_str::<ClusterSettings>(&text).unwrap(),
        cluster
    );
    cluster.database_certificates.authorities = Some("PEM".to_owned());
    let text = serde_json::to_string(&cluster).unwrap();
    assert_eq!(
        serde_json::from_str::<ClusterSettings>(&text).unwrap(),
        cluster
    );
}

fn settings() -> SourceSettings {
    SourceSettings {
        bucket: 7,
        body: BodyFormat::Json,
        split_arrays: true,
        include_headers: HeaderSelection::default(),
        header_columns: Vec::new(),
        http: HttpPolicy::default(),
        rate_limit: None,
        notes_shapes: false,
        redaction: None,
        deduplication: None,
        verification: Verification::None,
    }
}

fn entry(name: &str, path: &str) -> SourceEntry {
    SourceEntry::new(name.parse().unwrap(), 3, vec![path.to_owned()], &settings()).unwrap()
}

fn cluster() -> Document {
    Document {
        version: VERSION,
        cluster: Some(ClusterSettings {
            name: "default/main".parse().unwrap(),
            hash_key: SecretBytes::new(b"key".to_vec()),
            database_url: SecretBytes::new(b"postgres://u:p@h/d".to_vec()),
            database_certificates: Certificates::default(),
            limits: Limits {
                max_body_bytes: 1,
                bytes_in_flight: 2,
                writers: 3,
                max_connections: None,
            },
        }),
        sources: vec![entry("default/a", "/a")],
    }
}

fn shard(sources: Vec<SourceEntry>) -> Document {
    Document {
        version: VERSION,
        cluster: None,
        sources,
    }
}

fn files(documents: &[(&str, &Document)]) -> Files {
    documents
        .iter()
        .map(|(name, doc)| ((*name).to_owned(), encode(doc).unwrap()))
        .collect()
}

#[test]
fn shards_make_one_configuration() {
    let second = shard(vec![entry("default/b", "/b")]);
    let configuration =
        decode(&files(&[("0.json.gz", &cluster()), ("1.json.gz", &second)])).unwrap();
    let names: Vec<_> = configuration
        .sources
        .iter()
        .map(|s| s.name.to_string())
        .collect();
    assert_eq!(names, ["default/a", "default/b"]);
    assert_eq!(configuration.sources[0].settings, Ok(settings()));
    assert_eq!(configuration.cluster.limits.writers, 3);
}

#[test]
fn the_hash_follows_every_byte_and_its_key() {
    let one = files(&[("0", &cluster())]);
    let two = files(&[("1", &cluster())]);
    let key = SecretBytes::new(b"key".to_vec());
    assert_eq!(decode(&one).unwrap().hash, hash(&one, &key));
    assert_ne!(hash(&one, &key), hash(&two, &key));
    assert_ne!(
        hash(&one, &key),
        hash(&one, &SecretBytes::new(b"other".to_vec()))
    );
}

#[test]
fn a_construct_from_the_future_refuses_its_source_alone() {
    let mut future = entry("default/b", "/b");
    future.requires = vec!["body.protobuf".to_owned()];
    let mut odd = entry("default/c", "/c");
    odd.settings = RawValue::from_string(r#"{"body":"Protobuf"}"#.to_owned()).unwrap();
    let configuration = decode(&files(&[
        ("0", &cluster()),
        ("1", &shard(vec![future, odd])),
    ]))
    .unwrap();
    let served: Vec<_> = configuration
        .sources
        .iter()
        .map(|s| s.settings.is_ok())
        .collect();
    assert_eq!(served, [true, false, false]);
    assert!(configuration.sources[2].http.takes("PATCH"), "503, not 405");
    assert!(
        configuration.sources[1]
            .settings
            .as_ref()
            .unwrap_err()
            .contains("body.protobuf")
    );
}

#[test]
fn a_source_without_new_constructs_keeps_its_bytes() {
    assert_eq!(
        serde_json::to_string(&entry("default/a", "/a")).unwrap(),
        r#"{"source":"default/a","generation":3,"paths":["/a"],"settings":{"bucket":7,"#.to_owned()
            + r#""body":"Json","splitArrays":true,"includeHeaders":{},"headerColumns":[],"#
            + r#""verification":"none"}}"#
    );
}

#[test]
fn what_an_older_reader_would_misread_is_named_and_known() {
    let mut settings = settings();
    settings.body = BodyFormat::Text;
    settings.header_columns = vec![HeaderColumn {
        name: "x-checksum".to_owned(),
        column: "checksum".to_owned(),
        bytes: true,
    }];
    settings.http = HttpPolicy {
        methods: vec![RequestMethod::Put],
        cors: Some(Cors {
            origins: vec!["*".to_owned()],
        }),
    };
    let entry = |settings: &SourceSettings| {
        SourceEntry::new(
            "default/b".parse().unwrap(),
            1,
            vec!["/b".to_owned()],
            settings,
        )
        .unwrap()
    };
    let named = entry(&settings);
    assert_eq!(
        named.requires,
        ["body.text", "headers.bytes", "http.methods", "http.cors"]
    );
    let read = decode(&files(&[("0", &cluster()), ("1", &shard(vec![named]))])).unwrap();
    assert_eq!(read.sources[1].settings, Ok(settings.clone()));
    for (body, name) in [
        (BodyFormat::Bytes, "body.bytes"),
        (BodyFormat::Form, "body.form"),
    ] {
        settings.body = body;
        assert_eq!(entry(&settings).requires[0], name);
        assert!(request::CONSTRUCTS.contains(&name));
    }
}

/// An older reader would serve the source as well, so that it needs to know nothing.
#[test]
fn whether_shapes_are_noted_is_no_construct() {
    let mut settings = settings();
    settings.notes_shapes = true;
    let noting = SourceEntry::new("default/b".parse().unwrap(), 1, Vec::new(), &settings).unwrap();
    assert_eq!(noting.requires, [""; 0]);
    assert!(noting.settings.get().contains(r#","notesShapes":true,"#));
    let read = decode(&files(&[("0", &cluster()), ("1", &shard(vec![noting]))])).unwrap();
    assert_eq!(
        read.sources[0].settings.as_ref().map(|it| it.notes_shapes),
        Ok(false)
    );
    assert_eq!(read.sources[1].settings, Ok(settings));
}

/// One that ignored it would store what must not be stored.
#[test]
fn a_redaction_is_named_and_its_key_is_no_text() {
    let mut settings = settings();
    settings.redaction = Some(Redaction {
        paths: vec![RedactedPath {
            path: vec!["context".to_owned(), "ip".to_owned()],
            action: RedactAction::Hash,
        }],
        key: Some(SecretBytes::new("hush")),
    });
    let entry = SourceEntry::new("default/b".parse().unwrap(), 1, Vec::new(), &settings).unwrap();
    assert_eq!(entry.requires, ["redaction"]);
    let redaction =
        r#""redaction":{"paths":[{"path":["context","ip"],"action":"hash"}],"key":"68757368"},"#;
    assert!(
        entry.settings.get().contains(redaction),
        "{}",
        entry.settings
    );
    let read = decode(&files(&[("0", &cluster()), ("1", &shard(vec![entry]))])).unwrap();
    assert_eq!(read.sources[1].settings, Ok(settings));
}

/// One that ignored it would store repeats, and take no keys that keep others from it.
#[test]
fn a_deduplication_is_named_and_known() {
    for (by, text) in [
        (Identity::MessageId, r#""messageId""#),
        (
            Identity::Header {
                name: "x-github-delivery".to_owned(),
            },
            r#"{"header":{"name":"x-github-delivery"}}"#,
        ),
        (
            Identity::Path {
                keys: vec!["data".to_owned(), "id".to_owned()],
            },
            r#"{"path":{"keys":["data","id"]}}"#,
        ),
        (Identity::BodyHash, r#""bodyHash""#),
    ] {
        let mut settings = settings();
        settings.deduplication = Some(Deduplication {
            by,
            window_seconds: 60,
        });
        let entry =
            SourceEntry::new("default/b".parse().unwrap(), 1, Vec::new(), &settings).unwrap();
        assert_eq!(entry.requires, ["deduplication"]);
        let expected = format!(r#","deduplication":{{"by":{text},"windowSeconds":60}},"#);
        assert!(
            entry.settings.get().contains(&expected),
            "{}",
            entry.settings
        );
        let read = decode(&files(&[("0", &cluster()), ("1", &shard(vec![entry]))])).unwrap();
        assert_eq!(read.sources[1].settings, Ok(settings));
    }
}

#[test]
fn a_source_that_is_not_served_still_has_its_methods_and_origins() {
    let mut settings = settings();
    settings.http.methods.push(RequestMethod::Put);
    let mut suspended = SourceEntry::new(
        "default/b".parse().unwrap(),
        1,
        vec!["/b".to_owned()],
        &settings,
    )
    .unwrap();
    suspended.unavailable = Some("suspended".to_owned());
    let read = decode(&files(&[("0", &cluster()), ("1", &shard(vec![suspended]))])).unwrap();
    assert_eq!(read.sources[1].settings, Err("suspended".to_owned()));
    assert_eq!(read.sources[1].http, settings.http);
}

#[test]
fn a_field_from_the_future_is_ignored() {
    let json = br#"{"version":1,"colour":"blue","cluster":{"name":"default/main","hashKey":"00",
        "databaseUrl":"00","limits":{"maxBodyBytes":1,"bytesInFlight":1,"writers":1,"x":1}}}"#;
    let files = Files::from([("0.json".to_owned(), json.to_vec())]);
    assert!(decode(&files).unwrap().sources.is_empty());
}

#[test]
fn what_is_not_one_configuration_is_refused() {
    let shared = shard(vec![entry("default/b", "/a")]);
    let newer = Document {
        version: VERSION + 1,
        cluster: None,
        sources: Vec::new(),
    };
    assert!(matches!(
        decode(&Files::new()),
        Err(DocumentError::NoCluster)
    ));
    let cases = [
        (shared, "path"),
        (newer, "version"),
        (cluster(), "cluster settings"),
    ];
    for (document, word) in cases {
        let error = decode(&files(&[("0", &cluster()), ("1", &document)])).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// The control plane is upgraded before the ingesters: what was served stays byte for byte what it
/// was, and so keeps its revision.
#[test]
fn a_source_of_segments_keeps_its_bytes() {
    let secret = NamedSecret {
        name: "segment-webhook/secret".to_owned(),
        value: SecretBytes::new("hush"),
        expires_at: None,
    };
    let preset = Preset::by_name("segment").unwrap();
    let mut settings = settings();
    settings.verification = preset.verification(false, Mode::Enforce, vec![secret]);
    let entry = SourceEntry::new("default/a".parse().unwrap(), 3, Vec::new(), &settings).unwrap();
    assert_eq!(entry.requires, [""; 0]);
    let verification = r#""verification":{"hmac":{"header":"x-signature","algorithm":"sha1","encoding":"hex","coverage":["body","firstElement"],"secrets":[{"name":"segment-webhook/secret","value":"68757368"}]}}}"#;
    assert!(
        entry.settings.get().ends_with(verification),
        "{}",
        entry.settings
    );
}

#[test]
fn a_scheme_that_an_older_reader_would_misread_is_named() {
    let preset = |name: &str, mode| {
        let mut settings = settings();
        let preset = Preset::by_name(name).unwrap();
        settings.verification = preset.verification(false, mode, Vec::new());
        let entry = SourceEntry::new("default/a".parse().unwrap(), 3, Vec::new(), &settings);
        let entry = entry.unwrap();
        let text = entry.settings.get();
        assert_eq!(
            serde_json::from_str::<SourceSettings>(text).unwrap(),
            settings
        );
        entry.requires
    };
    let (format, signed, time) = (
        "verification.format",
        "verification.signed",
        "verification.timestamp",
    );
    assert_eq!(preset("shopify", Mode::Enforce), [""; 0]);
    assert_eq!(preset("github", Mode::Enforce), [format]);
    assert_eq!(preset("customerio", Mode::Enforce), [signed, time]);
    assert_eq!(preset("stripe", Mode::Enforce), [format, signed, time]);
    assert_eq!(preset("gitlab", Mode::Enforce), [""; 0]);
    for name in ["segment", "gitlab"] {
        assert_eq!(preset(name, Mode::ReportOnly), ["verification.reportOnly"]);
    }
}
