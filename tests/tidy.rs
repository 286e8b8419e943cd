//! House rules that no compiler checks: lines and files of bearable length, nothing left over from writing, nothing
//! of one machine, and a core that stays pure.
#![expect(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Characters of a line of Rust, TOML or prose.
const LINE_CHARS_MAX: usize = 130;
/// Lines of a file of Rust. Beyond 500 a file should have a reason.
const FILE_LINES_MAX: usize = 900;

/// Written by halves, so that this file does not find itself.
const LEFTOVERS: &[&str] = &[
    concat!("dbg", "!("),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[ign", "ore"),
];

/// Places of one machine.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!(".cargo/", "registry")];

/// What the core may not use: time, entropy, input and output come from outside.
const IMPURE: &[&str] = &[
    "tokio",
    "async fn",
    ".await",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::sync::Mutex",
    "std::sync::mpsc",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "rand::",
    "getrandom",
    "unsafe ",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file with one of these endings, by its path from the root; hidden folders and build output left out.
fn files(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_path_buf(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing was looked at");
    found
}

/// Reports all that is found at once, a line each.
fn expect_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n{}\n", found.join("\n"));
}

/// Places at which a line fails `is_fine`.
fn lines(files: &[(PathBuf, String)], is_fine: impl Fn(&Path, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_fine(path, line)) {
            found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
        }
    }
    found
}

#[test]
fn lines_are_short() {
    let long = lines(&files(&[".rs", ".toml"]), |_, line| line.chars().count() <= LINE_CHARS_MAX);
    expect_none(&format!("lines over {LINE_CHARS_MAX} characters"), &long);
    // A table's row and a link cannot be broken.
    let prose = lines(&files(&[".md"]), |_, line| {
        line.chars().count() <= LINE_CHARS_MAX || line.starts_with('|') || !line.contains(' ')
    });
    expect_none(&format!("prose over {LINE_CHARS_MAX} characters"), &prose);
}

#[test]
fn files_are_short() {
    let sizes = files(&[".rs"]).into_iter().map(|(path, text)| (text.lines().count(), path));
    let long = sizes.filter(|(count, _)| *count > FILE_LINES_MAX);
    let long: Vec<String> = long.map(|(count, path)| format!("{}: {count} lines", path.display())).collect();
    expect_none(&format!("files over {FILE_LINES_MAX} lines"), &long);
}

#[test]
fn text_is_clean() {
    let all = files(&[".rs", ".toml", ".md"]);
    let blanks = lines(&all, |_, line| line.trim_end() == line && !line.contains('\t'));
    expect_none("tabs, or blanks at a line's end", &blanks);
    let ends = all.iter().filter(|(_, text)| !text.ends_with('\n') || text.ends_with("\n\n"));
    let ends: Vec<String> = ends.map(|(path, _)| path.display().to_string()).collect();
    expect_none("files that do not end in one line feed", &ends);
}

#[test]
fn nothing_is_left_over() {
    let found = lines(&files(&[".rs"]), |_, line| LEFTOVERS.iter().all(|left| !line.contains(left)));
    expect_none("left over from writing", &found);
}

#[test]
fn nothing_belongs_to_one_machine() {
    let all = files(&[".rs", ".toml", ".md", ".yml", ".json", ".lock"]);
    let found = lines(&all, |_, line| MACHINE_PATHS.iter().all(|path| !line.contains(path)));
    expect_none("paths of one machine", &found);
    let sources = lines(&files(&["Cargo.lock"]), |_, line| {
        !line.starts_with("source = ")
            || line == "source = \"registry+https://github.com/rust-lang/crates.io-index\""
    });
    expect_none("dependencies from elsewhere than the public registry", &sources);
}

/// Comments may speak of what code may not use.
#[test]
fn the_core_is_pure() {
    let core =
        files(&[".rs"]).into_iter().filter(|(path, _)| path.starts_with("core/src")).collect::<Vec<_>>();
    assert!(!core.is_empty());
    let found = lines(&core, |_, line| {
        let code = line.split("//").next().unwrap_or_default();
        IMPURE.iter().all(|impure| !code.contains(impure))
    });
    expect_none("the core uses what only a driver may", &found);
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split('[').next().unwrap();
    let allowed = [
        "bincode",
        "blake3",
        "fixedbitset",
        "globset",
        "hex",
        "memchr",
        "percent-encoding",
        "rand_chacha",
        "serde",
        "slab",
        "thiserror",
        "unicode-normalization",
    ];
    let names = dependencies.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    let others: Vec<String> =
        names.filter(|name| !name.is_empty() && !allowed.contains(name)).map(str::to_owned).collect();
    expect_none("dependencies of the core that nobody thought about", &others);
}

/// The house's parts know only those they may: core no driver, the drivers not each other.
#[test]
fn the_parts_keep_apart() {
    for (part, strangers) in [
        ("core/Cargo.toml", &["potluck-transport-tcp", "potluck-sim"][..]),
        ("sim/Cargo.toml", &["potluck-transport-tcp", "tokio"]),
        ("transport-tcp/Cargo.toml", &["potluck-sim"]),
    ] {
        let manifest = fs::read_to_string(root().join(part)).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{part} has no lints");
        for stranger in strangers {
            assert!(!manifest.lines().any(|line| line.starts_with(stranger)), "{part} depends on {stranger}");
        }
    }
}
