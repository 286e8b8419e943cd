//! What a person can type. Every flag is declared here once; help and usage errors follow from it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use potluck_core::content::{SafeName, Selection};
use potluck_core::limits::{LEASE, PEER_NAME_BYTES_MAX};
use potluck_core::wire::tracker::Accepting;

use crate::commands::SimArgs;
use crate::what::What;

/// Port that trackers listen on where nobody says otherwise.
pub(crate) const TRACKER_PORT: u16 = 7070;

/// Share files between machines: everybody brings a piece.
#[derive(Debug, Parser)]
#[command(name = "potluck", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Potluck {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 incomplete (progress kept), 5 ambiguous name,
6 tracker unreachable, 130 and 143 interrupted by SIGINT and SIGTERM before it was done.

A first look, all on this machine: potluck demo";

/// Flags of every verb.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct GlobalArgs {
    /// Print one JSON object per event on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more (-v: what happens, -vv: every message)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Colours of errors, logs and help
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        env = "POTLUCK_COLOR",
        default_value = "auto",
        hide_env = true
    )]
    pub(crate) color: Color,
    /// Leave when standard input closes: for programs that start potluck and must not leave it behind
    #[arg(long, global = true, hide = true)]
    pub(crate) while_stdin: bool,
}

/// When output has colours. `NO_COLOR` in the environment says never, unless a flag says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    // On a terminal, and without `NO_COLOR`.
    Auto,
    Always,
    Never,
}

/// What potluck is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a tracker: the index of who is here and who holds what
    Tracker(TrackerArgs),
    /// Share files and folders in place until interrupted
    Share(ShareArgs),
    /// Fetch by name, id or ticket, from every holder at once
    #[command(after_help = GET_HELP)]
    Get(GetArgs),
    /// Run a peer that shares a folder
    Peer(PeerArgs),
    /// Offer a file or folder to peers that accept offers, and serve it until they have it
    Push(PushArgs),
    /// List everything that is shared
    List(ListArgs),
    /// Search by name: text, or a pattern with * ? [..] {..}
    Search(SearchArgs),
    /// List the peers that are here
    Peers(PeersArgs),
    /// Tell who holds a content, and how much of it
    Holders(WhatArgs),
    /// Tell what a content is made of
    Info(WhatArgs),
    /// Print the ids of files and folders, as b3sum prints them
    Hash(HashArgs),
    /// Show the whole system on this machine: tracker, holders, and a download that loses one of them
    Demo(DemoArgs),
    /// Simulate swarms: run a scenario, explore many seeds with faults, replay one
    Sim(SimArgs),
    /// Look for what stands in the way: tracker, own port, clock, disk, limits
    Doctor(DoctorArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them
    Man(ManArgs),
}

impl Verb {
    /// A name that was typed is meant; one that is set for all verbs may be that of a peer which runs beside this one. So those
    /// that are done soon take one like it. `typed`: it was.
    pub(crate) fn insist_on_name(&mut self, typed: bool) {
        match self {
            Self::Share(ShareArgs { serve, .. })
            | Self::Get(GetArgs { serve, .. })
            | Self::Push(PushArgs { serve, .. }) => serve.any_name = !typed,
            Self::Peer(PeerArgs { serve, .. }) | Self::Doctor(DoctorArgs { serve, .. }) => {
                serve.any_name = serve.name.is_none();
            }
            _ => {}
        }
    }
}

/// Flags of every verb that talks to a network.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// The tracker's address (default: 127.0.0.1:7070)
    #[arg(long, value_name = "HOST:PORT", env = "POTLUCK_TRACKER")]
    pub(crate) tracker: Option<HostPort>,
    /// Record every input of the machine in FILE (new, or an earlier recording), for the simulator to replay
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

/// Flags of every verb that serves.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Name to be known by (default: user@host, or one like it that is free)
    #[arg(long = "as", value_name = "PEERNAME", env = "POTLUCK_AS", hide_env = true, value_parser = peer_name)]
    pub(crate) name: Option<String>,
    /// Where the name is taken, one like it will do.
    #[arg(skip)]
    pub(crate) any_name: bool,
    /// Address to accept links at; port 0 picks a free one
    #[arg(long, value_name = "ADDR", env = "POTLUCK_LISTEN", hide_env = true, default_value = "0.0.0.0:0",
        value_parser = listen_addr::<0>)]
    pub(crate) listen: SocketAddr,
    /// Send at most so many bytes per second, like 500K or 10M (powers of 1024), or 20Mbit (bits); 0: no limit
    #[arg(long, value_name = "RATE", env = "POTLUCK_LIMIT_UP", hide_env = true, default_value = "0",
        hide_default_value = true, value_parser = rate)]
    pub(crate) limit_up: u64,
    /// Fetch at most so many bytes per second
    #[arg(long, value_name = "RATE", env = "POTLUCK_LIMIT_DOWN", hide_env = true, default_value = "0",
        hide_default_value = true, value_parser = rate)]
    pub(crate) limit_down: u64,
}

#[derive(Debug, Args)]
pub(crate) struct TrackerArgs {
    /// Address to listen at; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:7070", value_parser = listen_addr::<TRACKER_PORT>)]
    pub(crate) listen: SocketAddr,
    /// A peer that is silent for so long is forgotten
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE.as_secs(), value_parser = lease)]
    pub(crate) lease: u64,
    /// Record every input of the tracker in FILE (new, or an earlier recording), for the simulator to replay
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// Files and folders; - is standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Name under which standard input is shared (default: stdin)
    #[arg(long = "name", value_name = "NAME", value_parser = safe_name)]
    pub(crate) label: Option<SafeName>,
    /// Leave once every PATH was delivered completely
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Names, ids (or at least 8 hex digits of one) or tickets
    #[arg(value_name = "WHAT")]
    pub(crate) what: Vec<What>,
    /// Where to: an existing folder, or one that ends in / and is created; else the target's own path; - is standard output
    #[arg(long, value_name = "PATH", env = "POTLUCK_OUT", hide_env = true, default_value = ".")]
    pub(crate) out: PathBuf,
    /// Of a folder, fetch only what GLOB matches (repeatable): a file, or a folder with all that is in it
    #[arg(long, value_name = "GLOB", conflicts_with = "discard")]
    pub(crate) include: Vec<String>,
    /// Of a folder, do not fetch what GLOB matches (repeatable)
    #[arg(long, value_name = "GLOB", conflicts_with = "discard")]
    pub(crate) exclude: Vec<String>,
    /// Fetch nothing; list what would be fetched, and where it would go
    #[arg(long, conflicts_with_all = ["stay", "discard"])]
    pub(crate) dry_run: bool,
    /// Go on serving afterwards, until interrupted
    #[arg(long)]
    pub(crate) stay: bool,
    /// How long to wait for a holder of what is missing
    #[arg(long, value_name = "SECONDS", env = "POTLUCK_WAIT", hide_env = true, default_value_t = 30, value_parser = seconds)]
    pub(crate) wait: u32,
    /// Fetch from these peers only
    #[arg(long, value_name = "PEER", num_args = 1.., value_delimiter = ',')]
    pub(crate) from: Vec<String>,
    /// Fetch from at most N peers at a time (0: from as many as there are)
    #[arg(
        long,
        value_name = "N",
        env = "POTLUCK_MAX_HOLDERS",
        hide_env = true,
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) max_holders: u32,
    /// Fetch nothing; remove the part files that an interrupted download of WHAT left
    #[arg(long, conflicts_with_all = ["stay", "from"])]
    pub(crate) discard: bool,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

const GET_HELP: &str = "\
Patterns: one without a slash is matched against every name in a path (`*.jpg`, `docs`), one with a slash against the \
path within the folder from its beginning (`src/**/*.rs`, `/README`). `*` and `?` do not match a slash, `**` does. What \
--exclude matches is left out in any case. The folder that arrives has the chosen files and nothing else; others can \
fetch these files from here, but not the folder as such.";

impl GetArgs {
    /// What of a folder is wanted.
    pub(crate) fn selection(&self) -> Result<Selection, String> {
        Selection::new(self.include.clone(), self.exclude.clone()).map_err(|fault| fault.to_string())
    }

    /// `--from PEER WHAT` reads WHAT as one more peer; without any other WHAT, the last one is meant as such.
    pub(crate) fn settle(mut self) -> Result<Self, String> {
        if self.what.is_empty() && self.from.len() > 1 {
            let last = self.from.pop().unwrap_or_default();
            self.what.push(last.parse()?);
        }
        if self.what.is_empty() {
            return Err("WHAT is missing: a name, an id or a ticket".to_owned());
        }
        Ok(self)
    }
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// Folder to share; it is created when absent
    #[arg(long, value_name = "DIR", env = "POTLUCK_DIR", hide_env = true)]
    pub(crate) dir: PathBuf,
    /// Share nothing by itself: only what `share` names
    #[arg(long)]
    pub(crate) no_share: bool,
    /// Fetch into DIR what these peers push, or what `all` do (default: nobody)
    #[arg(long, value_name = "PEER", env = "POTLUCK_ACCEPT_FROM", hide_env = true, num_args = 1.., value_delimiter = ',')]
    pub(crate) accept_from: Vec<String>,
    /// From a pipe: how long to wait for a holder of what is missing
    #[arg(long, value_name = "SECONDS", env = "POTLUCK_WAIT", hide_env = true, default_value_t = 30, value_parser = seconds)]
    pub(crate) wait: u32,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

impl PeerArgs {
    /// Whose offers are accepted.
    pub(crate) fn accepting(&self) -> Accepting {
        match self.accept_from.as_slice() {
            [] => Accepting::Nobody,
            names if names.iter().any(|name| name == EVERYBODY) => Accepting::Everybody,
            names => Accepting::Names(names.to_vec()),
        }
    }
}

/// What stands for every peer's name.
pub(crate) const EVERYBODY: &str = "all";

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// File or folder
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// Peers to offer it to, or `all` that are here and accept offers
    #[arg(long, value_name = "PEER", num_args = 1.., value_delimiter = ',', required = true)]
    pub(crate) to: Vec<String>,
    /// How long to wait for a peer that gets no further
    #[arg(long, value_name = "SECONDS", env = "POTLUCK_WAIT", hide_env = true, default_value_t = 30, value_parser = seconds)]
    pub(crate) wait: u32,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

impl PushArgs {
    /// `--to PEER PATH` reads PATH as one more peer; without any other PATH, the last one is meant as such.
    pub(crate) fn settle(mut self) -> Result<(PathBuf, Self), String> {
        let path = match self.path.take() {
            None if self.to.len() > 1 => self.to.pop().map(PathBuf::from),
            path => path,
        };
        Ok((path.ok_or("PATH is missing: the file or folder that is to be pushed")?, self))
    }
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Folder in which downloads are to stand
    #[arg(long, value_name = "DIR", env = "POTLUCK_DIR", hide_env = true, default_value = ".")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// How contents are listed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RowArgs {
    /// List every file of shared folders, too
    #[arg(long)]
    pub(crate) files: bool,
    /// Name the holders
    #[arg(long)]
    pub(crate) holders: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Part of a name, or a pattern for the whole name
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    /// Go on telling who joins and leaves, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WhatArgs {
    /// A name, an id (or at least 8 hex digits of one) or a ticket
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HashArgs {
    /// Files and folders; - is standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The verb whose page is wanted, like `get` or `sim run` (default: the page of potluck itself)
    #[arg(conflicts_with = "out")]
    pub(crate) verb: Vec<String>,
    /// Write the pages of potluck and of all its verbs into this folder
    #[arg(long = "out", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// What to transfer (default: 512 MiB made for the occasion)
    pub(crate) file: Option<PathBuf>,
    /// Number of holders; one of them is killed half-way
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=16))]
    pub(crate) holders: u32,
    /// MiB to make where no FILE is given
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub(crate) size: u64,
}

/// A tracker as people write it: a host name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Every address it stands for.
    pub(crate) async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect())
    }
}

impl Default for HostPort {
    /// A tracker on this machine.
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: TRACKER_PORT }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Self { host: addr.ip().to_string(), port: addr.port() });
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { host: ip.to_string(), port: TRACKER_PORT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| format!("`{port}` is not a port"))?),
            None => (text, TRACKER_PORT),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        // Resolvers take `3` for the address 0.0.0.3.
        let last = host.rsplit('.').find(|label| !label.is_empty()).unwrap_or_default();
        let is_number = last.chars().all(|c| c.is_ascii_digit());
        if host.is_empty() || !host.chars().all(plain) || is_number {
            return Err("expected HOST:PORT, like 192.168.1.20:7070".to_owned());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An address to listen at; a bare IP address takes `PORT`.
fn listen_addr<const PORT: u16>(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)))
        .map_err(|_| "expected IP:PORT, like 0.0.0.0:0 or [::]:7070".to_owned())
}

fn lease(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
    seconds.ok_or_else(|| "expected 1 to 3600 seconds".to_owned())
}

/// Bytes per second, with K, M or G for powers of 1024, or bits per second, with kbit, Mbit or Gbit for powers of 1000 as
/// networks have them, and `/s` or not; 0 is no limit.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let unknown = || "expected bytes per second, like 500K or 10M".to_owned();
    let each = text.strip_suffix("/s").unwrap_or(text);
    let digits = each.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match each[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "KBIT" => 125,
        "MBIT" => 125_000,
        "GBIT" => 125_000_000,
        _ => return Err(unknown()),
    };
    // Of bytes there are no parts.
    let (whole, part) = digits.split_once('.').filter(|_| factor > 1).unwrap_or((digits, "0"));
    if [whole, part].iter().any(|count| count.is_empty() || !count.bytes().all(|c| c.is_ascii_digit())) {
        return Err(unknown());
    }
    let too_much = || "that is more than can be counted".to_owned();
    let whole = whole.parse::<u64>().ok().and_then(|count| count.checked_mul(factor)).ok_or_else(too_much)?;
    let part: f64 = format!("0.{part}").parse().map_err(|_| unknown())?;
    whole.checked_add((part * factor as f64) as u64).ok_or_else(too_much)
}

fn seconds(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a number of seconds, like 30".to_owned())
}

fn safe_name(text: &str) -> Result<SafeName, String> {
    SafeName::parse(text).map_err(|fault| fault.to_string())
}

pub(crate) fn peer_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > PEER_NAME_BYTES_MAX {
        return Err(format!("a peer's name has 1 to {PEER_NAME_BYTES_MAX} bytes"));
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err("a peer's name has no control characters and no space at its ends".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Potluck::command().debug_assert();
    }

    #[test]
    fn trackers_are_read_as_people_write_them() {
        for (text, shown) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("10.0.0.1", "10.0.0.1:7070"),
            ("[::1]:9", "[::1]:9"),
            ("::1", "[::1]:7070"),
            ("nas", "nas:7070"),
            ("nas.local:7000", "nas.local:7000"),
            ("4.nas", "4.nas:7070"),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            ":7070",
            "nas:",
            "nas:port",
            "nas:70700",
            "a b:1",
            "http://nas:1",
            "3",
            "3:80",
            "10.1",
            "1.2.3.",
            "256.0.0.1:1",
            ".",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    fn get(words: &[&str]) -> Result<GetArgs, String> {
        let all = ["potluck", "get"].iter().chain(words);
        match Potluck::try_parse_from(all).map_err(|e| e.to_string())?.verb {
            Verb::Get(args) => args.settle(),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn from_may_stand_before_or_after_what() {
        for words in [&["f", "--from", "a"][..], &["--from", "a", "f"], &["--from=a", "f"]] {
            let args = get(words).unwrap();
            assert_eq!(
                (args.what, args.from),
                (vec!["f".parse().unwrap()], vec!["a".to_owned()]),
                "{words:?}"
            );
        }
        assert_eq!(get(&["f", "--from", "a", "b"]).unwrap().from, ["a", "b"]);
        assert_eq!(get(&["f", "--from", "a,b"]).unwrap().from, ["a", "b"]);
        assert!(get(&[]).is_err() && get(&["--from", "a"]).is_err());
    }

    #[test]
    fn rates_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("700", 700),
            ("500K", 500 << 10),
            ("10m", 10 << 20),
            ("2GiB", 2 << 30),
            ("20Mbit", 2_500_000),
            ("1.5M", 3 << 19),
            ("0.5K/s", 512),
            ("2.5Mbit/s", 312_500),
        ] {
            assert_eq!(rate(text).unwrap(), bytes);
        }
        for text in
            ["", "K", "1.5", "1.M", ".5M", "1.5.5M", "1.-5M", "-1", "+1K", "9999999999999G", "5x", "5K/m"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bare_addresses_take_the_verbs_own_port() {
        assert_eq!(listen_addr::<0>("127.0.0.1").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(listen_addr::<TRACKER_PORT>("::").unwrap().to_string(), "[::]:7070");
        assert!(listen_addr::<0>("localhost:1").is_err());
    }
}
