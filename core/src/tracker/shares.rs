//! Announcing and withdrawing contents.

use std::collections::BTreeSet;

use super::registry::{Change, ContentIndex, OwnerId};
use super::{Tracker, TrackerEvent, Turn};
use crate::content::{Geometry, SafePath};
use crate::ids::{ContentKey, LinkId};
use crate::limits::{
    ADS_PER_MESSAGE, CONTENT_BYTES_MAX, NAME_BYTES_MAX, OTHER_NAMES_PER_CONTENT, REPORT_NAMES,
};
use crate::wire::tracker::{Ad, RefusedRequest, TrackerMessage};

impl Tracker {
    /// Registers contents, all or none of them.
    pub(super) fn announce(&mut self, id: LinkId, seq: u32, ads: &[Ad], turn: &mut Turn<'_>) {
        let Some((owner, session)) = self.session_of(id) else {
            return turn.refuse(id, seq, RefusedRequest::NotJoined);
        };
        let name = session.name.clone();
        let fault = check(ads).err().or_else(|| {
            self.registry.exceeded(owner, ads).map(|bound| RefusedRequest::Limit(bound.to_owned()))
        });
        if let Some(fault) = fault {
            return turn.refuse(id, seq, fault);
        }
        let (mut contents, mut count) = (Vec::new(), 0);
        for ad in ads {
            match self.registry.announce(owner, ad) {
                Change::Came(content) => {
                    count += 1;
                    if contents.len() < REPORT_NAMES {
                        contents.push(ad.name.clone());
                    }
                    self.watches.came(content, turn.now, &mut self.pacer);
                }
                Change::Turned(content) => {
                    self.watches.changed(owner, Some(content), turn.now, &mut self.pacer);
                }
                Change::Left(content) => self.no_holder(owner, content, turn),
                Change::Same => {}
            }
        }
        if count > 0 {
            turn.report(TrackerEvent::Announced { name, contents, count });
        }
        turn.send(id, TrackerMessage::Done { seq });
    }

    /// Takes back those of the contents that the asker registered; refused if one of them is not its own.
    pub(super) fn withdraw(&mut self, id: LinkId, seq: u32, keys: &[ContentKey], turn: &mut Turn<'_>) {
        let Some((owner, session)) = self.session_of(id) else {
            return turn.refuse(id, seq, RefusedRequest::NotJoined);
        };
        let name = session.name.clone();
        if keys.len() > ADS_PER_MESSAGE {
            return turn.refuse(id, seq, too_many());
        }
        let mut count = 0;
        for &key in keys {
            if let Some(content) = self.registry.withdraw(owner, key) {
                self.no_holder(owner, content, turn);
                count += 1;
            }
        }
        if count > 0 {
            turn.report(TrackerEvent::Withdrawn { name, count });
        }
        if count as usize == keys.len() {
            turn.send(id, TrackerMessage::Done { seq });
        } else {
            turn.refuse(id, seq, RefusedRequest::NotYours);
        }
    }

    /// Lists an own registration under other names, too. Nothing is answered: an older tracker does not know the request.
    pub(super) fn also_named(&mut self, id: LinkId, key: ContentKey, names: &[String], turn: &mut Turn<'_>) {
        let Some((owner, session)) = self.session_of(id) else { return };
        let name = session.name.clone();
        let is_name = |name: &&String| name.len() <= NAME_BYTES_MAX && SafePath::parse(name).is_ok();
        let names: BTreeSet<&str> =
            names.iter().filter(is_name).map(String::as_str).take(OTHER_NAMES_PER_CONTENT).collect();
        let mut contents = self.registry.also_named(owner, key, &names);
        let count = contents.len() as u32;
        if count > 0 {
            contents.truncate(REPORT_NAMES);
            turn.report(TrackerEvent::Announced { name, contents, count });
        }
    }

    fn no_holder(&mut self, owner: OwnerId, content: ContentIndex, turn: &Turn<'_>) {
        let peer = self.registry.peer(owner);
        self.watches.left(owner, peer, Some(content), turn.now, &mut self.pacer);
    }
}

fn check(ads: &[Ad]) -> Result<(), RefusedRequest> {
    if ads.len() > ADS_PER_MESSAGE {
        return Err(too_many());
    }
    ads.iter().try_for_each(|ad| {
        if ad.name.len() > NAME_BYTES_MAX || SafePath::parse(&ad.name).is_err() {
            return Err(RefusedRequest::BadName);
        }
        let geometry = Geometry::new(ad.key.length).ok_or_else(|| {
            RefusedRequest::BadQuery(format!("a content has at most {CONTENT_BYTES_MAX} bytes"))
        })?;
        if ad.pieces > geometry.pieces() {
            let pieces = geometry.pieces();
            return Err(RefusedRequest::BadQuery(format!(
                "this content has {pieces} pieces, not {}",
                ad.pieces
            )));
        }
        Ok(())
    })
}

fn too_many() -> RefusedRequest {
    RefusedRequest::Limit(format!("{ADS_PER_MESSAGE} contents per message"))
}
