//! Machines under arbitrary byte scripts: whatever comes, in whatever order, at whatever time, their invariants hold.
#![expect(clippy::expect_used, reason = "what is missing fails the test")]

#[path = "support/script.rs"]
mod script;

use proptest::prelude::*;

/// Scripts of each machine; `PROPTEST_CASES` asks for more.
const CASES: u32 = 300;

/// Bytes of a script, shown as hex.
#[derive(Clone)]
struct Script(Vec<u8>);

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn scripts() -> impl Strategy<Value = Script> {
    prop::collection::vec(any::<u8>(), 0..3000).prop_map(Script)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn the_peer_machine_survives_any_script(script in scripts()) {
        script::peer_script(&script.0);
    }

    #[test]
    fn the_tracker_machine_survives_any_script(script in scripts()) {
        script::tracker_script(&script.0);
    }
}
