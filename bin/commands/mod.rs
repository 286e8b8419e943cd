//! A file per verb. Each takes what was typed, asks the libraries, and tells what came of it.

mod completions;
mod demo;
mod doctor;
pub(crate) mod get;
mod hash;
pub(crate) mod holders;
pub(crate) mod info;
pub(crate) mod list;
pub(crate) mod peers;
mod push;
pub(crate) mod share;
mod sim;
mod tracker;

use std::io::{IsTerminal as _, Read};

pub(crate) use sim::SimArgs;

use crate::args::Verb;
use crate::signals::{Interrupts, interrupted};
use crate::ui::{Out, ReadingBar};

/// The PATH that means standard input.
const STDIN: &str = "-";
const STDIN_SHOWN: &str = "standard input";

/// What every verb has at hand.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) out: Out,
    pub(crate) interrupts: Interrupts,
    /// Standard input is not for reading: its end means to leave.
    pub(crate) while_stdin: bool,
}

impl Context {
    /// Runs what has nothing to put in order: a signal ends it.
    async fn until_interrupted<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            code = self.interrupts.wait() => Err(interrupted(code).into()),
        }
    }
}

/// Standard input, with a word on how much of it was read; not where it is typed: what is typed stands there.
fn stdin_told(out: &Out) -> (Option<ReadingBar>, Box<dyn Read>) {
    let stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        return (None, Box::new(stdin));
    }
    let bar = ReadingBar::new(out.bars(), STDIN_SHOWN);
    let counted = bar.count(stdin);
    (Some(bar), Box::new(counted))
}

/// Does what was asked for.
pub(crate) async fn run(verb: Verb, ctx: &Context) -> anyhow::Result<()> {
    match verb {
        Verb::Tracker(args) => tracker::run(args, ctx).await,
        Verb::Share(args) => share::run(args, ctx).await,
        Verb::Get(args) => get::run(args, ctx).await,
        Verb::Peer(args) => crate::shell::run(args, ctx).await,
        Verb::Push(args) => push::run(args, ctx).await,
        Verb::Doctor(args) => doctor::run(args, ctx).await,
        Verb::Demo(args) => demo::run(args, ctx).await,
        Verb::List(args) => ctx.until_interrupted(list::list(args, ctx)).await,
        Verb::Search(args) => ctx.until_interrupted(list::search(args, ctx)).await,
        Verb::Peers(args) => peers::run(args, ctx).await,
        Verb::Holders(args) => ctx.until_interrupted(holders::run(args, ctx)).await,
        Verb::Info(args) => ctx.until_interrupted(info::run(args, ctx)).await,
        Verb::Sim(args) => sim::run(args, ctx).await,
        Verb::Completions(args) => completions::completions(&args, ctx),
        Verb::Man(args) => completions::man(&args, ctx),
        Verb::Hash(args) => ctx.until_interrupted(hash::run(args, ctx)).await,
    }
}
