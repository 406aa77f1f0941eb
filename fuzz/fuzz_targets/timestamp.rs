//! See `trunkline_ingester::fuzzing::timestamp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_ingester::fuzzing::timestamp(data));
