use std::fs;
use std::sync::atomic::AtomicU64;

use potluck_core::limits::CHUNK_BYTES;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::scan::{Found, scan};

fn quietly(threads: usize) -> Hashing<'static> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Hashing { threads, progress: &|_| (), cancelled: &NEVER, cache: None }
}

fn plan(path: &Path) -> FolderPlan {
    match scan(path).unwrap().found {
        Found::Folder(plan) => plan,
        Found::File(_) => panic!("a file"),
    }
}

/// A cache in memory.
#[derive(Default)]
struct Remembered(Mutex<Vec<Hashed>>);

impl HashCache for Remembered {
    fn get(&self, identity: &FileIdentity) -> Option<Hashed> {
        self.0.lock().unwrap().iter().find(|hashed| hashed.identity == *identity).cloned()
    }

    fn put(&self, hashed: &Hashed) {
        self.0.lock().unwrap().push(hashed.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_file_has_the_hash_that_b3sum_prints(
        length in prop_oneof![0..4096_usize, 0..3_000_000_usize, Just(CHUNK_BYTES as usize), Just(8 << 20)],
        seed in any::<u8>(),
        threads in 1..4_usize,
    ) {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, &bytes).unwrap();
        let hashed = hash_file(&path, quietly(threads)).unwrap();
        prop_assert_eq!(hashed.key.id.0, *blake3::hash(&bytes).as_bytes());
        prop_assert_eq!(hashed.key.length, length as u64);
        prop_assert_eq!(hash_bytes(&bytes), (hashed.key, hashed.table.clone()));
        prop_assert_eq!(hashed.table.is_some(), length as u64 > CHUNK_BYTES);
        prop_assert_eq!(hashed.identity, FileIdentity::of(&fs::File::open(&path).unwrap()).unwrap());
    }
}

#[test]
fn a_folder_tells_each_file_as_it_comes_and_lists_them_all() {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("large"), vec![1; 9 << 20]).unwrap();
    for n in 0..50_u8 {
        fs::write(folder.path().join(n.to_string()), vec![n; usize::from(n)]).unwrap();
    }
    let plan = plan(folder.path());
    let (told, bytes) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    let progress = |more| {
        bytes.fetch_add(more, Ordering::Relaxed);
    };
    let how = Hashing { progress: &progress, ..quietly(3) };
    let each = |index: usize, hashed: &Hashed| told.lock().unwrap().push((index, hashed.key));
    let hashed = hash_folder(folder.path(), &plan, how, &each).unwrap();
    let told = told.into_inner().unwrap();
    assert_eq!(told.len(), 51);
    assert_eq!(bytes.into_inner(), hashed.listing.total_bytes());
    assert!(hashed.skipped.is_empty());
    assert_eq!(hash_bytes(&hashed.bytes), (hashed.key, hashed.table));
    assert_eq!(Listing::decode(&hashed.bytes).unwrap(), *hashed.listing);
    assert_eq!(hashed.listing.entries().len(), 52);
    for (index, key) in told {
        let path = &plan.files[index].path;
        let entry = hashed.listing.entries().iter().find(|entry| entry.path == *path).unwrap();
        assert!(matches!(entry.node, Node::File { key: listed, .. } if listed == key));
    }
}

#[test]
fn equal_folders_are_one_content_on_any_number_of_threads() {
    let folder = TempDir::new().unwrap();
    for n in 0..20_u8 {
        fs::write(folder.path().join(n.to_string()), vec![n; 100]).unwrap();
    }
    let keys = [1, 2, 7].map(|threads| {
        hash_folder(folder.path(), &plan(folder.path()), quietly(threads), &|_, _| ()).unwrap().key
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn what_vanished_or_became_something_else_is_left_out_and_told() {
    let folder = TempDir::new().unwrap();
    for name in ["gone", "link", "stays", "z"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let plan = plan(folder.path());
    fs::remove_file(folder.path().join("gone")).unwrap();
    fs::remove_file(folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("stays", folder.path().join("link")).unwrap();
    let hashed = hash_folder(folder.path(), &plan, quietly(2), &|_, _| ()).unwrap();
    let listed: Vec<_> = hashed.listing.entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(listed, ["stays", "z"]);
    let skipped: Vec<_> = hashed.skipped.iter().map(|skipped| &skipped.path).collect();
    assert_eq!(skipped, [&folder.path().join("gone"), &folder.path().join("link")]);
    assert_eq!(hashed.skipped[0].why, WhySkipped::Unreadable(io::ErrorKind::NotFound));
}

#[test]
fn a_file_that_changes_all_the_time_is_told_so() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, [0; 1000]).unwrap();
    let writes = AtomicUsize::new(0);
    let append = |_| {
        use std::io::Write;
        writes.fetch_add(1, Ordering::Relaxed);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    };
    let hashed = hash_file(&path, Hashing { progress: &append, ..quietly(1) });
    assert!(matches!(hashed, Err(HashError::Changing { path: told }) if told == path));
    assert_eq!(writes.into_inner(), ATTEMPTS);
}

#[test]
fn a_file_that_changed_once_is_hashed_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, b"before").unwrap();
    let changed = AtomicBool::new(false);
    let change = |_| {
        if !changed.swap(true, Ordering::Relaxed) {
            fs::write(&path, b"after, and longer").unwrap();
        }
    };
    let hashed = hash_file(&path, Hashing { progress: &change, ..quietly(1) }).unwrap();
    assert_eq!(hashed.key, hash_bytes(b"after, and longer").0);
}

#[test]
fn hashing_stops_when_it_is_told_to() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), vec![0; 9 << 20]).unwrap();
    let cancelled = AtomicBool::new(false);
    let cancel = |_| cancelled.store(true, Ordering::Relaxed);
    let how = Hashing { threads: 2, progress: &cancel, cancelled: &cancelled, cache: None };
    assert!(matches!(hash_file(&folder.path().join("file"), how), Err(HashError::Cancelled)));
    let folder_hashed = hash_folder(folder.path(), &plan(folder.path()), how, &|_, _| ());
    assert!(matches!(folder_hashed, Err(HashError::Cancelled)));
}

#[test]
fn what_is_no_file_cannot_be_hashed() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(hash_file(folder.path(), quietly(1)), Err(HashError::Io { .. })));
    assert!(matches!(hash_file(&folder.path().join("missing"), quietly(1)), Err(HashError::Io { .. })));
}

#[test]
fn an_unchanged_file_is_hashed_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![5; 600_000]).unwrap();
    let cache = Remembered::default();
    // Its ctime must lie a clock step back before a hash of it is remembered.
    let settled = || {
        let identity = FileIdentity::of(&fs::File::open(&path).unwrap()).unwrap();
        while !is_settled(&identity, SystemTime::now()) {
            std::thread::yield_now();
        }
    };
    settled();
    let how = Hashing { cache: Some(&cache), ..quietly(2) };
    let first = hash_file(&path, how).unwrap();
    assert_eq!(cache.0.lock().unwrap().len(), 1);
    assert_eq!(hash_file(&path, how).unwrap(), first);
    assert_eq!(cache.0.lock().unwrap().len(), 1);
    fs::write(&path, b"other").unwrap();
    settled();
    assert_eq!(hash_file(&path, how).unwrap().key, hash_bytes(b"other").0);
    assert_eq!(cache.0.lock().unwrap().len(), 2);
}

#[test]
fn a_hash_is_not_remembered_of_a_file_that_changed_a_moment_ago() {
    let now = SystemTime::now();
    let ns = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let identity = |ctime_ns| FileIdentity { device: 1, inode: 1, size: 1, mtime_ns: 0, ctime_ns };
    let fine = ns(now) / 1_000_000_000 * 1_000_000_000 - 500_000_000;
    assert!(is_settled(&identity(fine), now));
    assert!(!is_settled(&identity(ns(now) - 1), now));
    assert!(!is_settled(&identity(ns(now) + 1_000_000), now), "a clock that was put back");
    // Whole seconds: the clock of the file system is coarse.
    assert!(!is_settled(&identity(fine / 1_000_000_000 * 1_000_000_000), now));
    assert!(is_settled(&identity((fine / 1_000_000_000 - 4) * 1_000_000_000), now));
}
