//! Is somebody keeping us from printing? Whoever does not read what we print must not keep the process from ending.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A write that takes so long takes for ever.
const STUCK: Duration = Duration::from_secs(2);

static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// [`Out`](super::Out) writes through this. Whoever writes past it does so on a thread that nobody waits for at the end.
pub(super) fn counted<T>(write: impl FnOnce() -> T) -> T {
    BEGUN.fetch_add(1, Ordering::SeqCst);
    let result = write();
    ENDED.fetch_add(1, Ordering::SeqCst);
    result
}

/// Returns once a write is under way that does not end.
pub(crate) async fn stuck() {
    loop {
        let ended = ENDED.load(Ordering::SeqCst);
        let under_way = BEGUN.load(Ordering::SeqCst) > ended;
        tokio::time::sleep(STUCK).await;
        if under_way && ENDED.load(Ordering::SeqCst) == ended {
            return;
        }
    }
}
