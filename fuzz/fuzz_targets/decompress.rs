//! See `trunkline_ingester::fuzzing::decompress`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_ingester::fuzzing::decompress(data));
