//! A ticket: all that is needed to fetch a content, as one line of text that survives a chat window.
//!
//! `potluck:<64 hex>?kind=…&name=…&size=…&tracker=host:port&peer=host:port`, where `tracker` and `peer` may repeat or
//! be absent. Values are percent-encoded UTF-8: everything but ASCII letters, digits and `-._~:[]` is written as
//! `%XX`. Readers take the fields in any order and skip those they do not know.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Escaped, Kind, NameFault, NotAKind, SafeName};
use crate::ids::{ContentId, ContentKey};
use crate::limits::{CONTENT_BYTES_MAX, TICKET_ADDRS_MAX, TICKET_BYTES_MAX};

const SCHEME: &str = "potluck:";
/// What is percent-encoded in a value.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'[')
    .remove(b']');

/// A content, how it is called, and where to ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The content; of a folder its listing.
    pub id: ContentId,
    /// File or folder.
    pub kind: Kind,
    /// The name to store it under.
    pub name: SafeName,
    /// Bytes of the content (of a folder: of its listing), so that id and size make a [`ContentKey`].
    pub size: u64,
    /// Trackers that know it, each `host:port`.
    pub trackers: Vec<String>,
    /// Peers that hold it, each `host:port`. With one of them no tracker is needed.
    pub peers: Vec<String>,
}

/// Why text is not a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketFault {
    /// It does not begin with `potluck:`.
    #[error("a ticket begins with `potluck:`")]
    NotATicket,
    /// It is longer than any ticket.
    #[error("a ticket has at most {TICKET_BYTES_MAX} bytes")]
    TooLong,
    /// The id is not 64 hex digits.
    #[error("the ticket's id is not 64 hex digits")]
    BadId,
    /// A field without `=`, or with a broken `%` sequence, or not UTF-8.
    #[error("the ticket's `{}` cannot be read", Escaped(.0))]
    BadField(String),
    /// A field that may stand once stands twice.
    #[error("the ticket has `{0}` twice")]
    Twice(&'static str),
    /// A field that must stand does not.
    #[error("the ticket lacks `{0}`")]
    Missing(&'static str),
    /// The kind is unknown.
    #[error("the ticket's kind is unknown: {0}")]
    BadKind(#[from] NotAKind),
    /// The name cannot be a file name.
    #[error("the ticket's name is refused: {0}")]
    BadName(#[from] NameFault),
    /// The size is no number, or none that a content can have.
    #[error("the ticket's size is not one that a content can have")]
    BadSize,
    /// An address is not `host:port`.
    #[error("the ticket's `{0}` is not `host:port`")]
    BadAddr(&'static str),
    /// More addresses than a ticket may have.
    #[error("the ticket has more than {TICKET_ADDRS_MAX} addresses of one kind")]
    TooMany,
}

impl Ticket {
    /// The content's key.
    #[must_use]
    pub const fn key(&self) -> ContentKey {
        ContentKey { id: self.id, length: self.size }
    }

    /// Does this text mean to be a ticket (rather than a name or an id)?
    #[must_use]
    pub fn is_ticket(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |value| utf8_percent_encode(value, ENCODED);
        let name = encoded(self.name.as_str());
        write!(f, "{SCHEME}{}?kind={}&name={name}&size={}", self.id, self.kind, self.size)?;
        self.trackers.iter().try_for_each(|addr| write!(f, "&tracker={}", encoded(addr)))?;
        self.peers.iter().try_for_each(|addr| write!(f, "&peer={}", encoded(addr)))
    }
}

impl FromStr for Ticket {
    type Err = TicketFault;

    fn from_str(text: &str) -> Result<Self, TicketFault> {
        if !Self::is_ticket(text) {
            return Err(TicketFault::NotATicket);
        }
        if text.len() > TICKET_BYTES_MAX {
            return Err(TicketFault::TooLong);
        }
        let rest = &text[SCHEME.len()..];
        let (id, fields) = rest.split_once('?').unwrap_or((rest, ""));
        let id = id.parse().map_err(|_| TicketFault::BadId)?;
        let (mut kind, mut name, mut size) = (None, None, None);
        let (mut trackers, mut peers) = (Vec::new(), Vec::new());
        for field in fields.split('&').filter(|field| !field.is_empty()) {
            let unreadable = || TicketFault::BadField(field.split('=').next().unwrap_or_default().to_owned());
            let (label, value) = field.split_once('=').ok_or_else(unreadable)?;
            let value = decoded(value).ok_or_else(unreadable)?;
            match label {
                "kind" => once(&mut kind, "kind", value.parse()?)?,
                "name" => once(&mut name, "name", SafeName::parse(&value)?)?,
                "size" => once(&mut size, "size", parse_size(&value)?)?,
                "tracker" => add_addr(&mut trackers, "tracker", value)?,
                "peer" => add_addr(&mut peers, "peer", value)?,
                _ => {}
            }
        }
        Ok(Self {
            id,
            kind: kind.ok_or(TicketFault::Missing("kind"))?,
            name: name.ok_or(TicketFault::Missing("name"))?,
            size: size.ok_or(TicketFault::Missing("size"))?,
            trackers,
            peers,
        })
    }
}

/// Undoes percent-encoding, strictly: every `%` is followed by two hex digits, and the bytes are UTF-8.
fn decoded(value: &str) -> Option<String> {
    let mut escapes = value.split('%').skip(1);
    let whole =
        escapes.all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()));
    if !whole {
        return None;
    }
    Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

fn once<T>(field: &mut Option<T>, label: &'static str, value: T) -> Result<(), TicketFault> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(TicketFault::Twice(label)),
    }
}

fn parse_size(value: &str) -> Result<u64, TicketFault> {
    // `u64::from_str` would also take a plus sign.
    let digits = value.bytes().all(|digit| digit.is_ascii_digit());
    let size = value.parse().ok().filter(|size| digits && *size <= CONTENT_BYTES_MAX);
    size.ok_or(TicketFault::BadSize)
}

fn add_addr(addrs: &mut Vec<String>, label: &'static str, addr: String) -> Result<(), TicketFault> {
    if addrs.len() >= TICKET_ADDRS_MAX {
        return Err(TicketFault::TooMany);
    }
    if !is_host_and_port(&addr) {
        return Err(TicketFault::BadAddr(label));
    }
    addrs.push(addr);
    Ok(())
}

/// `name:port`, `1.2.3.4:port` or `[v6]:port`. Whether it can be resolved shows when it is dialed.
fn is_host_and_port(addr: &str) -> bool {
    let Some((host, port)) = addr.rsplit_once(':') else { return false };
    let port_fits =
        port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let host_fits = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    port_fits && host_fits
}

#[cfg(test)]
mod tests;
