//! Checks what is on the disk against what it should be, with as many threads as there is work for.

use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use potluck_core::content::{ContentHasher, Geometry, PieceHasher, PieceSet, PieceTable};
use potluck_core::ids::{ChainingValue, ContentKey, PieceIndex};

use super::disk::DiskFile;

/// Bytes read at a time: small enough to be hashed while it is in the cache.
const READ_BYTES: usize = 256 * 1024;
/// Pieces of a part file that cannot be read and are fetched again: some bad sectors. More are a disk that fails as a whole.
const UNREADABLE_MAX: u32 = 16;

/// Threads, and somebody who is told of the progress and may stop it.
#[derive(Clone, Copy)]
pub(crate) struct Checking<'a> {
    /// Threads to spread over; 1 works on the caller's.
    pub(crate) threads: usize,
    /// Told of bytes that are to be done, before they are begun.
    pub(crate) expect: &'a (dyn Fn(u64) + Sync),
    /// Told of bytes done since it was last told.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
    /// Set from outside to stop; what was asked for then fails with `Interrupted`.
    pub(crate) cancelled: &'a AtomicBool,
}

/// What a content's pieces must be.
pub(crate) enum Expected<'a> {
    /// The content is one chunk: its hash is its id.
    Root(ChainingValue),
    Table(&'a PieceTable),
}

impl<'a> Expected<'a> {
    /// `None`: the content has more than one piece, and no table was given.
    pub(crate) fn new(geometry: &Geometry, key: ContentKey, table: Option<&'a PieceTable>) -> Option<Self> {
        match table {
            _ if geometry.is_single_chunk() => Some(Self::Root(ChainingValue(key.id.0))),
            Some(table) => Some(Self::Table(table)),
            None => None,
        }
    }

    fn is(&self, piece: PieceIndex, value: ChainingValue) -> bool {
        match self {
            Self::Root(root) => piece == PieceIndex(0) && *root == value,
            Self::Table(table) => table.value(piece) == Some(value),
        }
    }
}

/// The pieces of a part file that are right. Holes are not read; the progress counts them as done. What cannot be read is not
/// right: it is fetched and written again.
pub(crate) fn right_pieces(
    file: &impl DiskFile,
    geometry: &Geometry,
    expected: &Expected<'_>,
    how: Checking<'_>,
) -> io::Result<PieceSet> {
    let mut right = PieceSet::empty(geometry.pieces());
    (how.expect)(geometry.length());
    let candidates = pieces_with_data(file, geometry)?;
    let to_read: u64 = candidates.iter().filter_map(|piece| geometry.piece_bytes(*piece)).sum();
    (how.progress)(geometry.length() - to_read);
    let unreadable = AtomicU32::new(0);
    let pass_over = |error: io::Error| {
        if unreadable.fetch_add(1, Ordering::Relaxed) == UNREADABLE_MAX {
            return Err(error);
        }
        tracing::warn!(%error, "a piece of a part file cannot be read, and is fetched again");
        Ok(())
    };
    hash_pieces(file, geometry, &candidates, how, &pass_over, &mut |piece, value| {
        if expected.is(piece, value) {
            right.insert(piece);
        }
    })?;
    Ok(right)
}

/// What a file's bytes are, whatever they should be. `Ok(None)`: it has another length by now, or no content is so long.
pub(crate) fn identify(
    file: &impl DiskFile,
    length: u64,
    how: Checking<'_>,
) -> io::Result<Option<(ContentKey, Option<PieceTable>)>> {
    let Some(geometry) = Geometry::new(length) else { return Ok(None) };
    (how.expect)(length);
    let pieces: Vec<PieceIndex> = (0..geometry.pieces()).map(PieceIndex).collect();
    let mut hasher = ContentHasher::new(geometry);
    hash_pieces(file, &geometry, &pieces, how, &Err, &mut |piece, value| {
        hasher.set(piece, value);
    })?;
    Ok(hasher.finish())
}

/// Pieces that are not all hole, as far as the file goes.
fn pieces_with_data(file: &impl DiskFile, geometry: &Geometry) -> io::Result<Vec<PieceIndex>> {
    let mut pieces = Vec::new();
    let mut offset = 0;
    while let Some(Range { start, end }) = file.next_data(offset)? {
        let last = end.min(geometry.length()).checked_sub(1);
        let (Some(first), Some(last)) = (geometry.locate(start), last.and_then(|last| geometry.locate(last)))
        else {
            break;
        };
        let next = pieces.last().map_or(0, |PieceIndex(last)| last + 1);
        pieces.extend((first.piece.0.max(next)..=last.piece.0).map(PieceIndex));
        offset = end;
    }
    Ok(pieces)
}

/// Hashes pieces; `each` is told of those that the file has all bytes of, in any order. Whether to go on without one that
/// cannot be read is up to `pass_over`.
fn hash_pieces(
    file: &impl DiskFile,
    geometry: &Geometry,
    pieces: &[PieceIndex],
    how: Checking<'_>,
    pass_over: &(dyn Fn(io::Error) -> io::Result<()> + Sync),
    each: &mut (dyn FnMut(PieceIndex, ChainingValue) + Send),
) -> io::Result<()> {
    let next = AtomicU32::new(0);
    let failed = AtomicBool::new(false);
    let each = Mutex::new(each);
    let work = || -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES.min(usize::try_from(geometry.length()).unwrap_or(READ_BYTES))];
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if how.cancelled.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let value = hash_piece(file, geometry, *piece, &mut buffer)
                .or_else(|error| pass_over(error).map(|()| None))
                .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            if let Some(value) = value {
                each.lock().unwrap_or_else(PoisonError::into_inner)(*piece, value);
            }
            (how.progress)(geometry.piece_bytes(*piece).unwrap_or(0));
        }
        Ok(())
    };
    spread(how.threads.min(pieces.len()), work)
}

/// Does the same work on so many threads, the caller's among them. Fails with the first reason that is not merely having
/// been interrupted for another's.
pub(crate) fn spread(threads: usize, work: impl Fn() -> io::Result<()> + Sync) -> io::Result<()> {
    if threads <= 1 {
        return work();
    }
    thread::scope(|scope| {
        // With fewer threads than wanted it only takes longer.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, &work).ok();
        let helpers: Vec<_> = (1..threads).map_while(spawn).collect();
        let mut result = work();
        for helper in helpers {
            let helped = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if helped.is_err() && result.as_ref().err().is_none_or(is_interrupted) {
                result = helped;
            }
        }
        result
    })
}

fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// One piece's value; `None` if the file ends within it.
fn hash_piece(
    file: &impl DiskFile,
    geometry: &Geometry,
    piece: PieceIndex,
    buffer: &mut [u8],
) -> io::Result<Option<ChainingValue>> {
    let (Some(offset), Some(mut hasher)) = (geometry.piece_offset(piece), PieceHasher::new(geometry, piece))
    else {
        return Ok(None);
    };
    let mut at = offset;
    while hasher.left() > 0 {
        let want = buffer.len().min(usize::try_from(hasher.left()).unwrap_or(usize::MAX));
        let read = file.read_full(at, &mut buffer[..want])?;
        if read < want {
            return Ok(None);
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
    Ok(hasher.finish())
}

/// As many threads as there are cores.
pub(crate) fn all_cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}
