//! See `trunkline_ingester::fuzzing::first_element`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_ingester::fuzzing::first_element(data));
