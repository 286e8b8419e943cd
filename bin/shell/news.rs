//! What changes in the shared folder, told soon; much at once in one line.
//!
//! Whoever copies a hundred files in wants to know that they are shared, not to read a hundred lines.

use std::time::{Duration, Instant};

use potluck_transport_tcp::Shared;

use crate::ui;

/// What changes is told together with what changed within this time before.
const QUIET: Duration = Duration::from_millis(200);
/// Nothing waits for longer than this to be told.
const LATEST: Duration = Duration::from_secs(1);
/// So many are named one by one.
const NAMED: usize = 5;

/// What was not told yet.
#[derive(Debug, Default)]
pub(super) struct News {
    offered: Vec<Shared>,
    gone: Vec<Shared>,
    /// When the first and the last of these came.
    since: Option<(Instant, Instant)>,
}

impl News {
    /// Others can fetch this now.
    pub(super) fn offered(&mut self, shared: Shared, now: Instant) {
        self.came(now);
        self.offered.push(shared);
    }

    /// This is in the folder no longer.
    pub(super) fn gone(&mut self, shared: Shared, now: Instant) {
        self.came(now);
        self.gone.push(shared);
    }

    fn came(&mut self, now: Instant) {
        let (first, _) = self.since.unwrap_or((now, now));
        self.since = Some((first, now));
    }

    /// The lines to be told by now, if it is time.
    pub(super) fn due(&mut self, now: Instant) -> Vec<String> {
        match self.since {
            Some((first, last)) if now >= last + QUIET || now >= first + LATEST => self.take(),
            _ => Vec::new(),
        }
    }

    fn take(&mut self) -> Vec<String> {
        let Self { offered, gone, .. } = std::mem::take(self);
        let mut lines = Vec::new();
        if gone.len() > NAMED {
            lines.push(format!("{} files and folders are gone, and shared no longer.", gone.len()));
        } else {
            let names = gone.iter().map(|shared| ui::name(&shared.name));
            lines.extend(names.map(|name| format!("{name} is gone, and shared no longer.")));
        }
        if offered.len() > NAMED {
            let bytes = offered.iter().map(|shared| shared.bytes).sum();
            lines.push(format!("Sharing {} more files and folders ({}).", offered.len(), ui::bytes(bytes)));
        } else {
            lines.extend(offered.iter().map(|shared| {
                let (name, bytes) = (ui::name(&shared.name), ui::bytes(shared.bytes));
                format!("Sharing {name} ({bytes}, id {}).", ui::short_id(shared.key.id))
            }));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use potluck_core::content::Kind;
    use potluck_core::ids::{ContentId, ContentKey};

    use super::*;

    fn shared(name: &str) -> Shared {
        let key = ContentKey { id: ContentId([1; 32]), length: 1024 };
        Shared { path: name.into(), key, kind: Kind::File, name: name.to_owned(), bytes: 1024, files: 1 }
    }

    #[test]
    fn a_few_are_named_and_many_are_counted() {
        let now = Instant::now();
        let mut news = News::default();
        assert!(news.due(now + LATEST).is_empty());
        news.offered(shared("f"), now);
        assert!(news.due(now).is_empty(), "more may come");
        let lines = news.due(now + QUIET);
        assert_eq!(lines, ["Sharing f (1.00 KiB, id 010101010101)."]);
        for i in 0..200 {
            news.offered(shared(&i.to_string()), now);
            news.gone(shared(&i.to_string()), now);
        }
        let lines = news.due(now + QUIET);
        assert_eq!(
            lines,
            [
                "200 files and folders are gone, and shared no longer.",
                "Sharing 200 more files and folders (200.00 KiB)."
            ]
        );
        assert!(news.due(now + LATEST).is_empty());
    }

    #[test]
    fn what_never_ends_is_told_meanwhile() {
        let (begun, mut news) = (Instant::now(), News::default());
        let told = (0..20).any(|step| {
            let now = begun + step * QUIET / 2;
            news.offered(shared("f"), now);
            !news.due(now).is_empty()
        });
        assert!(told);
    }
}
