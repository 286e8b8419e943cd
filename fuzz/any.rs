//! Every target under libFuzzer: `POTLUCK_FUZZ=listing cargo +nightly fuzz run any fuzz/corpus/listing`.
#![no_main]

#[path = "../core/tests/support/script.rs"]
mod script;
#[path = "targets.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("POTLUCK_FUZZ").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("POTLUCK_FUZZ names a target: a folder of fuzz/corpus")).1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
