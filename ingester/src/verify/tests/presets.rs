//! Every preset against what its provider sends.

use std::collections::BTreeSet;

use trunkline_model::presets::{PRESETS, Preset, PresetScheme};
use trunkline_model::verification::Unsigned;

use super::*;

impl Vector {
    fn preset(&self) -> &'static Preset {
        Preset::by_name(self.preset).unwrap()
    }

    fn verification(&self) -> Verification {
        let preset = self.preset();
        let value = SecretBytes::new(self.secret);
        let key = preset.secret_encoding().decode(&value).unwrap();
        preset.verification(false, Mode::Enforce, vec![named(key.expose())])
    }
}

fn of_vector(vector: &Vector) -> HeaderMap {
    header_map(vector.headers.iter().copied())
}

#[test]
fn every_preset_takes_what_its_provider_sends() {
    let presets: BTreeSet<_> = PRESETS.iter().map(|preset| preset.name).collect();
    let vectors: BTreeSet<_> = VECTORS.iter().map(|vector| vector.preset).collect();
    assert_eq!(presets, vectors);
    for vector in VECTORS {
        let (name, source) = (vector.preset, vector.verification());
        let headers = of_vector(vector);
        let check = |body: &str, now| verify(&source, &headers, body.as_bytes(), now);
        let whole = Ok(Verdict::Signed(Coverage::Body));
        assert_eq!(check(vector.body, vector.now), whole, "{name}");

        let is_signed = matches!(vector.preset().scheme, PresetScheme::Hmac(_));
        let tampered = check(&format!("{} ", vector.body), vector.now);
        let expected = if is_signed {
            Err(Unverified::Mismatch)
        } else {
            whole
        };
        assert_eq!(tampered, expected, "{name}");

        for (index, _) in vector.headers.iter().enumerate() {
            let mut less = vector.headers.to_vec();
            less.remove(index);
            let less = verify(
                &source,
                &header_map(less),
                vector.body.as_bytes(),
                vector.now,
            );
            assert!(less.is_err(), "{name} without {:?}", vector.headers[index]);
            let more = vector.headers.iter().chain([&vector.headers[index]]);
            let more = header_map(more.copied());
            let twice = verify(&source, &more, vector.body.as_bytes(), vector.now);
            assert_eq!(twice, Err(Unverified::Repeated), "{name}");
        }
    }
}

#[test]
fn a_preset_with_a_time_holds_it_to_five_minutes_both_ways() {
    let mut timed = 0;
    for vector in VECTORS {
        let (source, headers) = (vector.verification(), of_vector(vector));
        let at = |offset| {
            verify(
                &source,
                &headers,
                vector.body.as_bytes(),
                vector.now + offset,
            )
        };
        let (late, early) = (at(301), at(-301));
        let is_timed = matches!(&source, Verification::Hmac(scheme) if scheme.timestamp.is_some());
        timed += usize::from(is_timed);
        let whole = Ok(Verdict::Signed(Coverage::Body));
        assert_eq!((at(300), at(-300)), (whole, whole), "{}", vector.preset);
        let expected = if is_timed {
            (
                Err(Unverified::TimestampTooOld),
                Err(Unverified::TimestampInFuture),
            )
        } else {
            (whole, whole)
        };
        assert_eq!((late, early), expected, "{}", vector.preset);
    }
    assert_eq!(timed, 9, "presets with a time");
}

#[test]
fn the_signer_makes_what_the_provider_makes() {
    for vector in VECTORS {
        let find = |wanted: &str| vector.headers.iter().find(|header| header.0 == wanted);
        let id = find("webhook-id").or(find("svix-id")).map_or("", |id| id.1);
        let signed = vector.verification().sign(Unsigned {
            body: vector.body.as_bytes(),
            first_element: vector.body.as_bytes(),
            headers: &[],
            id,
            now: vector.now,
        });
        for (name, value) in signed.unwrap() {
            let theirs = find(&name).unwrap().1;
            // Two vectors have more signatures in their header than a signer makes.
            assert!(
                theirs.contains(&value),
                "{}: {name}: {value}",
                vector.preset
            );
        }
    }
}

#[test]
fn what_is_signed_here_is_verified_here() {
    for preset in PRESETS.iter() {
        let source = preset.verification(false, Mode::Enforce, vec![named("one"), named("two")]);
        let batch = format!("[{BODY},{BODY}]");
        let signed = source.sign(Unsigned {
            body: batch.as_bytes(),
            first_element: BODY.as_bytes(),
            headers: &[],
            id: "delivery-1",
            now: NOW,
        });
        let signed = signed.unwrap();
        let headers = signed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let verdict = verify(&source, &header_map(headers), batch.as_bytes(), NOW + 1);
        let coverage = if preset.splits_arrays {
            Coverage::FirstElement
        } else {
            Coverage::Body
        };
        assert_eq!(verdict, Ok(Verdict::Signed(coverage)), "{}", preset.name);
    }
}
