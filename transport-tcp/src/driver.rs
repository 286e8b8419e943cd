//! The actor that owns a machine: it feeds it inputs and performs its effects.
//!
//! A turn takes, each up to a budget: completions of what was begun, the due deadline, commands and new links, and at last
//! what came in over links: local work goes before remote work. After each input its effects are performed. With nothing
//! left to take, it sleeps until the next input or the deadline.
//!
//! Bounds: messages and new links wait in bounded channels, and their senders with them. Completions do not wait, since
//! workers must never be stopped by the actor; there are only as many as effects that were not answered yet, and those are
//! bounded by the machine (chunks that are expected, credit, operations).

use std::collections::VecDeque;

use potluck_core::Machine;
use potluck_core::effects::Effects;
use potluck_core::ids::LinkId;
use potluck_core::peer::CloseReason;
use potluck_core::time::Instant;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep_until;

use crate::clock::Clock;
use crate::hub::{EstablishedOver, Hub};
use crate::limits::{
    COMMANDS_WAITING, ESTABLISHED_WAITING, INBOUND_WAITING, INPUTS_PER_TURN, STUCK_DEADLINE,
};
use crate::link::FromLink;
use crate::record::Recorder;
use crate::transport::Transport;

/// Where a machine's effects are performed. What differs between a peer and a tracker.
pub(crate) trait World: Send + 'static {
    /// What is driven.
    type Machine: Machine<Input = Self::Input, Effect = Self::Effect> + Send;
    /// Its inputs.
    type Input: Serialize + Send + 'static;
    /// Its effects.
    type Effect: Send;
    /// What carries its links.
    type Transport: Transport;
    /// What handles may ask of the actor.
    type Ask: Send;

    /// The links.
    fn hub(&mut self) -> &mut Hub<Self::Transport, Self::Input>;
    /// Starts a link; `after` takes what the machine is to know of it.
    fn connected(&mut self, link: EstablishedOver<Self::Transport>, after: &mut VecDeque<Self::Input>);
    /// The input that says that a link is gone.
    fn link_down(link: LinkId, reason: CloseReason) -> Self::Input;
    /// Performs one effect; `after` takes inputs that follow from it at once.
    fn perform(&mut self, effect: Self::Effect, after: &mut VecDeque<Self::Input>);
    /// Answers a handle, or turns what it wants into inputs.
    fn ask(&mut self, machine: &Self::Machine, ask: Self::Ask, after: &mut VecDeque<Self::Input>) -> Then;
    /// No input is left to be handled at once: what was put off until then is to be done.
    fn settle(&mut self) {}
    /// Has the machine said its last word?
    fn is_over(&self) -> bool;
}

/// Does the actor go on?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Yes.
    GoOn,
    /// It ends, its links in order.
    Stop,
}

/// Where tasks report to the actor.
#[derive(Debug)]
pub(crate) struct Reports<T: Transport, I> {
    pub(crate) completions: mpsc::UnboundedSender<I>,
    pub(crate) established: mpsc::Sender<EstablishedOver<T>>,
    pub(crate) inbound: mpsc::Sender<(LinkId, FromLink<I>)>,
}

impl<T: Transport, I> Clone for Reports<T, I> {
    fn clone(&self) -> Self {
        Self {
            completions: self.completions.clone(),
            established: self.established.clone(),
            inbound: self.inbound.clone(),
        }
    }
}

/// What waits for the actor.
pub(crate) struct Mailbox<T: Transport, I, A> {
    completions: mpsc::UnboundedReceiver<I>,
    established: mpsc::Receiver<EstablishedOver<T>>,
    inbound: mpsc::Receiver<(LinkId, FromLink<I>)>,
    asks: mpsc::Receiver<A>,
}

/// A mailbox with what fills it. The actor ends when every sender of asks is gone.
pub(crate) fn mailbox<T: Transport, I, A>() -> (Reports<T, I>, mpsc::Sender<A>, Mailbox<T, I, A>) {
    let (completions, completions_rx) = mpsc::unbounded_channel();
    let (established, established_rx) = mpsc::channel(ESTABLISHED_WAITING);
    let (inbound, inbound_rx) = mpsc::channel(INBOUND_WAITING);
    let (asks, asks_rx) = mpsc::channel(COMMANDS_WAITING);
    let mailbox = Mailbox {
        completions: completions_rx,
        established: established_rx,
        inbound: inbound_rx,
        asks: asks_rx,
    };
    (Reports { completions, established, inbound }, asks, mailbox)
}

/// A machine with its world around it.
pub(crate) struct Driver<W: World> {
    world: W,
    machine: W::Machine,
    mailbox: Mailbox<W::Transport, W::Input, W::Ask>,
    recorder: Option<Recorder>,
    clock: Clock,
    effects: Effects<W::Effect>,
    after: VecDeque<W::Input>,
    /// A tick did not move the deadline: none before this.
    no_tick_before: Instant,
}

impl<W: World> Driver<W> {
    pub(crate) fn new(
        world: W,
        machine: W::Machine,
        mailbox: Mailbox<W::Transport, W::Input, W::Ask>,
        recorder: Option<Recorder>,
    ) -> Self {
        Self {
            world,
            machine,
            mailbox,
            recorder,
            clock: Clock::start(),
            effects: Effects::new(),
            after: VecDeque::new(),
            no_tick_before: Instant::ZERO,
        }
    }

    /// Drives the machine until it is told to stop or nobody holds a handle. `tick` makes the input that says that the
    /// deadline came.
    pub(crate) async fn run(mut self, tick: fn() -> W::Input) {
        loop {
            self.world.hub().reap();
            let mut busy = self.take_completions(INPUTS_PER_TURN);
            busy |= self.take_tick(tick);
            match self.take_asks() {
                (Then::Stop, _) => break,
                (Then::GoOn, taken) => busy |= taken,
            }
            busy |= self.take_links();
            busy |= self.take_inbound();
            self.world.settle();
            if self.world.is_over() {
                break;
            }
            if busy {
                yield_now().await;
                continue;
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.flush_if_due();
            }
            let deadline = self.machine.deadline().map(|deadline| deadline.at.max(self.no_tick_before));
            let wake = self.clock.tokio_instant(deadline.unwrap_or_default());
            tokio::select! {
                biased;
                Some(input) = self.mailbox.completions.recv() => {
                    self.feed(input);
                }
                () = sleep_until(wake), if deadline.is_some() => {}
                ask = self.mailbox.asks.recv() => match ask {
                    Some(ask) => if self.answer(ask) == Then::Stop { break },
                    None => break,
                },
                Some(link) = self.mailbox.established.recv() => self.connect(link),
                Some((link, from)) = self.mailbox.inbound.recv() => self.hear(link, from),
            }
        }
        self.world.settle();
        self.world.hub().shut_down().await;
    }

    fn take_completions(&mut self, max: usize) -> bool {
        let mut taken = false;
        for _ in 0..max {
            let Ok(input) = self.mailbox.completions.try_recv() else { break };
            self.feed(input);
            taken = true;
        }
        taken
    }

    /// Ticks the machine if its deadline is due. The clock decides, not a timer's word.
    fn take_tick(&mut self, tick: fn() -> W::Input) -> bool {
        let now = self.clock.now();
        let Some(due) = self.machine.deadline().filter(|deadline| deadline.at <= now) else { return false };
        if now < self.no_tick_before {
            return false;
        }
        let effects = self.feed(tick());
        if effects == 0 && self.machine.deadline() == Some(due) {
            debug_assert!(false, "a tick did not move the deadline {due:?}");
            tracing::error!(?due, "a tick did not move the deadline");
            self.no_tick_before = now + STUCK_DEADLINE;
        }
        true
    }

    fn take_asks(&mut self) -> (Then, bool) {
        let mut taken = false;
        for _ in 0..INPUTS_PER_TURN {
            let Ok(ask) = self.mailbox.asks.try_recv() else { break };
            taken = true;
            if self.answer(ask) == Then::Stop {
                return (Then::Stop, taken);
            }
        }
        (Then::GoOn, taken)
    }

    fn take_links(&mut self) -> bool {
        let mut taken = false;
        while let Ok(link) = self.mailbox.established.try_recv() {
            self.connect(link);
            taken = true;
        }
        taken
    }

    fn take_inbound(&mut self) -> bool {
        let mut taken = false;
        for _ in 0..INPUTS_PER_TURN {
            let Ok((link, from)) = self.mailbox.inbound.try_recv() else { break };
            self.hear(link, from);
            taken = true;
        }
        taken
    }

    fn answer(&mut self, ask: W::Ask) -> Then {
        let then = self.world.ask(&self.machine, ask, &mut self.after);
        self.feed_after();
        then
    }

    fn connect(&mut self, link: EstablishedOver<W::Transport>) {
        self.world.connected(link, &mut self.after);
        self.feed_after();
    }

    fn hear(&mut self, link: LinkId, from: FromLink<W::Input>) {
        match from {
            FromLink::Message(input) => {
                if self.world.hub().link(link).is_some() {
                    self.feed(input);
                }
            }
            FromLink::Down(reason) => {
                // The chunks that came over it were reported before its end was: the machine hears of them first.
                self.take_completions(usize::MAX);
                if self.world.hub().ended(link) {
                    self.feed(W::link_down(link, reason));
                }
            }
        }
    }

    /// Hands one input to the machine and performs what it wants; then whatever followed from that. Returns the number of
    /// effects.
    fn feed(&mut self, input: W::Input) -> usize {
        self.after.push_back(input);
        self.feed_after()
    }

    fn feed_after(&mut self) -> usize {
        let mut performed = 0;
        while let Some(input) = self.after.pop_front() {
            let now = self.clock.now();
            if let Some(recorder) = &mut self.recorder {
                recorder.record(now, &input);
            }
            self.machine.handle(now, input, &mut self.effects);
            performed += self.effects.len();
            for effect in self.effects.drain() {
                self.world.perform(effect, &mut self.after);
            }
        }
        performed
    }
}

#[cfg(test)]
mod tests;
