//! One file.

use std::os::unix::fs::symlink;

use super::*;
use crate::hash_cache::CacheFile;
use crate::hashing::HashCache as _;
use crate::store::{PartInfo, discard, find_parts};

const PIECE: usize = CHUNK_BYTES as usize;

#[test]
fn contents_of_every_awkward_length_arrive() {
    for length in
        [0, 1, 1023, 1024, 1025, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE - 1, 2 * PIECE, 5 * PIECE + 1025]
    {
        let world = World::file();
        let content = Content::new(length, 1);
        assert_eq!(world.open(&content), Ok(content.part(&[])), "{length}");
        assert_eq!(world.store.reserve(ROOT, 0), Ok(None));
        assert_eq!(fs::metadata(world.part_path(content.key.id)).unwrap().len(), length as u64);
        content.write_all(&world.store, ROOT);
        assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes), "served while it is a part");
        assert_eq!(world.store.sync(ROOT), Ok(()));
        assert_eq!(world.store.finish(ROOT), Ok(()));
        assert_eq!(world.store.finish(ROOT), Ok(()), "finishing twice is no fault");
        assert_eq!(world.store.final_path(DOWNLOAD), Some(world.path("file.bin")));
        assert_eq!(fs::read(world.path("file.bin")).unwrap(), content.bytes, "{length}");
        assert_eq!(world.names(), ["file.bin"], "{length}");
        world.store.release(ROOT);
        assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes), "served from its final path");
    }
}

#[test]
fn a_restart_keeps_every_right_piece_and_no_other() {
    let mut world = World::file();
    let content = Content::new(6 * PIECE + 100, 1);
    world.open(&content).unwrap();
    content.write(&world.store, ROOT, &[0, 2, 3, 6]);
    // Stale bytes in one piece, too.
    let part = fs::OpenOptions::new().write(true).open(world.part_path(content.key.id)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&part, b"stale", 3 * PIECE as u64 + 77).unwrap();
    world.restart();
    assert_eq!(world.open_without_table(&content), Ok(content.part(&[0, 2, 6])), "the sidecar has the table");
    world.store.release(ROOT);
    assert_eq!(world.open(&content), Ok(content.part(&[0, 2, 6])));
    content.write(&world.store, ROOT, &[1, 3, 4, 5]);
    assert_eq!(
        world.open_without_table(&content),
        Ok(content.part(&[0, 1, 2, 3, 4, 5, 6])),
        "open again while open"
    );
    world.store.finish(ROOT).unwrap();
    assert_eq!(fs::read(world.path("file.bin")).unwrap(), content.bytes);
}

#[test]
fn progress_counts_holes_as_done_and_ends_at_the_total() {
    let mut world = World::file();
    let content = Content::new(8 * PIECE, 1);
    world.open(&content).unwrap();
    content.write(&world.store, ROOT, &[5]);
    world.store.reserve(ROOT, 0).unwrap();
    world.restart();
    let told = Mutex::new(Vec::new());
    world.store.open(ROOT, content.key, None, &|done, total| lock(&told).push((done, total))).unwrap();
    let told = told.into_inner().unwrap();
    let total = content.key.length;
    assert_eq!(told.first(), Some(&(total - PIECE as u64, total)));
    assert_eq!(told.last(), Some(&(total, total)));
}

#[test]
fn without_a_table_nothing_is_created() {
    let world = World::file();
    let content = Content::new(2 * PIECE, 1);
    assert_eq!(world.open_without_table(&content), Ok(Opening::NeedsTable));
    assert!(world.names().is_empty());
    let single = Content::new(10, 1);
    assert_eq!(world.open_without_table(&single), Ok(single.part(&[])), "one chunk needs no table");
}

#[test]
fn a_torn_or_foreign_sidecar_is_as_good_as_none_and_is_replaced() {
    let content = Content::new(3 * PIECE, 1);
    let other = Content::new(3 * PIECE, 2);
    let foreign = {
        let world = World::file();
        world.open(&other).unwrap();
        fs::read(world.sidecar_path(other.key.id)).unwrap()
    };
    let mut world = World::file();
    world.open(&content).unwrap();
    content.write(&world.store, ROOT, &[1]);
    let sidecar = world.sidecar_path(content.key.id);
    let whole = fs::read(&sidecar).unwrap();
    let mut flipped = whole.clone();
    flipped[60] ^= 1;
    for torn in [&[][..], &whole[..whole.len() / 2], &whole[..whole.len() - 1], &flipped, &foreign, &[0; 500]]
    {
        fs::write(&sidecar, torn).unwrap();
        world.restart();
        assert_eq!(world.open_without_table(&content), Ok(Opening::NeedsTable));
        assert!(find_parts(world.folder.path()).iter().all(|part| part.key != content.key));
        assert_eq!(world.open(&content), Ok(content.part(&[1])));
        assert_eq!(fs::read(&sidecar).unwrap(), whole);
    }
    fs::remove_file(&sidecar).unwrap();
    world.restart();
    assert_eq!(world.open(&content), Ok(content.part(&[1])));
    assert_eq!(fs::read(&sidecar).unwrap(), whole);
}

#[test]
fn a_part_that_is_too_long_or_too_short_is_put_right() {
    let content = Content::new(3 * PIECE + 5, 1);
    for length in [0, 1, PIECE, 2 * PIECE + 7, 3 * PIECE + 4, 9 * PIECE] {
        let world = World::file();
        let mut bytes = content.bytes.clone();
        bytes.resize(length.max(bytes.len()), 7);
        bytes.truncate(length);
        fs::write(world.part_path(content.key.id), bytes).unwrap();
        let whole_pieces =
            [0, 1, 2, 3].into_iter().filter(|n| ((*n + 1) * PIECE).min(content.bytes.len()) <= length);
        let pieces: Vec<u32> = whole_pieces.map(|n| n as u32).collect();
        assert_eq!(world.open(&content), Ok(content.part(&pieces)), "{length}");
        content.write_all(&world.store, ROOT);
        assert_eq!(world.store.finish(ROOT), Ok(()));
        assert_eq!(fs::read(world.path("file.bin")).unwrap(), content.bytes);
    }
}

#[test]
fn a_second_content_under_one_name_is_told_so_at_once() {
    let world = World::file();
    let (first, other) = (Content::new(2 * PIECE, 1), Content::new(2 * PIECE, 2));
    world.open(&first).unwrap();
    let second = Store::new(StoreOptions::default());
    second.set_target(DOWNLOAD, world.target(), Kind::File, SafeName::parse("file.bin").unwrap());
    let open = || second.open(ROOT, other.key, other.table.clone(), QUIET);
    assert_eq!(open(), Err(StorageFault::Locked));
    // What an interrupted download left is in nobody's way, and stays.
    first.write(&world.store, ROOT, &[0]);
    world.store.release(ROOT);
    assert_eq!(open(), Ok(other.part(&[])));
    second.release(ROOT);
    assert_eq!(world.open(&first), Ok(first.part(&[0])));
}

#[test]
fn a_second_process_on_one_target_is_told_so() {
    let world = World::file();
    let content = Content::new(2 * PIECE, 1);
    world.open(&content).unwrap();
    let second = Store::new(StoreOptions::default());
    second.set_target(DOWNLOAD, world.target(), Kind::File, SafeName::parse("file.bin").unwrap());
    let open = || second.open(ROOT, content.key, content.table.clone(), QUIET);
    assert_eq!(open(), Err(StorageFault::Locked));
    assert_eq!(second.open(ROOT, content.key, None, QUIET), Err(StorageFault::Locked));
    assert_eq!(discard(&world.target(), content.key), Err(StorageFault::Locked));
    content.write(&world.store, ROOT, &[0]);
    world.store.release(ROOT);
    assert_eq!(open(), Ok(content.part(&[0])));
}

#[test]
fn a_finished_target_is_done_at_once_and_what_was_left_is_tidied() {
    for length in [0, 100, 3 * PIECE] {
        let world = World::file();
        let content = Content::new(length, 1);
        world.open(&content).unwrap();
        world.store.release(ROOT);
        fs::write(world.path("file.bin"), &content.bytes).unwrap();
        assert_eq!(world.open_without_table(&content), Ok(content.finished()));
        assert_eq!(world.names(), ["file.bin"]);
        assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes));
        assert_eq!(world.store.finish(ROOT), Ok(()));
    }
}

#[test]
fn what_else_stands_under_the_name_is_refused_and_untouched() {
    let content = Content::new(100, 1);
    let mut other = content.bytes.clone();
    other[50] ^= 1;
    let world = World::file();
    let target = world.path("file.bin");
    for bytes in [&other[..], b"short"] {
        fs::write(&target, bytes).unwrap();
        assert_eq!(world.open(&content), Err(StorageFault::Occupied));
        assert_eq!(fs::read(&target).unwrap(), bytes);
    }
    fs::remove_file(&target).unwrap();
    fs::create_dir(&target).unwrap();
    assert_eq!(world.open(&content), Err(StorageFault::Occupied));
    fs::remove_dir(&target).unwrap();
    // Not even a symbolic link to the right bytes: what it leads to is not the download.
    fs::write(world.path("elsewhere"), &content.bytes).unwrap();
    symlink(world.path("elsewhere"), &target).unwrap();
    assert_eq!(world.open(&content), Err(StorageFault::Occupied));
    assert_eq!(world.names(), ["elsewhere", "file.bin"]);
}

#[test]
fn a_part_that_is_no_plain_file_of_its_own_is_refused_and_what_it_leads_to_is_untouched() {
    let content = Content::new(100, 1);
    let world = World::file();
    let part = world.part_path(content.key.id);
    let victim = world.path("victim");
    fs::write(&victim, b"precious").unwrap();
    symlink(&victim, &part).unwrap();
    assert_eq!(world.open(&content), Err(StorageFault::Occupied));
    fs::remove_file(&part).unwrap();
    fs::hard_link(&victim, &part).unwrap();
    assert_eq!(world.open(&content), Err(StorageFault::Occupied));
    fs::remove_file(&part).unwrap();
    fs::create_dir(&part).unwrap();
    assert_eq!(world.open(&content), Err(StorageFault::Occupied));
    fs::remove_dir(&part).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &part,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(world.open(&content), Err(StorageFault::Occupied));
    fs::remove_file(&part).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn what_is_no_sidecar_is_left_alone_and_the_download_does_without() {
    let content = Content::new(3 * PIECE, 1);
    let stand: [fn(&Path, &Path); 4] = [
        |victim, at| symlink(victim, at).unwrap(),
        |_, at| symlink("nowhere", at).unwrap(),
        |victim, at| fs::hard_link(victim, at).unwrap(),
        |_, at| fs::create_dir(at).unwrap(),
    ];
    for stand in stand {
        let mut world = World::file();
        let (sidecar, victim) = (world.sidecar_path(content.key.id), world.path("victim"));
        fs::write(&victim, b"precious").unwrap();
        stand(&victim, &sidecar);
        let what = fs::symlink_metadata(&sidecar).unwrap().file_type();
        assert_eq!(world.open(&content), Ok(content.part(&[])), "{what:?}");
        content.write(&world.store, ROOT, &[2]);
        assert_eq!(world.store.sync(ROOT), Ok(()), "{what:?}");
        world.restart();
        assert_eq!(world.open(&content), Ok(content.part(&[2])), "{what:?}");
        content.write_all(&world.store, ROOT);
        assert_eq!(world.store.finish(ROOT), Ok(()), "{what:?}");
        assert_eq!(fs::read(world.path("file.bin")).unwrap(), content.bytes);
        assert_eq!(fs::symlink_metadata(&sidecar).unwrap().file_type(), what, "it stands as it stood");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(discard(&world.target(), content.key), Ok(false), "{what:?}");
        assert_eq!(fs::symlink_metadata(&sidecar).unwrap().file_type(), what);
    }
}

#[test]
fn a_target_that_appears_meanwhile_is_not_replaced() {
    let content = Content::new(2 * PIECE + 1, 1);
    let world = World::file();
    let target = world.path("file.bin");
    world.open(&content).unwrap();
    content.write_all(&world.store, ROOT);
    fs::write(&target, b"mine").unwrap();
    assert_eq!(world.store.finish(ROOT), Err(StorageFault::Occupied));
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes), "nothing is lost");
    fs::rename(&target, world.path("moved")).unwrap();
    assert_eq!(world.store.finish(ROOT), Ok(()));
    assert_eq!(fs::read(&target).unwrap(), content.bytes);

    let world = World::file();
    world.open(&content).unwrap();
    content.write_all(&world.store, ROOT);
    fs::write(world.path("file.bin"), &content.bytes).unwrap();
    assert_eq!(world.store.finish(ROOT), Ok(()), "the same bytes are as good");
    assert_eq!(world.names(), ["file.bin"]);
    assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes));
}

#[test]
fn an_incomplete_part_is_not_finished() {
    let content = Content::new(2 * PIECE + 1, 1);
    let world = World::file();
    world.open(&content).unwrap();
    content.write(&world.store, ROOT, &[0]);
    assert_eq!(world.store.finish(ROOT), Err(StorageFault::Altered));
    assert!(!world.path("file.bin").exists());
}

#[test]
fn a_part_that_somebody_else_cut_moved_or_removed_is_not_finished_but_looked_at_anew() {
    let content = Content::new(3 * PIECE + 1, 1);
    type Deed = fn(&Path);
    let deeds: [(&str, Deed, &[u32]); 4] = [
        (
            "cut",
            |part| fs::OpenOptions::new().write(true).open(part).unwrap().set_len(PIECE as u64).unwrap(),
            &[0],
        ),
        ("removed", |part| fs::remove_file(part).unwrap(), &[]),
        ("moved", |part| fs::rename(part, part.with_extension("moved")).unwrap(), &[]),
        (
            "another in its place",
            |part| {
                fs::rename(part, part.with_extension("moved")).unwrap();
                fs::write(part, vec![7; 3 * PIECE + 1]).unwrap();
            },
            &[],
        ),
    ];
    for (name, deed, left) in deeds {
        let world = World::file();
        world.open(&content).unwrap();
        content.write_all(&world.store, ROOT);
        deed(&world.part_path(content.key.id));
        assert_eq!(world.store.finish(ROOT), Err(StorageFault::Altered), "{name}");
        assert!(!world.path("file.bin").exists(), "{name}");
        world.store.release(ROOT);
        assert_eq!(world.open(&content), Ok(content.part(left)), "{name}");
        content.write_all(&world.store, ROOT);
        assert_eq!(world.store.finish(ROOT), Ok(()), "{name}");
        assert_eq!(fs::read(world.path("file.bin")).unwrap(), content.bytes, "{name}");
    }
}

#[test]
fn chunks_that_do_not_exist_are_refused() {
    let content = Content::new(PIECE + 1, 1);
    let world = World::file();
    world.open(&content).unwrap();
    let write = |piece, chunk, bytes: &[u8]| {
        world.store.write_chunk(ROOT, ChunkAddr { piece: PieceIndex(piece), chunk }, bytes)
    };
    assert_eq!(write(0, 1, b"x"), Err(StorageFault::Io));
    assert_eq!(write(2, 0, b"x"), Err(StorageFault::Io));
    assert_eq!(write(1, 0, b"xx"), Err(StorageFault::Io));
    assert_eq!(write(1, 0, b"x"), Ok(()));
    let nowhere = Place::Root(DownloadId(9));
    assert_eq!(world.store.write_chunk(nowhere, content.chunks()[0].0, b"x"), Err(StorageFault::Io));
    assert_eq!(world.store.open(nowhere, content.key, None, QUIET), Err(StorageFault::BadPath));
}

#[test]
fn interrupted_downloads_are_found_and_discarded() {
    let world = World::new("a name", Kind::File);
    let content = Content::new(3 * PIECE, 1);
    world.open(&content).unwrap();
    world.store.release(ROOT);
    fs::write(world.path("bystander.part"), b"mine").unwrap();
    fs::write(world.path(".bystander.0123abcd.part"), b"mine").unwrap();
    let name = SafeName::parse("a name").unwrap();
    let path = world.part_path(content.key.id);
    assert_eq!(
        find_parts(world.folder.path()),
        [PartInfo { key: content.key, kind: Kind::File, name, path }]
    );
    assert_eq!(discard(&world.target(), content.key), Ok(true));
    assert_eq!(discard(&world.target(), content.key), Ok(false));
    assert_eq!(world.names(), [".bystander.0123abcd.part", "bystander.part"]);
    assert!(find_parts(&world.path("nowhere")).is_empty());
}

#[test]
fn a_long_opening_is_stopped_by_a_release() {
    let mut world = World::file();
    let content = Content::new(20 * PIECE, 1);
    world.open(&content).unwrap();
    content.write_all(&world.store, ROOT);
    world.restart();
    let opened = world.store.open(ROOT, content.key, None, &|_, _| world.store.release(ROOT));
    assert_eq!(opened, Err(StorageFault::Io));
    assert!(matches!(world.open(&content), Ok(Opening::Part { have, .. }) if have.is_full()));
}

#[test]
fn a_content_that_is_here_is_copied_and_checked() {
    for length in [0, 1000, 3 * PIECE + 9] {
        let world = World::file();
        let content = Content::new(length, 1);
        let origin = world.path("origin");
        fs::write(&origin, &content.bytes).unwrap();
        let identity = FileIdentity::of(&fs::File::open(&origin).unwrap()).unwrap();
        world.store.add_source(content.key, Source::File { path: origin.clone(), identity });
        assert_eq!(world.store.copy_local(content.key, ROOT, QUIET), Ok(()));
        assert_eq!(world.store.finish(ROOT), Ok(()));
        assert_eq!(fs::read(world.path("file.bin")).unwrap(), content.bytes);
        assert_eq!(world.names(), ["file.bin", "origin"]);
        assert_eq!(world.store.copy_local(content.key, ROOT, QUIET), Ok(()), "it stands there already");

        // A source that is not what it was.
        let world = World::file();
        world.store.add_source(content.key, Source::Memory(vec![1; length + 1].into()));
        let copied = world.store.copy_local(content.key, ROOT, QUIET);
        assert_eq!(copied.is_ok(), length == 0, "{length}");
        assert!(world.names().iter().all(|name| name != "file.bin"));
    }
}

#[test]
fn names_are_cut_on_a_character_and_stay_apart() {
    let long = "あ".repeat(85);
    let world = World::new(Box::leak(long.clone().into_boxed_str()), Kind::File);
    let content = Content::new(10, 1);
    world.open(&content).unwrap();
    let names = world.names();
    let [sidecar, part] = names.as_slice() else { panic!("{names:?}") };
    let kept = format!(".{}.{}.part", "あ".repeat(66), hex(content.key.id));
    assert_eq!(part.to_str(), Some(&*kept));
    assert_eq!(sidecar.to_str(), Some(&*kept.replace(".part", ".meta")));
    content.write_all(&world.store, ROOT);
    world.store.finish(ROOT).unwrap();
    assert_eq!(world.names(), [&*long]);
}

fn hex(id: ContentId) -> String {
    id.to_string()[..8].to_owned()
}

#[test]
fn out_is_a_folder_or_the_target_itself() {
    let world = World::file();
    let name = SafeName::parse("n").unwrap();
    let target = |out: PathBuf| Target::new(&out, &name).unwrap();
    assert_eq!(target(world.path("")).path(), world.path("n"), "an existing folder");
    assert_eq!(target(world.path("new/")).path(), world.path("new/n"), "a folder to be made");
    assert_eq!(target(world.path("new")).path(), world.path("new"), "the target's own path");
    assert_eq!(target(world.path("file")).path(), world.path("file"));
    assert_eq!(target(PathBuf::new()).path(), std::env::current_dir().unwrap().join("n"));
    assert!(Target::new(&world.path("missing/.."), &name).is_err());

    let content = Content::new(10, 1);
    let open = |out: PathBuf| {
        world.store.set_target(DOWNLOAD, target(out), Kind::File, name.clone());
        world.open(&content)
    };
    assert_eq!(open(world.path("a/b/")), Ok(content.part(&[])));
    content.write_all(&world.store, ROOT);
    world.store.finish(ROOT).unwrap();
    assert_eq!(fs::read(world.path("a/b/n")).unwrap(), content.bytes);
    world.store.release(ROOT);
    assert_eq!(open(world.path("missing/file")), Err(StorageFault::BadPath));
    assert_eq!(open(world.path("a/b/n/below-a-file")), Err(StorageFault::BadPath));
    assert_eq!(
        open(world.path("x".repeat(256))),
        Err(StorageFault::BadPath),
        "no file system holds the name"
    );
}

#[test]
fn what_was_downloaded_need_not_be_hashed_to_be_shared() {
    for (length, remembered) in [(1, false), (PIECE, false), (17 * PIECE + 7, true)] {
        let mut world = World::file();
        let cache = world.path("hashes");
        world.store = Store::new(StoreOptions { hash_cache: Some(cache.clone()), ..StoreOptions::default() });
        world.set_target();
        let content = Content::new(length, 1);
        world.open(&content).unwrap();
        content.write_all(&world.store, ROOT);
        world.store.finish(ROOT).unwrap();
        let identity = FileIdentity::of(&fs::File::open(world.path("file.bin")).unwrap()).unwrap();
        let hashed = CacheFile::look_up(cache, &[identity]).get(&identity);
        assert_eq!(hashed.is_some(), remembered, "{length}: a small file is hashed sooner than looked up");
        let Some(hashed) = hashed else { continue };
        let table = |table: &Option<Arc<PieceTable>>| table.as_ref().map(|table| table.key());
        assert_eq!((hashed.key, table(&hashed.table)), (content.key, table(&content.table)), "{length}");
    }
}
