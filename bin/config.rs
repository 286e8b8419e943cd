//! What people set once: a file of defaults. A flag wins over the environment, the environment over the file.
//!
//! `~/.config/potluck/config.toml` (below `XDG_CONFIG_HOME` where that is set), or the file that `POTLUCK_CONFIG` names; empty:
//! none. Each key is the default of the flag of its name, wherever a verb has that flag, and is read by the same parser.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use toml::{Table, Value};

use crate::exit::{Code, Failure};
use crate::ui;

/// Names the file, in place of the usual one.
const FILE: &str = "POTLUCK_CONFIG";
/// Bytes that are read of it at most: a file that is longer is none of ours.
const BYTES_MAX: u64 = 1 << 20;

/// Keys, the flag that each is the default of, and what is written there.
const KEYS: [(&str, &str, Takes); 12] = [
    ("tracker", "tracker", Takes::Text),
    ("as", "name", Takes::Text),
    ("listen", "listen", Takes::Text),
    ("limit_up", "limit_up", Takes::TextOrNumber),
    ("limit_down", "limit_down", Takes::TextOrNumber),
    ("out", "out", Takes::Text),
    ("wait", "wait", Takes::Number),
    ("max_holders", "max_holders", Takes::Number),
    ("dir", "dir", Takes::Text),
    ("accept_from", "accept_from", Takes::Texts),
    ("color", "color", Takes::Text),
    ("quiet", "quiet", Takes::YesNo),
];
/// Verbs whose flags mean something else.
const NOT_FOR: [(&str, &str); 3] = [("tracker", "listen"), ("man", "out"), ("sim", "out")];

/// The types of TOML that a key takes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Text,
    Number,
    TextOrNumber,
    /// One text, or a list of them.
    Texts,
    YesNo,
}

impl Takes {
    /// The value as it would be typed, a list as several; else what was expected.
    fn read(self, value: &Value) -> Result<Vec<String>, &'static str> {
        match (self, value) {
            (Self::Text | Self::TextOrNumber | Self::Texts, Value::String(text)) => Ok(vec![text.clone()]),
            (Self::Number | Self::TextOrNumber, Value::Integer(number)) => Ok(vec![number.to_string()]),
            (Self::YesNo, Value::Boolean(yes)) => Ok(vec![yes.to_string()]),
            (Self::Texts, Value::Array(values)) => {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                values.iter().map(text).collect::<Option<_>>().ok_or_else(|| self.expected())
            }
            (Self::Text | Self::Number | Self::TextOrNumber | Self::Texts | Self::YesNo, _) => {
                Err(self.expected())
            }
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Text => "expected text, in quotes",
            Self::Number => "expected a number, without quotes and fraction",
            Self::TextOrNumber => "expected a number, or text in quotes",
            Self::Texts => "expected text, in quotes, or a list of it",
            Self::YesNo => "expected true or false, without quotes",
        }
    }
}

/// Defaults, by the flag that they are for.
#[derive(Debug, Default)]
pub(crate) struct Config(Vec<(&'static str, Vec<String>)>);

impl Config {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, has unknown keys, or values that `command` does not take.
    pub(crate) fn load(command: &Command) -> Result<Self, Failure> {
        let named = std::env::var_os(FILE).map(PathBuf::from);
        let Some(path) = named.clone().or_else(usual_path).filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(Self::default());
        };
        match read(&path) {
            Ok(text) => Self::parse(&text, command).map_err(|why| wrong(&path, why)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
                Ok(Self::default())
            }
            Err(error) => Err(wrong(&path, format!("cannot be read: {error}"))),
        }
    }

    fn parse(text: &str, command: &Command) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let mut config = Self::default();
        for (key, value) in &table {
            let (_, flag, takes) =
                KEYS.iter().find(|(known, ..)| known == key).ok_or_else(|| unknown(key))?;
            let values = takes.read(value).map_err(|why| format!("`{key}`: {why}"))?;
            let arg = flags(command, flag).next().ok_or_else(|| unknown(key))?;
            try_values(arg.clone(), &values).map_err(|why| format!("`{key}`: {why}"))?;
            config.0.push((flag, values));
        }
        Ok(config)
    }

    /// Makes the defaults those of the file.
    pub(crate) fn apply(&self, mut command: Command) -> Command {
        for (flag, values) in &self.0 {
            command = set(command, flag, values);
        }
        command
    }
}

/// Where the file of this user lies, if that can be told.
fn usual_path() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let configs = given.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(configs.join("potluck").join("config.toml"))
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

fn wrong(path: &Path, why: impl fmt::Display) -> Failure {
    let path = ui::name(&path.to_string_lossy());
    Failure::new(Code::Usage, format!("the configuration {path} cannot be used: {why}")).hint(format!(
        "Correct it, or set {FILE} to another file (to nothing: none is read). The keys are {}.",
        KEYS.map(|(key, ..)| key).join(", ")
    ))
}

fn unknown(key: &str) -> String {
    let near = KEYS.iter().max_by(|a, b| {
        let likeness = |known: &str| strsim::jaro_winkler(key, known);
        likeness(a.0).total_cmp(&likeness(b.0))
    });
    match near {
        Some((near, ..)) => format!("`{}` is no key; the nearest is `{near}`", ui::name(key)),
        None => format!("`{}` is no key", ui::name(key)),
    }
}

/// The flags of this name, of the command and of its verbs.
fn flags<'a>(command: &'a Command, flag: &'a str) -> impl Iterator<Item = &'a Arg> {
    let verbs = command.get_subcommands().filter(move |verb| is_for(verb.get_name(), flag));
    let all = std::iter::once(command).chain(verbs).flat_map(Command::get_arguments);
    all.filter(move |arg| arg.get_id() == flag)
}

fn is_for(verb: &str, flag: &str) -> bool {
    !NOT_FOR.contains(&(verb, flag))
}

/// Would the flag take these values?
fn try_values(arg: Arg, values: &[String]) -> Result<(), String> {
    if !arg.get_action().takes_values() {
        return Ok(());
    }
    if values.iter().any(String::is_empty) {
        return Err("expected something between the quotes".to_owned());
    }
    let possible = arg.get_possible_values();
    let is_possible =
        |value: &String| possible.iter().any(|one| one.matches(value, arg.is_ignore_case_set()));
    if let Some(wrong) = values.iter().find(|value| !possible.is_empty() && !is_possible(value)) {
        let names: Vec<_> = possible.iter().map(|one| one.get_name()).collect();
        return Err(format!("`{}` is none of {}", ui::name(wrong), names.join(", ")));
    }
    let words = values.iter().map(|value| format!("--value={value}"));
    let arg = arg.long("value").short(None).required(false).global(false);
    let tried = Command::new("config").no_binary_name(true).arg(reset(arg)).try_get_matches_from(words);
    tried.map(drop).map_err(|error| {
        let text = error.to_string();
        // `error: invalid value 'x' for '--value <RATE>': expected …`, where x may have several lines.
        let why = text.split_once(">': ").map_or(text.as_str(), |(_, why)| why);
        why.lines().next().unwrap_or_default().to_owned()
    })
}

/// Without what refers to other flags.
fn reset(arg: Arg) -> Arg {
    let mut alone = Arg::new(arg.get_id().clone()).long("value").action(arg.get_action().clone());
    if let Some(names) = arg.get_value_names() {
        alone = alone.value_names(names.to_vec());
    }
    alone.value_parser(arg.get_value_parser().clone())
}

fn set(command: Command, flag: &'static str, values: &[String]) -> Command {
    let verbs: Vec<String> = command
        .get_subcommands()
        .filter(|verb| is_for(verb.get_name(), flag))
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let has = |command: &Command| command.get_arguments().any(|arg| arg.get_id() == flag);
    let defaulted = |arg: Arg| arg.required(false).default_values(values.to_vec());
    let mut command = if has(&command) { command.mut_arg(flag, defaulted) } else { command };
    for verb in verbs {
        command = command.mut_subcommand(
            verb,
            |verb| {
                if has(&verb) { verb.mut_arg(flag, defaulted) } else { verb }
            },
        );
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::args::{Color, Potluck, Verb};

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, &Potluck::command())
    }

    fn typed(config: &str, words: &[&str]) -> Potluck {
        let command = parse(config).unwrap().apply(Potluck::command());
        command.clone().debug_assert();
        let words = ["potluck"].iter().chain(words);
        Potluck::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    #[test]
    fn every_key_is_the_default_of_a_flag() {
        let command = Potluck::command();
        for (key, flag, _) in KEYS {
            assert!(flags(&command, flag).next().is_some(), "{key}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let config = "tracker = \"nas\"\nlimit_up = \"2M\"\nlimit_down = 700\nwait = 5\ncolor = \"always\"\nquiet = true";
        let Potluck { global, verb: Verb::Get(args) } = typed(config, &["get", "x", "--limit-up", "3M"])
        else {
            panic!("get")
        };
        assert_eq!((global.color, global.quiet), (Color::Always, true));
        assert_eq!((args.serve.limit_up, args.serve.limit_down, args.wait), (3 << 20, 700, 5));
        assert_eq!(args.serve.network.tracker.unwrap().to_string(), "nas:7070");
    }

    #[test]
    fn what_is_for_peers_is_not_for_the_tracker() {
        let config = "listen = \"127.0.0.1:1\"\ndir = \"/x\"";
        let Verb::Tracker(tracker) = typed(config, &["tracker"]).verb else { panic!("tracker") };
        assert_eq!(tracker.listen.port(), 7070);
        let Verb::Peer(peer) = typed(config, &["peer"]).verb else { panic!("peer") };
        assert_eq!((peer.serve.listen.port(), peer.dir.to_str()), (1, Some("/x")));
    }

    /// Every type of TOML under every key: what the key does not take is refused with what it takes, and a number in quotes is
    /// text.
    #[test]
    fn a_key_takes_its_own_types_only() {
        let values = [
            "3",
            "-3",
            "1.5",
            "true",
            "\"\"",
            "\"3\"",
            "\"x\"",
            "[\"x\", \"y\"]",
            "[\"x\", 3]",
            "{ x = 1 }",
            "1979-05-27",
        ];
        for (key, right) in [
            ("tracker", &["\"x\""][..]),
            ("as", &["\"3\"", "\"x\""]),
            ("listen", &[]),
            ("limit_up", &["3", "\"3\""]),
            ("limit_down", &["3", "\"3\""]),
            ("out", &["\"3\"", "\"x\""]),
            ("wait", &["3"]),
            ("max_holders", &["3"]),
            ("dir", &["\"3\"", "\"x\""]),
            ("accept_from", &["\"3\"", "\"x\"", "[\"x\", \"y\"]"]),
            ("color", &[]),
            ("quiet", &["true"]),
        ] {
            for value in values {
                let parsed = parse(&format!("{key} = {value}"));
                assert_eq!(parsed.is_ok(), right.contains(&value), "{key} = {value}: {parsed:?}");
                if let Err(why) = parsed {
                    assert!(why.starts_with(&format!("`{key}`: ")), "{key} = {value}: {why}");
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("limit-up = 1", &["limit-up", "limit_up"][..]),
            ("trakcer = \"x\"", &["trakcer", "nearest is `tracker`"]),
            ("limit_up = \"fast\"", &["limit_up", "expected bytes per second"]),
            ("as = \"a\\nb\"", &["`as`: a peer's name has no control characters"]),
            ("quiet = 3", &["quiet", "true or false"]),
            ("tracker = 3", &["tracker", "expected text"]),
            ("wait = 1.5", &["wait"]),
            ("tracker = \"3\"", &["tracker", "expected HOST:PORT"]),
            ("as = false", &["as", "expected text"]),
            ("color = \"red\"", &["`color`: `red` is none of auto, always, never"]),
            ("as =", &["line 1"]),
        ] {
            let why = parse(text).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{text}: {why}");
        }
    }
}
