//! What can be typed in the shell. One definition for parsing, help, completion and errors.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use super::input::LINE_BYTES_MAX;
use crate::args::{HostPort, RowArgs, peer_name, rate};
use crate::exit::{Code, Failure};
use crate::ui;
use crate::what::What;

/// Share what is in the folder, fetch what others share.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_version_flag = true, override_usage = "COMMAND [WORDS]", after_help = AFTER_HELP)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
WHAT is a name, an id (or at least 8 hex digits of one) or a ticket; a name with spaces stands in quotes.
`help COMMAND` tells more of one.";

/// Something that the shell does.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Join a tracker (the same as before, if none is named), and show what is shared there
    Join {
        /// The tracker's address
        #[arg(value_name = "HOST:PORT")]
        tracker: Option<HostPort>,
    },
    /// Leave the network: close every link and pause downloads, until `join`
    Leave,
    /// List everything that is shared
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        rows: RowArgs,
    },
    /// Search by name: text, or a pattern with * ? [..] {..}
    Search {
        /// Part of a name, or a pattern for the whole name
        query: String,
        #[command(flatten)]
        rows: RowArgs,
    },
    /// List the peers that are here
    Peers,
    /// Tell who holds a content, and how much of it
    Holders {
        /// A name, an id or a ticket
        what: What,
    },
    /// Tell what a content is made of
    Info {
        /// A name, an id or a ticket
        what: What,
    },
    /// List the files of the shared folder: shared, not shared, partial, or being hashed
    Local,
    /// Share a file or a folder: a name in the shared folder, or any path
    Share {
        /// What to share
        path: PathBuf,
    },
    /// Share something no longer, until it is shared again by name
    Unshare {
        /// Its name in the shared folder, or its path
        path: PathBuf,
    },
    /// Fetch into the shared folder, in the background; goes on with what was stopped
    #[command(visible_alias = "req")]
    Get(GetWords),
    /// List downloads, and how far they are
    Downloads,
    /// Stop downloads (all of them, if none is named); what is verified stays
    Stop {
        /// Which
        what: Option<What>,
    },
    /// Go on with what was stopped (all of it, if none is named)
    Resume {
        /// Which
        what: Option<What>,
    },
    /// Wait until downloads have ended (all of them, if none is named)
    Wait {
        /// Which
        what: Option<What>,
    },
    /// Look through the shared folder at once, wait until the tracker knows all of it, and list what is shared
    Refresh,
    /// Take another name
    Rename {
        /// The new name
        #[arg(value_parser = peer_name)]
        name: String,
    },
    /// Cap the rate of what is sent or fetched; without a rate, tell the caps
    Limit {
        /// Which way
        way: Option<Way>,
        /// Bytes per second, like 500K or 10M; 0 or `off` for no cap
        #[arg(value_parser = cap, requires = "way")]
        rate: Option<u64>,
    },
    /// Tell why a download is as fast or slow as it is
    Explain {
        /// Which (not needed if there is only one)
        what: Option<What>,
    },
    /// Leave in order and end
    #[command(visible_alias = "exit")]
    Quit,
}

/// What to fetch, from whom, and where to.
#[derive(Debug, Args)]
pub(super) struct GetWords {
    /// Names, ids or tickets
    #[arg(value_name = "WHAT")]
    pub(super) what: Vec<What>,
    /// Fetch from these peers only
    #[arg(long, value_name = "PEER", num_args = 1.., value_delimiter = ',')]
    pub(super) from: Vec<String>,
    /// Show the holders, and ask which one to fetch from
    #[arg(long, conflicts_with = "from")]
    pub(super) choose: bool,
    /// Where to, instead of the shared folder: an existing folder, or one that ends in / and is created; else the target
    #[arg(long, value_name = "PATH")]
    pub(super) out: Option<PathBuf>,
}

/// A direction of transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// What is sent.
    Up,
    /// What is fetched.
    Down,
}

fn cap(text: &str) -> Result<u64, String> {
    if matches!(text, "off" | "none") { Ok(0) } else { rate(text) }
}

/// What a line came to.
#[derive(Debug)]
pub(super) enum Parsed {
    /// An empty line, or a comment.
    Nothing,
    /// Do this.
    Do(Box<Command>),
    /// Show this: it was asked for.
    Help(String),
}

/// Reads a line.
///
/// # Errors
/// It is not understood; the failure says why and, where it can be guessed, what was meant.
pub(super) fn parse(line: &str) -> Result<Parsed, Failure> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Failure::new(
            Code::Usage,
            format!("a line has up to {LINE_BYTES_MAX} bytes; this one is longer"),
        )
        .hint(format!("It begins with: {}", ui::excerpt(line))));
    }
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Parsed::Nothing);
    }
    let Some(words) = shlex::split(line) else {
        return Err(Failure::new(Code::Usage, "a quote is not closed"));
    };
    match Line::try_parse_from(words) {
        Ok(Line { command: Command::Get(words) }) => Ok(Parsed::Do(Box::new(Command::Get(words.settle()?)))),
        Ok(Line { command }) => Ok(Parsed::Do(Box::new(command))),
        Err(error) if error.exit_code() == 0 => Ok(Parsed::Help(of_commands(&error.to_string()))),
        Err(mut error) => {
            crate::near::suggest(&mut error, &Line::command());
            Err(misunderstood(&error))
        }
    }
}

/// What clap says, in the words of a shell.
fn of_commands(text: &str) -> String {
    text.trim_end().replace("subcommand", "command")
}

fn misunderstood(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    let (message, more) = text.split_once("\n\n").unwrap_or((text, ""));
    let failure = Failure::new(Code::Usage, of_commands(message));
    let tips =
        more.lines().map(str::trim).filter(|line| line.starts_with("tip:") || line.starts_with("Usage:"));
    let mut hint: Vec<String> = tips.map(of_commands).collect();
    hint.push("`help` lists what can be done, `help COMMAND` tells more.".to_owned());
    failure.hint(hint.join("\n"))
}

impl GetWords {
    /// `--from PEER WHAT` reads WHAT as one more peer; without any other WHAT, the last one is meant as such.
    fn settle(mut self) -> Result<Self, Failure> {
        if self.what.is_empty() && self.from.len() > 1 {
            let last = self.from.pop().unwrap_or_default();
            self.what.push(last.parse().map_err(|why: String| Failure::new(Code::Usage, why))?);
        }
        if self.what.is_empty() {
            return Err(Failure::new(Code::Usage, "WHAT is missing: a name, an id or a ticket"));
        }
        Ok(self)
    }
}

/// What the words of a command may be completed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completes {
    /// Names and ids of contents.
    Contents,
    /// Downloads.
    Downloads,
    /// Files of the shared folder.
    Files,
    /// Names of peers.
    Peers,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Names of commands.
    Commands,
    /// Nothing that is known.
    Nothing,
}

/// What the last word of a line may be, given the words before it.
pub(super) fn completes(before: &[String]) -> Completes {
    let Some((command, words)) = before.split_first() else { return Completes::Commands };
    if let Some(flag) = words.iter().rev().find(|word| word.starts_with("--"))
        && flag == "--from"
    {
        return Completes::Peers;
    }
    match command.as_str() {
        "holders" | "info" | "get" | "req" | "search" => Completes::Contents,
        "stop" | "resume" | "wait" | "explain" => Completes::Downloads,
        "share" | "unshare" => Completes::Files,
        "limit" if words.is_empty() => Completes::Words(&["up", "down"]),
        "help" => Completes::Commands,
        _ => Completes::Nothing,
    }
}

/// The flags of a command, for completion.
pub(super) fn flags(command: &str) -> Vec<String> {
    let line = Line::command();
    let found = line.find_subcommand(command);
    found
        .into_iter()
        .flat_map(|command| command.get_arguments())
        .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
        .collect()
}

/// The names of all commands.
pub(super) fn commands() -> Vec<String> {
    let line = Line::command();
    let names = line.get_subcommands().map(|command| command.get_name().to_owned());
    let mut names: Vec<_> = names.chain(["help".to_owned()]).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn does(line: &str) -> Command {
        match parse(line) {
            Ok(Parsed::Do(command)) => *command,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn lines_are_read_as_people_type_them() {
        assert!(matches!(does("  leave "), Command::Leave));
        assert!(matches!(does("exit"), Command::Quit));
        assert!(matches!(does("list --holders"), Command::List { rows } if rows.holders && !rows.files));
        assert!(matches!(
            does("limit up 10M"),
            Command::Limit { way: Some(Way::Up), rate: Some(10_485_760) }
        ));
        assert!(matches!(does("limit down off"), Command::Limit { way: Some(Way::Down), rate: Some(0) }));
        let Command::Get(words) = does("get 'a b.bin' --from ann,ben --out x/") else { panic!() };
        assert_eq!(words.what, ["a b.bin".parse().unwrap()]);
        assert_eq!((words.from, words.out), (vec!["ann".to_owned(), "ben".to_owned()], Some("x/".into())));
        let Command::Get(words) = does("get --from ann f") else { panic!() };
        assert_eq!((words.what, words.from), (vec!["f".parse().unwrap()], vec!["ann".to_owned()]));
        for line in ["", "   ", "# a remark"] {
            assert!(matches!(parse(line), Ok(Parsed::Nothing)), "{line}");
        }
    }

    #[test]
    fn help_comes_from_the_definition() {
        for (line, words) in [("help", "explain"), ("help get", "--choose"), ("get --help", "--from")] {
            let Ok(Parsed::Help(text)) = parse(line) else { panic!("{line}") };
            assert!(text.contains(words), "{line}: {text}");
            assert!(!text.contains("potluck") && !text.contains("subcommand"), "{line}: {text}");
        }
    }

    #[test]
    fn what_is_mistyped_is_guessed() {
        let failure = parse("lst").unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.hint.unwrap().contains("'list'"));
        assert!(parse("gte x").unwrap_err().hint.unwrap().contains("'get'"));
        for line in [
            "get",
            "get 'a",
            "limit sideways",
            "limit up fast",
            "rename",
            "join a b",
            "get x --choose --from y",
            &"x".repeat(LINE_BYTES_MAX + 1),
        ] {
            assert_eq!(parse(line).unwrap_err().code, Code::Usage, "{line}");
        }
    }

    #[test]
    fn the_last_word_is_completed_by_its_place() {
        let of = |line: &str| completes(&shlex::split(line).unwrap());
        assert_eq!(of(""), Completes::Commands);
        assert_eq!(of("get"), Completes::Contents);
        assert_eq!(of("get f --from"), Completes::Peers);
        assert_eq!(of("stop"), Completes::Downloads);
        assert_eq!(of("limit"), Completes::Words(&["up", "down"]));
        assert_eq!(of("leave"), Completes::Nothing);
        assert_eq!(flags("list"), ["--files", "--holders"]);
        assert!(commands().contains(&"explain".to_owned()) && commands().contains(&"help".to_owned()));
    }
}
