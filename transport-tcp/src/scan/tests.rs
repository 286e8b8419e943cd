use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn plan(path: &Path) -> FolderPlan {
    match scan(path).unwrap().found {
        Found::Folder(plan) => plan,
        Found::File(_) => panic!("a file"),
    }
}

fn paths(plan: &FolderPlan) -> Vec<&str> {
    plan.files.iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn a_file_goes_by_its_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("10:30.log");
    fs::write(&path, b"12345").unwrap();
    let plan = scan(&path).unwrap();
    assert_eq!(plan.name.as_str(), "10:30.log");
    assert_eq!(plan.root, path.canonicalize().unwrap());
    assert!(matches!(plan.found, Found::File(identity) if identity.size == 5));
    // A link that the person names is meant.
    symlink(&path, folder.path().join("link")).unwrap();
    let plan = scan(&folder.path().join("link")).unwrap();
    assert_eq!(plan.name.as_str(), "link");
    assert_eq!(plan.root, path.canonicalize().unwrap());
}

#[test]
fn a_folder_has_files_in_order_and_empty_folders() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("root");
    for inner in ["a/b/empty", "a-b", "links/only", "none"] {
        fs::create_dir_all(root.join(inner)).unwrap();
    }
    for file in ["a/z", "a/b/x", "a-b/y", "top", "foo... bar", "aux.c", "日本語"] {
        fs::write(root.join(file), file).unwrap();
    }
    fs::set_permissions(root.join("top"), fs::Permissions::from_mode(0o744)).unwrap();
    symlink("../../top", root.join("links/only/link")).unwrap();
    let scanned = scan(&root.join("a/..")).unwrap();
    assert_eq!(scanned.name.as_str(), "root");
    let plan = plan(&root);
    assert_eq!(paths(&plan), ["a/b/x", "a/z", "a-b/y", "aux.c", "foo... bar", "top", "日本語"]);
    let executable: Vec<_> =
        plan.files.iter().filter(|file| file.executable).map(|file| file.path.as_str()).collect();
    assert_eq!(executable, ["top"]);
    let empty: Vec<_> = plan.empty_folders.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(empty, ["a/b/empty", "links/only", "none"]);
    assert_eq!(plan.skipped, [Skipped { path: root.join("links/only/link"), why: WhySkipped::Symlink }]);
}

#[test]
fn what_is_not_shared_is_told() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    symlink("/etc", at("folder-link")).unwrap();
    fs::write(at(".name.0123abcd.part"), b"").unwrap();
    fs::write(at(".name.0123abcd.meta"), b"").unwrap();
    fs::create_dir(at(".other.01234567.part")).unwrap();
    fs::write(at(".other.01234567.part/listing"), b"").unwrap();
    let not_parts =
        ["name.0123abcd.part", ".name.0123abcg.part", ".0123abcd.part", ".name.123abcd.part", ".part"];
    for name in not_parts {
        fs::write(at(name), b"").unwrap();
    }
    let plan = plan(folder.path());
    let mut kept = not_parts;
    kept.sort_unstable();
    assert_eq!(paths(&plan), kept);
    let why: Vec<_> = plan.skipped.iter().map(|skipped| skipped.why).collect();
    assert_eq!(
        why,
        [WhySkipped::Part, WhySkipped::Part, WhySkipped::Part, WhySkipped::Symlink, WhySkipped::Special]
    );
}

#[test]
fn a_refused_name_refuses_the_folder_and_is_named() {
    for (name, utf8) in [
        (&b"a\x01b"[..], true),
        (b"back\\slash", true),
        ("\u{202e}gpj.exe".as_bytes(), true),
        (b"\xff", false),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("inner").join(OsStr::from_bytes(name));
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(&path, b"").unwrap();
        match scan(folder.path()) {
            Err(ScanError::Name { path: told, .. }) => assert!(utf8 && told == path.canonicalize().unwrap()),
            Err(ScanError::NotUtf8 { path: told }) => assert!(!utf8 && told == path.canonicalize().unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_shared_is_said() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(scan(&folder.path().join("missing")), Err(ScanError::Io { .. })));
    assert!(matches!(scan(Path::new("/dev/null")), Err(ScanError::Special { .. })));
    assert!(matches!(scan(Path::new("/")), Err(ScanError::Name { .. })));
}

#[test]
fn deep_and_wide_folders_need_few_descriptors() {
    let folder = TempDir::new().unwrap();
    let mut path = folder.path().to_owned();
    for _ in 0..200 {
        path.push("deep");
        for n in 0..3 {
            fs::create_dir_all(path.join(n.to_string())).unwrap();
        }
    }
    assert_eq!(plan(folder.path()).empty_folders.len(), 600);
}

#[test]
fn sizes_beyond_all_bounds_are_added_up() {
    let identity = FileIdentity { device: 1, inode: 1, size: i64::MAX as u64, mtime_ns: 0, ctime_ns: 0 };
    let path = SafePath::parse("sparse").unwrap();
    let files = vec![PlannedFile { path, identity, executable: false }; 3];
    assert_eq!(FolderPlan { files, ..FolderPlan::default() }.bytes(), u64::MAX);
}
