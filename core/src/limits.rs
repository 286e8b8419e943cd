//! Every bound of the protocol in one place, with its unit and its reason. Reaching one is an outcome (busy, refused,
//! closed), never growth.

use std::time::Duration;

/// Bytes of a chunk: 256 BLAKE3 chunks, a whole subtree; large enough for few system calls, small enough for control to pass.
pub const CHUNK_BYTES: u64 = 256 * 1024;
/// Bytes of the smallest piece: one chunk.
pub const PIECE_BYTES_MIN: u64 = CHUNK_BYTES;
/// Bytes of the largest piece: what a bad hash can cost.
pub const PIECE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Pieces a content is cut into, where the two bounds above allow.
pub const PIECES_WANTED: u64 = 2048;
/// Bytes of the largest content (16 TiB): keeps the number of pieces at most [`PIECES_MAX`].
pub const CONTENT_BYTES_MAX: u64 = 1 << 44;
/// Pieces of the largest content.
pub const PIECES_MAX: u64 = CONTENT_BYTES_MAX / PIECE_BYTES_MAX;
/// Chunks of the largest piece.
pub const CHUNKS_PER_PIECE_MAX: u64 = PIECE_BYTES_MAX / CHUNK_BYTES;
const _: () = assert!(PIECES_MAX <= u32::MAX as u64 && CHUNKS_PER_PIECE_MAX <= u16::MAX as u64);

/// Bytes of a name, as file systems have it.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a relative path in a folder's listing (Linux `PATH_MAX`).
pub const PATH_BYTES_MAX: usize = 4096;
/// Entries in a folder's listing.
pub const LISTING_ENTRIES_MAX: usize = 1_000_000;
/// Bytes of a folder's listing, all of which is held in memory: a million entries with paths of 200 bytes.
pub const LISTING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of a ticket: what a chat window and a command line take.
pub const TICKET_BYTES_MAX: usize = 8192;
/// Trackers, and peers, in one ticket.
pub const TICKET_ADDRS_MAX: usize = 16;
/// Bytes of a peer's name: fits a table column and a log line.
pub const PEER_NAME_BYTES_MAX: usize = 64;
/// Patterns of a selection among the files of a folder: more than a person types.
pub const SELECTION_GLOBS_MAX: usize = 1024;

/// Bytes of a control frame after its length; a chunk frame has its own cap ([`CHUNK_BYTES`] and its header).
pub const CONTROL_FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Chaining values in one slice of a piece table (64 KiB).
pub const TABLE_SLICE_PIECES: u32 = 2048;
/// Bytes of one slice of a bitfield.
pub const BITFIELD_SLICE_BYTES: usize = 32 * 1024;
/// Pieces in one `Have` message.
pub const HAVES_PER_MESSAGE: usize = 1024;
/// Pieces to choose from in one `RequestAny`.
pub const CHOICE_PIECES_MAX: usize = 64;
/// Contents in one `Announce` or `Withdraw`.
pub const ADS_PER_MESSAGE: usize = 256;
/// Rows in one reply to a query; the rest by cursor.
pub const ROWS_PER_REPLY: usize = 256;
/// Holders in a watch's first push, and in one exchange between peers.
pub const HOLDER_SAMPLE: usize = 32;
/// Pages in a row without a row on them after which who sends them is no tracker. An honest one ends a page early where a search
/// costs much ([`SEARCH_WORK_PER_REPLY`]): some hundred of them for a glob among four million names.
pub const EMPTY_PAGES_MAX: u32 = 1024;
/// Bytes of a query's text: a name, and some room for a pattern.
pub const QUERY_BYTES_MAX: usize = 512;

/// Effects per input; the rest waits in the machine.
pub const EFFECTS_PER_INPUT_MAX: usize = 4096;
/// Timers handled by one input of the peer; the others are due still.
pub const TIMERS_PER_TICK: usize = 256;
/// Links of a peer, over all swarms.
pub const LINKS_MAX: usize = 512;
/// Peers told of each other on behalf of one link at once: each swarm that it joins makes us tell others.
pub const INTRODUCTIONS_BURST: u64 = 2048;
/// The same per second in the long run.
pub const INTRODUCTIONS_PER_SECOND: u64 = 64;
/// Contents of one name, or whose ids begin alike, that are looked at to answer a question of a peer.
pub const FIND_SCAN: usize = 1024;
/// Links that a peer dials for one swarm. As many are dialed by others, on average: in a crowd it has twice as many.
pub const LINKS_PER_SWARM: usize = 14;
/// Who joins a swarm of a content that is complete here is let in while it has fewer partners than this. Some links are left for
/// the others, who are told of partners.
pub const PARTNERS_MAX: usize = LINKS_MAX - 64;
/// The same while the content is fetched: each partner costs announcements, and of so many some always have what is lacked. Whom
/// this peer dials, and who has all, is let in anyway.
pub const PARTNERS_WHILE_FETCHING: usize = 64;
/// Runs asked for that are remembered, those taken back included.
pub const ASKED_RUNS_MAX: usize = 65_536;
/// Questions of the person that are under way.
pub const QUESTIONS_MAX: usize = 256;
/// Peers remembered by address, to ask while there is no tracker.
pub const KNOWN_PEERS_MAX: usize = 1024;
/// Peers that went and cannot be dialed whose names are remembered: as many as can go while a person is told of it.
pub const WENT_PEERS_MAX: usize = 256;
/// Peers whose offences are remembered.
pub const OFFENDERS_MAX: usize = 1024;
/// Known addresses per swarm that are not linked.
pub const CANDIDATES_PER_SWARM: usize = 256;
/// Contents open on one link in one direction.
pub const SLOTS_PER_LINK: usize = 1024;
/// Chunks that one link may have requested of us and not got.
pub const REQUESTED_CHUNKS_PER_LINK: usize = 1024;
/// Choices that one link may have open with us.
pub const CHOICES_PER_LINK: usize = 64;
/// Members of a folder that are fetched at the same time.
pub const FOLDER_MEMBERS_ACTIVE: usize = 256;
/// Pieces of the members of all folders at which no other is started, but for one of each folder. Their tables (8 MiB, and for
/// each folder one member's, which is at most 32 MiB) lie in memory and on the disk before a byte of them is proven. 128 files
/// of up to 32 GiB, or as many as may be of up to 256 MiB, are below it.
pub const FOLDER_PIECES_ACTIVE: u64 = 262_144;
/// Contents that one peer shares or downloads.
pub const CONTENTS_PER_PEER: usize = 1_000_000;
/// Registrations of one peer at the tracker.
pub const REGISTRATIONS_PER_PEER: usize = CONTENTS_PER_PEER;
/// Bytes of the names of one peer's registrations: 134 for each of a million.
pub const REGISTERED_NAMES_PER_PEER: usize = 128 << 20;
/// Names of a content besides the one that it is registered under: of empty files, say, one person may have a great many.
pub const OTHER_NAMES_PER_CONTENT: usize = 256;
/// Other names that one peer tells a tracker.
pub const OTHER_NAMES_PER_PEER: usize = 65_536;
/// Other names that a tracker knows, of all peers: each is a row like those of registrations.
pub const OTHER_NAMES_PER_TRACKER: usize = 1_000_000;
/// Contents that one peer watches at the tracker.
pub const WATCHES_PER_PEER: usize = 1024;
/// Peers a tracker knows at once.
pub const PEERS_PER_TRACKER: usize = 100_000;
/// Peers at one address (of IPv6: in one network of 64 bits) that a tracker knows at once: a campus behind one, and yet few of
/// all.
pub const PEERS_PER_ADDRESS: usize = 4096;
/// Registrations at a tracker, of all peers: about 1 GiB of memory beside their names.
pub const REGISTRATIONS_PER_TRACKER: usize = 4_000_000;
/// Bytes of the names of all registrations: each is stored twice, as it is and as it is searched for.
pub const REGISTERED_NAMES_PER_TRACKER: usize = 512 << 20;
/// Registrations of peers that left, taken apart per input: some milliseconds.
pub const REMOVALS_PER_INPUT: usize = 4096;
/// Watches of contents at a tracker, of all peers: each costs at most 32 entries.
pub const WATCHES_PER_TRACKER: usize = 262_144;
/// Links that watch the list of peers: each costs a push per burst of joins and leaves.
pub const PEER_WATCHERS_MAX: usize = 1024;
/// Joins, leaves and renames kept for those who watch the list of peers; more than happen between two pushes.
pub const PEER_LOG_ENTRIES: usize = 65_536;
/// Links of a tracker that have not joined, watching or not. Of the address that has most of them, the one that has asked
/// nothing for longest makes room for a new one.
pub const VISITORS_MAX: usize = 4096;
/// Messages about holders in one push to a link.
pub const HOLDER_PUSHES: usize = 64;
/// Messages about the list of peers in one push to a link.
pub const PEER_PUSHES: usize = 8;
/// Reachability probes that a tracker has running at once: each is a socket.
pub const PROBES_MAX: usize = 64;
/// Wildcards in a glob: they decide what matching a name costs.
pub const GLOB_WILDCARDS_MAX: usize = 32;
/// Units of search work (a unit is a name passed over, some nanoseconds) after which a page of rows ends, full or not:
/// once through all names, or some ten thousand of them tried against a glob.
pub const SEARCH_WORK_PER_REPLY: u64 = 4_000_000;
/// Units of search work that one address, and all together, may make at once: 200 searches through a million names.
pub const SEARCH_WORK_BURST: u64 = 200_000_000;
/// Units of search work that one address may make per second in the long run: a quarter of a core.
pub const SEARCH_WORK_PER_SECOND: u64 = 50_000_000;
/// The same of all together: the rest of the core is for those who join, announce and stay. Beyond it, an address that
/// searches little still gets a page a second.
pub const SEARCH_WORK_IN_ALL_PER_SECOND: u64 = 100_000_000;
/// Addresses whose searches a tracker remembers: most have paid off theirs when the next ones come.
pub const SEARCHERS_MAX: usize = 4096;
/// Holders looked at for a search by the beginning of an id, which a few matches never reach.
pub const HOLDERS_PER_ID_SEARCH: u64 = 65_536;
/// Times that a link may ask others to dial it, and a peer be asked to dial others, at once.
pub const DIAL_ASKS_BURST: u64 = 64;
/// The same per second in the long run.
pub const DIAL_ASKS_PER_SECOND: u64 = 16;
/// Times that a peer may take another name at once.
pub const RENAMES_BURST: u64 = 8;
/// Times that a peer may take another name per second in the long run: each is told to whoever watches.
pub const RENAMES_PER_SECOND: u64 = 1;
/// Names of peers whose offers are accepted: more than a person types.
pub const ACCEPTED_NAMES_MAX: usize = 64;
/// Offers that a link may make, and that may be passed on to a peer, at once.
pub const OFFERS_BURST: u64 = 256;
/// The same per second in the long run.
pub const OFFERS_PER_SECOND: u64 = 16;
/// Offered contents that a peer fetches at a time; others that are offered meanwhile are passed over.
pub const OFFERED_MAX: usize = 16;
/// Names in one line of the tracker's log.
pub const REPORT_NAMES: usize = 4;

/// A tracker forgets a peer that has been silent for this long.
pub const LEASE: Duration = Duration::from_secs(15);
/// A link that carried nothing for this long is pinged.
pub const PING_AFTER: Duration = Duration::from_secs(4);
/// A link that answered nothing for this long is closed.
pub const SILENT_LINK: Duration = Duration::from_secs(15);
/// A link that serves no content is closed after this.
pub const IDLE_LINK: Duration = Duration::from_secs(10);
/// A dial, with its handshake, takes at most this long.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A request to the tracker is answered in this time or has failed.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A suspect of a bad piece may retract for this long before it is blamed.
pub const BLAME_AFTER: Duration = Duration::from_secs(1);
/// The shortest lease a tracker can be given: a question and its answer must fit in.
pub const LEASE_MIN: Duration = Duration::from_millis(100);
/// A link that has not joined and asks a tracker nothing for this long is closed.
pub const VISITOR_IDLE: Duration = Duration::from_secs(10);
/// Time between two pushes to one watcher, except after a quiet spell.
pub const PUSH_INTERVAL: Duration = Duration::from_millis(250);
/// A probe that its driver has not answered by then counts as failed.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2 * DIAL_TIMEOUT.as_secs());
