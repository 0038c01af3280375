//! Configuration files: read or refused in one line, never slowly.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = offhook::config::parse("fuzz.yaml", text) {
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
});
