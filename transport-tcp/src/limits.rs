//! The driver's bounds in one place, with their units and reasons. (The protocol's are in [`potluck_core::limits`].)

use std::time::Duration;

use potluck_core::limits::{
    CHUNK_BYTES, CONTROL_FRAME_BYTES_MAX, LISTING_BYTES_MAX, REQUESTED_CHUNKS_PER_LINK,
};
use potluck_core::wire::frame::Header;

/// Bytes that a socket may hold unsent: what a cancel comes too late for. With nine hosts at 25 Mbit/s a swarm took 1.84
/// times the fluid bound with 256 KiB and 1.72 with 64; less gained nothing more, and costs a fast sender wake-ups.
pub(crate) const UNSENT_BYTES: u32 = 64 * 1024;
/// Connections that the kernel holds ready for a busy listener.
pub(crate) const BACKLOG: i32 = 1024;
/// Connections whose handshake is not through, at one listener; one more takes the place of an older one.
pub(crate) const HANDSHAKES_MAX: usize = 1024;
/// Connections whose handshake is not through, from one address; more are closed. A lab behind one address fits.
pub(crate) const HANDSHAKES_PER_ADDRESS: usize = 128;
/// Established connections that wait for the actor.
pub(crate) const ESTABLISHED_WAITING: usize = 64;
/// Time after which a listener that ran out of descriptors tries again.
pub(crate) const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// That it runs out is told this often: whoever opens and closes connections makes it so again and again.
pub(crate) const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Bytes of a frame that must come within [`SILENT_LINK`](potluck_core::limits::SILENT_LINK): half a frame holds a buffer
/// for four minutes at most.
pub(crate) const PROGRESS_BYTES: usize = 16 * 1024;
/// A chunk that is not whole yet is told of this often.
pub(crate) const RECEIVING_EVERY: Duration = Duration::from_millis(250);
/// Unexpected chunks that a link may send beyond those that were cancelled, before it is closed.
pub(crate) const UNASKED_CHUNKS_MAX: usize = REQUESTED_CHUNKS_PER_LINK;
/// A chunk whose earlier arrival is being written looks again after this long.
pub(crate) const BUSY_CHUNK: Duration = Duration::from_millis(1);

/// Chunks of at most so many bytes are read, written and sent together: what a hand-over between threads costs, a core
/// copies and hashes in the same time.
pub(crate) const SMALL_CHUNK_BYTES: u32 = 32 * 1024;
/// Bytes of small chunks that are sent together: a cancel comes too late for them.
pub(crate) const SENT_TOGETHER_BYTES: u32 = UNSENT_BYTES;

/// Bytes of control messages that wait on one link: a burst of the largest of them. What does not fit closes the link.
pub(crate) const CONTROL_BYTES_MAX: usize = 8 * CONTROL_FRAME_BYTES_MAX as usize;
/// Bytes of control messages that wait on all links together; beyond that, what each may have waiting is the next.
pub(crate) const CONTROL_BYTES_IN_ALL: usize = 64 * 1024 * 1024;
/// Bytes that may wait on a link when another message comes, while much waits on all links. Whoever reads has less.
pub(crate) const CONTROL_BYTES_SCARCE: usize = 16 * 1024;
/// Bytes of large control messages that come on all links together; what has no room waits in its socket. Many times what
/// comes at once where a thousand peers register what they have.
pub(crate) const BODY_BYTES_IN_ALL: usize = 64 * 1024 * 1024;
/// The same on all links from one address (of IPv6: from one network of 64 bits).
pub(crate) const BODY_BYTES_PER_ADDRESS: usize = BODY_BYTES_IN_ALL / 4;
/// Bytes of chunk frames that a link takes ahead of its socket at first: the least with which any chunk can be sent.
pub(crate) const CREDIT_BYTES: u32 = CHUNK_BYTES as u32 + Header::BYTES as u32;
/// Bytes of chunk frames that a fast link takes ahead of its socket: what is sent while the actor thinks.
pub(crate) const CREDIT_BYTES_MAX: u32 = 4 * CREDIT_BYTES;
/// A link is fast if its socket takes a chunk in this time. A slow one gets no chunks ahead: until the socket has sent what
/// it holds there is time to choose the next chunk, and what is chosen late is chosen well.
pub(crate) const FAST_CHUNK: Duration = Duration::from_millis(10);
/// A link that is closed has this long to send what is queued.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// After that it has this long to see the far end close.
pub(crate) const LINGER_READING: Duration = Duration::from_millis(250);
/// Bytes of buffers for chunks that have to be read to be sent.
pub(crate) const COPYING_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Threads that wait for the disk on behalf of downloads and uploads.
pub(crate) const STORAGE_THREADS: usize = 4;

/// Messages from all links that wait for the actor; then links are not read on.
pub(crate) const INBOUND_WAITING: usize = 256;
/// Commands that wait for the actor; then callers wait.
pub(crate) const COMMANDS_WAITING: usize = 64;
/// Inputs of one sort that the actor takes before it looks at the next sort.
pub(crate) const INPUTS_PER_TURN: usize = 256;
/// A machine whose deadline does not move is ticked at most this often.
pub(crate) const STUCK_DEADLINE: Duration = Duration::from_millis(10);

/// Bytes of a file that is hashed by itself, from which on its hash is remembered: a transaction in the cache takes some
/// 20 ms, in which a core hashes more than this.
pub(crate) const HASH_CACHED_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Events that wait for a slow reader before those that are superseded are dropped; of each sort of passing interest also
/// the most, the oldest are then dropped and counted.
pub(crate) const EVENTS_WAITING: usize = 4096;
/// A peer that leaves waits this long for its links to end in order.
pub(crate) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// When all links end together they have this long: enough for what is queued to go out, and not long enough for a person
/// to wait because a far end is silent.
pub(crate) const GOODBYE: Duration = Duration::from_millis(400);
/// A recording is written out at least this often.
pub(crate) const RECORD_FLUSH: Duration = Duration::from_secs(1);
/// Bytes of a recording's first line: a configuration takes some hundred.
pub(crate) const RECORDED_HEAD_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of any other line of a recording: the largest listing of a folder, each byte of which may be written as four.
pub(crate) const RECORDED_INPUT_BYTES_MAX: u64 = 4 * LISTING_BYTES_MAX as u64 + RECORDED_HEAD_BYTES_MAX;
