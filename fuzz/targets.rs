//! Fuzz targets: what decodes bytes from strangers or from a disk, and the machines under scripts. Plain functions of bytes,
//! which return or panic; `tests/fuzz.rs` plays them on the stable toolchain, `fuzz/any.rs` under a coverage-guided fuzzer.

use std::str::FromStr as _;

use potluck_core::content::{Geometry, fold_piece};
use potluck_core::content::{
    Listing, PieceSet, PieceTable, SafeName, SafePath, Ticket, escape, fold_table, portability,
};
use potluck_core::ids::{ChainingValue, ContentId, ContentKey, PieceIndex};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::{Header, handling};
use potluck_core::wire::handshake::Handshake;
use potluck_core::wire::peer::PeerMessage;
use potluck_core::wire::tracker::{TrackerMessage, TrackerRequest};
use potluck_sim::Scenario;

use crate::script::{peer_script, tracker_script};

/// Returns, or panics.
pub(crate) type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("frame", frame),
    ("handshake", handshake),
    ("peer_message", message::<PeerMessage>),
    ("tracker_request", message::<TrackerRequest>),
    ("tracker_message", message::<TrackerMessage>),
    ("piece_table", piece_table),
    ("bitfield", bitfield),
    ("listing", listing),
    ("sidecar", sidecar),
    ("ticket", ticket),
    ("name", name),
    ("scenario", scenario),
    ("peer_machine", peer_script),
    ("tracker_machine", tracker_script),
];

fn frame(bytes: &[u8]) {
    let Some(header) = bytes.first_chunk::<{ Header::BYTES }>() else { return };
    let Ok(decoded) = Header::decode(header) else { return };
    if let Header::Control { kind, bytes } = decoded {
        let _ = handling::<PeerMessage>(kind, bytes);
        let _ = handling::<TrackerRequest>(kind, bytes);
        let _ = handling::<TrackerMessage>(kind, bytes);
    }
    assert_eq!(Header::decode(&decoded.encode()), Ok(decoded), "a header survives its encoding");
}

fn handshake(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<{ Handshake::BYTES }>() else { return };
    if let Ok(decoded) = Handshake::decode(bytes) {
        assert_eq!(Handshake::decode(&decoded.encode()).ok(), Some(decoded));
    }
}

/// The first byte is the kind.
fn message<M: WireMessage + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let Ok(decoded) = M::decode_body(*kind, body) else { return };
    let mut again = Vec::new();
    decoded.encode_body(&mut again);
    assert_eq!(again, body, "whatever decodes is canonical");
}

/// Eight bytes of length, then chaining values: of the table, and of the first piece's chunks.
fn piece_table(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return };
    let length = u64::from_le_bytes(*length) >> 16;
    let values: Vec<ChainingValue> = rest.as_chunks().0.iter().map(|value| ChainingValue(*value)).collect();
    let Some(geometry) = Geometry::new(length) else { return };
    let _ = fold_piece(&geometry, PieceIndex(0), &values);
    let id = fold_table(&geometry, &values);
    let table = PieceTable::new(ContentKey { id: id.unwrap_or(ContentId([0; 32])), length }, values.clone());
    if let Ok(table) = table {
        assert_eq!(id, fold_table(&geometry, table.values()), "a table that is taken folds to its id");
    }
}

/// Four bytes of length, four of the first piece, then the bits.
fn bitfield(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Some((first, bits)) = rest.split_first_chunk::<4>() else { return };
    let mut set = PieceSet::empty(u32::from_le_bytes(*length) % 100_000);
    let before = set.len();
    let merged = set.merge_slice(u32::from_le_bytes(*first), bits).is_ok();
    assert_eq!(set.len(), before);
    assert_eq!(set.iter().count() as u32, set.count());
    assert!(merged || set.is_empty(), "all of a slice, or nothing");
}

fn listing(bytes: &[u8]) {
    if let Ok(listing) = Listing::decode(bytes) {
        assert_eq!(listing.encode(), bytes, "a listing is canonical");
        let _ = listing.collisions(16);
        let _ = listing.total_bytes();
    }
}

fn sidecar(bytes: &[u8]) {
    let sealed = potluck_transport_tcp::store::sidecar_sealed(bytes);
    for bytes in [bytes, &sealed] {
        if let Some(again) = potluck_transport_tcp::store::sidecar_again(bytes) {
            assert_eq!(again, bytes, "a sidecar is canonical");
        }
    }
}

fn ticket(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Ticket::is_ticket(text);
    if let Ok(ticket) = Ticket::from_str(text) {
        assert_eq!(
            Ticket::from_str(&ticket.to_string()).ok(),
            Some(ticket),
            "a ticket survives its printing"
        );
    }
}

fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let shown = escape(text);
    assert!(!shown.chars().any(char::is_control), "{shown:?} is printed");
    let _ = portability(text);
    if let Ok(name) = SafeName::parse(text) {
        assert!(name.as_str() == text && !text.contains('/') && text != ".." && text.len() <= 255);
    }
    if let Ok(path) = SafePath::parse(text) {
        assert!(path.names().all(|name| SafeName::parse(name).is_ok()) && !text.starts_with('/'));
        assert_eq!(path.names().collect::<Vec<_>>().join("/"), text, "nothing is repaired");
    }
}

fn scenario(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Scenario::parse(text);
    }
}
