//! The hashes of files that did not change, kept across processes: sharing a folder again hashes nothing.
//!
//! One file in the user's cache folder holds, by device and inode, a file's identity and its hash. It is open only while
//! hashes are looked up or stored in a batch, so that any number of processes can use it. It is a cache: if it is busy for
//! long, files are hashed; if it is damaged, or grows beyond bounds, it starts anew.
//!
//! A value is: size `u64`, mtime and ctime `i64` in nanoseconds, id, the piece table's values (32 bytes each; none for a
//! content of one chunk), and the first 8 bytes of the BLAKE3 hash of all of that; integers little-endian.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use potluck_core::content::{Geometry, PieceTable};
use potluck_core::ids::{ChainingValue, ContentId, ContentKey};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTableMetadata, TableDefinition, TableError};

use crate::hashing::{HashCache, Hashed};
use crate::store::FileIdentity;

const TABLE: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("hashes");
/// Files remembered; beyond that the cache starts anew.
const FILES_MAX: u64 = 2_000_000;
/// Hashes are stored when there are so many of them, or after so long: what a killed process loses.
const BATCH_FILES: usize = 20_000;
const BATCH_TIME: Duration = Duration::from_secs(5);
/// How long to wait for another process that has the cache open, and how often to try.
const BUSY_MAX: Duration = Duration::from_millis(500);
const BUSY_STEP: Duration = Duration::from_millis(5);
const CHECKSUM_BYTES: usize = 8;

/// The cache as one round of hashing uses it: what was asked for is looked up at the start, what is new is stored in
/// batches and at the end (when this is dropped).
#[derive(Debug)]
pub struct CacheFile {
    path: PathBuf,
    known: HashMap<FileIdentity, Hashed>,
    new: Mutex<Batch>,
}

#[derive(Debug)]
struct Batch {
    hashed: Vec<Hashed>,
    since: Instant,
}

/// Where the cache of this user lies: below `XDG_CACHE_HOME`, else below `.cache` in the home folder. `None`: neither is
/// known.
#[must_use]
pub fn default_path() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = given.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    Some(caches.join("potluck").join("hashes.redb"))
}

impl CacheFile {
    /// Looks these files up in the cache at `path`, which is created when the first hash is stored. Nothing that is wrong
    /// with it is an error: then no file is known.
    #[must_use]
    pub fn look_up(path: PathBuf, files: &[FileIdentity]) -> Self {
        let known = if path.exists() { with_database(&path, |database| read(database, files)) } else { None };
        let new = Mutex::new(Batch { hashed: Vec::new(), since: Instant::now() });
        Self { path, known: known.unwrap_or_default(), new }
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, hashed: &[Hashed]) {
        if !hashed.is_empty() {
            with_database(&self.path, |database| write(database, hashed));
        }
    }
}

impl HashCache for CacheFile {
    fn get(&self, identity: &FileIdentity) -> Option<Hashed> {
        self.known.get(identity).cloned()
    }

    fn put(&self, hashed: &Hashed) {
        let full = {
            let mut batch = self.batch();
            batch.hashed.push(hashed.clone());
            if batch.hashed.len() < BATCH_FILES && batch.since.elapsed() < BATCH_TIME {
                return;
            }
            batch.since = Instant::now();
            std::mem::take(&mut batch.hashed)
        };
        self.store(&full);
    }
}

impl Drop for CacheFile {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.batch().hashed);
        self.store(&rest);
    }
}

/// Why the cache is not used this time.
enum Trouble {
    /// Another process has it open.
    Busy,
    /// Its bytes are not right, or it has grown too large. It starts anew.
    Unusable(String),
    /// The disk, or the rights.
    Elsewhere(String),
}

/// Works with the database, and starts it anew if that shows it to be damaged. `None`: it cannot be used this time.
fn with_database<T>(path: &Path, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Option<T> {
    for _ in 0..2 {
        // A damaged file should be told by an error; if it is by a panic, that is the cache's affair as well.
        let attempt = || -> Result<T, Trouble> { work(&open(path)?).map_err(Trouble::from) };
        let panicked = |_| Err(Trouble::Unusable("what it holds cannot be read".to_owned()));
        match caught(attempt).unwrap_or_else(panicked) {
            Ok(done) => return Some(done),
            Err(Trouble::Busy) => {
                tracing::info!("another process has the hash cache open; hashing without it");
                return None;
            }
            Err(Trouble::Elsewhere(error)) => {
                tracing::info!(%error, "the hash cache cannot be used");
                return None;
            }
            Err(Trouble::Unusable(error)) => {
                tracing::warn!(%error, "the hash cache starts anew");
                if let Err(error) = fs::remove_file(path) {
                    tracing::info!(%error, "the hash cache cannot be removed");
                    return None;
                }
            }
        }
    }
    None
}

thread_local! {
    /// This thread's panics are the cache's affair, and no text of them is anybody's.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic, without its text on stderr.
fn caught<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    done
}

fn open(path: &Path) -> Result<Database, Trouble> {
    let elsewhere = |error: std::io::Error| Trouble::Elsewhere(error.to_string());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(elsewhere)?;
    }
    let begun = Instant::now();
    loop {
        match Database::create(path) {
            Ok(database) => return Ok(database),
            Err(DatabaseError::DatabaseAlreadyOpen) if begun.elapsed() < BUSY_MAX => thread::sleep(BUSY_STEP),
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(Trouble::Busy),
            Err(error) => return Err(redb::Error::from(error).into()),
        }
    }
}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let damaged = |kind| matches!(kind, Kind::InvalidData | Kind::UnexpectedEof);
        match matches!(&error, redb::Error::PreviousIo)
            || matches!(&error, redb::Error::Io(io) if !damaged(io.kind()))
        {
            true => Self::Elsewhere(error.to_string()),
            false => Self::Unusable(error.to_string()),
        }
    }
}

fn read(database: &Database, files: &[FileIdentity]) -> Result<HashMap<FileIdentity, Hashed>, redb::Error> {
    let reading = database.begin_read()?;
    let table = match reading.open_table(TABLE) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(HashMap::new()),
        table => table?,
    };
    let mut known = HashMap::new();
    for identity in files {
        if let Some(value) = table.get((identity.device, identity.inode))?
            && let Some(hashed) = decode(identity, value.value())
        {
            known.insert(*identity, hashed);
        }
    }
    Ok(known)
}

fn write(database: &Database, hashed: &[Hashed]) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    {
        let mut table = writing.open_table(TABLE)?;
        for hashed in hashed {
            let FileIdentity { device, inode, .. } = hashed.identity;
            table.insert((device, inode), &*encode(hashed))?;
        }
        if table.len()? > FILES_MAX {
            return Err(redb::Error::Corrupted("more files than are remembered".to_owned()));
        }
    }
    Ok(writing.commit()?)
}

fn encode(hashed: &Hashed) -> Vec<u8> {
    let Hashed { key, table, identity } = hashed;
    let mut out = Vec::new();
    out.extend(identity.size.to_le_bytes());
    out.extend(identity.mtime_ns.to_le_bytes());
    out.extend(identity.ctime_ns.to_le_bytes());
    out.extend(key.id.0);
    let values = table.as_ref().map_or(&[][..], |table| table.values());
    out.extend(values.iter().flat_map(|value| value.0));
    let checksum = blake3::hash(&out);
    out.extend(&checksum.as_bytes()[..CHECKSUM_BYTES]);
    out
}

/// `None`: the value is of another state of the file, or damaged.
fn decode(identity: &FileIdentity, value: &[u8]) -> Option<Hashed> {
    let (body, checksum) = value.split_at_checked(value.len().checked_sub(CHECKSUM_BYTES)?)?;
    if blake3::hash(body).as_bytes()[..CHECKSUM_BYTES] != *checksum {
        return None;
    }
    let (size, rest) = body.split_first_chunk::<8>()?;
    let (mtime_ns, rest) = rest.split_first_chunk::<8>()?;
    let (ctime_ns, rest) = rest.split_first_chunk::<8>()?;
    let (id, rest) = rest.split_first_chunk::<32>()?;
    let (size, mtime_ns, ctime_ns) =
        (u64::from_le_bytes(*size), i64::from_le_bytes(*mtime_ns), i64::from_le_bytes(*ctime_ns));
    if (size, mtime_ns, ctime_ns) != (identity.size, identity.mtime_ns, identity.ctime_ns) {
        return None;
    }
    let key = ContentKey { id: ContentId(*id), length: size };
    let (values, after) = rest.as_chunks::<32>();
    let table = match values {
        _ if !after.is_empty() => return None,
        [] if Geometry::new(size)?.is_single_chunk() => None,
        values => {
            let values = values.iter().map(|value| ChainingValue(*value)).collect();
            Some(Arc::new(PieceTable::new(key, values).ok()?))
        }
    };
    Some(Hashed { key, table, identity: *identity })
}

#[cfg(test)]
mod tests;
