//! A real full disk, and one that cannot be written: a small tmpfs, where mounting one is permitted.

use std::process::Command;

use super::*;

/// A mounted tmpfs; unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    #[expect(clippy::print_stderr, reason = "so that nobody takes it for tested")]
    fn new(bytes: u64) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let options = format!("size={bytes}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: mounting a tmpfs is not permitted here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_the_download_goes_on_when_there_is_space() {
    let Some(disk) = SmallDisk::new(4 << 20) else { return };
    let content = Content::new(3 << 20, 1);
    let name = SafeName::parse("file").unwrap();
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let store = Store::new(StoreOptions::default());
    store.set_target(DOWNLOAD, Target::new(disk.0.path(), &name).unwrap(), Kind::File, name);
    store.open(ROOT, content.key, content.table.clone(), QUIET).unwrap();
    assert_eq!(store.reserve(ROOT, 0), Err(StorageFault::Full), "too little space is known early");
    let written = content.chunks().into_iter().map(|(at, bytes)| store.write_chunk(ROOT, at, bytes));
    let written: Vec<_> = written.collect();
    let whole = written.iter().take_while(|result| result.is_ok()).count();
    assert!(whole > 0);
    assert!(written[whole..].iter().all(|result| *result == Err(StorageFault::Full)));
    store.release(ROOT);
    let Ok(Opening::Part { have, .. }) = store.open(ROOT, content.key, None, QUIET) else { panic!() };
    assert_eq!(have.count() as usize, whole);
    fs::remove_file(ballast).unwrap();
    assert_eq!(store.reserve(ROOT, 0), Ok(None));
    content.write_all(&store, ROOT);
    assert_eq!(store.finish(ROOT), Ok(()));
    assert_eq!(fs::read(disk.0.path().join("file")).unwrap(), content.bytes);
}

#[test]
fn a_disk_that_may_not_be_written_is_said_to_be_so_and_serves_what_it_has() {
    let Some(disk) = SmallDisk::new(4 << 20) else { return };
    let content = Content::new(300_000, 1);
    let name = SafeName::parse("file").unwrap();
    let store = Store::new(StoreOptions::default());
    let set_target = || {
        let target = Target::new(disk.0.path(), &name).unwrap();
        store.set_target(DOWNLOAD, target, Kind::File, name.clone());
    };
    set_target();
    let read_only = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.0.path()).status();
    assert!(read_only.unwrap().success());
    assert_eq!(store.open(ROOT, content.key, content.table.clone(), QUIET), Err(StorageFault::Denied));
    let writable = Command::new("mount").args(["-o", "remount,rw"]).arg(disk.0.path()).status();
    assert!(writable.unwrap().success());
    fs::write(disk.0.path().join("file"), &content.bytes).unwrap();
    let read_only = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.0.path()).status();
    assert!(read_only.unwrap().success());
    assert_eq!(store.open(ROOT, content.key, None, QUIET), Ok(content.finished()));
}
