//! `potluck push`: offers a file or folder to peers that accept offers, serves it, and tells who has how much of it until
//! everybody has all.

use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::Cell;
use potluck_core::content::{Geometry, Kind};
use potluck_core::ids::PeerId;
use potluck_core::peer::{Answer, Question};
use potluck_core::wire::peer::Offer;
use potluck_core::wire::tracker::RefusedRequest;
use potluck_transport_tcp::Shared;

use super::Context;
use crate::args::{EVERYBODY, PushArgs};
use crate::exit::{Code, Failure};
use crate::near;
use crate::session::Session;
use crate::signals::interrupted;
use crate::ui::{self, PeerBar, Table, number};
use crate::what;

/// How often it is asked who has how much.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: PushArgs, ctx: &Context) -> anyhow::Result<()> {
    let (path, args) = args.settle().map_err(|why| Failure::new(Code::Usage, why))?;
    let shown = ui::name(&path.to_string_lossy());
    std::fs::metadata(&path)
        .map_err(|error| Failure::new(Code::Failed, format!("cannot push {shown}: {error}")))?;
    let tracker = args.serve.network.tracker.clone().unwrap_or_default();
    let session = Session::start(&args.serve, tracker, &ctx.out).await?.taciturn();
    let mut pushing = Pushing { session, ctx };
    let result = pushing.run(&path, &args).await;
    pushing.session.leave().await;
    result
}

struct Pushing<'a> {
    session: Session,
    ctx: &'a Context,
}

/// A peer to whom the content is offered.
struct Receiver {
    peer: PeerId,
    name: String,
    state: State,
    bytes: u64,
    /// When it last got further.
    moved: Instant,
    bar: Option<PeerBar>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Offered,
    Fetching,
    Done,
    Refused(String),
    Stuck,
}

impl State {
    const fn word(&self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Fetching => "fetching",
            Self::Done => "done",
            Self::Refused(_) => "refused",
            Self::Stuck => "stuck",
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Refused(_) | Self::Stuck)
    }
}

impl Pushing<'_> {
    async fn run(&mut self, path: &Path, args: &PushArgs) -> anyhow::Result<()> {
        // A mistyped name shows before anything is hashed.
        let mut receivers = self.receivers(&args.to).await?;
        let peer = self.session.peer.clone();
        let shared = self.meanwhile(peer.share(path)).await?;
        let shared = shared.map_err(|error| {
            Failure::new(Code::Failed, format!("cannot push {}", ui::name(&error.to_string())))
        })?;
        self.ask(Question::Synced).await?;
        for receiver in &mut receivers {
            self.offer(&shared, receiver).await?;
            self.tell(receiver, &shared)?;
        }
        let wait = Duration::from_secs(args.wait.into());
        while !receivers.iter().all(|receiver| receiver.state.is_over()) {
            self.look(&mut receivers, &shared, wait).await?;
            if receivers.iter().all(|receiver| receiver.state.is_over()) {
                break;
            }
            self.meanwhile(tokio::time::sleep(LOOK_EVERY)).await?;
        }
        self.tell_end(&receivers, &shared)?;
        verdict(&receivers, args.to.iter().any(|name| name == EVERYBODY))
    }

    /// Waits for something, while events are told and signals heeded.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                event = self.session.next() => drop(event?),
                code = self.ctx.interrupts.wait() => return Err(interrupted(code).into()),
            }
        }
    }

    async fn ask(&mut self, question: Question) -> anyhow::Result<Answer> {
        let peer = self.session.peer.clone();
        match self.meanwhile(peer.ask(question)).await? {
            Answer::Unreachable => Err(what::unreachable("the tracker does not answer".to_owned()).into()),
            answer => Ok(answer),
        }
    }

    /// The peers of these names.
    async fn receivers(&mut self, names: &[String]) -> anyhow::Result<Vec<Receiver>> {
        let Answer::Peers(rows) = self.ask(Question::Peers).await? else {
            anyhow::bail!("the tracker does not tell who is here");
        };
        let me = self.session.peer.id();
        let others: Vec<_> = rows.into_iter().map(|(row, _)| row).filter(|row| row.peer != me).collect();
        let everybody = names.iter().any(|name| name == EVERYBODY);
        let unknown = names.iter().find(|name| others.iter().all(|row| row.name != **name));
        if let Some(name) = unknown.filter(|_| !everybody) {
            let near = near::names(name, others.iter().map(|row| row.name.as_str()));
            let hint = match near.first() {
                Some(near) => format!("Did you mean {}? `potluck peers` lists who is here.", ui::name(near)),
                None => "`potluck peers` lists who is here.".to_owned(),
            };
            let failure = Failure::new(Code::NotFound, format!("no peer is called `{}`", ui::name(name)));
            return Err(failure.hint(hint).field("near", near.into()).into());
        }
        let chosen = others.into_iter().filter(|row| everybody || names.contains(&row.name));
        let receivers: Vec<_> = chosen
            .map(|row| Receiver {
                peer: row.peer,
                name: row.name,
                state: State::Offered,
                bytes: 0,
                moved: Instant::now(),
                bar: None,
            })
            .collect();
        if receivers.is_empty() {
            return Err(Failure::new(Code::NotFound, "nobody else is here")
                .hint("A peer that accepts offers is `potluck peer --dir DIR --accept-from PEER`.")
                .into());
        }
        Ok(receivers)
    }

    async fn offer(&mut self, shared: &Shared, receiver: &mut Receiver) -> anyhow::Result<()> {
        let offer = Offer { key: shared.key, kind: shared.kind, name: shared.name.clone() };
        let question = Question::OfferTo { to: receiver.peer, offer, total: shared.bytes };
        let peer = self.session.peer.clone();
        receiver.moved = Instant::now();
        match self.meanwhile(peer.ask(question)).await? {
            Answer::Done => {
                receiver.bar = Some(PeerBar::new(self.ctx.out.bars(), &receiver.name, shared.bytes));
            }
            Answer::Refused(RefusedRequest::BadQuery(why)) => receiver.state = State::Refused(why),
            Answer::Refused(why) => receiver.state = State::Refused(format!("{why:?}")),
            _ => receiver.state = State::Refused("the tracker does not pass offers on".to_owned()),
        }
        Ok(())
    }

    /// Looks who has how much.
    async fn look(
        &mut self,
        receivers: &mut [Receiver],
        shared: &Shared,
        wait: Duration,
    ) -> anyhow::Result<()> {
        // While the tracker is away the peers go on; it is asked again.
        let peer = self.session.peer.clone();
        let answer = self.meanwhile(peer.ask(Question::Holders { key: shared.key })).await?;
        let rows = if let Answer::Holders(rows) = answer { rows } else { Vec::new() };
        let geometry = Geometry::new(shared.key.length);
        let of = geometry.map_or(0, |geometry| geometry.pieces());
        let piece_bytes = geometry.map_or(0, |geometry| geometry.piece_length());
        for receiver in receivers.iter_mut().filter(|receiver| !receiver.state.is_over()) {
            let row = rows.iter().map(|(row, _)| row).find(|row| row.peer == receiver.peer);
            let before = (receiver.state.clone(), receiver.bytes);
            match row {
                Some(row) if row.pieces >= of => {
                    (receiver.state, receiver.bytes) = (State::Done, shared.bytes);
                }
                Some(row) => {
                    receiver.state = State::Fetching;
                    // Pieces of a folder are those of its listing: they say nothing of its files.
                    if shared.kind == Kind::File {
                        receiver.bytes = (u64::from(row.pieces) * piece_bytes).min(shared.bytes);
                    }
                }
                None => {}
            }
            if (receiver.state.clone(), receiver.bytes) != before {
                receiver.moved = Instant::now();
            } else if receiver.moved.elapsed() >= wait {
                receiver.state = State::Stuck;
            }
            if (receiver.state.clone(), receiver.bytes) != before {
                self.tell(receiver, shared)?;
            }
        }
        Ok(())
    }

    fn tell(&self, receiver: &mut Receiver, shared: &Shared) -> anyhow::Result<()> {
        if let Some(bar) = &receiver.bar {
            bar.show(receiver.bytes, receiver.state.word());
        }
        if receiver.state.is_over() {
            receiver.bar = None;
        }
        let reason = if let State::Refused(why) = &receiver.state { Some(why.as_str()) } else { None };
        self.ctx.out.event(&ui::Event::Push {
            peer: &receiver.name,
            state: receiver.state.word(),
            bytes: receiver.bytes,
            total: shared.bytes,
            reason,
        })?;
        Ok(())
    }

    fn tell_end(&self, receivers: &[Receiver], shared: &Shared) -> anyhow::Result<()> {
        let mut table = Table::new(["PEER", "HAS", "STATE", ""]);
        for receiver in receivers {
            let why = if let State::Refused(why) = &receiver.state { ui::name(why) } else { String::new() };
            table.row([
                Cell::new(ui::name(&receiver.name)),
                number(ui::percent(receiver.bytes, shared.bytes.max(receiver.bytes))),
                Cell::new(receiver.state.word()),
                Cell::new(why),
            ]);
        }
        Ok(self.ctx.out.line(table)?)
    }
}

/// Who was named is to have it; of everybody, who accepts offers is.
fn verdict(receivers: &[Receiver], everybody: bool) -> anyhow::Result<()> {
    let count = |is: fn(&State) -> bool| receivers.iter().filter(|receiver| is(&receiver.state)).count();
    let (stuck, refused) =
        (count(|state| *state == State::Stuck), count(|state| matches!(state, State::Refused(_))));
    if stuck > 0 {
        return Err(Failure::new(Code::Incomplete, format!("{stuck} of {} got no further", receivers.len()))
            .hint("They keep what they have: the same command goes on. --wait SECONDS is more patient.")
            .into());
    }
    if refused > 0 && (!everybody || refused == receivers.len()) {
        return Err(Failure::new(Code::Failed, format!("{refused} of {} refused", receivers.len()))
            .hint("They accept offers if they run `potluck peer --accept-from` with your name (see --as), or `all`.")
            .into());
    }
    Ok(())
}
