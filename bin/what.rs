//! From what a person names to a content: names, ids, prefixes of ids, tickets.
//!
//! Nothing is ever guessed: a name that means several contents is a failure that shows the candidates.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use potluck_core::content::{Kind, Ticket, TicketFault};
use potluck_core::ids::{ContentId, ContentKey, PeerId};
use potluck_core::limits::{QUERY_BYTES_MAX, REQUEST_TIMEOUT};
use potluck_core::peer::{Answer, PeerEvent, Question};
use potluck_core::wire::peer::Offer;
use potluck_core::wire::tracker::{HolderRow, Matching, PeerRow, RefusedRequest, Row};
use potluck_transport_tcp::{
    Event, Peer, PeerOptions, PeersChange, ask_tracker, ask_tracker_by_page, watch_tracker_peers,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::args::{HostPort, NetworkArgs};
use crate::exit::{Code, Failure};
use crate::near;
use crate::ui::{self, CONTENT_HEADING, ContentRow, Table};

/// Hex digits of an id that are enough to mean it.
const PREFIX_DIGITS_MIN: usize = 8;
/// So many let an id be suggested.
const PREFIX_DIGITS_NEAR: usize = 4;
const IDS_SUGGESTED: usize = 5;
/// Hex digits of a whole id.
const ID_DIGITS: usize = 64;
/// Rows looked at for one WHAT: more candidates than that help nobody.
pub(crate) const ROWS_MAX: u32 = 1024;
/// So many contents of one name are told apart by who holds them: each is one more question.
const CONTENTS_TOLD_APART: usize = 32;
/// Time that one of several addresses has to accept: all of them are tried within the time that a request has.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1200);

/// What to do where the tracker does not answer.
pub(crate) const UNREACHABLE: &str =
    "Is it running (`potluck tracker`)? Another one is named by --tracker HOST:PORT or POTLUCK_TRACKER.";

/// What a person typed to mean a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// All that is needed, in one line.
    Ticket(Box<Ticket>),
    /// A name, an id, or the beginning of one.
    Text(String),
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if Ticket::is_ticket(text) {
            let ticket: Ticket = text.parse().map_err(|fault: TicketFault| fault.to_string())?;
            return Ok(Self::Ticket(Box::new(ticket)));
        }
        if text.is_empty() || text.len() > QUERY_BYTES_MAX {
            return Err(format!("a name or an id has 1 to {QUERY_BYTES_MAX} bytes"));
        }
        // A folder is listed, and completed by other shells, with a slash behind its name; no name has one.
        let name = Some(text.trim_end_matches('/')).filter(|name| !name.is_empty()).unwrap_or(text);
        Ok(Self::Text(name.to_owned()))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(ticket) => f.write_str(&ui::name(ticket.name.as_str())),
            Self::Text(text) => f.write_str(&ui::name(text)),
        }
    }
}

impl What {
    /// Does it mean a content of this id and name?
    pub(crate) fn means(&self, id: ContentId, name: &str) -> bool {
        match self {
            Self::Ticket(ticket) => ticket.id == id,
            Self::Text(text) => {
                name == text || hex_digits(text).is_some_and(|hex| id.to_string().starts_with(&hex))
            }
        }
    }

    /// Does it mean a content of this name, or of an id that begins so?
    pub(crate) fn may_mean(&self, name: &OsStr, digits: &str) -> bool {
        match self {
            Self::Ticket(ticket) => ticket.id.to_string().starts_with(digits),
            Self::Text(text) => {
                name == text.as_str() || hex_digits(text).is_some_and(|hex| hex.starts_with(digits))
            }
        }
    }

    /// Is it an id, or the beginning of one?
    pub(crate) fn is_id(&self) -> bool {
        matches!(self, Self::Text(text) if hex_digits(text).is_some())
    }

    /// The questions whose answers together are what it may mean.
    pub(crate) fn questions(&self) -> Vec<Matching> {
        match self {
            Self::Ticket(ticket) => vec![Matching::IdPrefix(ticket.id.to_string())],
            Self::Text(text) => {
                let prefix = hex_digits(text).map(Matching::IdPrefix);
                [Matching::Name(text.clone())].into_iter().chain(prefix).collect()
            }
        }
    }
}

/// The text as digits of an id, if it is that.
fn hex_digits(text: &str) -> Option<String> {
    let fits =
        (PREFIX_DIGITS_MIN..=ID_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase())
}

/// Finds the one content that is meant, under the name that most of its holders give it (to be checked before it names a
/// file).
///
/// # Errors
/// Nobody knows it, it means several, or the tracker does not answer.
pub(crate) async fn find(tracker: &TrackerAt, what: &What) -> anyhow::Result<Row> {
    find_at(tracker, what, &[]).await
}

/// The same, where only peers of these names are to be asked.
pub(crate) async fn find_at(tracker: &TrackerAt, what: &What, from: &[String]) -> anyhow::Result<Row> {
    let rows = rows_at(tracker, what, from).await?;
    match one_of(&rows, what)? {
        Some(row) => Ok(row),
        None => Err(not_found(tracker, what).await.into()),
    }
}

/// Every row that may be meant, where only peers of these names are to be asked (of no name: all). Of several contents, those
/// are meant that one of them holds; should none hold any, the names settle nothing.
pub(crate) async fn rows_at(tracker: &TrackerAt, what: &What, from: &[String]) -> anyhow::Result<Vec<Row>> {
    let mut rows = rows(tracker, what).await?;
    let contents = distinct(&rows);
    if from.is_empty() || !(2..=CONTENTS_TOLD_APART).contains(&contents.len()) {
        return Ok(rows);
    }
    let mut held = BTreeSet::new();
    for content in contents {
        let holders = tracker.holders(content.key).await?;
        if holders.iter().any(|(holder, _)| from.contains(&holder.name)) {
            held.insert(content.key.id);
        }
    }
    if !held.is_empty() {
        rows.retain(|row| held.contains(&row.key.id));
    }
    Ok(rows)
}

/// Every row that may be meant.
pub(crate) async fn rows(tracker: &TrackerAt, what: &What) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for matching in what.questions() {
        rows.extend(tracker.contents(matching, true, ROWS_MAX).await?);
    }
    if let What::Ticket(ticket) = what {
        rows.retain(|row| row.key == ticket.key());
    }
    Ok(rows)
}

/// The content that all rows are about; `None` if there is no row.
///
/// # Errors
/// They are about several.
pub(crate) fn one_of(rows: &[Row], what: &What) -> Result<Option<Row>, Failure> {
    let mut contents = distinct(rows);
    match contents.len() {
        0 | 1 => Ok(contents.pop()),
        _ => Err(ambiguous(rows, what)),
    }
}

/// The contents that rows are about, each once.
pub(crate) fn distinct(rows: &[Row]) -> Vec<Row> {
    // Of several lengths stated for one id, at most one can be true: the one that more holders have verified stands for it.
    let mut contents: BTreeMap<(ContentId, Kind), &Row> = BTreeMap::new();
    for row in rows {
        let best = contents.entry((row.key.id, row.kind)).or_insert(row);
        if (row.complete, row.partial) > (best.complete, best.partial) {
            *best = row;
        }
    }
    contents.into_values().cloned().collect()
}

/// Adds what peers offer while no tracker answers: how much of it they hold is not known then.
pub(crate) fn add_offers(rows: &mut Vec<Row>, offers: Vec<(PeerId, Offer)>) {
    for (_, Offer { key, kind, name }) in offers {
        match rows.iter_mut().find(|row| (row.key, row.kind) == (key, kind)) {
            Some(row) => row.partial += 1,
            None => {
                let total = if kind == Kind::File { key.length } else { 0 };
                rows.push(Row { key, kind, name, complete: 0, partial: 1, total });
            }
        }
    }
}

fn ambiguous(rows: &[Row], what: &What) -> Failure {
    let mut table = Table::new(CONTENT_HEADING);
    for row in rows {
        table.content(row, row.key.id.to_string(), String::new());
    }
    let candidates: Vec<ContentRow> = rows.iter().map(ContentRow::from).collect();
    Failure::new(Code::Ambiguous, format!("`{what}` means several contents"))
        .hint(format!(
            "{table}\nSay which one by its id; the first digits that differ are enough (8 at least)."
        ))
        .field("candidates", json!(candidates))
}

/// Says that nobody knows it, and what else is called nearly so.
pub(crate) async fn not_found(tracker: &TrackerAt, what: &What) -> Failure {
    let near = match what {
        What::Ticket(_) => Vec::new(),
        What::Text(text) => near_names(tracker, text).await,
    };
    let failure = Failure::new(Code::NotFound, format!("nobody shares `{what}`"));
    failure.hint(did_you_mean(&near, "`potluck list` shows what is shared.")).suggesting(&near)
}

/// Suggests names, or says something else where there is none to suggest.
pub(crate) fn did_you_mean(near: &[String], otherwise: &str) -> String {
    if near.is_empty() {
        return otherwise.to_owned();
    }
    let shown: Vec<_> = near.iter().map(|name| format!("  {}", ui::name(name))).collect();
    format!("Did you mean:\n{}", shown.join("\n"))
}

/// Names like `wanted`, the most alike first.
async fn near_names(tracker: &TrackerAt, wanted: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for matching in [Matching::Substring(wanted.to_owned()), Matching::All] {
        // A suggestion is a kindness: without an answer there is none.
        rows.extend(tracker.contents(matching, false, ROWS_MAX).await.unwrap_or_default());
    }
    let mut near: Vec<String> = near_ids(wanted, &rows).into_iter().map(ui::short_id).collect();
    near.extend(near::names(wanted, rows.iter().map(|row| row.name.as_str())));
    near
}

/// Ids of which some digits were given, but too few to mean one.
fn near_ids(wanted: &str, rows: &[Row]) -> BTreeSet<ContentId> {
    let digits = wanted.to_ascii_lowercase();
    let few = (PREFIX_DIGITS_NEAR..PREFIX_DIGITS_MIN).contains(&digits.len());
    let ids = rows.iter().map(|row| row.key.id);
    ids.filter(|id| few && id.to_string().starts_with(&digits)).take(IDS_SUGGESTED).collect()
}

/// A peer that was named, and is not here.
#[derive(Debug)]
pub(crate) struct UnknownPeer<'a> {
    pub(crate) name: &'a str,
    /// Peers that are called nearly so.
    pub(crate) near: Vec<String>,
}

/// Of the peers that are named, those that are not here.
pub(crate) fn unknown_peers<'a>(named: &'a [String], here: &[&str]) -> Vec<UnknownPeer<'a>> {
    let unknown = named.iter().map(String::as_str).filter(|name| !here.contains(name));
    unknown.map(|name| UnknownPeer { name, near: near::names(name, here.iter().copied()) }).collect()
}

impl fmt::Display for UnknownPeer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "No peer is called `{}` at present.", ui::name(self.name))?;
        self.near.first().map_or(Ok(()), |near| write!(f, " Did you mean {}?", ui::name(near)))
    }
}

/// The tracker that a flag or the environment names, else one of a ticket's, else the usual one.
pub(crate) async fn choose_tracker(args: &NetworkArgs, whats: &[What]) -> HostPort {
    if let Some(chosen) = &args.tracker {
        return chosen.clone();
    }
    let mut written: Vec<HostPort> = Vec::new();
    for what in whats {
        if let What::Ticket(ticket) = what {
            written.extend(ticket.trackers.iter().filter_map(|tracker| tracker.parse().ok()));
        }
    }
    if let [first, _, ..] = written.as_slice() {
        for tracker in &written {
            if let Ok(found) = TrackerAt::resolve(tracker.clone()).await
                && first_that_accepts(&[found.addr]).await.is_some()
            {
                return tracker.clone();
            }
        }
        return first.clone();
    }
    written.pop().unwrap_or_default()
}

/// A tracker that can be asked.
#[derive(Debug)]
pub(crate) struct TrackerAt {
    /// As it was written.
    written: HostPort,
    /// Where it is.
    pub(crate) addr: SocketAddr,
    /// Who asks. A visitor has no machine; where its inputs are to be recorded, a peer joins and asks.
    recorded: Option<Peer>,
}

impl TrackerAt {
    /// Has `work` ask the tracker that the flags, or else tickets among `whats`, mean.
    pub(crate) async fn visit<T>(
        args: &NetworkArgs,
        whats: &[What],
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut tracker = Self::resolve(choose_tracker(args, whats).await).await?;
        if let Some(record) = &args.record {
            tracker.recorded = Some(tracker.join(record).await?);
        }
        let done = work(&tracker).await;
        if let Some(peer) = tracker.recorded {
            peer.leave().await;
        }
        done
    }

    /// A tracker that a running peer has joined, or joins, and asks.
    pub(crate) fn over(written: HostPort, peer: Peer) -> Self {
        // A peer knows by itself where it is.
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { written, addr, recorded: Some(peer) }
    }

    /// Joins as a peer whose inputs are recorded.
    async fn join(&self, record: &Path) -> anyhow::Result<Peer> {
        let options = PeerOptions {
            tracker: Some(self.addr),
            record: Some(record.to_owned()),
            ..PeerOptions::default()
        };
        let (peer, mut events) = Peer::start(options).await?;
        let joined = async {
            while let Some(event) = events.next().await {
                match event {
                    Event::Peer(PeerEvent::Joined { .. }) => return true,
                    Event::Peer(PeerEvent::TrackerLost { .. }) => return false,
                    _ => {}
                }
            }
            false
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, joined).await {
            Ok(true) => Ok(peer),
            _ => Err(self.silent().into()),
        }
    }

    fn silent(&self) -> Failure {
        silent(&self.written)
    }

    /// Looks up where a tracker is.
    pub(crate) async fn resolve(written: HostPort) -> anyhow::Result<Self> {
        let found = tokio::time::timeout(REQUEST_TIMEOUT, written.resolve()).await;
        let addrs = match found {
            Ok(Ok(addrs)) => addrs,
            Ok(Err(error)) => {
                return Err(unreachable(format!("the tracker {written} is not found: {error}")).into());
            }
            Err(_) => return Err(unreachable(format!("the tracker {written} is not found in time")).into()),
        };
        let addr = match addrs.as_slice() {
            [] => return Err(unreachable(format!("the tracker {written} has no address")).into()),
            [only] => *only,
            [first, ..] => first_that_accepts(&addrs).await.unwrap_or(*first),
        };
        Ok(Self { written, addr, recorded: None })
    }

    /// Contents that match.
    pub(crate) async fn contents(
        &self,
        matching: Matching,
        members: bool,
        limit: u32,
    ) -> anyhow::Result<Vec<Row>> {
        match self.ask(Question::Contents { matching, members, limit }).await? {
            Answer::Contents(rows) => Ok(rows),
            other => Err(unexpected(&other)),
        }
    }

    /// Contents that match, page by page as they come.
    pub(crate) async fn contents_by_page(
        &self,
        matching: Matching,
        members: bool,
        mut each: impl AsyncFnMut(Vec<Row>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let question = Question::Contents { matching, members, limit: u32::MAX };
        let (pages, mut answers) = mpsc::unbounded_channel();
        let asking = async move {
            match &self.recorded {
                Some(peer) => drop(pages.send(peer.ask(question).await)),
                None => ask_tracker_by_page(self.addr, question, |page| drop(pages.send(page)))
                    .await
                    .map_err(|error| unreachable(error.to_string()))?,
            }
            Ok(())
        };
        let telling = async {
            while let Some(answer) = answers.recv().await {
                match self.checked(answer)? {
                    Answer::Contents(rows) => each(rows).await?,
                    other => return Err(unexpected(&other)),
                }
            }
            Ok(())
        };
        tokio::try_join!(asking, telling).map(drop)
    }

    /// Who is here, and then who comes and goes: until it fails.
    pub(crate) async fn watch_peers(
        &self,
        mut each: impl FnMut(PeersChange) -> anyhow::Result<()>,
    ) -> anyhow::Result<Infallible> {
        let (changes, mut told) = mpsc::unbounded_channel();
        let watching = async {
            let watched = watch_tracker_peers(self.addr, |change| drop(changes.send(change)));
            watched.await.map_err(|error| anyhow::Error::from(unreachable(error.to_string())))
        };
        let telling = async {
            while let Some(change) = told.recv().await {
                each(change)?;
            }
            Err(self.silent().into())
        };
        tokio::select! {
            ended = watching => ended,
            ended = telling => ended,
        }
    }

    /// Who holds a content, and where each can be dialed from here.
    pub(crate) async fn holders(&self, key: ContentKey) -> anyhow::Result<Vec<(HolderRow, SocketAddr)>> {
        match self.ask(Question::Holders { key }).await? {
            Answer::Holders(holders) => Ok(holders),
            other => Err(unexpected(&other)),
        }
    }

    /// Who is here, and where each can be dialed from here.
    pub(crate) async fn peers(&self) -> anyhow::Result<Vec<(PeerRow, SocketAddr)>> {
        match self.ask(Question::Peers).await? {
            Answer::Peers(peers) => Ok(peers),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, question: Question) -> anyhow::Result<Answer> {
        let answer = match &self.recorded {
            Some(peer) => peer.ask(question).await,
            None => ask_tracker(self.addr, question).await.map_err(|error| unreachable(error.to_string()))?,
        };
        self.checked(answer)
    }

    /// An answer that is one.
    fn checked(&self, answer: Answer) -> anyhow::Result<Answer> {
        match answer {
            Answer::Unreachable => Err(self.silent().into()),
            Answer::Refused(RefusedRequest::BadQuery(why)) => {
                Err(Failure::new(Code::Usage, format!("the query is refused: {}", ui::name(&why))).into())
            }
            answer => Ok(answer),
        }
    }
}

/// Of a name's several addresses, the first that lets us in.
pub(crate) async fn first_that_accepts(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    for addr in addrs {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(addr)).await;
        if matches!(connected, Ok(Ok(_))) {
            return Some(*addr);
        }
    }
    None
}

/// The failure of a question that was answered by something else.
fn unexpected(answer: &Answer) -> anyhow::Error {
    match answer {
        Answer::Refused(why) => anyhow::anyhow!("the tracker refused: {why:?}"),
        other => anyhow::anyhow!("the tracker answered something else: {other:?}"),
    }
}

/// The failure of asking a tracker that is known not to answer.
pub(crate) fn silent(tracker: &HostPort) -> Failure {
    unreachable(format!("the tracker at {tracker} does not answer"))
}

/// The failure of asking a tracker that does not answer.
pub(crate) fn unreachable(message: String) -> Failure {
    Failure::new(Code::Unreachable, message).hint(UNREACHABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u8, length: u64, name: &str, complete: u32) -> Row {
        let key = ContentKey { id: ContentId([id; 32]), length };
        Row { key, kind: Kind::File, name: name.to_owned(), complete, partial: 0, total: length }
    }

    fn text(text: &str) -> What {
        text.parse().unwrap()
    }

    #[test]
    fn equal_bytes_under_several_names_are_one_content() {
        let rows = [row(1, 5, "a", 1), row(1, 5, "b", 3)];
        let known = one_of(&rows, &text("a")).unwrap().unwrap();
        assert_eq!((known.name.as_str(), known.complete), ("b", 3));
    }

    #[test]
    fn equal_names_of_several_contents_are_never_guessed() {
        let rows = [row(1, 5, "a", 9), row(2, 5, "a", 1)];
        let failure = one_of(&rows, &text("a")).unwrap_err();
        assert_eq!(failure.code, Code::Ambiguous);
        let candidates = failure.fields["candidates"].as_array().unwrap();
        assert_eq!(candidates.len(), 2);
        let hint = failure.hint.unwrap();
        assert!(
            hint.contains(&ContentId([1; 32]).to_string()) && hint.contains(&ContentId([2; 32]).to_string())
        );
    }

    #[test]
    fn a_lie_about_the_length_does_not_make_an_id_ambiguous() {
        let rows = [row(1, 7, "a", 1), row(1, 5, "a", 2)];
        assert_eq!(one_of(&rows, &text("a")).unwrap().unwrap().key.length, 5);
    }

    #[test]
    fn ids_are_suggested_to_who_gives_too_few_digits() {
        let rows = [row(0xab, 7, "a", 1), row(0xab, 7, "a", 1), row(1, 7, "b", 1)];
        for (typed, ids) in [("ABABABA", 1), ("abab", 1), ("aba", 0), ("abababab", 0), ("abac", 0)] {
            assert_eq!(near_ids(typed, &rows).len(), ids, "{typed}");
        }
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(one_of(&[], &text("a")).unwrap(), None);
    }

    #[test]
    fn peers_that_are_not_here_are_told_with_those_that_may_be_meant() {
        let named = ["ann", "bne", "x"].map(str::to_owned);
        let told: Vec<_> = unknown_peers(&named, &["ann", "ben"]).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["No peer is called `bne` at present. Did you mean ben?", "No peer is called `x` at present.",]
        );
    }

    #[test]
    fn names_ids_and_prefixes() {
        let id = ContentId([0xab; 32]);
        for (typed, meant) in [
            ("file.txt", true),
            ("file", false),
            ("abababab", true),
            ("ABABABAB", true),
            ("ababab", false),
            (&"ab".repeat(32), true),
            (&"ab".repeat(33), false),
            ("abababac", false),
            ("file.txt/", true),
            ("/", false),
            ("file.txt/x", false),
        ] {
            assert_eq!(text(typed).means(id, "file.txt"), meant, "{typed}");
        }
        assert!(What::from_str("").is_err());
        assert!(What::from_str("potluck:zz").is_err());
    }

    #[test]
    fn a_name_that_reads_as_hex_is_looked_up_as_both() {
        assert_eq!(
            text("DEADBEEF").questions(),
            [Matching::Name("DEADBEEF".to_owned()), Matching::IdPrefix("deadbeef".to_owned())]
        );
        assert_eq!(text("beef").questions(), [Matching::Name("beef".to_owned())]);
    }
}
