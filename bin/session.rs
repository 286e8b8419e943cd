//! A running peer, with what every serving verb does alike: its name, its tracker, and the events that are told the same
//! way whoever runs it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use potluck_core::ids::PeerId;
use potluck_core::limits::PEER_NAME_BYTES_MAX;
use potluck_core::peer::{PeerEvent, Question};
use potluck_core::wire::tracker::RefusedRequest;
use potluck_transport_tcp::{Event, Events, Peer, PeerOptions, hash_cache};
use tokio::sync::watch;

use crate::addresses;
use crate::args::{HostPort, ServeArgs};
use crate::exit::{Code, Failure, not_started};
use crate::ui::{self, Out};
use crate::what::TrackerAt;

/// A tracker's name that nobody can resolve is looked up again after this.
const RESOLVE_AGAIN: Duration = Duration::from_secs(3);

/// How long it holds what the machine's networks look like: thousands of tickets may be made at once.
const REACH_HOLDS: Duration = Duration::from_secs(1);
/// A name is asked for again after this: who fetches ten thousand small files is told of twenty thousand times.
const NAME_KEPT: Duration = Duration::from_secs(1);
/// So many names are kept.
const NAMES_KEPT: usize = 256;

/// How it stands with the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// Not heard of yet.
    Joining,
    /// It knows us.
    Joined(SocketAddr),
    /// It does not answer.
    Lost,
    /// The person left the network.
    Left,
}

/// How others can reach this peer, as a ticket says it.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    seen: Instant,
    of: HostPort,
    pub(crate) tracking: Tracking,
    /// Its tracker; `None`: others cannot reach it, or it is not joined.
    pub(crate) tracker: Option<String>,
    /// Its own addresses.
    pub(crate) peers: Vec<String>,
}

/// A peer that runs for a verb.
pub(crate) struct Session {
    pub(crate) peer: Peer,
    events: Events,
    /// Taken from the queue and not told yet: whoever waits for the next event may stop waiting at any time.
    taken: Option<Event>,
    /// Names that were asked for lately, and when.
    names: Mutex<HashMap<PeerId, (Instant, String)>>,
    out: Out,
    /// Somebody sits before it and wants to know how it stands with the tracker.
    talkative: bool,
    /// What we are called, or want to be.
    name: String,
    /// A shell tells uploads in its own way, and can ask for another name.
    shell: bool,
    joined_before: bool,
    tracking: watch::Sender<Tracking>,
    /// How others could reach us when it was looked at last.
    reach: Mutex<Option<Reach>>,
}

impl Session {
    /// Starts a peer and has it join `tracker`; does not wait for that.
    ///
    /// # Errors
    /// The address to listen at cannot be had, or the recording cannot be written.
    pub(crate) async fn start(args: &ServeArgs, tracker: HostPort, out: &Out) -> anyhow::Result<Self> {
        let name = args.name.clone().unwrap_or_else(usual_name);
        let options = PeerOptions {
            any_name: args.any_name,
            name: name.clone(),
            listen: args.listen,
            up_rate: args.limit_up,
            down_rate: args.limit_down,
            record: args.network.record.clone(),
            hash_cache: hash_cache::default_path(),
            ..PeerOptions::default()
        };
        let (peer, events) = Peer::start(options).await.map_err(|error| {
            not_started(&error, "Choose another --listen address; port 0 picks a free one.")
        })?;
        let joining = peer.clone();
        let reporting = out.clone();
        tokio::spawn(async move {
            loop {
                match TrackerAt::resolve(tracker.clone()).await {
                    Ok(found) => return joining.join(found.addr).await,
                    Err(error) => reporting.note(format_args!("{error:#}; trying again")),
                }
                tokio::time::sleep(RESOLVE_AGAIN).await;
            }
        });
        let (tracking, _) = watch::channel(Tracking::Joining);
        Ok(Self {
            peer,
            events,
            taken: None,
            names: Mutex::default(),
            out: out.clone(),
            talkative: true,
            name,
            shell: false,
            joined_before: false,
            tracking,
            reach: Mutex::default(),
        })
    }

    /// Logs what it would otherwise tell people: for a verb that ends by itself.
    pub(crate) fn taciturn(mut self) -> Self {
        self.talkative = false;
        self
    }

    /// Leaves to a shell what that tells in its own way.
    pub(crate) fn with_shell(mut self) -> Self {
        self.shell = true;
        self
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        if self.talkative { self.out.note(text) } else { tracing::info!("{text}") }
    }

    /// How it stands with the tracker, now and later.
    pub(crate) fn tracking(&self) -> watch::Receiver<Tracking> {
        self.tracking.subscribe()
    }

    /// What we are called, as far as is known.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For who changes how it stands with the tracker.
    pub(crate) fn tracking_sender(&self) -> watch::Sender<Tracking> {
        self.tracking.clone()
    }

    /// Says where links are accepted.
    pub(crate) fn tell_listening(&self) -> anyhow::Result<()> {
        let addr = addresses::reachable(self.peer.listen_addr())[0];
        self.out.event(&ui::Event::Listening { addr })?;
        self.out.note(format_args!("Links are accepted at {addr}."));
        Ok(())
    }

    /// How others can reach this peer, and what they may call this tracker.
    pub(crate) async fn reach(&self, tracker: &HostPort) -> Reach {
        let (listen, tracking) = (self.peer.listen_addr(), *self.tracking.borrow());
        let slot = || self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |reach: &Reach| {
            reach.tracking == tracking && reach.of == *tracker && reach.seen.elapsed() < REACH_HOLDS
        };
        if let Some(reach) = slot().clone().filter(holds) {
            return reach;
        }
        let for_others = match tracking {
            Tracking::Joined(at) => addresses::tracker_for_others(tracker, at, listen).await,
            Tracking::Joining | Tracking::Lost | Tracking::Left => None,
        };
        let peers = addresses::reachable(listen).iter().map(ToString::to_string).collect();
        let (seen, of) = (Instant::now(), tracker.clone());
        let reach = Reach { seen, of, tracking, tracker: for_others, peers };
        *slot() = Some(reach.clone());
        reach
    }

    /// The next event that is the verb's own; those that all verbs tell alike are told on the way. Cancel-safe.
    ///
    /// # Errors
    /// The name is taken, or standard output is gone.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if self.taken.is_none() {
                self.taken = self.events.next().await;
            }
            let Some(event) = &self.taken else { anyhow::bail!("the peer ended by itself") };
            let name = match about(event) {
                Some(peer) => self.name_of(peer).await,
                None => String::new(),
            };
            let event = self.taken.take().map(|event| self.tell(event, &name)).transpose()?.flatten();
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// The name of a peer, of a moment ago at most.
    pub(crate) async fn name_of(&self, peer: PeerId) -> String {
        let names = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, name)) = names().get(&peer)
            && asked.elapsed() < NAME_KEPT
        {
            return name.clone();
        }
        let name = self.peer.peer_name(peer).await;
        let mut names = names();
        if names.len() >= NAMES_KEPT {
            names.clear();
        }
        names.insert(peer, (Instant::now(), name.clone()));
        name
    }

    /// Tells an event, with the name of the peer that it is about; gives it back if it is the verb's own.
    fn tell(&mut self, event: Event, name: &str) -> anyhow::Result<Option<Event>> {
        let event = match event {
            Event::Peer(event) => event,
            Event::Missed { count } => {
                tracing::warn!(count, "events were not read in time");
                self.out.event(&ui::Event::Lagged { missed: count })?;
                return Ok(None);
            }
            other => return Ok(Some(other)),
        };
        match event {
            PeerEvent::Joined { tracker, name, contents, .. } => {
                let peer_id = self.peer.id();
                self.out.event(&ui::Event::Joined { tracker, name: &name, peer_id, contents })?;
                let again = if self.joined_before { "again " } else { "" };
                self.say(format_args!(
                    "Joined the tracker at {tracker} {again}as {} (peer {peer_id:?}), {contents} content{} registered.",
                    ui::name(&name),
                    if contents == 1 { "" } else { "s" }
                ));
                self.joined_before = true;
                self.name = name;
                self.tracking.send_replace(Tracking::Joined(tracker));
            }
            PeerEvent::Registered { contents } => self.out.event(&ui::Event::Registered { contents })?,
            PeerEvent::NameTaken { .. } if self.shell && !self.joined_before => {
                return Ok(Some(Event::Peer(event)));
            }
            PeerEvent::NameTaken { offer } => self.name_taken(&offer)?,
            PeerEvent::JoinRefused { tracker, why } => self.join_refused(tracker, &why)?,
            PeerEvent::AnnounceRefused { why, contents } => {
                let why = ui::refusal(&why);
                self.out.event(&ui::Event::Refused { contents, why: &why })?;
                self.out.note(format_args!(
                    "The tracker does not list {contents} of our contents ({why}). Tickets work all the same; it is asked again."
                ));
            }
            PeerEvent::TrackerLost { tracker } => {
                let before = *self.tracking.borrow();
                if before == Tracking::Left {
                    return Ok(None);
                }
                if before != Tracking::Lost {
                    self.out.event(&ui::Event::TrackerLost { tracker })?;
                    self.say(format_args!(
                        "The tracker at {tracker} does not answer; trying on. Peers that know each other do without it."
                    ));
                }
                self.tracking.send_replace(Tracking::Lost);
            }
            PeerEvent::Misbehaved { addr, what, banned, .. } => {
                let what = format!("{what:?}");
                let then = if banned { "banned" } else { "dropped" };
                tracing::warn!("{} at {addr} misbehaved ({what}) and is {then}", ui::name(name));
                self.out.event(&ui::Event::Misbehaved { peer: name, addr, what: &what, banned })?;
            }
            PeerEvent::Retracted { key, .. } => {
                tracing::warn!(
                    "{} retracted {}: its file changed, or cannot be read",
                    ui::name(name),
                    ui::short_id(key.id)
                );
                self.out.event(&ui::Event::Retracted { peer: name, id: key.id })?;
            }
            PeerEvent::UploadBegan { key, .. } if !self.shell => {
                tracing::info!("{} fetches {}", ui::name(name), ui::short_id(key.id));
                self.out.event(&ui::Event::UploadBegan { peer: name, id: key.id })?;
            }
            other => return Ok(Some(Event::Peer(other))),
        }
        Ok(None)
    }

    /// A name that is none ends the verb, while it begins. Anything else may pass.
    fn join_refused(&self, tracker: SocketAddr, why: &RefusedRequest) -> anyhow::Result<()> {
        let text = ui::refusal(why);
        if *why == RefusedRequest::BadName && !self.joined_before {
            return Err(Failure::new(Code::Failed, format!("the tracker refuses our name: {text}"))
                .hint("Choose another one with --as.")
                .into());
        }
        self.out.event(&ui::Event::JoinRefused { tracker, why: &text })?;
        self.say(format_args!(
            "The tracker at {tracker} does not let us join ({text}); trying on. Peers that know each other do without it."
        ));
        self.tracking.send_replace(Tracking::Lost);
        Ok(())
    }

    /// A chosen name that is taken ends the verb, while it begins. Later (a tracker that came back may have given our name
    /// away) what runs goes on under the name that is offered.
    fn name_taken(&self, offer: &str) -> anyhow::Result<()> {
        if !self.joined_before {
            return Err(Self::name_is_taken(&self.name, offer).into());
        }
        self.out.note(format_args!("Our name was taken meanwhile; going on as {}.", ui::name(offer)));
        let (peer, name) = (self.peer.clone(), offer.to_owned());
        tokio::spawn(async move { peer.ask(Question::Rename { name }).await });
        Ok(())
    }

    /// The failure of who wants a name that somebody has.
    pub(crate) fn name_is_taken(name: &str, offer: &str) -> Failure {
        Failure::new(Code::Failed, format!("the name {} is taken by another peer", ui::name(name)))
            .hint(format!("`--as {}` is free; without --as a free name is found.", ui::name(offer)))
            .field("offer", offer.into())
    }

    /// Leaves in order.
    pub(crate) async fn leave(self) {
        self.peer.leave().await;
    }
}

/// The peer whose name is told with an event.
const fn about(event: &Event) -> Option<PeerId> {
    match event {
        Event::Peer(
            PeerEvent::Misbehaved { peer, .. }
            | PeerEvent::Retracted { peer, .. }
            | PeerEvent::UploadBegan { peer, .. },
        ) => Some(*peer),
        _ => None,
    }
}

/// `user@host`, as far as the system tells.
fn usual_name() -> String {
    let user =
        ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).filter(|user| !user.is_empty());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut name: String = format!("{}@{host}", user.as_deref().unwrap_or("somebody"))
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .collect();
    // Room for the number that makes it unique.
    name.truncate(name.floor_char_boundary(PEER_NAME_BYTES_MAX - 8));
    name
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_usual_name_fits() {
        let name = super::usual_name();
        assert!(name.contains('@') && name.len() <= super::PEER_NAME_BYTES_MAX, "{name}");
    }
}
