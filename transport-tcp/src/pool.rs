//! Chunk buffers within a byte budget: a peer's memory is what this pool may hold, whatever the number of links.
//!
//! A reader takes a buffer before it reads a chunk from its socket. When none is free it waits, and so does not read:
//! that is the backpressure. Buffers are allocated when first needed, reused without being zeroed, and served in the
//! order of asking.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use potluck_core::limits::CHUNK_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a buffer: one chunk.
const BUFFER_BYTES: usize = CHUNK_BYTES as usize;

/// A bounded set of chunk-sized buffers. Cheap to clone; all clones share the budget.
#[derive(Clone, Debug)]
pub struct BufferPool(Arc<Shared>);

struct Shared {
    free: Mutex<Vec<Box<[u8]>>>,
    /// One permit per buffer that may be out.
    permits: Arc<Semaphore>,
    count: usize,
}

/// A buffer of [`CHUNK_BYTES`] bytes, with whatever was in it last. Goes back to its pool when dropped.
pub struct Buffer {
    bytes: Box<[u8]>,
    shared: Arc<Shared>,
    /// Released after `drop` has put the bytes back.
    _permit: OwnedSemaphorePermit,
}

impl BufferPool {
    /// A pool of as many buffers as fit into `bytes`, at least one.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let count =
            usize::try_from(bytes / CHUNK_BYTES).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared { free: Mutex::default(), permits: Arc::new(Semaphore::new(count)), count }))
    }

    /// Number of buffers that the budget allows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count
    }

    /// Number of buffers that could be taken at once.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.permits.available_permits()
    }

    /// Takes a buffer; waits while all are out. Cancel safe: a dropped future took nothing.
    pub async fn take(&self) -> Buffer {
        match Arc::clone(&self.0.permits).acquire_owned().await {
            Ok(permit) => self.buffer(permit),
            Err(_) => unreachable!("the pool's semaphore is never closed"),
        }
    }

    /// Takes a buffer if one is free and nobody waits for it.
    #[must_use]
    pub fn try_take(&self) -> Option<Buffer> {
        Arc::clone(&self.0.permits).try_acquire_owned().ok().map(|permit| self.buffer(permit))
    }

    fn buffer(&self, permit: OwnedSemaphorePermit) -> Buffer {
        let used = self.0.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = used.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Buffer { bytes, shared: Arc::clone(&self.0), _permit: permit }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let available = self.permits.available_permits();
        f.debug_struct("BufferPool").field("count", &self.count).field("available", &available).finish()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn the_budget_is_the_number_of_buffers() {
        assert_eq!(BufferPool::new(0).count(), 1);
        assert_eq!(BufferPool::new(CHUNK_BYTES * 3 + 1).count(), 3);
    }

    #[test]
    fn a_taken_buffer_is_reused_as_it_was() {
        let pool = BufferPool::new(CHUNK_BYTES);
        let mut buffer = pool.try_take().unwrap();
        assert_eq!(buffer.len(), BUFFER_BYTES);
        buffer[7] = 9;
        assert!(pool.try_take().is_none());
        drop(buffer);
        assert_eq!(pool.available(), 1);
        assert_eq!(pool.try_take().unwrap()[7], 9);
    }

    #[test]
    fn who_waits_gets_the_next_one() {
        let pool = BufferPool::new(CHUNK_BYTES);
        let first = pool.try_take().unwrap();
        let mut waiting = pin!(pool.take());
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(pool.try_take().is_none(), "it belongs to the one that waits");
        assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Ready(_)));
        let mut given_up = Box::pin(pool.take());
        let held = pool.try_take();
        let _ = given_up.as_mut().poll(&mut context);
        drop((given_up, held));
        assert_eq!(pool.available(), 1);
    }
}
