//! The shell on a terminal: typed keys, and the screen that comes of them.

mod support;

use std::time::Duration;

use support::processes::{Net, b3sum, until};
use support::terminal::Terminal;

const MIB: u64 = 1 << 20;

impl Net {
    /// `potluck peer` in a terminal.
    fn terminal(&self, name: &str, more: &[&str]) -> Terminal {
        let serve = ["--as", name, "--listen", "127.0.0.1:0", "--tracker", &self.addr];
        let mut command = self.bare(&[&["peer", "--dir", name], &serve[..], more].concat());
        command.env("XDG_STATE_HOME", self.dir.path().join("state"));
        Terminal::start(command, 30, 100)
    }
}

fn last_line(screen: &str) -> &str {
    screen.lines().last().unwrap_or_default().trim_end()
}

#[test]
fn a_line_is_typed_while_downloads_run_and_things_happen() {
    let net = Net::new();
    let source = net.file("a/big one.bin", 12 * MIB, 1);
    let _a = net.shell("a", &["--limit-up", "2M"]);
    net.until_holders("big one.bin", &["a"]);
    let mut me = net.terminal("me", &[]);
    me.until("there is a prompt", |screen| last_line(screen).starts_with("me>"));
    // A name is completed, with the quotes that it needs.
    me.types("get bi\t");
    me.until("the name is there", |screen| last_line(screen).contains("get 'big one.bin'"));
    me.types("\r");
    me.until("it says from whom", |screen| {
        screen.contains("Fetching big one.bin (12.00 MiB) from 1 holder.")
    });
    me.until("the download has a line above the prompt", |screen| {
        let lines: Vec<_> = screen.lines().rev().take(2).collect();
        lines.len() == 2
            && lines[0].starts_with("me>")
            && lines[1].contains("big one.bin  ")
            && lines[1].contains('%')
    });
    me.types("half a li");
    until("somebody comes and goes", || {
        drop(net.shell("guest", &[]));
        let screen = me.text();
        screen.contains("guest joined") && screen.contains("guest left")
    });
    me.until("the line that is typed is whole", |screen| last_line(screen) == "me> half a li");
    me.types("\x03");
    me.until("the line is thrown away", |screen| last_line(screen) == "me>");
    me.types("explain\r");
    me.until("it is explained", |screen| {
        screen.contains("HOLDER") && screen.contains("Bound by the only link")
    });
    me.until("it is done", |screen| screen.contains("big one.bin is registered"));
    me.until("no line is left of it", |screen| {
        !screen.lines().rev().nth(1).unwrap_or_default().contains('━') && last_line(screen) == "me>"
    });
    assert_eq!(b3sum(&net.of("me", "big one.bin")), b3sum(&source));
    // Up is the line before.
    me.types("\x1b[A");
    me.until("the last line is back", |screen| last_line(screen) == "me> explain");
    me.types("\x03");
    me.until("the line is thrown away", |screen| last_line(screen) == "me>");
    // What is broken off is not the shell: a line that comes with its Ctrl-C, and a search of the history.
    me.types("half\x03");
    std::thread::sleep(Duration::from_millis(500));
    me.types("\x12expl");
    me.until("it is found", |screen| last_line(screen).ends_with("(search: expl) explain"));
    me.types("\x03");
    me.until("the search is over", |screen| last_line(screen) == "me>");
    // Enter enters what was typed on while suggestions are shown.
    me.types("limit \t");
    me.until("both ways are suggested", |screen| last_line(screen).starts_with("down"));
    for key in "up off\r".chars() {
        me.types(&key.to_string());
        std::thread::sleep(Duration::from_millis(100));
    }
    me.until("it is entered", |screen| screen.contains("up: no cap, down: "));
    me.types("\x03");
    assert_eq!(me.code(), Some(0));
    assert_eq!(net.ask(&["peers"]).all("peer").count(), 1, "it left in order");
}

#[test]
fn what_is_typed_ahead_of_a_command_waits_for_it() {
    let net = Net::new();
    net.file("a/f", MIB, 1);
    let _a = net.shell("a", &["--limit-up", "1K"]);
    net.until_holders("f", &["a"]);
    let mut me = net.terminal("me", &[]);
    me.until("there is a prompt", |screen| last_line(screen).starts_with("me>"));
    me.types("get f\rwait f\r");
    me.until("it is being fetched", |screen| screen.contains("Fetching f"));
    for kib in 1..=20 {
        me.types(&format!("limit up {kib}K\r"));
    }
    me.until("the last of them is typed", |screen| screen.contains("me> limit up 20K"));
    assert!(!me.text().contains("up: 1.00 KiB/s"), "{}", me.text());
    me.types("half\x03");
    me.until("what is waited for is given up", |screen| screen.contains("Given up."));
    me.until("what was typed meanwhile is done", |screen| screen.contains("up: 20.00 KiB/s"));
    me.types("quit\r");
    assert_eq!(me.code(), Some(0));
}

#[test]
fn a_ctrl_c_leaves_no_bar_behind() {
    let net = Net::new();
    net.file("a/f", 12 * MIB, 1);
    let _a = net.shell("a", &["--limit-up", "1M"]);
    net.until_holders("f", &["a"]);
    let words = ["get", "f", "--out", "got/", "--listen", "127.0.0.1:0", "--tracker", &net.addr];
    let mut get = Terminal::start(net.bare(&words), 30, 60);
    let bars = |screen: &str| screen.lines().filter(|line| line.contains('%')).count();
    get.until("there is a bar", |screen| bars(screen) > 0);
    // The terminal shows it where the cursor is; nobody is interrupted, since it is no terminal of the process.
    get.types("\x03");
    let before = get.text();
    get.until("the bar went on", |screen| screen != before);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(bars(&get.text()), 1, "{}", get.text());
}

#[test]
fn a_taken_name_is_asked_for_again_with_a_free_one_preset() {
    let net = Net::new();
    let _first = net.shell("pavan", &[]);
    let mut second = net.terminal("pavan", &[]);
    second.until("a free name is preset", |screen| {
        screen.contains("the name pavan is taken") && last_line(screen).starts_with("another name: pavan")
    });
    second.types("\r");
    second.until("it joined by it", |screen| {
        screen.contains("Joined the tracker") && !last_line(screen).starts_with("pavan>")
    });
    // Who wants none of them has no shell without a name.
    let mut third = net.terminal("pavan", &[]);
    third.until("it asks", |screen| last_line(screen).starts_with("another name: pavan"));
    third.types("\x03");
    assert_eq!(third.code(), Some(1), "{}", third.text());
    assert!(third.text().contains("error: the name pavan is taken"), "{}", third.text());
    second.types("rename dante\r");
    second.until("the prompt follows", |screen| last_line(screen) == "dante>");
    second.types("\x04");
    assert_eq!(second.code(), Some(0));
}

#[test]
fn a_holder_is_chosen_at_a_prompt_of_its_own() {
    let net = Net::new();
    net.file("a/f", MIB, 1);
    net.file("b/f", MIB, 1);
    let (_a, _b) = (net.shell("a", &[]), net.shell("b", &[]));
    net.until_holders("f", &["a", "b"]);
    let mut me = net.terminal("me", &[]);
    me.until("there is a prompt", |screen| last_line(screen).starts_with("me>"));
    me.types("get f --choose\r");
    me.until("it asks", |screen| last_line(screen).starts_with("1-2, a name, or cancel:"));
    me.types("nine\r");
    me.until("it asks again", |screen| {
        screen.contains("2 tries left") && last_line(screen).starts_with("1-2")
    });
    me.types("b\r");
    me.until("it is fetched from b", |screen| screen.contains("from b 100%"));
    me.types("quit\r");
    assert_eq!(me.code(), Some(0));
}

/// The tour of the README. `POTLUCK_PICTURE=docs/shell.svg` (an absolute path) draws it: see `docs/picture`.
#[test]
fn the_tour_four_holders_and_why_it_is_as_fast_as_it_is() {
    let net = Net::new();
    let holders = [("ann", "3M"), ("ben", "2M"), ("cyd", "1M"), ("dee", "512K")];
    for (name, _) in holders {
        net.file(&format!("{name}/holiday.mp4"), 24 * MIB, 1);
    }
    net.file("ann/photos/beach.jpg", 700_000, 2);
    let _holders = holders.map(|(name, rate)| net.shell(name, &["--limit-up", rate]));
    net.until_holders("holiday.mp4", &["ann", "ben", "cyd", "dee"]);
    net.until_holders("photos", &["ann"]);
    let mut me = net.terminal("eve", &[]);
    me.until("there is a prompt", |screen| last_line(screen) == "eve>");
    me.types("list --holders\r");
    me.until("it is listed", |screen| screen.contains("photos/") && last_line(screen) == "eve>");
    me.types("get hol\t");
    me.until("the name is completed", |screen| last_line(screen) == "eve> get holiday.mp4");
    me.types("\r");
    let percent = |screen: &str| -> Option<u32> {
        let line = screen.lines().find(|line| line.contains('━'))?;
        line.split_whitespace().find_map(|word| word.strip_suffix('%')?.parse().ok())
    };
    me.until("some of it is here", |screen| percent(screen).is_some_and(|percent| percent >= 35));
    me.types("explain\r");
    me.until("it is explained", |screen| {
        let holders = ["ann", "ben", "cyd", "dee"];
        let rows =
            holders.map(|name| screen.lines().any(|line| line.starts_with(name) && line.contains("sends")));
        screen.contains("Bound by") && screen.contains("Missing: ") && rows.iter().all(|row| *row)
    });
    me.until("its line is below that", |screen| {
        let lines: Vec<_> = screen.lines().rev().take(2).collect();
        lines.len() == 2 && lines[0].trim_end() == "eve>" && lines[1].contains("holiday.mp4  ")
    });
    if let Some(path) = std::env::var_os("POTLUCK_PICTURE") {
        std::fs::write(
            path,
            support::picture::svg(&me.screen(), "potluck peer: a download and why it is as fast as it is"),
        )
        .unwrap();
    }
    me.until("it is done", |screen| screen.contains("holiday.mp4 is registered"));
    assert_eq!(b3sum(&net.of("eve", "holiday.mp4")), b3sum(&net.of("ann", "holiday.mp4")));
}

/// The editor paints on standard error: where that is a file, lines go in and out as they do from a pipe.
#[test]
fn with_standard_error_in_a_file_it_is_a_script_that_is_typed() {
    let net = Net::new();
    net.file("a/f", 1000, 1);
    let _a = net.shell("a", &[]);
    net.until_holders("f", &["a"]);
    let words = ["peer", "--dir", "me", "--as", "me", "--listen", "127.0.0.1:0", "--tracker", &net.addr];
    let bare = net.bare(&words);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec \"$@\" 2>log", "sh"]).arg(bare.get_program()).args(bare.get_args());
    command.current_dir(net.dir.path());
    for (name, value) in bare.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut me = Terminal::start(command, 30, 100);
    me.types("list\rgte\r");
    me.until("it is listed", |screen| screen.lines().any(|line| line.trim_end().ends_with(" f")));
    me.types("quit\r");
    assert_eq!(me.code(), Some(0), "a person has seen what failed");
}

#[test]
fn quitting_leaves_no_prompt_behind_and_says_what_is_kept() {
    let net = Net::new();
    net.file("a/f", 8 * MIB, 1);
    let _a = net.shell("a", &["--limit-up", "512K"]);
    net.until_holders("f", &["a"]);
    let mut me = net.terminal("me", &[]);
    me.until("there is a prompt", |screen| last_line(screen).starts_with("me>"));
    me.types("get f\r");
    me.until("it runs", |screen| screen.contains('━'));
    me.types("quit\r");
    assert_eq!(me.code(), Some(0));
    me.until("it is told what is kept", |screen| last_line(screen).starts_with("f is at "));
    assert!(!me.text().contains('━'), "{}", me.text());
    assert_eq!(me.text().lines().filter(|line| line.trim() == "me>").count(), 0, "{}", me.text());
}
