use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::super::budget::Budget;
use super::*;

const TEXT: &[u8] = br#"{"event":"Order Completed"}"#;

/// [`TEXT`] by Node.js 20 (`zlib.brotliCompressSync`) and by zstd 1.5.4.
const BROTLI: &str = "1b1a00f8a54574f6faf6218a4cb289cc019e9f1a4b789e080f";
const ZSTD: &str =
    "28b52ffd241bd900007b226576656e74223a224f7264657220436f6d706c65746564227d2a3dfdd1";
/// 8 MiB of blanks, by the same.
const BROTLI_BOMB: &str = "9bffff7ff82540e2b14020f7fe0f";

const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// [`TEXT`] in a coding.
fn coded(coding: Coding) -> Vec<u8> {
    match coding {
        Coding::Gzip => gzip(TEXT),
        Coding::Deflate => deflate(TEXT),
        Coding::Brotli => hex::decode(BROTLI).unwrap(),
        Coding::Zstd => hex::decode(ZSTD).unwrap(),
    }
}

/// The body or the refusal's text, and the most that was reserved.
fn read(coding: Coding, wire: &[u8], limit: usize) -> (Result<Vec<u8>, String>, usize) {
    let budget = Arc::new(Budget::default());
    let mut reservation = budget.open_alone(usize::MAX);
    let body = decompress(coding, wire, limit, &mut reservation);
    (body.map_err(|refusal| refusal.to_string()), budget.used())
}

#[test]
fn each_coding_gives_back_what_was_sent() {
    for coding in CODINGS {
        let (body, _) = read(coding, &coded(coding), 1 << 20);
        assert_eq!(body.as_deref(), Ok(TEXT), "{coding:?}");
        assert_eq!(read(coding, b"", 1 << 20).0, Ok(Vec::new()));
    }
    let long: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let zstd = compress_to_vec(long.as_slice(), CompressionLevel::Fastest);
    for (coding, wire) in [
        (Coding::Gzip, gzip(&long)),
        (Coding::Deflate, deflate(&long)),
        (Coding::Zstd, zstd),
    ] {
        let (body, _) = read(coding, &wire, long.len());
        assert!(body.as_ref() == Ok(&long), "{coding:?}");
        let (body, _) = read(coding, &wire, long.len() - 1);
        assert_eq!(body.unwrap_err(), "the body is larger than 2999999 bytes");
    }
}

#[test]
fn members_and_frames_one_after_another_are_one_body() {
    let twice = [TEXT, TEXT].concat();
    for coding in [Coding::Gzip, Coding::Zstd] {
        let wire = [coded(coding), coded(coding)].concat();
        assert_eq!(read(coding, &wire, 1 << 20).0.as_deref(), Ok(&*twice));
    }
    let skippable = hex::decode("502a4d1803000000616263").unwrap();
    let wire = [skippable.clone(), coded(Coding::Zstd), skippable].concat();
    assert_eq!(read(Coding::Zstd, &wire, 1 << 20).0.as_deref(), Ok(TEXT));
}

#[test]
fn what_ends_early_or_goes_on_or_is_changed_is_refused() {
    for coding in CODINGS {
        let whole = coded(coding);
        let refused = Err(format!("the body is not valid {}", coding.name()));
        for end in 1..whole.len() {
            assert_eq!(
                read(coding, &whole[..end], 1 << 20).0,
                refused,
                "{coding:?} {end}"
            );
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert_eq!(read(coding, &longer, 1 << 20).0, refused, "{coding:?}");
        assert_eq!(read(coding, TEXT, 1 << 20).0, refused, "{coding:?}");
        let longer = [whole.as_slice(), &[0; 9_000]].concat();
        assert_eq!(read(coding, &longer, 1 << 20).0, refused, "{coding:?}");
        // Brotli has no checksum: a change may decode to another text.
        if coding != Coding::Brotli {
            let mut changed = whole.clone();
            let last = changed.len() - 1;
            changed[last] ^= 1;
            assert_eq!(read(coding, &changed, 1 << 20).0, refused, "{coding:?}");
        }
    }
}

#[test]
fn a_bomb_ends_at_the_limit_and_what_it_holds_is_reserved_first() {
    const LIMIT: usize = 1 << 20;
    let blanks = vec![b' '; 64 << 20];
    let zstd = compress_to_vec(blanks.as_slice(), CompressionLevel::Fastest);
    for (coding, wire, most) in [
        (Coding::Gzip, gzip(&blanks), 4 * LIMIT),
        (Coding::Deflate, deflate(&blanks), 4 * LIMIT),
        (
            Coding::Brotli,
            hex::decode(BROTLI_BOMB).unwrap(),
            14 * LIMIT,
        ),
        (Coding::Zstd, zstd, 21 * LIMIT),
    ] {
        assert!(wire.len() < LIMIT, "{coding:?}");
        let (body, reserved) = read(coding, &wire, LIMIT);
        assert_eq!(
            body.unwrap_err(),
            format!("the body is larger than {LIMIT} bytes")
        );
        assert!(
            reserved <= most && reserved >= LIMIT,
            "{coding:?} {reserved}"
        );
        // Where others hold the budget, it is not even begun.
        let budget = Arc::new(Budget::default());
        let mut other = budget.open_alone(usize::MAX);
        other.cover(LIMIT).unwrap();
        let refused = decompress(coding, &wire, LIMIT, &mut budget.open_alone(LIMIT));
        assert!(matches!(refused, Err(Refusal::Overloaded)), "{coding:?}");
    }
}

#[test]
fn a_brotli_window_is_read_from_the_first_byte() {
    // What Node.js 20 writes for each `lgwin`.
    for (bits, first) in [(10, 0xa1), (11, 0xb1), (15, 0xf1), (16, 0x42), (17, 0x81)] {
        assert_eq!(brotli_window(first), 1 << bits);
    }
    for (bits, first) in [(18, 0x13), (22, 0x1b), (24, 0x1f), (17, 0x01)] {
        assert_eq!(brotli_window(first), 1 << bits);
    }
}

#[test]
fn a_window_beyond_the_bound_is_refused_before_it_is_allocated() {
    // Windows of 16 MiB and 1 TiB, no size of the content.
    for descriptor in ["70", "f0"] {
        let wire = hex::decode(format!("28b52ffd00{descriptor}010000")).unwrap();
        let (body, reserved) = read(Coding::Zstd, &wire, 1 << 20);
        assert_eq!(body.unwrap_err(), "the body is larger than 1048576 bytes");
        assert_eq!(reserved, 0);
    }
}
