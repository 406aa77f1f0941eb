//! See `trunkline_ingester::fuzzing::form`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_ingester::fuzzing::form(data));
