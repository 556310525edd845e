#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellwether::plugin::fuzz::expressions(bytes));
