use tempfile::TempDir;

use super::*;
use crate::hashing::hash_bytes;

/// A file of this inode, as if it had been hashed.
fn hashed(inode: u64, length: usize) -> Hashed {
    let (key, table) = hash_bytes(&vec![inode as u8; length]);
    let identity = FileIdentity { device: 7, inode, size: length as u64, mtime_ns: -5, ctime_ns: 1 << 60 };
    Hashed { key, table, identity }
}

fn known(path: &Path, identity: &FileIdentity) -> Option<Hashed> {
    CacheFile::look_up(path.to_owned(), &[*identity]).get(identity)
}

fn put(path: &Path, hashed: &[Hashed]) {
    let cache = CacheFile::look_up(path.to_owned(), &[]);
    for hashed in hashed {
        cache.put(hashed);
    }
}

#[test]
fn what_was_stored_is_known_to_the_next_process_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("below/hashes.redb");
    let files = [hashed(1, 0), hashed(2, 100), hashed(3, 1 << 20)];
    assert_eq!(known(&path, &files[0].identity), None);
    assert!(!path.exists(), "looking up creates nothing");
    put(&path, &files);
    for file in &files {
        assert_eq!(known(&path, &file.identity).as_ref(), Some(file));
        for other in [
            FileIdentity { device: 8, ..file.identity },
            FileIdentity { inode: 9, ..file.identity },
            FileIdentity { size: file.identity.size + 1, ..file.identity },
            FileIdentity { mtime_ns: 0, ..file.identity },
            FileIdentity { ctime_ns: 0, ..file.identity },
        ] {
            assert_eq!(known(&path, &other), None);
        }
    }
    // A file that changed takes the place of what it was.
    let changed = Hashed { identity: FileIdentity { ctime_ns: 5, ..files[1].identity }, ..files[1].clone() };
    put(&path, std::slice::from_ref(&changed));
    assert_eq!(known(&path, &files[1].identity), None);
    assert_eq!(known(&path, &changed.identity), Some(changed));
}

#[test]
fn a_damaged_cache_starts_anew() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hashes.redb");
    let file = hashed(2, 1 << 20);
    put(&path, std::slice::from_ref(&file));
    let whole = fs::read(&path).unwrap();
    let mut zeroed = whole.clone();
    zeroed[4096..].fill(0);
    let mut flipped = whole.clone();
    flipped.iter_mut().skip(4096).step_by(64).for_each(|byte| *byte ^= 0x55);
    for damaged in
        [&b""[..], b"not a database at all", &whole[..whole.len() / 2], &whole[..100], &zeroed, &flipped]
    {
        fs::write(&path, damaged).unwrap();
        let found = known(&path, &file.identity);
        assert!(found.is_none() || found.as_ref() == Some(&file));
        put(&path, std::slice::from_ref(&file));
        assert_eq!(known(&path, &file.identity).as_ref(), Some(&file));
    }
}

#[test]
fn a_damaged_value_is_not_believed() {
    let file = hashed(2, 600_000);
    let right = encode(&file);
    assert_eq!(decode(&file.identity, &right).as_ref(), Some(&file));
    for at in 0..right.len() {
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        assert_eq!(decode(&file.identity, &wrong), None);
        assert_eq!(decode(&file.identity, &right[..at]), None);
    }
}

#[test]
fn a_cache_that_another_process_holds_is_done_without() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hashes.redb");
    let file = hashed(2, 100);
    put(&path, std::slice::from_ref(&file));
    let held = Database::create(&path).unwrap();
    assert_eq!(known(&path, &file.identity), None);
    put(&path, &[hashed(3, 100)]);
    drop(held);
    assert_eq!(known(&path, &file.identity), Some(file), "it was not taken for damaged");
}

#[test]
fn processes_that_take_turns_all_get_their_hashes_in() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hashes.redb");
    thread::scope(|scope| {
        for first in [0, 100, 200, 300] {
            let path = &path;
            scope.spawn(move || {
                put(path, &(first..first + 20).map(|inode| hashed(inode, 10)).collect::<Vec<_>>())
            });
        }
    });
    for inode in [0, 119, 210, 319] {
        assert!(known(&path, &hashed(inode, 10).identity).is_some());
    }
}

#[test]
fn where_no_cache_can_be_nothing_fails() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let file = hashed(2, 100);
    let path = folder.path().join("file/below.redb");
    put(&path, std::slice::from_ref(&file));
    assert_eq!(known(&path, &file.identity), None);
    fs::create_dir(folder.path().join("folder")).unwrap();
    let path = folder.path().join("folder");
    put(&path, std::slice::from_ref(&file));
    assert_eq!(known(&path, &file.identity), None);
    assert!(path.is_dir());
}
