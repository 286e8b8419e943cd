//! A folder with its members.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use potluck_core::content::{ListingEntry, PathFault, SafePath, Selection};

use super::*;
use crate::hashing::{Hashed, HashedFolder, Hashing, hash_folder};
use crate::scan::{Found, scan};
use crate::store::{discard, find_parts};

/// Hashes a folder as `share` does.
fn hashed(path: &Path) -> HashedFolder {
    let Found::Folder(plan) = scan(path).unwrap().found else { panic!("not a folder") };
    let how = Hashing { threads: 2, progress: &|_| (), cancelled: &AtomicBool::new(false), cache: None };
    hash_folder(path, &plan, how, &|_, _: &Hashed| ()).unwrap()
}

/// A folder with everything that a listing tells of.
fn origin() -> (TempDir, HashedFolder) {
    let folder = TempDir::new().unwrap();
    let at = |path: &str| folder.path().join(path);
    for inner in ["a/b/c", "empty/inner", "z"] {
        fs::create_dir_all(at(inner)).unwrap();
    }
    for (path, length) in [
        ("top", 1000),
        ("a/b/c/deep.bin", 700_000),
        ("a/b/none", 0),
        ("z/tool", 4096),
        (".hidden", 3),
        ("listing", 5),
    ] {
        fs::write(at(path), Content::new(length, path.len() as u8).bytes).unwrap();
    }
    fs::set_permissions(at("z/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(at("top")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH - Duration::new(5, 5)).unwrap();
    let listed = hashed(folder.path());
    (folder, listed)
}

/// The members of a listing, with their bytes.
fn members(origin: &Path, folder: &HashedFolder) -> Vec<(Place, Content)> {
    let files = (0..).zip(folder.listing.entries()).filter_map(|(entry, listed)| match listed.node {
        Node::File { .. } => {
            let bytes = fs::read(origin.join(listed.path.as_str())).unwrap();
            Some((Place::Member { download: DOWNLOAD, entry }, Content::of(bytes)))
        }
        Node::Folder { .. } => None,
    });
    files.collect()
}

/// Opens the root and writes the listing; what the machine does first.
fn write_listing(world: &World, folder: &HashedFolder) {
    let opened = world.store.open(ROOT, folder.key, folder.table.clone(), QUIET);
    assert!(matches!(opened, Ok(Opening::Part { .. })), "{opened:?}");
    Content::of(folder.bytes.to_vec()).write_all(&world.store, ROOT);
    assert_eq!(world.store.read_listing(DOWNLOAD), Ok(Ok(Arc::clone(&folder.listing))));
}

/// Fetches one member unless it is there.
fn fetch(world: &World, place: Place, content: &Content) {
    match world.store.open(place, content.key, content.table.clone(), QUIET).unwrap() {
        Opening::Finished { table } => assert_eq!(table, content.table),
        Opening::NeedsTable => panic!("it was given one"),
        Opening::Part { .. } => {
            content.write_all(&world.store, place);
            world.store.finish(place).unwrap();
        }
    }
}

#[test]
fn a_folder_arrives_as_it_was() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    for (place, content) in members(from.path(), &folder) {
        fetch(&world, place, &content);
        assert_eq!(
            world.served(content.key).as_ref(),
            Some(&content.bytes),
            "served from the staging folder"
        );
        world.store.release(place);
    }
    assert_eq!(world.store.sync(ROOT), Ok(()));
    assert_eq!(world.store.finish(ROOT), Ok(()));
    assert_eq!(world.store.finish(ROOT), Ok(()), "finishing twice is no fault");
    world.store.release(ROOT);
    assert_eq!(world.names(), ["folder"]);
    assert_eq!(hashed(&world.path("folder")).key, folder.key, "bytes, times, rights and empty folders");
    assert_eq!(fs::metadata(world.path("folder/z/tool")).unwrap().permissions().mode() & 0o100, 0o100);
    assert!(world.path("folder/empty/inner").is_dir());
    for (_, content) in members(from.path(), &folder) {
        assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes), "served from the final folder");
    }
    assert_eq!(world.served(folder.key).as_deref(), Some(&*folder.bytes));
}

#[test]
fn a_restart_keeps_the_listing_and_every_right_member() {
    let (from, folder) = origin();
    let mut world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    let members = members(from.path(), &folder);
    let (large, large_content) = members.iter().find(|(_, content)| content.table.is_some()).unwrap();
    for (place, content) in &members {
        if place != large {
            fetch(&world, *place, content);
        }
    }
    world.store.open(*large, large_content.key, large_content.table.clone(), QUIET).unwrap();
    large_content.write(&world.store, *large, &[1]);
    // One member goes stale.
    let staging = world.part_path(folder.key.id);
    fs::write(staging.join("content/top"), [0; 1000]).unwrap();

    world.restart();
    assert_eq!(find_parts(world.folder.path()).len(), 1);
    let opened = world.store.open(ROOT, folder.key, None, QUIET);
    assert!(matches!(opened, Ok(Opening::Part { have, .. }) if have.is_full()));
    world.store.read_listing(DOWNLOAD).unwrap().unwrap();
    for (place, content) in &members {
        let opened = world.store.open(*place, content.key, None, QUIET).unwrap();
        if place == large {
            assert_eq!(opened, large_content.part(&[1]), "its table is in a sidecar");
        } else if content.bytes.len() == 1000 {
            assert_eq!(opened, content.part(&[]), "stale");
        } else {
            assert_eq!(opened, content.finished());
        }
        if matches!(opened, Opening::Part { .. }) {
            content.write_all(&world.store, *place);
            world.store.finish(*place).unwrap();
        }
    }
    world.store.finish(ROOT).unwrap();
    assert_eq!(hashed(&world.path("folder")).key, folder.key);
}

#[test]
fn a_whole_member_without_its_sidecar_is_recognised() {
    let (from, folder) = origin();
    let mut world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    let members = members(from.path(), &folder);
    let (place, content) = members.iter().find(|(_, content)| content.table.is_some()).unwrap();
    fetch(&world, *place, content);
    let staging = world.part_path(folder.key.id);
    for name in fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().file_name()) {
        if name.to_str().unwrap().starts_with("meta.") {
            fs::remove_file(staging.join(name)).unwrap();
        }
    }
    world.restart();
    world.store.open(ROOT, folder.key, None, QUIET).unwrap();
    assert_eq!(world.store.open(*place, content.key, None, QUIET), Ok(content.finished()));
    world.store.release(*place);
    let file = fs::OpenOptions::new().write(true).open(staging.join("content/a/b/c/deep.bin")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"stale", 0).unwrap();
    assert_eq!(world.store.open(*place, content.key, None, QUIET), Ok(Opening::NeedsTable));
}

#[test]
fn a_folder_swapped_for_a_link_is_not_followed() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    let content_folder = world.part_path(folder.key.id).join("content");
    let members = members(from.path(), &folder);
    let deep =
        folder.listing.entries().iter().position(|entry| entry.path.as_str() == "z/tool").unwrap() as u32;
    let (place, content) = members
        .iter()
        .find(|(place, _)| *place == Place::Member { download: DOWNLOAD, entry: deep })
        .unwrap();
    // Before it is opened: refused.
    symlink(&outside, content_folder.join("z")).unwrap();
    assert_eq!(world.store.open(*place, content.key, None, QUIET), Err(StorageFault::BadPath));
    fs::remove_file(content_folder.join("z")).unwrap();
    // While it is open: what was opened is written, and the folder is not put in place as it is.
    world.store.open(*place, content.key, None, QUIET).unwrap();
    fs::rename(content_folder.join("z"), world.path("moved")).unwrap();
    symlink(&outside, content_folder.join("z")).unwrap();
    content.write_all(&world.store, *place);
    world.store.finish(*place).unwrap();
    for (place, content) in &members {
        if !matches!(place, Place::Member { entry, .. } if *entry == deep) {
            fetch(&world, *place, content);
        }
    }
    assert_eq!(world.store.finish(ROOT), Err(StorageFault::Occupied));
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
    // Put right again, it is finished.
    fs::remove_file(content_folder.join("z")).unwrap();
    fs::rename(world.path("moved"), content_folder.join("z")).unwrap();
    assert_eq!(world.store.finish(ROOT), Ok(()));
    assert_eq!(hashed(&world.path("folder")).key, folder.key);
}

/// What gets the name is what was looked at, though everything was written where it should be.
#[test]
fn a_link_or_another_folder_in_the_place_of_what_was_downloaded_is_not_put_in_place() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    for (place, content) in &members(from.path(), &folder) {
        fetch(&world, *place, content);
    }
    let downloaded = world.part_path(folder.key.id).join("content");
    fs::rename(&downloaded, world.path("moved")).unwrap();
    symlink(world.path("moved"), &downloaded).unwrap();
    assert_eq!(world.store.finish(ROOT), Err(StorageFault::Altered));
    fs::remove_file(&downloaded).unwrap();
    fs::create_dir(&downloaded).unwrap();
    assert_eq!(world.store.finish(ROOT), Err(StorageFault::Altered));
    fs::remove_dir_all(&downloaded).unwrap();
    fs::rename(world.path("moved"), &downloaded).unwrap();
    assert_eq!(world.store.open(ROOT, folder.key, None, QUIET).map(drop), Ok(()));
    for (place, content) in &members(from.path(), &folder) {
        fetch(&world, *place, content);
    }
    assert_eq!(world.store.finish(ROOT), Ok(()));
    assert_eq!(hashed(&world.path("folder")).key, folder.key);
}

#[test]
fn what_is_not_of_the_folder_is_not_put_in_place() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    for (place, content) in members(from.path(), &folder) {
        fetch(&world, place, &content);
    }
    let content_folder = world.part_path(folder.key.id).join("content");
    fs::write(content_folder.join("strange"), b"x").unwrap();
    assert_eq!(world.store.finish(ROOT), Err(StorageFault::Occupied));
    fs::remove_file(content_folder.join("strange")).unwrap();
    let top = content_folder.join("top");
    let right = fs::read(&top).unwrap();
    fs::write(&top, &right).unwrap();
    assert_eq!(world.store.finish(ROOT), Ok(()), "touched, but right");

    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    for (place, content) in members(from.path(), &folder) {
        fetch(&world, place, &content);
    }
    fs::write(world.part_path(folder.key.id).join("content/top"), [1; 1000]).unwrap();
    assert_eq!(world.store.finish(ROOT), Err(StorageFault::Altered), "touched, and wrong");
    assert!(!world.path("folder").exists());
}

#[test]
fn what_somebody_else_removed_or_cut_is_not_said_to_stand() {
    type Deed = fn(&Path);
    let deeds: [(&str, Deed); 4] = [
        ("a file", |staging| fs::remove_file(staging.join("content/top")).unwrap()),
        ("part of a file", |staging| fs::write(staging.join("content/z/tool"), "short").unwrap()),
        ("all files", |staging| fs::remove_dir_all(staging.join("content")).unwrap()),
        ("everything", |staging| fs::remove_dir_all(staging).unwrap()),
    ];
    for (name, deed) in deeds {
        let (from, folder) = origin();
        let world = World::new("folder", Kind::Folder);
        write_listing(&world, &folder);
        for (place, content) in members(from.path(), &folder) {
            fetch(&world, place, &content);
        }
        deed(&world.part_path(folder.key.id));
        assert_eq!(world.store.finish(ROOT), Err(StorageFault::Altered), "{name}");
        assert!(!world.path("folder").exists(), "{name}");
    }
}

#[test]
fn an_incomplete_folder_is_not_put_in_place() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    for (place, content) in members(from.path(), &folder).iter().skip(1) {
        fetch(&world, *place, content);
    }
    assert!(world.store.finish(ROOT).is_err());
    assert!(!world.path("folder").exists());
}

#[test]
fn a_folder_that_stands_is_done_at_once_and_another_one_is_refused() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    world.store.release(ROOT);
    let copied =
        std::process::Command::new("cp").arg("-a").arg(from.path()).arg(world.path("folder")).status();
    assert!(copied.unwrap().success());
    assert_eq!(world.store.open(ROOT, folder.key, None, QUIET), Ok(Opening::Finished { table: None }));
    assert_eq!(world.names(), ["folder"], "what was left is tidied");
    assert_eq!(world.store.read_listing(DOWNLOAD), Ok(Ok(Arc::clone(&folder.listing))));
    for (place, content) in members(from.path(), &folder) {
        assert_eq!(world.store.open(place, content.key, None, QUIET), Ok(content.finished()));
        assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes));
    }
    world.store.release(ROOT);
    fs::write(world.path("folder/top"), [1; 1000]).unwrap();
    assert_eq!(world.store.open(ROOT, folder.key, None, QUIET), Err(StorageFault::Occupied));
    fs::remove_dir_all(world.path("folder")).unwrap();
    fs::write(world.path("folder"), b"a file").unwrap();
    assert_eq!(world.store.open(ROOT, folder.key, None, QUIET), Err(StorageFault::Occupied));
}

#[test]
fn an_equal_folder_that_appears_meanwhile_is_as_good() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    for (place, content) in members(from.path(), &folder) {
        fetch(&world, place, &content);
    }
    fs::create_dir(world.path("folder")).unwrap();
    assert_eq!(world.store.finish(ROOT), Err(StorageFault::Occupied));
    fs::remove_dir(world.path("folder")).unwrap();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(from.path()).arg(world.path("folder")).status();
    assert!(copied.unwrap().success());
    assert_eq!(world.store.finish(ROOT), Ok(()));
    assert_eq!(world.names(), ["folder"]);
    for (_, content) in members(from.path(), &folder) {
        assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes));
    }
}

#[test]
fn bytes_that_are_no_listing_are_told() {
    let world = World::new("folder", Kind::Folder);
    let content = Content::new(1000, 1);
    world.open(&content).unwrap();
    assert_eq!(world.store.read_listing(DOWNLOAD), Err(StorageFault::Altered), "not complete yet");
    content.write_all(&world.store, ROOT);
    assert_eq!(world.store.read_listing(DOWNLOAD), Ok(Err(ListingFault::NotAListing)));
    let member = Place::Member { download: DOWNLOAD, entry: 0 };
    assert_eq!(world.store.open(member, content.key, None, QUIET), Err(StorageFault::BadPath));
    let huge = ContentKey { length: 1 << 40, ..content.key };
    world.store.release(ROOT);
    assert_eq!(world.store.open(ROOT, huge, None, QUIET), Err(StorageFault::BadPath));
}

#[test]
fn a_staging_folder_is_locked_and_discarded_whole() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    for (place, content) in members(from.path(), &folder) {
        fetch(&world, place, &content);
    }
    let second = Store::new(StoreOptions::default());
    second.set_target(DOWNLOAD, world.target(), Kind::Folder, SafeName::parse("folder").unwrap());
    assert_eq!(second.open(ROOT, folder.key, None, QUIET), Err(StorageFault::Locked));
    // A file that is to get the folder's name is told so, too.
    let file = Content::new(1000, 3);
    second.set_target(DOWNLOAD, world.target(), Kind::File, SafeName::parse("folder").unwrap());
    assert_eq!(second.open(ROOT, file.key, file.table.clone(), QUIET), Err(StorageFault::Locked));
    assert_eq!(discard(&world.target(), folder.key), Err(StorageFault::Locked));
    world.store.release(ROOT);
    assert_eq!(discard(&world.target(), folder.key), Ok(true));
    assert!(world.names().is_empty());
    assert_eq!(discard(&world.target(), folder.key), Ok(false));
}

#[test]
fn members_and_listings_that_are_here_are_copied() {
    let (from, folder) = origin();
    let world = World::new("folder", Kind::Folder);
    world.store.add_source(folder.key, Source::Memory(Arc::clone(&folder.bytes)));
    assert_eq!(world.store.copy_local(folder.key, ROOT, QUIET), Ok(()));
    assert_eq!(world.store.read_listing(DOWNLOAD), Ok(Ok(Arc::clone(&folder.listing))));
    for (place, content) in members(from.path(), &folder) {
        world.store.add_source(content.key, Source::Memory(content.bytes.clone().into()));
        assert_eq!(world.store.copy_local(content.key, place, QUIET), Ok(()));
        assert_eq!(world.store.finish(place), Ok(()));
    }
    assert_eq!(world.store.finish(ROOT), Ok(()));
    assert_eq!(hashed(&world.path("folder")).key, folder.key);
}

/// What is here is not fetched; and of a folder that stands it is not copied either.
#[test]
fn members_that_are_here_are_left_alone_where_the_folder_stands() {
    let (from, folder) = origin();
    let mut world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    let members = members(from.path(), &folder);
    for (place, content) in &members {
        fetch(&world, *place, content);
    }
    assert_eq!(world.store.finish(ROOT), Ok(()));
    world.restart();
    let opened = world.store.open(ROOT, folder.key, folder.table.clone(), QUIET);
    assert!(matches!(opened, Ok(Opening::Finished { .. })), "{opened:?}");
    for (place, content) in &members {
        world.store.add_source(content.key, Source::Memory(content.bytes.clone().into()));
        assert_eq!(world.store.copy_local(content.key, *place, QUIET), Ok(()));
        assert_eq!(world.store.finish(*place), Ok(()));
        assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes));
    }
    assert_eq!(world.store.finish(ROOT), Ok(()));
    assert_eq!(hashed(&world.path("folder")).key, folder.key);
}

#[test]
fn many_small_members_arrive() {
    let from = TempDir::new().unwrap();
    for n in 0..3000_u32 {
        let folder = from.path().join(format!("{}", n % 30));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{n}")), n.to_le_bytes().repeat(1024)).unwrap();
    }
    let folder = hashed(from.path());
    let world = World::new("folder", Kind::Folder);
    write_listing(&world, &folder);
    let members = members(from.path(), &folder);
    for (place, content) in &members {
        fetch(&world, *place, content);
        world.store.release(*place);
    }
    world.store.finish(ROOT).unwrap();
    assert_eq!(hashed(&world.path("folder")).key, folder.key);
}

/// The folder of the last member is kept open. It is not needed: where it is gone another one is made, for what is fetched and
/// for what is copied.
#[test]
fn a_folder_removed_between_two_of_its_files_is_made_again() {
    for copied in [false, true] {
        let (from, _) = origin();
        fs::write(from.path().join("z/other"), "beside the tool").unwrap();
        let folder = hashed(from.path());
        let world = World::new("folder", Kind::Folder);
        write_listing(&world, &folder);
        let members = members(from.path(), &folder);
        let (within, others): (Vec<_>, Vec<_>) = members.iter().partition(|(place, _)| {
            let Place::Member { entry, .. } = place else { return false };
            folder.listing.entries()[*entry as usize].path.as_str().starts_with("z/")
        });
        let [first, second] = within[..] else { panic!("two files lie in z/") };
        for (place, content) in others {
            fetch(&world, *place, content);
        }
        fetch(&world, first.0, &first.1);
        world.store.release(first.0);
        let staging = world.names().into_iter().find(|name| name.to_string_lossy().ends_with(".part"));
        fs::remove_dir_all(world.path(staging.unwrap().to_str().unwrap()).join("content/z")).unwrap();
        if copied {
            world.store.add_source(second.1.key, Source::Memory(second.1.bytes.clone().into()));
            assert_eq!(world.store.copy_local(second.1.key, second.0, QUIET), Ok(()));
            assert_eq!(world.store.finish(second.0), Ok(()));
        } else {
            fetch(&world, second.0, &second.1);
        }
        assert_eq!(world.store.finish(ROOT), Err(StorageFault::Altered), "the first file is missed");
        fetch(&world, first.0, &first.1);
        assert_eq!(world.store.finish(ROOT), Ok(()));
        assert_eq!(hashed(&world.path("folder")).key, folder.key);
    }
}

#[test]
fn a_listing_with_a_name_that_leftovers_have_is_refused_when_it_is_read() {
    let listed = |path: &str| {
        let node = Node::File { key: Content::new(10, 1).key, executable: false, mtime_ns: 0 };
        let entry = |path: &str| ListingEntry { path: SafePath::parse(path).unwrap(), node };
        Listing::new(vec![entry("fine"), entry(path)]).unwrap()
    };
    for path in [".a.12345678.part", "z/.a.12345678.meta", "in/.b.0123abcd.part/x"] {
        let world = World::new("folder", Kind::Folder);
        let content = Content::of(listed(path).encode());
        world.open(&content).unwrap();
        content.write_all(&world.store, ROOT);
        let fault = ListingFault::BadPath { path: path.to_owned(), fault: PathFault::Unfinished };
        assert_eq!(world.store.read_listing(DOWNLOAD), Ok(Err(fault)));
        let member = Place::Member { download: DOWNLOAD, entry: 0 };
        assert_eq!(
            world.store.open(member, Content::new(10, 1).key, None, QUIET),
            Err(StorageFault::BadPath)
        );
    }
    for path in ["a.12345678.part", ".a.1234567.part", ".a.12345678.parts", ".part"] {
        let world = World::new("folder", Kind::Folder);
        let content = Content::of(listed(path).encode());
        world.open(&content).unwrap();
        content.write_all(&world.store, ROOT);
        assert_eq!(world.store.read_listing(DOWNLOAD), Ok(Ok(Arc::new(listed(path)))), "{path}");
    }
}

#[test]
fn a_folder_that_cannot_fit_on_the_disk_is_told_before_a_file_of_it_is_opened() {
    let world = World::new("folder", Kind::Folder);
    let entry = |path: &str, length| {
        let key = ContentKey { id: ContentId([1; 32]), length };
        let node = Node::File { key, executable: false, mtime_ns: 0 };
        ListingEntry { path: SafePath::parse(path).unwrap(), node }
    };
    let huge = (0..9).map(|n| entry(&format!("f{n}"), 1 << 44));
    let listing = Listing::new(huge.chain([entry("small", 5)]).collect()).unwrap();
    let content = Content::of(listing.encode());
    let read = |include: &[&str]| {
        let include = include.iter().map(|glob| (*glob).to_owned()).collect();
        let select = Selection::new(include, Vec::new()).unwrap();
        let name = SafeName::parse(world.name).unwrap();
        let target = Target::new(world.folder.path(), &name).unwrap().selecting(&select);
        world.store.set_target(DOWNLOAD, target, Kind::Folder, name);
        world.open(&content).unwrap();
        content.write_all(&world.store, ROOT);
        let read = world.store.read_listing(DOWNLOAD);
        world.store.release(ROOT);
        read
    };
    assert_eq!(read(&[]), Err(StorageFault::Full));
    assert_eq!(read(&["small"]), Ok(Ok(Arc::new(listing.clone()))), "of what is chosen");
}
