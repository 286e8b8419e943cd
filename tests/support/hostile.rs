//! Peers that speak the real protocol and mean no good: a [`Speaker`] says what a test lets it say, a liar serves wrong bytes,
//! or a wrong piece table, to whoever asks.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use potluck_core::content::Geometry;
use potluck_core::ids::{ChainingValue, ChunkAddr, ChunkRun, ContentKey, PeerId, PieceIndex, Slot};
use potluck_core::wire::WireMessage;
use potluck_core::wire::frame::{Header, encode_message};
use potluck_core::wire::handshake::{Handshake, Seeks};
use potluck_core::wire::peer::{Holding, PeerMessage};

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It says that it has everything, answers every request with chunks of the right length and wrong bytes, and sends more
    /// than it was asked for: other chunks, the same ones again, and some of a content that nobody has heard of.
    Bytes,
    /// Its piece table is that of something else.
    Table,
}

/// Starts it under the name `evil`; it serves `key` until the test ends. Returns where it listens.
pub fn start(key: ContentKey, lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The far end closes when it has seen enough.
            std::thread::spawn(move || {
                drop(Liar { to: Speaker { stream }, key, slot: Slot(0), lie }.serve())
            });
        }
    });
    addr
}

/// One end of a connection, by hand.
pub struct Speaker {
    stream: TcpStream,
}

impl Speaker {
    /// Connects and shakes hands.
    pub fn connect(addr: SocketAddr, peer: PeerId, seeks: Seeks) -> Self {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(&Handshake::new(peer, seeks).encode()).unwrap();
        let mut theirs = [0; Handshake::BYTES];
        stream.read_exact(&mut theirs).unwrap();
        assert_eq!(Handshake::decode(&theirs).unwrap().seeks, seeks);
        Self { stream }
    }

    /// The other end of a connection: shakes hands as whatever is sought.
    pub fn accept(mut stream: TcpStream, peer: PeerId) -> Self {
        let mut theirs = [0; Handshake::BYTES];
        if stream.read_exact(&mut theirs).is_ok() {
            let seeks = Handshake::decode(&theirs).unwrap().seeks;
            let _ = stream.write_all(&Handshake::new(peer, seeks).encode());
        }
        Self { stream }
    }

    /// As a peer that has said its name.
    pub fn peer(addr: SocketAddr, name: &str) -> Self {
        let mut id = [0xbd; 32];
        id[..name.len()].copy_from_slice(name.as_bytes());
        let mut speaker = Self::connect(addr, PeerId(id), Seeks::Peer);
        speaker.say(&PeerMessage::Hello { name: name.to_owned(), listen_port: 0 }).unwrap();
        speaker
    }

    pub fn say(&mut self, msg: &impl WireMessage) -> io::Result<()> {
        let mut frame = Vec::new();
        encode_message(msg, &mut frame);
        self.stream.write_all(&frame)
    }

    pub fn chunk(&mut self, slot: Slot, at: ChunkAddr, bytes: u32) -> io::Result<()> {
        self.raw(&Header::Chunk { slot, at, bytes }.encode())?;
        self.raw(&vec![0xbd; bytes as usize])
    }

    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next control message; chunks are passed over.
    pub fn hear<M: WireMessage>(&mut self) -> io::Result<M> {
        loop {
            let mut header = [0; Header::BYTES];
            self.stream.read_exact(&mut header)?;
            let header = Header::decode(&header).unwrap();
            let mut body = vec![0; header.body_bytes() as usize];
            self.stream.read_exact(&mut body)?;
            if let Header::Control { kind, .. } = header {
                return Ok(M::decode_body(kind, &body).unwrap());
            }
        }
    }

    /// The next control message that is wanted.
    pub fn hear_until<M: WireMessage, T>(&mut self, wanted: impl Fn(M) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.hear().unwrap()) {
                return found;
            }
        }
    }

    /// Waits for the far end to close.
    pub fn until_closed(mut self) {
        let mut block = [0; 4096];
        while matches!(self.stream.read(&mut block), Ok(1..)) {}
    }
}

struct Liar {
    to: Speaker,
    key: ContentKey,
    /// How the far end calls the content.
    slot: Slot,
    lie: Lie,
}

impl Liar {
    fn serve(mut self) -> io::Result<()> {
        let mut theirs = [0; Handshake::BYTES];
        self.to.stream.read_exact(&mut theirs)?;
        self.to.raw(&Handshake::new(PeerId([0xbd; 32]), Seeks::Peer).encode())?;
        self.to.say(&PeerMessage::Hello { name: "evil".to_owned(), listen_port: 0 })?;
        loop {
            let msg = self.to.hear()?;
            self.answer(msg)?;
        }
    }

    fn answer(&mut self, msg: PeerMessage) -> io::Result<()> {
        let geometry = Geometry::new(self.key.length).unwrap();
        match msg {
            PeerMessage::Join { slot, key, .. } if key == self.key => {
                self.slot = slot;
                self.to.say(&PeerMessage::Join { slot: Slot(7), key, holding: Holding::Everything })
            }
            PeerMessage::RequestTable { slot, first, count } => {
                let count = count.min(geometry.pieces() - first) as usize;
                let count = if self.lie == Lie::Table { count } else { 0 };
                let values = vec![ChainingValue([0xbd; 32]); count];
                self.to.say(&PeerMessage::Table { slot, first, values })
            }
            PeerMessage::Request { run, .. } => self.lie(&geometry, run),
            PeerMessage::RequestAny { pieces, .. } => {
                let whole = geometry.whole_piece(pieces[0]).unwrap();
                self.lie(&geometry, whole)
            }
            PeerMessage::Ping { nonce } => self.to.say(&PeerMessage::Pong { nonce }),
            _ => Ok(()),
        }
    }

    fn lie(&mut self, geometry: &Geometry, run: ChunkRun) -> io::Result<()> {
        for chunk in run.first..run.first + run.count {
            let at = ChunkAddr { piece: run.piece, chunk };
            let other = ChunkAddr { piece: PieceIndex((run.piece.0 + 1) % geometry.pieces()), chunk: 0 };
            let bytes = geometry.chunk_bytes(at).unwrap();
            self.to.chunk(self.slot, at, bytes)?;
            self.to.chunk(self.slot, at, bytes)?;
            self.to.chunk(self.slot, other, geometry.chunk_bytes(other).unwrap())?;
            self.to.chunk(Slot(u32::MAX), at, bytes)?;
        }
        Ok(())
    }
}
