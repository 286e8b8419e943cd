//! The actor around a scripted machine, in a world without links.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use potluck_core::ids::PeerId;
use potluck_core::seed::Seed;
use potluck_core::time::{Deadline, TimerKind};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::*;
use crate::memory::tests::ip;
use crate::memory::{MemoryNetwork, MemoryTransport};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Input {
    Note(u32),
    /// Be ticked after this many milliseconds.
    Arm(u64),
    Tick,
    Down,
}

/// Tells what it hears, and echoes a note `n` as an effect that comes back as the note `n - 1`.
#[derive(Default)]
struct Script {
    heard: Arc<Mutex<Vec<(Instant, Input)>>>,
    due: Option<Instant>,
    /// A broken machine's tick leaves the deadline where it is.
    broken: bool,
}

impl Machine for Script {
    type Input = Input;
    type Effect = u32;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Effects<u32>) {
        match input {
            Input::Note(number) if number > 0 => out.push(number - 1),
            Input::Note(_) | Input::Down => {}
            Input::Arm(millis) => self.due = Some(now + Duration::from_millis(millis)),
            Input::Tick if self.broken => {}
            Input::Tick => self.due = None,
        }
        self.heard.lock().unwrap().push((now, input));
    }

    fn deadline(&self) -> Option<Deadline> {
        self.due.map(|at| Deadline { at, why: TimerKind::Flush })
    }
}

struct Empty(Hub<MemoryTransport, Input>);

enum Ask {
    Feed(Input),
    Count(oneshot::Sender<usize>),
    Stop,
}

impl World for Empty {
    type Machine = Script;
    type Input = Input;
    type Effect = u32;
    type Transport = MemoryTransport;
    type Ask = Ask;

    fn hub(&mut self) -> &mut Hub<MemoryTransport, Input> {
        &mut self.0
    }
    fn connected(&mut self, _link: EstablishedOver<MemoryTransport>, _after: &mut VecDeque<Input>) {}
    fn link_down(_link: LinkId, _reason: CloseReason) -> Input {
        Input::Down
    }
    fn perform(&mut self, effect: u32, after: &mut VecDeque<Input>) {
        after.push_back(Input::Note(effect));
    }
    fn ask(&mut self, machine: &Script, ask: Ask, after: &mut VecDeque<Input>) -> Then {
        match ask {
            Ask::Feed(input) => after.push_back(input),
            Ask::Count(answer) => drop(answer.send(machine.heard.lock().unwrap().len())),
            Ask::Stop => return Then::Stop,
        }
        Then::GoOn
    }
    fn is_over(&self) -> bool {
        false
    }
}

struct Actor {
    heard: Arc<Mutex<Vec<(Instant, Input)>>>,
    asks: mpsc::Sender<Ask>,
    reports: Reports<MemoryTransport, Input>,
    task: tokio::task::JoinHandle<()>,
}

fn start(recorder: Option<Recorder>, broken: bool) -> Actor {
    let (reports, asks, mailbox) = mailbox();
    let transport = MemoryNetwork::new(Seed::from_number(1)).host(ip(1));
    let hub = Hub::new(Arc::new(transport), PeerId([1; 32]), reports.clone());
    let machine = Script { broken, ..Script::default() };
    let heard = Arc::clone(&machine.heard);
    let driver = Driver::new(Empty(hub), machine, mailbox, recorder);
    let task = tokio::spawn(driver.run(|| Input::Tick));
    Actor { heard, asks, reports, task }
}

impl Actor {
    async fn feed(&self, input: Input) {
        assert!(self.asks.send(Ask::Feed(input)).await.is_ok());
    }

    fn heard(&self) -> Vec<(Instant, Input)> {
        self.heard.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn ticks_when_the_deadline_comes_and_not_before() {
    let actor = start(None, false);
    actor.feed(Input::Arm(250)).await;
    sleep(Duration::from_millis(249)).await;
    assert_eq!(actor.heard().len(), 1);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(actor.heard()[1], (Instant::from_millis(250), Input::Tick));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(actor.heard().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_follows_from_an_effect_comes_at_once_and_in_order() {
    let actor = start(None, false);
    actor.feed(Input::Note(3)).await;
    actor.feed(Input::Note(0)).await;
    let (answer, count) = oneshot::channel();
    assert!(actor.asks.send(Ask::Count(answer)).await.is_ok());
    assert_eq!(count.await, Ok(5));
    let notes: Vec<_> = actor.heard().into_iter().map(|(_, input)| input).collect();
    assert_eq!(notes, [3, 2, 1, 0, 0].map(Input::Note));
}

/// Local work comes first: completions before commands; and a link that is gone unknown to the hub is no news.
#[tokio::test(start_paused = true)]
async fn completions_come_before_commands() {
    let actor = start(None, false);
    for number in [10, 20] {
        actor.asks.try_send(Ask::Feed(Input::Arm(number))).unwrap_or_else(|_| panic!("no room"));
        actor.reports.completions.send(Input::Note(0)).unwrap();
    }
    actor.reports.inbound.try_send((LinkId(7), FromLink::Down(CloseReason::Done))).unwrap();
    sleep(Duration::from_millis(1)).await;
    let inputs: Vec<_> = actor.heard().into_iter().map(|(_, input)| input).collect();
    assert_eq!(inputs, [Input::Note(0), Input::Note(0), Input::Arm(10), Input::Arm(20)]);
}

#[tokio::test(start_paused = true)]
async fn ends_when_told_and_when_nobody_is_left() {
    let actor = start(None, false);
    assert!(actor.asks.send(Ask::Stop).await.is_ok());
    actor.task.await.unwrap();
    let actor = start(None, false);
    drop(actor.asks);
    actor.task.await.unwrap();
}

#[cfg(debug_assertions)]
#[tokio::test(start_paused = true)]
async fn a_deadline_that_stays_is_a_bug_of_the_machine() {
    let actor = start(None, true);
    actor.feed(Input::Arm(5)).await;
    assert!(actor.task.await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn the_recording_has_every_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    let actor = start(Some(Recorder::create(&path, "script", &()).unwrap()), false);
    actor.feed(Input::Note(2)).await;
    actor.feed(Input::Arm(5)).await;
    sleep(Duration::from_millis(10)).await;
    drop(actor.asks);
    actor.task.await.unwrap();
    let recording = crate::record::read_recording::<(), Input>(&path, "script").unwrap();
    assert_eq!(recording.inputs, *actor.heard.lock().unwrap());
}
