//! `potluck tracker`: the index of who is here and who holds what. One log line for everything that happens.

use std::time::Duration;

use potluck_core::tracker::TrackerEvent;
use potluck_transport_tcp::{Tracker, TrackerOptions};

use super::Context;
use crate::addresses;
use crate::args::TrackerArgs;
use crate::exit::not_started;
use crate::ui;

pub(crate) async fn run(args: TrackerArgs, ctx: &Context) -> anyhow::Result<()> {
    let lease = Duration::from_secs(args.lease);
    let options = TrackerOptions { listen: args.listen, lease, record: args.record };
    let (tracker, mut events) = Tracker::start(options).await.map_err(|error| {
        let listen =
            "Is a tracker running there already? --listen names another address; port 0 picks a free one.";
        not_started(&error, listen)
    })?;
    let reachable = addresses::reachable(tracker.listen_addr());
    ctx.out.event(&ui::Event::Listening { addr: reachable[0] })?;
    ctx.out.line(format_args!("Tracker at {}", reachable[0]))?;
    for other in &reachable[1..] {
        ctx.out.line(format_args!("    also at {other}"))?;
    }
    ctx.out.note(format_args!(
        "Others find it with `--tracker {}`, or with POTLUCK_TRACKER set to that. Ctrl-C stops it.",
        reachable[0]
    ));
    ctx.out.note(
        "Whoever reaches it can join, register and see what everybody registered; nothing is encrypted yet.",
    );
    loop {
        tokio::select! {
            _ = ctx.interrupts.wait() => break,
            event = events.next() => match event {
                Some(event) => log(&event),
                None => anyhow::bail!("the tracker ended by itself"),
            },
        }
    }
    tracker.stop().await;
    Ok(())
}

/// One line per event. Names are what peers chose, so they are escaped.
fn log(event: &TrackerEvent) {
    use TrackerEvent as E;
    let name = |text: &String| ui::name(text);
    match event {
        E::Joined { name: who, addr, peers } => {
            tracing::info!("join: name {} accepted, at {addr}; {peers} here", name(who));
        }
        E::NameRefused { name: wanted, addr, offer } => {
            tracing::info!("name {} refused to {addr}: taken; {} offered", name(wanted), name(offer));
        }
        E::Renamed { from, to } => tracing::info!("rename: {} is {} from now on", name(from), name(to)),
        E::Left { name: who, in_order, peers } => {
            let how = if *in_order { "in order" } else { "its link closed" };
            tracing::info!("leave: {} ({how}); {peers} here", name(who));
        }
        E::Expired { name: who, peers } => {
            tracing::info!("expiry: {} was silent for its whole lease; {peers} here", name(who));
        }
        E::Announced { name: who, contents, count } => {
            tracing::info!("announce: {} holds {}", name(who), some_of(contents, *count));
        }
        E::Withdrawn { name: who, count } => tracing::info!("withdraw: {} took back {count}", name(who)),
        E::Searched { asker, query, rows } => {
            tracing::info!("search: {} for {}: {rows} found", name(asker), name(query));
        }
        E::LookedUp { asker, content, holders, count } => {
            tracing::info!("lookup: {} for {}: {}", name(asker), name(content), some_of(holders, *count));
        }
        E::Pushed { to, what, count } => tracing::info!("push: {count} of {} to {}", name(what), name(to)),
        E::Probed { name: who, addr, dialable } => {
            let answer = if *dialable { "can be dialed" } else { "cannot be dialed" };
            tracing::info!("probe: {} {answer} at {addr}", name(who));
        }
        E::Offered { from, to, what } => {
            tracing::info!("offer: {} to {} by {}", name(what), name(to), name(from));
        }
        E::Misbehaved { who, what } => tracing::warn!("misbehaviour: {} ({what:?})", name(who)),
    }
}

/// `a, b and 7 more`; `none`.
fn some_of(names: &[String], count: u32) -> String {
    let shown: Vec<_> = names.iter().map(|name| ui::name(name)).collect();
    let more = (count as usize).saturating_sub(names.len());
    match (shown.is_empty(), more) {
        (true, 0) => "none".to_owned(),
        (true, more) => more.to_string(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::some_of;

    #[test]
    fn long_lists_are_counted() {
        let names = ["a".to_owned(), "b\n".to_owned()];
        assert_eq!(some_of(&names, 2), "a, b\\n");
        assert_eq!(some_of(&names, 9), "a, b\\n and 7 more");
        assert_eq!(some_of(&[], 0), "none");
    }
}
