//! A peer that speaks the real protocol and sends wrong bytes: it says that it has everything, and answers every request
//! with chunks of the right length.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use potluck_core::content::Geometry;
use potluck_core::ids::{ChunkAddr, ChunkRun, ContentKey, PeerId, Slot};
use potluck_core::wire::WireMessage as _;
use potluck_core::wire::frame::{Header, encode_message};
use potluck_core::wire::handshake::{Handshake, Seeks};
use potluck_core::wire::peer::{Holding, PeerMessage};

/// Starts it under the name `evil`; it serves `key` until the test ends. Returns where it listens.
pub fn start(key: ContentKey) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The far end closes when it has seen enough.
            std::thread::spawn(move || drop(Liar { stream, key, slot: Slot(0) }.serve()));
        }
    });
    addr
}

struct Liar {
    stream: TcpStream,
    key: ContentKey,
    /// How the far end calls the content.
    slot: Slot,
}

impl Liar {
    fn serve(mut self) -> io::Result<()> {
        let mut theirs = [0; Handshake::BYTES];
        self.stream.read_exact(&mut theirs)?;
        self.stream.write_all(&Handshake::new(PeerId([0xbd; 32]), Seeks::Peer).encode())?;
        self.say(&PeerMessage::Hello { name: "evil".to_owned(), listen_port: 0 })?;
        loop {
            let mut header = [0; Header::BYTES];
            self.stream.read_exact(&mut header)?;
            let header = Header::decode(&header).unwrap();
            let mut body = vec![0; header.body_bytes() as usize];
            self.stream.read_exact(&mut body)?;
            if let Header::Control { kind, .. } = header {
                self.answer(PeerMessage::decode_body(kind, &body).unwrap())?;
            }
        }
    }

    fn answer(&mut self, msg: PeerMessage) -> io::Result<()> {
        let geometry = Geometry::new(self.key.length).unwrap();
        match msg {
            PeerMessage::Join { slot, key, .. } if key == self.key => {
                self.slot = slot;
                self.say(&PeerMessage::Join { slot: Slot(7), key, holding: Holding::Everything })
            }
            PeerMessage::RequestTable { slot, first, .. } => {
                self.say(&PeerMessage::Table { slot, first, values: Vec::new() })
            }
            PeerMessage::Request { run, .. } => self.lie(&geometry, run),
            PeerMessage::RequestAny { pieces, .. } => {
                let whole = geometry.whole_piece(pieces[0]).unwrap();
                self.lie(&geometry, whole)
            }
            PeerMessage::Ping { nonce } => self.say(&PeerMessage::Pong { nonce }),
            _ => Ok(()),
        }
    }

    fn lie(&mut self, geometry: &Geometry, run: ChunkRun) -> io::Result<()> {
        for chunk in run.first..run.first + run.count {
            let at = ChunkAddr { piece: run.piece, chunk };
            let bytes = geometry.chunk_bytes(at).unwrap();
            self.stream.write_all(&Header::Chunk { slot: self.slot, at, bytes }.encode())?;
            self.stream.write_all(&vec![0xbd; bytes as usize])?;
        }
        Ok(())
    }

    fn say(&mut self, msg: &PeerMessage) -> io::Result<()> {
        let mut frame = Vec::new();
        encode_message(msg, &mut frame);
        self.stream.write_all(&frame)
    }
}
