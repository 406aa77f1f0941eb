//! See `trunkline_ingester::fuzzing::rows`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_ingester::fuzzing::rows(data));
