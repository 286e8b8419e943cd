//! Real processes killed at random moments, over and over, until the download is complete. Nothing that was written may be
//! lost by a kill, and no wrong byte may ever stand under the final name.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::processes::{Net, b3sum, leftovers, number, sources};

/// How long a getter lives, in milliseconds: from before it has opened anything to some chunks.
const LIFE_MS: std::ops::Range<u64> = 10..220;

/// Kills a getter of `what` so many times, then lets one finish. `check` looks at what stands under the final name.
fn kill_chain(net: &Net, what: &str, total: u64, kills: u64, check: impl Fn()) {
    let mut had = 0;
    let mut random = 1_u64;
    for kill in 0..kills {
        let mut getter = net.get("g", what, &[]);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The random moment is what is tested: nothing is waited for.
        std::thread::sleep(Duration::from_millis(
            LIFE_MS.start + (random >> 33) % (LIFE_MS.end - LIFE_MS.start),
        ));
        getter.kill();
        let ran = getter.ran();
        check();
        let progress: Vec<u64> = ran.all("progress").map(|event| number(event, "bytes")).collect();
        assert!(ran.all("error").next().is_none(), "kill {kill}: {}\n{}", ran.stdout, ran.stderr);
        had = had.max(progress.last().copied().unwrap_or(0));
    }
    assert!(had > 0, "some lives were long enough");
    let ran = net.get("g", what, &[]).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    check();
    let fetched: u64 = sources(ran.one("done")).iter().map(|(_, bytes)| bytes).sum();
    assert!(fetched <= total - had, "{fetched} fetched, {had} of {total} had been verified");
}

#[test]
fn a_file_survives_two_hundred_kills() {
    let net = Net::new();
    let total = 24 << 20;
    let path = net.file("src/f", total, 1);
    let (_holder, id) = net.share("h", &path, &["--limit-up", "2M"]);
    let target = net.got("g", "f");
    kill_chain(&net, &id, total, 200, || assert!(!target.exists() || b3sum(&target) == id));
    assert_eq!(b3sum(&target), id);
    assert_eq!(leftovers(&net.got("g", "")), Vec::<String>::new());
}

#[test]
fn a_folder_survives_many_kills() {
    let net = Net::new();
    let mut total = 6 << 20;
    net.file("src/tree/large", total, 1);
    for n in 0..200 {
        net.file(&format!("src/tree/{}/{n}", n % 7), n * 10, n);
        total += n * 10;
    }
    let path = net.path("src/tree");
    let (_holder, id) = net.share("h", &path, &["--limit-up", "1M"]);
    let target = net.got("g", "tree");
    let hash = |path: &Path| net.run(&["hash", path.to_str().unwrap()]).stdout;
    kill_chain(&net, &id, total, 50, || assert!(!target.exists() || hash(&target).contains(&id)));
    assert!(hash(&target).contains(&id));
    assert_eq!(leftovers(&net.got("g", "")), Vec::<String>::new());
    assert!(fs::read(target.join("1/1")).is_ok());
}
