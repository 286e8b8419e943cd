use proptest::prelude::*;

use super::*;
use NameFault::{Absolute, BidiOverride, Control, Dots, Empty, NameTooLong, Nul, PathTooLong, Separator};
use NameWarning::{Character, Device, TrailingDot, TrailingSpace};

/// Names that every system holds.
const BENIGN: &[&str] = &[
    "a",
    "readme.txt",
    "README",
    "archive.tar.gz",
    ".hidden",
    "..hidden",
    "...hidden",
    "-rf",
    "--help",
    "~",
    "~root",
    "~$doc.docx",
    "$HOME",
    "%PATH%",
    "%2e%2e%2f",
    "a b",
    " leading space",
    "foo... bar",
    "foo . bar",
    "a..b",
    "1..2",
    "a,b;c",
    "it's",
    "`id`",
    "$(id)",
    "a&b",
    "a=b",
    "#1",
    "!",
    "@",
    "100%",
    "(copy)",
    "[x]",
    "{y}",
    "+",
    "^",
    "_",
    "0",
    "資料.pdf",
    "日本語のファイル名.txt",
    "ファイル　全角.txt",
    "中文文件",
    "한국어.hwp",
    "Ελληνικά",
    "русский.doc",
    "עברית.txt",
    "العربية.txt",
    "می\u{200c}خواهم.txt",
    "हिन्दी",
    "ไทย",
    "naïve café",
    "nai\u{308}ve cafe\u{301}",
    "ß.txt",
    "İstanbul",
    "👍",
    "👩\u{200d}🚀.png",
    "🏳\u{fe0f}\u{200d}🌈",
    "zero\u{200b}width",
    "\u{feff}bom.txt",
    "soft\u{ad}hyphen",
    "\u{200e}marks\u{200f}\u{61c}",
    "line\u{2028}separator",
    "no\u{a0}break",
    "\u{3000}",
    "．．",
    "／",
    "∕",
    "＼",
    "․․",
    "\u{fffd}",
    "\u{10ffff}",
    "aux1.c",
    "auxiliary",
    "console.log",
    "com.example",
    "com0",
    "com10",
    "lpt",
    "nul_",
    "xnul",
    "a.nul",
    "a.aux.c",
    "conin",
    "desktop.ini",
    "thumbs.db",
    ".DS_Store",
    ".git",
    "potluck.part",
    ".x.0011223344556677.part",
];

/// Names that no file system may be given.
const REFUSED: &[(&str, NameFault)] = &[
    ("", Empty),
    (".", Dots),
    ("..", Dots),
    ("/", Separator),
    ("\\", Separator),
    ("a/b", Separator),
    ("a/", Separator),
    ("/a", Separator),
    ("/etc/passwd", Separator),
    ("../etc/passwd", Separator),
    ("..\\windows", Separator),
    ("a\\b", Separator),
    ("C:\\x", Separator),
    ("C:/x", Separator),
    ("\\\\server\\share", Separator),
    ("\\\\?\\C:\\x", Separator),
    ("//server/share", Separator),
    ("\0", Nul),
    ("a\0", Nul),
    ("a\0.txt", Nul),
    ("invoice.pdf\0.exe", Nul),
    ("\n", Control),
    ("a\nb", Control),
    ("a\r", Control),
    ("\ta", Control),
    ("\u{1b}[31mred", Control),
    ("\u{1b}]0;title\u{7}", Control),
    ("bell\u{7}", Control),
    ("back\u{8}space", Control),
    ("del\u{7f}", Control),
    ("nel\u{85}", Control),
    ("csi\u{9b}31m", Control),
    ("gpj.\u{202e}exe", BidiOverride),
    ("\u{202d}", BidiOverride),
    ("a\u{2066}b\u{2069}", BidiOverride),
];

/// Names that only some file systems cannot hold.
const WARNED: &[(&str, &[NameWarning])] = &[
    ("10:30.log", &[Character(':')]),
    ("C:", &[Character(':')]),
    ("file:stream", &[Character(':')]),
    ("a::$DATA", &[Character(':')]),
    ("what?", &[Character('?')]),
    ("*", &[Character('*')]),
    ("a<b>c", &[Character('<'), Character('>')]),
    ("\"quoted\"", &[Character('"')]),
    ("a|b", &[Character('|')]),
    ("aux", &[Device]),
    ("aux.c", &[Device]),
    ("AUX.C", &[Device]),
    ("Aux.tar.gz", &[Device]),
    ("con", &[Device]),
    ("con.txt", &[Device]),
    ("prn", &[Device]),
    ("nul", &[Device]),
    ("NUL.txt", &[Device]),
    ("nul .txt", &[Device]),
    ("com1", &[Device]),
    ("COM9.log", &[Device]),
    ("com¹", &[Device]),
    ("lpt1", &[Device]),
    ("LPT³.x", &[Device]),
    ("conin$", &[Device]),
    ("CONOUT$", &[Device]),
    ("nul:", &[Character(':')]),
    ("end.", &[TrailingDot]),
    ("end...", &[TrailingDot]),
    ("...", &[TrailingDot]),
    ("....", &[TrailingDot]),
    (". .", &[TrailingDot]),
    ("end ", &[TrailingSpace]),
    (" ", &[TrailingSpace]),
    (".. ", &[TrailingSpace]),
    ("nul.", &[Device, TrailingDot]),
    ("con ", &[Device, TrailingSpace]),
    ("q? ", &[Character('?'), TrailingSpace]),
];

#[test]
fn names_are_divided_as_documented() {
    let mut tried = BENIGN.len() + REFUSED.len() + WARNED.len();
    for name in BENIGN {
        assert_eq!(SafeName::parse(name).unwrap().as_str(), *name, "never repaired");
        assert_eq!(portability(name), [], "{name:?}");
    }
    for (name, fault) in REFUSED {
        assert_eq!(SafeName::parse(name), Err(*fault), "{name:?}");
    }
    for (name, warnings) in WARNED {
        assert_eq!(SafeName::parse(name).unwrap().as_str(), *name, "never repaired");
        assert_eq!(portability(name), *warnings, "{name:?}");
    }
    // Every control character and every bidi override, wherever it stands.
    let controls = (1..0x20).chain(0x7f..0xa0).filter_map(char::from_u32).map(|c| (c, Control));
    let overrides = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').map(|c| (c, BidiOverride));
    for (c, fault) in controls.chain(overrides).chain([('\0', Nul), ('/', Separator), ('\\', Separator)]) {
        for name in [format!("{c}"), format!("{c}a"), format!("a{c}b"), format!("資料{c}")] {
            assert_eq!(SafeName::parse(&name), Err(fault), "{name:?}");
            tried += 1;
        }
    }
    assert!(tried >= 400, "{tried} names tried");
}

/// Lengths count in bytes, as file systems do.
#[test]
fn lengths() {
    for name in ["x".repeat(255), "é".repeat(127) + "x", "語".repeat(85), "👍".repeat(63) + "abc"] {
        assert_eq!(name.len(), 255);
        assert_eq!(SafeName::parse(&name).unwrap().as_str(), name);
        assert_eq!(SafeName::parse(&(name + "y")), Err(NameTooLong));
    }
    assert_eq!(SafeName::parse(&"語".repeat(86)), Err(NameTooLong));
    let path = vec!["x".repeat(255); 16].join("/");
    assert_eq!(path.len(), 4095);
    assert!(SafePath::parse(&path).is_ok());
    assert_eq!(SafePath::parse(&format!("{path}/y")), Err(PathTooLong));
    assert_eq!(SafePath::parse(&format!("{path}y")), Err(NameTooLong));
    assert!(SafePath::parse("a/".repeat(2047).trim_end_matches('/')).is_ok());
}

#[test]
fn paths_are_divided_as_documented() {
    for path in
        ["a", "a/b", "a/b/c.txt", ".config/x", "a/..b/c..", "資料/2026/報告.pdf", "a b/ c", "10:30.log/aux.c"]
    {
        assert_eq!(SafePath::parse(path).unwrap().as_str(), path);
    }
    for (path, fault) in [
        ("", Empty),
        ("/", Absolute),
        ("/a", Absolute),
        ("//a", Absolute),
        ("/..", Absolute),
        ("a/", Empty),
        ("a//b", Empty),
        (".", Dots),
        ("./a", Dots),
        ("a/./b", Dots),
        ("a/.", Dots),
        ("..", Dots),
        ("../a", Dots),
        ("a/..", Dots),
        ("a/../..", Dots),
        ("a/../../etc/passwd", Dots),
        ("a\\..\\b", Separator),
        ("a/b\\c", Separator),
        ("C:\\a", Separator),
        ("a/b\0/c", Nul),
        ("a/\n/c", Control),
        ("a\u{202e}/c", BidiOverride),
    ] {
        assert_eq!(SafePath::parse(path), Err(fault), "{path:?}");
    }
    assert_eq!(portability("a:b/nul.txt/c."), [Character(':'), Device, TrailingDot]);
}

#[test]
fn paths_know_their_names_and_their_order() {
    let path = |text| SafePath::parse(text).unwrap();
    assert!(path("a/b/c").names().eq(["a", "b", "c"]));
    assert_eq!(path("a/b/c").file_name().as_str(), "c");
    assert_eq!(path("c").file_name().as_str(), "c");
    assert!(path("a/b").contains(&path("a/b/c")));
    assert!(!path("a/b").contains(&path("a/b")) && !path("a/b").contains(&path("a/bc")));
    // What lies in a folder follows it at once, although `.` and `-` come before `/` as bytes.
    let mut paths = ["a.b", "a-b", "a/b", "a", "B", "a/a/x", "a b"].map(path);
    paths.sort();
    assert_eq!(paths.map(String::from), ["B", "a", "a/a/x", "a/b", "a b", "a-b", "a.b"]);
}

#[test]
fn printing_is_safe_and_recordings_are_checked() {
    let name = SafeName::parse("zero\u{200b}width").unwrap();
    assert_eq!(name.to_string(), "zero\\u{200b}width");
    assert_eq!(serde_json::to_string(&name).unwrap(), "\"zero\u{200b}width\"");
    assert_eq!(serde_json::from_str::<SafeName>("\"zero\u{200b}width\"").unwrap(), name);
    assert!(serde_json::from_str::<SafeName>("\"..\"").is_err());
    assert!(serde_json::from_str::<SafePath>("\"a/../b\"").is_err());
}

proptest! {
    /// Whatever is accepted is unchanged, and cannot leave the folder it is joined to.
    #[test]
    fn accepted_paths_stay_inside(text in "([a./\\\\ :\u{202e}\0\n]|\\PC){0,20}") {
        if let Ok(path) = SafePath::parse(&text) {
            prop_assert_eq!(path.as_str(), &text);
            let components: Vec<_> = std::path::Path::new(&text).components().collect();
            prop_assert!(components.iter().all(|part| matches!(part, std::path::Component::Normal(_))));
            prop_assert_eq!(components.len(), path.names().count());
            prop_assert!(path.names().all(|name| SafeName::parse(name).is_ok()));
        }
        if let Ok(name) = SafeName::parse(&text) {
            prop_assert_eq!(SafePath::from(name), SafePath::parse(&text).unwrap());
        }
    }
}
