//! A disk in memory that records every operation, and can be cut at any of them.
//!
//! What a cut leaves: everything that a sync had covered by then, and of all other operations an arbitrary selection, each
//! kept, dropped, or (a write) torn; names and bytes independently of each other. A file's sync covers its bytes and its
//! length, a folder's sync its names (a rename's: those of the folder it led to); nothing but a sync of the whole tree
//! covers times and rights. What a failed sync should have written reads right and is never durable, unless it is written
//! again. Real file systems promise more; nothing here relies on that.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::store::FileIdentity;
use crate::store::disk::{DiskFile, Folder, Nature, Stat};

/// Numbers that follow from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Write {
        file: u64,
        offset: usize,
        bytes: Arc<[u8]>,
    },
    Length {
        file: u64,
        length: usize,
    },
    Attributes {
        node: u64,
        executable: bool,
        mtime_ns: i64,
    },
    /// Names set and cleared together; the last one is where it led.
    Names(Vec<(u64, OsString, Option<u64>)>),
    Sync(Synced),
    /// A sync that failed.
    LetGo(Synced),
}

#[derive(Clone, Copy, Debug)]
enum Synced {
    File(u64),
    Folder(u64),
    Everything,
}

#[derive(Clone, Debug)]
struct Node {
    body: Body,
    executable: bool,
    mtime_ns: i64,
    /// Counts changes, as a ctime does.
    changes: i64,
}

#[derive(Clone, Debug)]
enum Body {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
}

impl Node {
    const fn new(body: Body) -> Self {
        Self { body, executable: false, mtime_ns: 0, changes: 0 }
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        match &mut self.body {
            Body::File(bytes) => bytes,
            Body::Folder(_) => panic!("a folder"),
        }
    }

    fn names(&mut self) -> &mut BTreeMap<OsString, u64> {
        match &mut self.body {
            Body::Folder(names) => names,
            Body::File(_) => panic!("a file"),
        }
    }
}

const ROOT: u64 = 0;

type Nodes = BTreeMap<u64, Node>;

/// A disk, and what happened to it since it was made.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    nodes: Nodes,
    /// As it was at the beginning, durably.
    before: Nodes,
    /// Empty nodes for everything made since.
    made: Nodes,
    log: Vec<Operation>,
    /// The operation that is to fail, and how.
    fault: Option<(usize, io::ErrorKind)>,
    failed: bool,
    /// Bytes of any file that cannot be read until they are written.
    spoilt: Range<usize>,
    /// A file that cannot be opened next time: there are too many.
    one_too_many: Option<String>,
}

impl Disk {
    pub(super) fn new() -> Self {
        Self::from(BTreeMap::from([(ROOT, Node::new(Body::Folder(BTreeMap::new())))]))
    }

    fn from(nodes: Nodes) -> Self {
        Self(Arc::new(Mutex::new(State {
            before: nodes.clone(),
            nodes,
            made: Nodes::new(),
            log: Vec::new(),
            fault: None,
            failed: false,
            spoilt: 0..0,
            one_too_many: None,
        })))
    }

    pub(super) fn root(&self) -> MemoryFolder {
        MemoryFolder { disk: self.clone(), node: ROOT }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets the operation of this number fail, once.
    pub(super) fn fail(&self, at: usize, error: io::ErrorKind) {
        self.state().fault = Some((at, error));
    }

    /// Spoils these bytes of all files: they cannot be read until some of them are written.
    pub(super) fn spoil(&self, bytes: Range<usize>) {
        self.state().spoilt = bytes;
    }

    /// When the file of this name is opened next, as many files are open as may be.
    pub(super) fn lack_descriptors_for(&self, name: &str) {
        self.state().one_too_many = Some(name.to_owned());
    }

    /// Has it failed?
    pub(super) fn failed(&self) -> bool {
        self.state().failed
    }

    /// Number of operations so far.
    pub(super) fn now(&self) -> usize {
        self.state().log.len()
    }

    /// Before and after each sync and each change of names, and at the end.
    pub(super) fn boundaries(&self) -> Vec<usize> {
        let state = self.state();
        let log = state.log.iter().enumerate();
        let marked =
            log.filter(|(_, operation)| matches!(operation, Operation::Sync(_) | Operation::Names(_)));
        let mut boundaries: Vec<_> =
            marked.flat_map(|(at, _)| [at, at + 1]).chain([state.log.len()]).collect();
        boundaries.dedup();
        boundaries
    }

    /// The disk after its power was cut at this operation.
    pub(super) fn cut(&self, at: usize, random: &mut Random) -> Self {
        let state = self.state();
        let mut nodes = state.before.clone();
        nodes.extend(state.made.iter().map(|(node, made)| (*node, made.clone())));
        // Some cuts lose nearly everything, some nearly nothing.
        let lost = [10, 50, 90][random.below(3)];
        for (index, operation) in state.log[..at].iter().enumerate() {
            if state.log[index + 1..at].iter().find_map(|later| later.settles(operation)) == Some(true) {
                operation.apply(&mut nodes);
            } else if random.below(100) >= lost {
                operation.tear(random).apply(&mut nodes);
            }
        }
        let mut reached = Nodes::new();
        let mut waiting = vec![ROOT];
        while let Some(number) = waiting.pop() {
            let Some(node) = nodes.remove(&number) else { continue };
            if let Body::Folder(names) = &node.body {
                waiting.extend(names.values());
            }
            reached.insert(number, node);
        }
        Self::from(reached)
    }
}

impl Operation {
    /// Does this decide whether `earlier` becomes durable, and does it?
    fn settles(&self, earlier: &Self) -> Option<bool> {
        let bytes = matches!(earlier, Self::Write { .. } | Self::Length { .. });
        if let Self::Sync(synced) = self {
            synced.covers(earlier).then_some(true)
        } else if let Self::LetGo(synced) = self {
            (bytes && synced.covers(earlier)).then_some(false)
        } else {
            None
        }
    }

    /// What may be left of it: all, or of a write also a beginning, an end, every other page, or nothing but the length.
    fn tear(&self, random: &mut Random) -> Self {
        let Self::Write { file, offset, bytes } = self else { return self.clone() };
        let (file, offset) = (*file, *offset);
        let split = random.below(bytes.len() + 1);
        match random.below(8) {
            0 => Self::Write { file, offset, bytes: bytes[..split].into() },
            1 => Self::Write { file, offset: offset + split, bytes: bytes[split..].into() },
            2 => {
                let mut torn = bytes.to_vec();
                torn.chunks_mut(4096).step_by(2).for_each(|page| page.fill(0));
                Self::Write { file, offset, bytes: torn.into() }
            }
            3 => Self::Write { file, offset, bytes: vec![0; bytes.len()].into() },
            _ => self.clone(),
        }
    }

    fn apply(&self, nodes: &mut Nodes) {
        match self {
            Self::Write { file, offset, bytes } => {
                let old = touched(nodes, *file).bytes();
                let end = offset + bytes.len();
                set_length(old, old.len().max(end));
                old[*offset..end].copy_from_slice(bytes);
            }
            Self::Length { file, length } => set_length(touched(nodes, *file).bytes(), *length),
            Self::Attributes { node, executable, mtime_ns } => {
                let node = touched(nodes, *node);
                (node.executable, node.mtime_ns) = (*executable, *mtime_ns);
            }
            Self::Names(changes) => {
                for (folder, name, node) in changes {
                    let names = touched(nodes, *folder).names();
                    match node {
                        Some(node) => names.insert(name.clone(), *node),
                        None => names.remove(name),
                    };
                }
            }
            Self::Sync(_) | Self::LetGo(_) => {}
        }
    }
}

impl Synced {
    fn covers(self, earlier: &Operation) -> bool {
        match (self, earlier) {
            (Self::Everything, _) => true,
            (Self::File(synced), Operation::Write { file, .. } | Operation::Length { file, .. }) => {
                synced == *file
            }
            (Self::Folder(synced), Operation::Names(names)) => {
                names.last().is_some_and(|(folder, ..)| *folder == synced)
            }
            _ => false,
        }
    }
}

/// As `resize` does, but fast without optimisation, too.
fn set_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.truncate(length);
    bytes.extend_from_slice(&vec![0; length - bytes.len()]);
}

fn touched(nodes: &mut Nodes, node: u64) -> &mut Node {
    let node = nodes.get_mut(&node).unwrap();
    node.changes += 1;
    node
}

impl State {
    fn perform(&mut self, operation: Operation) -> io::Result<()> {
        if let Some((_, error)) = self.fault.take_if(|(at, _)| *at == self.log.len()) {
            self.failed = true;
            if let Operation::Sync(synced) = operation {
                self.log.push(Operation::LetGo(synced));
            }
            return Err(error.into());
        }
        operation.apply(&mut self.nodes);
        self.log.push(operation);
        Ok(())
    }

    fn make(&mut self, folder: u64, name: &OsStr, body: Body) -> io::Result<u64> {
        if self.nodes.get_mut(&folder).unwrap().names().contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = 1 + self.nodes.keys().chain(self.made.keys()).max().unwrap();
        let node = Node::new(body);
        self.made.insert(number, node.clone());
        self.nodes.insert(number, node);
        self.perform(Operation::Names(vec![(folder, name.to_owned(), Some(number))]))?;
        Ok(number)
    }

    fn find(&mut self, folder: u64, name: &OsStr) -> io::Result<u64> {
        let found = self.nodes.get_mut(&folder).unwrap().names().get(name).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat(&self, number: u64) -> Stat {
        let node = &self.nodes[&number];
        let (nature, size) = match &node.body {
            Body::File(bytes) => (Nature::File, bytes.len() as u64),
            Body::Folder(_) => (Nature::Folder, 0),
        };
        let named = |other: &&Node| match &other.body {
            Body::Folder(names) => names.values().any(|named| *named == number),
            Body::File(_) => false,
        };
        let identity =
            FileIdentity { device: 1, inode: number, size, mtime_ns: node.mtime_ns, ctime_ns: node.changes };
        Stat {
            nature,
            identity,
            executable: node.executable,
            links: self.nodes.values().filter(named).count() as u64,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct MemoryFolder {
    disk: Disk,
    node: u64,
}

#[derive(Debug)]
pub(super) struct MemoryFile {
    disk: Disk,
    node: u64,
}

impl Folder for MemoryFolder {
    type File = MemoryFile;

    fn open_folder(&self, name: &OsStr) -> io::Result<Self> {
        let mut state = self.disk.state();
        let node = state.find(self.node, name)?;
        match state.nodes[&node].body {
            Body::Folder(_) => Ok(Self { disk: self.disk.clone(), node }),
            Body::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        self.disk.state().make(self.node, name, Body::Folder(BTreeMap::new())).map(drop)
    }

    fn create(&self, name: &OsStr) -> io::Result<MemoryFile> {
        let node = self.disk.state().make(self.node, name, Body::File(Vec::new()))?;
        Ok(MemoryFile { disk: self.disk.clone(), node })
    }

    fn open(&self, name: &OsStr, _write: bool) -> io::Result<MemoryFile> {
        let mut state = self.disk.state();
        let node = state.find(self.node, name)?;
        if state.one_too_many.take_if(|one| name == one.as_str()).is_some() {
            return Err(rustix::io::Errno::MFILE.into());
        }
        match state.nodes[&node].body {
            Body::File(_) => Ok(MemoryFile { disk: self.disk.clone(), node }),
            Body::Folder(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        let mut state = self.disk.state();
        let node = state.find(self.node, name)?;
        Ok(state.stat(node))
    }

    fn mtime_ns(&self) -> io::Result<i64> {
        Ok(self.disk.state().stat(self.node).identity.mtime_ns)
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        Ok(self.disk.state().nodes.get_mut(&self.node).unwrap().names().keys().cloned().collect())
    }

    fn rename(&self, from: &OsStr, into: &Self, to: &OsStr) -> io::Result<()> {
        let mut state = self.disk.state();
        let node = state.find(self.node, from)?;
        if state.find(into.node, to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let names = vec![(self.node, from.to_owned(), None), (into.node, to.to_owned(), Some(node))];
        state.perform(Operation::Names(names))
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        let mut state = self.disk.state();
        state.find(self.node, name)?;
        state.perform(Operation::Names(vec![(self.node, name.to_owned(), None)]))
    }

    fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        if !self.open_folder(name)?.names()?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().perform(Operation::Sync(Synced::Folder(self.node)))
    }

    fn sync_tree(&self) -> io::Result<()> {
        self.disk.state().perform(Operation::Sync(Synced::Everything))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn set_mtime(&self, mtime_ns: i64) -> io::Result<()> {
        self.disk.state().perform(Operation::Attributes { node: self.node, executable: false, mtime_ns })
    }
}

impl MemoryFile {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(self.disk.state().nodes.get_mut(&self.node).unwrap().bytes())
    }
}

impl DiskFile for MemoryFile {
    fn stat(&self) -> io::Result<Stat> {
        Ok(self.disk.state().stat(self.node))
    }

    fn read_full(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let spoilt = self.disk.state().spoilt.clone();
        if (offset as usize) < spoilt.end && spoilt.start < offset as usize + buffer.len() {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(self.with(|bytes| {
            let rest = bytes.get(offset as usize..).unwrap_or(&[]);
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        }))
    }

    fn write_full(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (file, offset) = (self.node, offset as usize);
        let mut state = self.disk.state();
        if state.spoilt.contains(&offset) {
            state.spoilt = 0..0;
        }
        state.perform(Operation::Write { file, offset, bytes: bytes.into() })
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.state().perform(Operation::Length { file: self.node, length: length as usize })
    }

    fn allocate(&self, span: Range<u64>) -> io::Result<()> {
        let length = self.with(|bytes| bytes.len() as u64);
        if length < span.end { self.set_length(span.end) } else { Ok(()) }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let length = self.with(|bytes| bytes.len() as u64);
        Ok((offset < length).then_some(offset..length))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().perform(Operation::Sync(Synced::File(self.node)))
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_attributes(&self, executable: bool, mtime_ns: i64) -> io::Result<()> {
        self.disk.state().perform(Operation::Attributes { node: self.node, executable, mtime_ns })
    }
}
