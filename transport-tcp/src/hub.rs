//! All links of one machine, and the tasks that belong to them.
//!
//! Dropping the hub aborts every task it started: nothing outlives its driver.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use potluck_core::ids::{LinkId, OpId, PeerId};
use potluck_core::origin::origin;
use potluck_core::peer::{DialError, Role};
use potluck_core::wire::WireMessage;
use potluck_core::wire::handshake::Seeks;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connect::{Established, accept_links, dial};
use crate::driver::Reports;
use crate::limits::GOODBYE;
use crate::link::{Bodies, ChunkGear, LinkHandle, run_link};
use crate::transport::Transport;

/// A link to be, over this transport.
pub(crate) type EstablishedOver<T> = Established<<T as Transport>::Reader, <T as Transport>::Writer>;

/// The links of a machine whose inputs are `I`, over the transport `T`.
pub(crate) struct Hub<T: Transport, I> {
    transport: Arc<T>,
    me: PeerId,
    reports: Reports<T, I>,
    /// Ordered, so that they are closed in the same order in every run.
    links: BTreeMap<LinkId, LinkHandle>,
    /// Control bytes that wait on all of them.
    waiting: Arc<AtomicUsize>,
    /// Room for the large messages that come on all of them.
    bodies: Arc<Bodies>,
    /// Links count from 1 and are never reused.
    last_link: u64,
    /// Links and dials: they end by themselves.
    tasks: JoinSet<()>,
    /// Listeners: they do not.
    listeners: JoinSet<()>,
}

impl<T: Transport, I: Send + 'static> Hub<T, I> {
    pub(crate) fn new(transport: Arc<T>, me: PeerId, reports: Reports<T, I>) -> Self {
        Self {
            transport,
            me,
            reports,
            links: BTreeMap::new(),
            waiting: Arc::default(),
            bodies: Arc::default(),
            last_link: 0,
            tasks: JoinSet::new(),
            listeners: JoinSet::new(),
        }
    }

    /// Accepts links from here on, as a machine of this role.
    pub(crate) fn listen(&mut self, listener: T::Listener, role: Role) {
        self.listeners.spawn(accept_links(listener, self.me, role, self.reports.established.clone()));
    }

    /// Dials; an established link or `failed` will be reported.
    pub(crate) fn dial(&mut self, op: OpId, addr: SocketAddr, role: Role, failed: fn(OpId, DialError) -> I) {
        let (transport, me, reports) = (Arc::clone(&self.transport), self.me, self.reports.clone());
        let seeks = match role {
            Role::Peer => Seeks::Peer,
            Role::Tracker => Seeks::Tracker,
        };
        self.tasks.spawn(async move {
            match dial(&*transport, addr, me, seeks).await {
                Ok((connection, peer)) => {
                    let (reader, writer) = (connection.reader, connection.writer);
                    let link = Established { reader, writer, addr, peer, role, dialed: Some(op) };
                    let _ = reports.established.send(link).await;
                }
                Err(error) => drop(reports.completions.send(failed(op, error))),
            }
        });
    }

    /// Asks who is at `addr`; `probed` will be reported.
    pub(crate) fn probe(&mut self, op: OpId, addr: SocketAddr, probed: fn(OpId, Option<PeerId>) -> I) {
        let (transport, me, reports) = (Arc::clone(&self.transport), self.me, self.reports.clone());
        self.tasks.spawn(async move {
            let answer = dial(&*transport, addr, me, Seeks::Probe).await;
            let _ = reports.completions.send(probed(op, answer.ok().map(|(_, peer)| peer)));
        });
    }

    /// Gives an established connection its number, and starts reading and writing it.
    pub(crate) fn start<M: WireMessage + Send + 'static>(
        &mut self,
        established: EstablishedOver<T>,
        wrap: fn(LinkId, M) -> I,
        chunks: Option<ChunkGear>,
    ) -> LinkId {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        let bodies = self.bodies.share(origin(established.addr.ip().to_canonical()));
        let handle = LinkHandle::beside(Arc::clone(&self.waiting), bodies);
        let halves = (established.reader, established.writer);
        let inbound = self.reports.inbound.clone();
        self.tasks.spawn(run_link(link, halves, handle.clone(), wrap, inbound, chunks));
        self.links.insert(link, handle);
        link
    }

    /// An open link.
    pub(crate) fn link(&self, link: LinkId) -> Option<&LinkHandle> {
        self.links.get(&link)
    }

    /// Queues a message; `false`: the link overflowed and is closed. On a link that is gone nothing happens.
    #[must_use]
    pub(crate) fn send<M: WireMessage>(&mut self, link: LinkId, msg: &M) -> bool {
        let Some(handle) = self.links.get(&link) else { return true };
        tracing::debug!(%link, message = msg.name(), "sent");
        let taken = handle.outbox.push(msg).is_ok();
        if !taken {
            self.close(link);
        }
        taken
    }

    /// Ends a link after what was sent on it. It reports nothing any more.
    pub(crate) fn close(&mut self, link: LinkId) {
        if let Some(handle) = self.links.remove(&link) {
            handle.close();
        }
    }

    /// A link ended by itself. `false`: it was closed before, and its end is no news.
    #[must_use]
    pub(crate) fn ended(&mut self, link: LinkId) -> bool {
        self.links.remove(&link).is_some()
    }

    /// Forgets tasks that have ended.
    pub(crate) fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }

    /// Accepts nothing more, ends all links in order, and waits for them; at most [`GOODBYE`].
    pub(crate) async fn shut_down(&mut self) {
        self.listeners.shutdown().await;
        for handle in std::mem::take(&mut self.links).into_values() {
            handle.close();
        }
        let _ = timeout(GOODBYE, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }
}
