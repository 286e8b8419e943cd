use std::fs;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::PeerOptions;

struct Case {
    dir: TempDir,
    folder: SharedFolder,
    changes: mpsc::Receiver<Change>,
    /// Otherwise the peer's events pile up.
    _events: crate::Events,
}

impl Case {
    async fn new(share: bool) -> Self {
        Self::over(tempfile::tempdir().unwrap(), share).await
    }

    async fn over(dir: TempDir, share: bool) -> Self {
        let options = PeerOptions { listen: "127.0.0.1:0".parse().unwrap(), ..PeerOptions::default() };
        let (peer, events) = Peer::start(options).await.unwrap();
        let (folder, changes) = SharedFolder::start(peer, dir.path(), share).unwrap();
        folder.settled().await;
        Self { dir, folder, changes, _events: events }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// Until all that is there is known: the system may tell late that a file is no longer being written.
    async fn refresh(&self) {
        let known = || -> BTreeSet<_> { self.folder.entries().into_iter().map(|entry| entry.name).collect() };
        let there = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let there: Vec<_> = there.filter(|name| !is_hidden(name)).collect();
        while {
            self.folder.refresh().await;
            there.iter().any(|name| !known().contains(name.to_str().unwrap()))
        } {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn next(&mut self) -> Change {
        timeout(Duration::from_secs(20), self.changes.recv()).await.expect("a change").unwrap()
    }

    async fn offered(&mut self) -> Shared {
        match self.next().await {
            Change::Offered(shared) => shared,
            other @ (Change::Withdrawn(_) | Change::Refused(..)) => panic!("{other:?}"),
        }
    }

    fn standing(&self, name: &str) -> Standing {
        let entries = self.folder.entries();
        entries.into_iter().find(|entry| entry.name == name).expect(name).standing
    }
}

fn id(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_string()
}

#[tokio::test]
async fn what_is_there_what_comes_what_changes_and_what_goes() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("old"), "old").unwrap();
    fs::write(dir.path().join(".hidden"), "hidden").unwrap();
    fs::write(dir.path().join(".x.0a1b2c3d.part"), "part").unwrap();
    let mut case = Case::over(dir, true).await;
    assert_eq!(case.offered().await.key.id.to_string(), id("old"));

    case.write("new", "one");
    let shared = case.offered().await;
    assert_eq!((shared.name.as_str(), shared.key.id.to_string()), ("new", id("one")));
    case.write("new", "two and more");
    assert_eq!(case.offered().await.key.id.to_string(), id("two and more"));

    fs::rename(case.dir.path().join("new"), case.dir.path().join("newer")).unwrap();
    let mut names = Vec::new();
    for _ in 0..2 {
        match case.next().await {
            Change::Offered(shared) => names.push(format!("+{}", shared.name)),
            Change::Withdrawn(shared) => names.push(format!("-{}", shared.name)),
            Change::Refused(name, why) => panic!("{name}: {why}"),
        }
    }
    names.sort();
    assert_eq!(names, ["+newer", "-new"]);
    let names: Vec<_> = case.folder.entries().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["newer", "old"]);
}

#[tokio::test]
async fn a_file_that_is_being_written_is_left_alone_until_it_is_closed() {
    let mut case = Case::new(true).await;
    let mut file = File::create(case.dir.path().join("slow")).unwrap();
    for _ in 0..8 {
        file.write_all(b"part").unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    case.folder.refresh().await;
    assert!(case.changes.try_recv().is_err(), "half of it was offered");
    drop(file);
    assert_eq!(case.offered().await.key.id.to_string(), id(&"part".repeat(8)));
}

#[tokio::test]
async fn a_subfolder_is_one_content_that_follows_its_files() {
    let mut case = Case::new(true).await;
    fs::create_dir(case.dir.path().join("tree")).unwrap();
    case.write("tree/a", "a");
    let before = case.offered().await;
    assert_eq!((before.name.as_str(), before.files), ("tree", 1));
    case.write("tree/b", "b");
    let after = case.offered().await;
    assert_eq!(after.files, 2);
    assert_ne!(after.key, before.key);
}

#[tokio::test]
async fn refresh_does_not_wait_for_what_the_system_tells() {
    let case = Case::new(true).await;
    case.write("f", "text");
    case.refresh().await;
    assert!(matches!(case.standing("f"), Standing::Shared(_)), "{:?}", case.standing("f"));
}

#[tokio::test]
async fn what_is_not_wanted_stays_so_over_rescans_and_restarts() {
    let case = Case::new(true).await;
    case.write("a", "a");
    case.write("b", "b");
    case.refresh().await;
    assert!(case.folder.unshare("a").await.unwrap());
    assert!(!case.folder.unshare("a").await.unwrap(), "it is not shared any more");
    case.write("a", "another");
    case.refresh().await;
    assert_eq!(case.standing("a"), Standing::NotShared);

    let again = Case::over(case.dir, true).await;
    assert_eq!(again.standing("a"), Standing::NotShared);
    assert!(matches!(again.standing("b"), Standing::Shared(_)));
    let (shared, already) = again.folder.share("a").await.unwrap();
    assert_eq!((shared.key.id.to_string(), already), (id("another"), false));
    assert!(again.folder.share("a").await.unwrap().1, "it is shared already");
    let last = Case::over(again.dir, true).await;
    assert!(matches!(last.standing("a"), Standing::Shared(_)));
}

#[tokio::test]
async fn with_nothing_to_share_only_what_is_asked_for_is() {
    let mut case = Case::new(false).await;
    case.write("a", "a");
    case.write("b", "b");
    case.refresh().await;
    assert_eq!((case.standing("a"), case.standing("b")), (Standing::NotShared, Standing::NotShared));
    assert!(!case.folder.share("a").await.unwrap().1);
    assert_eq!(case.offered().await.name, "a");
    assert!(matches!(case.folder.share("none").await, Err(FolderError::Missing(_))));
    assert!(case.folder.unshare("a").await.unwrap());
    assert_eq!(case.standing("a"), Standing::NotShared);
    assert!(!case.dir.path().join(UNSHARED).exists(), "nothing is to be remembered");
}

#[tokio::test]
async fn what_was_downloaded_is_offered_and_can_be_taken_back() {
    for share in [false, true] {
        let mut case = Case::new(share).await;
        case.write("a", "a");
        case.refresh().await;
        case.folder.offer("a").await;
        assert_eq!(case.offered().await.name, "a");
        case.folder.settled().await;
        assert!(matches!(case.standing("a"), Standing::Shared(_)));
        assert!(case.folder.unshare("a").await.unwrap());
        assert_eq!(case.standing("a"), Standing::NotShared);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_not_followed_unless_they_are_asked_for() {
    let case = Case::new(true).await;
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("secret"), case.dir.path().join("link")).unwrap();
    case.refresh().await;
    assert_eq!(case.standing("link"), Standing::NotShared);
    assert_eq!(case.folder.share("link").await.unwrap().0.key.id.to_string(), id("secret"));
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_link_leads_to_is_not_watched() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("sub")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("sub/link")).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let _watcher = watcher(dir.path(), tell).unwrap();
    fs::write(elsewhere.path().join("file"), "changed").unwrap();
    fs::write(dir.path().join("sub/last"), "changed").unwrap();
    // The system tells in the order in which things happen.
    loop {
        let event = told.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
        assert!(event.paths.iter().all(|path| !path.ends_with("file")), "{event:?}");
        if event.paths.iter().any(|path| path.ends_with("last")) {
            break;
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_of_what_is_unshared_is_an_error_and_no_link_is_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let (remembered, new) = (dir.path().join(UNSHARED), dir.path().join(format!("{UNSHARED}.new")));
    fs::create_dir(&remembered).unwrap();
    assert!(read_unshared(dir.path()).is_err(), "not a file");
    fs::remove_dir(&remembered).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &remembered, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    assert!(read_unshared(dir.path()).is_err(), "not waited for");
    fs::write(dir.path().join("victim"), "mine").unwrap();
    fs::remove_file(&remembered).unwrap();
    fs::write(&remembered, b"a\xff\n").unwrap();
    assert!(read_unshared(dir.path()).is_err(), "not UTF-8");
    fs::remove_file(&remembered).unwrap();
    std::os::unix::fs::symlink("victim", &new).unwrap();
    let case = Case::over(dir, true).await;
    case.folder.unshare("victim").await.unwrap();
    assert_eq!(fs::read_to_string(case.dir.path().join("victim")).unwrap(), "mine");
    assert_eq!(read_unshared(case.dir.path()).unwrap(), BTreeSet::from(["victim".to_owned()]));
}
