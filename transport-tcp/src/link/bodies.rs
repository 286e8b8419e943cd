//! Room for the bodies of large control messages, from their first byte until the actor has them.
//!
//! A body takes its memory while it comes, and there may be a great many links that each send half of one. So all links
//! together have so much room for them ([`BODY_BYTES_IN_ALL`]), and those of one address a part of it: where that is taken, a
//! link is not read on until another's body is through. Small messages come through the link's own buffer and never wait.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{BODY_BYTES_IN_ALL, BODY_BYTES_PER_ADDRESS};

/// The room of all links of one machine.
#[derive(Debug)]
pub(crate) struct Bodies {
    in_all: Arc<Semaphore>,
    /// The part of each address, and how many links it has.
    parts: Mutex<BTreeMap<IpAddr, (Arc<Semaphore>, usize)>>,
}

/// What a link takes its room from.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Bodies>,
    ip: IpAddr,
    part: Arc<Semaphore>,
}

/// Room that is given back when this is dropped. (`None` would be of a semaphore that is closed; these never are.)
pub(crate) type Room = [Option<OwnedSemaphorePermit>; 2];

impl Bodies {
    /// What a link from this address takes its room from.
    pub(crate) fn share(self: &Arc<Self>, ip: IpAddr) -> Share {
        let mut parts = self.lock();
        let new = || (Arc::new(Semaphore::new(BODY_BYTES_PER_ADDRESS)), 0);
        let (part, links) = parts.entry(ip).or_insert_with(new);
        *links += 1;
        Share { of: Arc::clone(self), ip, part: Arc::clone(part) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, (Arc<Semaphore>, usize)>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self { in_all: Arc::new(Semaphore::new(BODY_BYTES_IN_ALL)), parts: Mutex::default() }
    }
}

impl Share {
    /// Room for a body, if nobody has to wait for it.
    pub(crate) fn try_take(&self, bytes: u32) -> Option<Room> {
        let part = Arc::clone(&self.part).try_acquire_many_owned(bytes).ok()?;
        let in_all = Arc::clone(&self.of.in_all).try_acquire_many_owned(bytes).ok()?;
        Some([Some(part), Some(in_all)])
    }

    /// Room for a body. First of what the address has: however many wait there, they do not stand before others.
    pub(crate) async fn take(&self, bytes: u32) -> Room {
        let part = Arc::clone(&self.part).acquire_many_owned(bytes).await.ok();
        let in_all = Arc::clone(&self.of.in_all).acquire_many_owned(bytes).await.ok();
        [part, in_all]
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut parts = self.of.lock();
        if let Some((_, links)) = parts.get_mut(&self.ip) {
            *links -= 1;
            if *links == 0 {
                parts.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use potluck_core::limits::CONTROL_FRAME_BYTES_MAX;

    use super::*;

    const BYTES: u32 = CONTROL_FRAME_BYTES_MAX;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_takes_its_part_and_others_find_room() {
        let bodies = Arc::<Bodies>::default();
        let crowd: Vec<Share> = (0..1000).map(|_| bodies.share(address(1))).collect();
        let mut taken: Vec<Room> = crowd.iter().filter_map(|share| share.try_take(BYTES)).collect();
        assert_eq!(taken.len(), BODY_BYTES_PER_ADDRESS / BYTES as usize);
        let (late, other) = (crowd.last().unwrap(), bodies.share(address(2)));
        let mut waiting = std::pin::pin!(late.take(BYTES));
        let wait = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(wait, &mut waiting).await.is_err());
        assert!(other.try_take(BYTES).is_some());
        drop(taken.pop());
        assert!(waiting.await.iter().all(Option::is_some));
    }

    #[test]
    fn many_addresses_take_no_more_than_there_is_and_are_forgotten() {
        let bodies = Arc::<Bodies>::default();
        let crowd: Vec<Share> = (0..10_000).map(|number| bodies.share(address(number))).collect();
        let taken: Vec<Room> = crowd.iter().filter_map(|share| share.try_take(BYTES)).collect();
        assert_eq!(taken.len(), BODY_BYTES_IN_ALL / BYTES as usize);
        drop(taken);
        assert_eq!(bodies.lock().len(), crowd.len());
        drop(crowd);
        assert_eq!(bodies.lock().len(), 0);
    }
}
