//! What is served.

use super::*;

fn shared(world: &World, name: &str, content: &Content) -> PathBuf {
    let path = world.path(name);
    fs::write(&path, &content.bytes).unwrap();
    let identity = FileIdentity::of(&fs::File::open(&path).unwrap()).unwrap();
    world.store.add_source(content.key, Source::File { path: path.clone(), identity });
    path
}

#[test]
fn only_what_is_in_the_index_is_served() {
    let world = World::file();
    let content = Content::new(1000, 1);
    assert!(world.store.source(content.key).is_none());
    shared(&world, "a", &content);
    assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes));
    let longer = ContentKey { length: 1001, ..content.key };
    assert!(world.store.source(longer).is_none());
    world.store.remove_source(content.key);
    assert!(world.store.source(content.key).is_none());

    let listing: Arc<[u8]> = content.bytes.clone().into();
    world.store.add_source(content.key, Source::Memory(listing));
    assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes));
    let handle = world.store.source(content.key).unwrap();
    assert!(handle.file().is_none());
    let mut buffer = [0; 10];
    assert_eq!(handle.read_at(995, &mut buffer).unwrap(), 5);
    assert_eq!(handle.read_at(u64::MAX, &mut buffer).unwrap(), 0);
}

#[test]
fn every_change_of_a_shared_file_is_noticed() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("edited in place", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[0] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("edited, and its mtime put back", |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let mtime = file.metadata().unwrap().modified().unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 5).unwrap();
            file.set_modified(mtime).unwrap();
        }),
        ("truncated", |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(10).unwrap()),
        ("extended", |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(10_000).unwrap()),
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("moved away", |path| fs::rename(path, path.with_extension("moved")).unwrap()),
        ("replaced by equal bytes", |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).unwrap();
            fs::rename(copy, path).unwrap();
        }),
    ];
    for (what, change) in changes {
        let world = World::file();
        let content = Content::new(1000, 1);
        let path = shared(&world, "a", &content);
        let handle = world.store.source(content.key).unwrap();
        assert!(handle.unchanged());
        let identity = FileIdentity::of(handle.file().unwrap()).unwrap();
        change(&path);
        assert!(!handle.unchanged(), "{what}: open");
        // Added anew, it is not in the cache of descriptors.
        world.store.add_source(content.key, Source::File { path, identity });
        assert!(world.store.source(content.key).is_none(), "{what}: to be opened");
    }
}

#[test]
fn a_path_that_became_a_pipe_or_a_link_is_not_followed() {
    let world = World::file();
    let content = Content::new(1000, 1);
    let path = shared(&world, "a", &content);
    let identity = FileIdentity::of(&fs::File::open(&path).unwrap()).unwrap();
    world.store.add_source(content.key, Source::File { path: path.clone(), identity });
    fs::rename(&path, world.path("b")).unwrap();
    std::os::unix::fs::symlink(world.path("b"), &path).unwrap();
    assert!(world.store.source(content.key).is_none());
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    assert!(world.store.source(content.key).is_none());
}

#[test]
fn few_descriptors_serve_many_files() {
    let mut world = World::file();
    world.store = Store::new(StoreOptions { open_files: 4, ..StoreOptions::default() });
    let contents: Vec<_> = (0..200).map(|n: u8| Content::new(100 + usize::from(n), n)).collect();
    for (n, content) in contents.iter().enumerate() {
        shared(&world, &n.to_string(), content);
    }
    let open = || {
        let descriptors =
            fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        descriptors.filter(|path| path.starts_with(world.folder.path())).count()
    };
    for _ in 0..2 {
        for content in &contents {
            assert_eq!(world.served(content.key).as_ref(), Some(&content.bytes));
            assert!(open() <= 4);
        }
    }
}
