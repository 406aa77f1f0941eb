//! Decompresses a body within its bounds.
//!
//! Pure but for the reservation. Invariants: no more than the limit of a body comes out, whatever
//! goes in. What a decoder holds is reserved before it is allocated, as far as the format tells it.

use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::read::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::body::held;
use super::budget::Reservation;
use super::coding::Coding;
use super::refusal::Refusal;

/// Bytes that are decoded between two looks at the bounds.
const CHUNK: usize = 32 << 10;

/// Window and tables of DEFLATE.
const DEFLATE_STATE: usize = 64 << 10;

/// Huffman trees of a Brotli stream: 3 kinds of up to 256 trees of some 1,100 entries of 4 bytes,
/// which a stream of a few kB can ask for.
const BROTLI_TREES: usize = 4 << 20;

/// The largest window of a Zstandard body (RFC 9659 §3); bodies that say their size may name a
/// larger one, up to the limit of a body.
const ZSTD_WINDOW: usize = 8 << 20;

/// The largest block of a Zstandard frame (RFC 8878 §3.1.1.2.4).
const ZSTD_BLOCK: usize = 128 << 10;

/// Literals, sequences and tables of a Zstandard block.
const ZSTD_STATE: usize = 1 << 20;

/// What comes out of a decoder, and its bounds.
struct Output<'a> {
    bytes: Vec<u8>,
    limit: usize,
    /// Bytes of the compressed body, which are held meanwhile.
    wire: usize,
    reservation: &'a mut Reservation,
}

impl Output<'_> {
    /// Reserves room for another chunk, and for what the decoder itself holds.
    fn cover(&mut self, decoder: usize) -> Result<(), Refusal> {
        let next = self.bytes.len().saturating_add(CHUNK).min(self.limit);
        let all = held(next).saturating_add(self.wire).saturating_add(decoder);
        Ok(self.reservation.cover(all)?)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(Refusal::BodyTooLarge { limit: self.limit });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes all that a decoder gives, which itself holds `decoder` bytes.
    fn drain(&mut self, reader: &mut impl Read, decoder: usize) -> Result<(), Fault> {
        let mut chunk = [0; CHUNK];
        loop {
            self.cover(decoder)?;
            match reader.read(&mut chunk).map_err(|_| Fault::Corrupt)? {
                0 => return Ok(()),
                read => self.extend(chunk.get(..read).unwrap_or_default())?,
            }
        }
    }
}

/// Why a body does not decompress.
enum Fault {
    /// It is not what its coding says, or it ends early, or something follows its end.
    Corrupt,
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The body that `wire` is the coded form of, at most `limit` bytes. An empty body is empty in
/// every coding, since HTTP libraries name the coding before they know.
pub(super) fn decompress(
    coding: Coding,
    wire: &[u8],
    limit: usize,
    reservation: &mut Reservation,
) -> Result<Vec<u8>, Refusal> {
    let mut output = Output {
        bytes: Vec::new(),
        limit,
        wire: wire.len(),
        reservation,
    };
    if wire.is_empty() {
        return Ok(output.bytes);
    }
    let done = match coding {
        // The trailer of each member has its length and CRC.
        Coding::Gzip => output.drain(&mut MultiGzDecoder::new(wire), DEFLATE_STATE),
        Coding::Deflate => zlib(wire, &mut output),
        Coding::Brotli => brotli(wire, &mut output),
        Coding::Zstd => zstd(wire, &mut output),
    };
    match done {
        Ok(()) => Ok(output.bytes),
        Err(Fault::Refused(refusal)) => Err(refusal),
        Err(Fault::Corrupt) => Err(Refusal::NotDecompressible(coding.name())),
    }
}

/// Not with flate2's reader, which takes the end of its input for the end of the stream.
fn zlib(wire: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
    let mut decoder = Decompress::new(true);
    let mut chunk = [0; CHUNK];
    let mut rest = wire;
    loop {
        output.cover(DEFLATE_STATE)?;
        let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
        let status = decoder
            .decompress(rest, &mut chunk, FlushDecompress::None)
            .map_err(|_| Fault::Corrupt)?;
        let progress = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        let read = progress(decoder.total_in(), before_in);
        let written = progress(decoder.total_out(), before_out);
        rest = rest.get(read..).unwrap_or_default();
        output.extend(chunk.get(..written).unwrap_or_default())?;
        match status {
            Status::StreamEnd if rest.is_empty() => return Ok(()),
            Status::StreamEnd => return Err(Fault::Corrupt),
            _ if read == 0 && written == 0 => return Err(Fault::Corrupt),
            _ => {}
        }
    }
}

fn brotli(wire: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
    let window = brotli_window(wire.first().copied().unwrap_or_default());
    // Half as much again for a moment, while the window grows.
    let decoder = window + window / 2 + BROTLI_TREES;
    let mut reader = Decompressor::new(wire, 4 << 10);
    output.drain(&mut reader, decoder)?;
    // One more read fails when something follows the stream's end in the reader's own buffer.
    let is_at_end = matches!(reader.read(&mut [0]), Ok(0)) && reader.get_ref().is_empty();
    if is_at_end {
        Ok(())
    } else {
        Err(Fault::Corrupt)
    }
}

/// Bytes of the window that a Brotli stream's first byte names (RFC 7932 §9.1, WBITS).
fn brotli_window(first: u8) -> usize {
    let bits = match (first & 1, (first >> 1) & 7, (first >> 4) & 7) {
        (0, _, _) => 16,
        (_, 0, 0) => 17,
        (_, 0, high) => 8 + high,
        (_, low, _) => 17 + low,
    };
    1 << bits
}

/// Frames one after another, with skippable ones among them (RFC 8878 §3).
fn zstd(wire: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
    let largest = ZSTD_WINDOW.max(output.limit);
    let mut rest = wire;
    while !rest.is_empty() {
        // A new one for each: one that is used again allocates its window ahead.
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(largest as u64);
        match frame.init(&mut rest) {
            Ok(()) => zstd_frame(&mut frame, &mut rest, output)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                rest = rest.get(length..).ok_or(Fault::Corrupt)?;
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                let limit = output.limit;
                return Err(Refusal::BodyTooLarge { limit }.into());
            }
            Err(_) => return Err(Fault::Corrupt),
        }
    }
    Ok(())
}

fn zstd_frame(
    frame: &mut FrameDecoder,
    rest: &mut &[u8],
    output: &mut Output<'_>,
) -> Result<(), Fault> {
    // 0 where the frame does not say its size.
    if frame.content_size() > output.limit as u64 {
        let limit = output.limit;
        return Err(Refusal::BodyTooLarge { limit }.into());
    }
    let window = ZSTD_WINDOW.max(output.limit);
    while !frame.is_finished() {
        // The decoder keeps a window of what it has decoded, in a buffer that doubles.
        let decoded = (frame.blocks_decoded() + 1).saturating_mul(ZSTD_BLOCK);
        let buffered = decoded.min(window + ZSTD_BLOCK).saturating_mul(2);
        output.cover(buffered + ZSTD_STATE)?;
        frame
            .decode_blocks(&mut *rest, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|_| Fault::Corrupt)?;
        // What the window does not need any more; at the end of the frame, all of it.
        output.drain(frame, buffered + ZSTD_STATE)?;
    }
    let has_sum = frame.get_checksum_from_data();
    if has_sum.is_some() && has_sum != frame.get_calculated_checksum() {
        return Err(Fault::Corrupt);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
