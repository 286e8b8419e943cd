//! `potluck hash`: ids, as `b3sum` prints them. A folder's id is that of its listing.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use potluck_core::content::Kind;
use potluck_core::ids::{ContentId, ContentKey};
use potluck_transport_tcp::hashing::{Hashing, hash_file, hash_folder};
use potluck_transport_tcp::scan::{Found, scan};

use super::{Context, STDIN, stdin_told};
use crate::args::HashArgs;
use crate::exit::{Code, Failure};
use crate::ui::{self, HashingBar, Out};

pub(crate) async fn run(args: HashArgs, ctx: &Context) -> anyhow::Result<()> {
    let mut failed = 0;
    for path in args.paths {
        let hashed = {
            let (path, out) = (path.clone(), ctx.out.clone());
            tokio::task::spawn_blocking(move || match path.as_os_str() == STDIN {
                true => Ok((hash_stdin(&out)?, Kind::File)),
                false => hash(&path, &HashingBar::new(out.bars(), &path.to_string_lossy())),
            })
            .await?
        };
        match hashed {
            Ok((key, kind)) => {
                let path = path.to_string_lossy();
                ctx.out.event(&ui::Event::Hash { id: key.id, kind, path: &path, bytes: key.length })?;
                ctx.out.line(line(&key.id.to_string(), &path))?;
            }
            // Like b3sum, the others are hashed all the same.
            Err(error) => {
                failed += 1;
                ctx.out.complain_of(ui::name(&format!("{error:#}")));
            }
        }
    }
    if failed > 0 {
        return Err(Failure::new(Code::Failed, format!("{failed} of the paths could not be hashed")).into());
    }
    Ok(())
}

fn hash(path: &Path, bar: &HashingBar) -> anyhow::Result<(ContentKey, Kind)> {
    let plan = scan(path)?;
    let cancelled = AtomicBool::new(false);
    let (done, total) = (AtomicU64::new(0), plan.bytes());
    let progress = |bytes| bar.show(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let how = Hashing { threads, progress: &progress, cancelled: &cancelled, cache: None };
    match &plan.found {
        Found::File(_) => Ok((hash_file(&plan.root, how)?.key, Kind::File)),
        Found::Folder(folder) => {
            let hashed = hash_folder(&plan.root, folder, how, &|_, _| ())?;
            Ok((hashed.key, Kind::Folder))
        }
    }
}

fn hash_stdin(out: &Out) -> anyhow::Result<ContentKey> {
    let mut hasher = blake3::Hasher::new();
    let (_bar, mut input) = stdin_told(out);
    io::copy(&mut input, &mut hasher).context("cannot read standard input")?;
    Ok(ContentKey { id: ContentId(hasher.finalize().into()), length: hasher.count() })
}

/// A line of b3sum's: a path with a backslash or a line break is escaped, and a leading backslash says so.
fn line(id: &str, path: &str) -> String {
    if path.contains(['\\', '\n', '\r']) {
        let escaped = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        return format!("\\{id}  {escaped}");
    }
    format!("{id}  {path}")
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn lines_are_those_of_b3sum() {
        assert_eq!(line("00", "a b"), "00  a b");
        assert_eq!(line("00", "a\nb"), "\\00  a\\nb");
        assert_eq!(line("00", "a\\b"), "\\00  a\\\\b");
    }
}
