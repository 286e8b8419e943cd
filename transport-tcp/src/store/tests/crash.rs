//! The power is cut at every sync and every change of a name, with any selection of what was not synced by then surviving.
//!
//! After each cut: what has a final name is right; every piece that was synced is there, and can be verified without a
//! holder; what was finished is finished; the download goes on to its end, leaves nothing behind, and touches nothing of
//! the user's. And all of that again after a second cut during the recovery.

mod memory;

use std::ffi::OsStr;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use memory::{Disk, MemoryFolder, Random};
use potluck_core::content::{ListingEntry, SafePath};

use super::*;
use crate::store::check::Checking;
use crate::store::disk::{DiskFile, Folder};
use crate::store::part::{self, PartOpening, Spot, Standing};
use crate::store::sidecar::Sidecar;
use crate::store::staging::{self, MemberOpening, StagingOpening};
use crate::store::standing::{self, StandingFolder};

const CHUNK: usize = CHUNK_BYTES as usize;
const TARGET: &str = "target";
const PART_NAME: &str = ".target.01234567.part";
const SIDECAR_NAME: &str = ".target.01234567.meta";
const BYSTANDER: &str = "bystander";
/// Selections of what survives, per place to cut.
const SELECTIONS: u64 = 6;

fn quiet() -> Checking<'static> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Checking { threads: 1, expect: &|_| (), progress: &|_| (), cancelled: &NEVER }
}

fn disk_with_bystander() -> Disk {
    let disk = Disk::new();
    let root = disk.root();
    let file = root.create(OsStr::new(BYSTANDER)).unwrap();
    file.write_full(0, b"mine").unwrap();
    root.sync_tree().unwrap();
    disk.cut(disk.now(), &mut Random(0))
}

fn read(folder: &MemoryFolder, name: &str) -> Option<Vec<u8>> {
    let file = folder.open(OsStr::new(name), false).ok()?;
    let mut bytes = vec![0; file.stat().unwrap().identity.size as usize];
    file.read_full(0, &mut bytes).unwrap();
    Some(bytes)
}

/// Something that is downloaded, and cut.
trait Subject: Sync {
    /// What a sync, or the end, promised.
    type Promise: Clone + Default;
    /// Downloads what is missing, in an order and with syncs of chance; `promised` is told when something is durable.
    fn download(
        &self,
        root: &MemoryFolder,
        random: &mut Random,
        promised: &mut dyn FnMut(Self::Promise),
    ) -> Result<(), StorageFault>;
    /// Looks at the disk after a cut, without any holder.
    fn check(&self, root: &MemoryFolder, promise: &Self::Promise);
    /// Is it there under its final name, and nothing else but the bystander?
    fn check_end(&self, root: &MemoryFolder);
}

/// Cuts the download everywhere, `seeds` times over; returns the number of cuts.
fn cut_everywhere<S: Subject>(subject: &S, seeds: std::ops::Range<u64>) -> usize {
    let mut cuts = 0;
    for seed in seeds {
        let disk = disk_with_bystander();
        let mut promises = vec![(0, S::Promise::default())];
        let promised = &mut |promise| promises.push((disk.now(), promise));
        subject.download(&disk.root(), &mut Random(seed), promised).unwrap();
        subject.check_end(&disk.root());
        for at in disk.boundaries() {
            for selection in 0..SELECTIONS {
                let _told = Told { seed, at, selection };
                let random = &mut Random(seed << 32 | (at as u64) << 8 | selection);
                let promise = kept_at(&promises, at);
                let left = disk.cut(at, random);
                cuts += 1 + recover(subject, left, &promise, random);
            }
        }
    }
    cuts
}

/// Names the cut that a check failed after.
struct Told {
    seed: u64,
    at: usize,
    selection: u64,
}

impl Drop for Told {
    #[expect(clippy::print_stderr, reason = "what is needed to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, cut at operation {}, selection {}", self.seed, self.at, self.selection);
        }
    }
}

fn kept_at<P: Clone>(promises: &[(usize, P)], at: usize) -> P {
    promises.iter().rev().find(|(since, _)| *since <= at).unwrap().1.clone()
}

/// Checks what a cut left and finishes the download, cutting that once more on the way. Returns the number of cuts.
fn recover<S: Subject>(subject: &S, left: Disk, promise: &S::Promise, random: &mut Random) -> usize {
    subject.check(&left.root(), promise);
    let mut promises = vec![(0, promise.clone())];
    let promised = &mut |promise| promises.push((left.now(), promise));
    subject.download(&left.root(), random, promised).unwrap();
    subject.check_end(&left.root());
    let boundaries = left.boundaries();
    let at = boundaries[random.below(boundaries.len())];
    let again = left.cut(at, random);
    subject.check(&again.root(), &kept_at(&promises, at));
    subject.download(&again.root(), random, &mut |_| ()).unwrap();
    subject.check_end(&again.root());
    1
}

struct OneFile(Content);

#[derive(Clone, Default)]
struct FilePromise {
    pieces: Vec<u32>,
    finished: bool,
}

impl OneFile {
    fn spot(root: &MemoryFolder) -> Spot<MemoryFolder> {
        Spot {
            folder: root.clone(),
            name: PART_NAME.into(),
            sidecar: (root.clone(), SIDECAR_NAME.into()),
            locked: true,
            always_sidecar: true,
        }
    }

    fn sidecar(&self, table: Option<Arc<PieceTable>>) -> Sidecar {
        Sidecar { key: self.0.key, kind: Kind::File, name: SafeName::parse(TARGET).unwrap(), table }
    }

    fn stands(&self, root: &MemoryFolder) -> bool {
        let standing = part::standing_beside(&Self::spot(root), OsStr::new(TARGET), self.0.key, quiet());
        match standing.unwrap() {
            Standing::Same { .. } => true,
            Standing::Nothing => false,
            Standing::Other => panic!("a wrong file under the final name"),
        }
    }
}

impl Subject for OneFile {
    type Promise = FilePromise;

    fn download(
        &self,
        root: &MemoryFolder,
        random: &mut Random,
        promised: &mut dyn FnMut(FilePromise),
    ) -> Result<(), StorageFault> {
        if self.stands(root) {
            return Ok(());
        }
        let wanted = self.sidecar(self.0.table.clone());
        let PartOpening::Open { part, have, .. } = part::Part::open(Self::spot(root), wanted, quiet())?
        else {
            panic!("the table was given")
        };
        let mut pieces: Vec<u32> = have.iter().map(|piece| piece.0).collect();
        let mut missing: Vec<u32> = have.iter_missing().map(|piece| piece.0).collect();
        let chunks = self.0.chunks();
        if random.below(2) == 0 {
            let mut next = Some(0);
            while let Some(start) = next {
                next = part.reserve(start)?;
            }
        }
        while !missing.is_empty() {
            let piece = missing.swap_remove(random.below(missing.len()));
            for (at, bytes) in chunks.iter().filter(|(at, _)| at.piece.0 == piece) {
                part.write(*at, bytes)?;
            }
            pieces.push(piece);
            if random.below(2) == 0 {
                part.sync()?;
                promised(FilePromise { pieces: pieces.clone(), finished: false });
            }
        }
        part.finish(OsStr::new(TARGET), quiet()).or_else(|_| part.finish(OsStr::new(TARGET), quiet()))?;
        promised(FilePromise { pieces, finished: true });
        Ok(())
    }

    fn check(&self, root: &MemoryFolder, promise: &FilePromise) {
        assert_eq!(read(root, BYSTANDER).as_deref(), Some(&b"mine"[..]));
        if self.stands(root) {
            return;
        }
        assert!(!promise.finished, "it was finished");
        match part::Part::open(Self::spot(root), self.sidecar(None), quiet()).unwrap() {
            PartOpening::NeedsTable => {
                assert!(promise.pieces.is_empty(), "the table was synced with the pieces")
            }
            PartOpening::Open { have, .. } => {
                assert!(
                    promise.pieces.iter().all(|piece| have.contains(PieceIndex(*piece))),
                    "a synced piece is lost"
                );
            }
        }
    }

    fn check_end(&self, root: &MemoryFolder) {
        let mut names = root.names().unwrap();
        names.sort();
        assert_eq!(names, [BYSTANDER, TARGET]);
        assert_eq!(read(root, TARGET).as_ref(), Some(&self.0.bytes));
        assert_eq!(read(root, BYSTANDER).as_deref(), Some(&b"mine"[..]));
    }
}

struct OneFolder {
    listing: Content,
    /// The entries' contents; `None` for an empty folder.
    members: Vec<Option<Content>>,
}

#[derive(Clone, Default)]
struct FolderPromise {
    listing: bool,
    members: Vec<u32>,
    finished: bool,
}

impl OneFolder {
    fn new() -> Self {
        let file = |path: &str, content: &Content, executable| ListingEntry {
            path: SafePath::parse(path).unwrap(),
            node: Node::File { key: content.key, executable, mtime_ns: content.key.length as i64 + 5 },
        };
        let contents = [Content::new(700, 1), Content::new(CHUNK + 9, 2), Content::new(0, 3)];
        let entries = vec![
            file("a/b/small", &contents[0], false),
            file("large", &contents[1], true),
            file("none", &contents[2], false),
            ListingEntry { path: SafePath::parse("z/empty").unwrap(), node: Node::Folder { mtime_ns: -4 } },
        ];
        let listing = Listing::new(entries).unwrap();
        let members = contents.into_iter().map(Some).chain([None]).collect();
        Self { listing: Content::of(listing.encode()), members }
    }

    fn open(&self, root: &MemoryFolder) -> Result<StagingOpening<MemoryFolder>, StorageFault> {
        let name = SafeName::parse(TARGET).unwrap();
        let wanted = Sidecar { key: self.listing.key, kind: Kind::Folder, name, table: None };
        staging::Staging::open(root, PART_NAME.into(), wanted, quiet())
    }

    fn stands(&self, root: &MemoryFolder) -> bool {
        let (name, target) = (OsStr::new(PART_NAME), OsStr::new(TARGET));
        match standing::standing_beside(root, name, target, self.listing.key, quiet()).unwrap() {
            StandingFolder::Same(_) => true,
            StandingFolder::Nothing => false,
            StandingFolder::Other => panic!("a wrong folder under the final name"),
        }
    }

    fn files(&self) -> Vec<(u32, &Content)> {
        (0..).zip(&self.members).filter_map(|(entry, member)| Some((entry, member.as_ref()?))).collect()
    }
}

impl Subject for OneFolder {
    type Promise = FolderPromise;

    fn download(
        &self,
        root: &MemoryFolder,
        random: &mut Random,
        promised: &mut dyn FnMut(FolderPromise),
    ) -> Result<(), StorageFault> {
        if self.stands(root) {
            return Ok(());
        }
        // The listing is one chunk: it needs no table.
        let StagingOpening::Open { staging, have, .. } = self.open(root)? else {
            panic!("no table is needed")
        };
        let mut promise = FolderPromise { listing: true, ..FolderPromise::default() };
        if !have.is_full() {
            staging.listing_part().write(self.listing.chunks()[0].0, &self.listing.bytes)?;
        }
        let mut left = self.files();
        while !left.is_empty() {
            let (entry, content) = left.swap_remove(random.below(left.len()));
            let opened = staging.open_member(entry, content.key, content.table.clone(), quiet());
            match opened? {
                MemberOpening::Done { .. } => {}
                MemberOpening::NeedsTable => panic!("the table was given"),
                MemberOpening::Open { part, have, .. } => {
                    let chunks = content.chunks().into_iter();
                    for (at, bytes) in chunks.filter(|(at, _)| !have.contains(at.piece)) {
                        part.write(at, bytes)?;
                    }
                    if random.below(3) == 0 {
                        part.sync()?;
                    }
                    staging.finish_member(entry, &part)?;
                }
            }
            promise.members.push(entry);
            // One that fails is made up for by a later one.
            if random.below(2) == 0 && staging.sync().is_ok() {
                promised(promise.clone());
            }
        }
        let finish = || staging.finish(OsStr::new(TARGET), quiet());
        assert!(finish().or_else(|_| finish())?.is_none(), "no other folder was there");
        promised(FolderPromise { finished: true, ..promise });
        Ok(())
    }

    fn check(&self, root: &MemoryFolder, promise: &FolderPromise) {
        assert_eq!(read(root, BYSTANDER).as_deref(), Some(&b"mine"[..]));
        if self.stands(root) {
            return;
        }
        assert!(!promise.finished, "it was finished");
        let StagingOpening::Open { staging, have, .. } = self.open(root).unwrap() else {
            panic!("no table is needed")
        };
        assert!(have.is_full() || !promise.listing, "the listing was synced");
        if have.is_full() {
            for entry in &promise.members {
                let content = self.members[*entry as usize].as_ref().unwrap();
                let opened = staging.open_member(*entry, content.key, None, quiet()).unwrap();
                assert!(matches!(opened, MemberOpening::Done { .. }), "a synced member is lost");
            }
        }
    }

    fn check_end(&self, root: &MemoryFolder) {
        let mut names = root.names().unwrap();
        names.sort();
        assert_eq!(names, [BYSTANDER, TARGET]);
        assert!(self.stands(root), "with its times and rights");
    }
}

/// Seeds are spread over the cores.
fn cut_by_many<S: Subject>(subject: &S, seeds: u64) -> usize {
    let cuts = AtomicUsize::new(0);
    let threads = check::all_cores() as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let cuts = &cuts;
            let seeds = seeds * thread / threads..seeds * (thread + 1) / threads;
            scope.spawn(move || cuts.fetch_add(cut_everywhere(subject, seeds), Ordering::Relaxed));
        }
    });
    cuts.into_inner()
}

#[test]
fn a_file_survives_any_cut() {
    let mut cuts = 0;
    for (length, seeds) in [(0, 60), (10, 120), (3000, 140), (CHUNK + 1, 80), (2 * CHUNK + 100, 40)] {
        cuts += cut_by_many(&OneFile(Content::new(length, 1)), seeds);
    }
    assert!(cuts > 50_000, "{cuts} cuts");
}

#[test]
fn a_folder_survives_any_cut() {
    let cuts = cut_by_many(&OneFolder::new(), 40);
    assert!(cuts > 15_000, "{cuts} cuts");
}

/// Lets each operation fail once, then goes on as when there is space again.
fn fail_everywhere<S: Subject>(subject: &S) -> usize {
    let mut faults = 0;
    for seed in 0..8 {
        'operations: for at in 0.. {
            for error in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
                let disk = disk_with_bystander();
                let mut promise = S::Promise::default();
                disk.fail(at, error);
                let result = subject.download(&disk.root(), &mut Random(seed), &mut |kept| promise = kept);
                let expected =
                    if error == io::ErrorKind::Other { StorageFault::Io } else { StorageFault::Full };
                assert!(result.is_ok() || result == Err(expected), "{result:?}");
                if !disk.failed() {
                    // Past the last operation.
                    break 'operations;
                }
                faults += 1;
                subject.check(&disk.root(), &promise);
                subject.download(&disk.root(), &mut Random(!seed), &mut |_| ()).unwrap();
                subject.check_end(&disk.root());
            }
        }
    }
    faults
}

#[test]
fn a_disk_that_fails_costs_nothing_and_the_download_goes_on() {
    for length in [0, 10, 2 * CHUNK + 100] {
        assert!(fail_everywhere(&OneFile(Content::new(length, 1))) > 10);
    }
    assert!(fail_everywhere(&OneFolder::new()) > 30);
}

#[test]
fn what_a_failed_sync_let_go_of_a_folder_is_written_again() {
    let (subject, mut finished) = (OneFolder::new(), 0);
    for seed in 0..24 {
        for at in 0.. {
            let disk = disk_with_bystander();
            disk.fail(at, io::ErrorKind::Other);
            let mut promise = FolderPromise::default();
            let result = subject.download(&disk.root(), &mut Random(seed), &mut |kept| promise = kept);
            if !disk.failed() {
                break;
            }
            if result.is_ok() {
                finished += 1;
                subject.check(&disk.cut(disk.now(), &mut Random(!seed)).root(), &promise);
            }
        }
    }
    assert!(finished > 50, "{finished} got there though a sync failed");
}

#[test]
fn what_cannot_be_read_of_a_part_is_fetched_again_unless_it_is_too_much() {
    let subject = OneFile(Content::new(20 * CHUNK, 1));
    let disk = disk_with_bystander();
    let open =
        || part::Part::open(OneFile::spot(&disk.root()), subject.sidecar(subject.0.table.clone()), quiet());
    let have = || match open() {
        Ok(PartOpening::Open { part, have, .. }) => Ok((part, have)),
        Ok(PartOpening::NeedsTable) => panic!("the table was given"),
        Err(fault) => Err(fault),
    };
    let (part, _) = have().unwrap();
    for (at, bytes) in subject.0.chunks() {
        part.write(at, bytes).unwrap();
    }
    disk.spoil(0..20 * CHUNK);
    assert_eq!(have().err(), Some(StorageFault::Io), "it is the disk as a whole");
    disk.spoil(2 * CHUNK..2 * CHUNK + 512);
    assert_eq!(have().unwrap().1.iter_missing().collect::<Vec<_>>(), [PieceIndex(2)]);
    subject.download(&disk.root(), &mut Random(1), &mut |_| ()).unwrap();
    subject.check_end(&disk.root());
}

/// Its table may not be to be had elsewhere.
#[test]
fn a_sidecar_that_cannot_be_opened_now_is_waited_for() {
    let subject = OneFile(Content::new(3 * CHUNK, 1));
    let disk = disk_with_bystander();
    let open = |table| part::Part::open(OneFile::spot(&disk.root()), subject.sidecar(table), quiet());
    let Ok(PartOpening::Open { part, .. }) = open(subject.0.table.clone()) else { panic!("not opened") };
    let (at, bytes) = subject.0.chunks()[0];
    part.write(at, bytes).unwrap();
    drop(part);
    disk.lack_descriptors_for(SIDECAR_NAME);
    assert_eq!(open(None).err(), Some(StorageFault::TooManyOpen));
    let Ok(PartOpening::Open { have, table, .. }) = open(None) else { panic!("its table is not known") };
    assert_eq!((have.count(), table), (1, subject.0.table.clone()));
}
