//! Addresses that others can use: what stands behind `0.0.0.0`, and which address a ticket may carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::args::HostPort;

/// Addresses of one listener that a ticket carries: enough for a machine with several networks, few enough to type.
const TICKET_ADDRS: usize = 4;
/// A listener on this very machine accepts at once or not at all.
const OWN_MACHINE_TIMEOUT: Duration = Duration::from_millis(500);

/// The addresses under which a listener can be reached, best first, never empty. An unspecified address becomes those of
/// the machine's networks; loopback only where there is nothing else.
pub(crate) fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let mut ips: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|ip| is_useful(*ip) && (ip.is_ipv4() || listen.is_ipv6()))
        .collect();
    let first = toward_others();
    // The sort is stable: the way that leads out, then IPv4, then IPv6, as the system lists them.
    ips.sort_by_key(|ip| (Some(*ip) != first, ip.is_ipv6()));
    ips.dedup();
    if ips.is_empty() {
        let loopback: IpAddr =
            if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        ips.push(loopback);
    }
    ips.into_iter().take(TICKET_ADDRS).map(|ip| SocketAddr::new(ip, listen.port())).collect()
}

/// How those who can reach us at `listen` may write the tracker's address, if this machine knows. A tracker at loopback is
/// reached by other machines at this one's own address, if it listens there.
pub(crate) async fn tracker_for_others(
    tracker: &HostPort,
    at: SocketAddr,
    listen: SocketAddr,
) -> Option<String> {
    if !at.ip().is_loopback() || listen.ip().is_loopback() {
        return Some(tracker.to_string());
    }
    let unspecified = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), at.port());
    for addr in reachable(unspecified) {
        if addr.ip().is_loopback() {
            return Some(at.to_string());
        }
        let connected = tokio::time::timeout(OWN_MACHINE_TIMEOUT, TcpStream::connect(addr)).await;
        if matches!(connected, Ok(Ok(_))) {
            return Some(addr.to_string());
        }
    }
    None
}

/// Not loopback, and complete without the name of an interface.
fn is_useful(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

/// The address from which packets leave for other networks. Connecting a datagram socket sends nothing.
fn toward_others() -> Option<IpAddr> {
    let elsewhere = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(elsewhere).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specific_address_stays_what_it_is() {
        for text in ["10.1.2.3:80", "127.0.0.1:80", "[::1]:80"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(reachable(addr), [addr]);
        }
    }

    #[test]
    fn an_unspecified_address_becomes_real_ones() {
        for text in ["0.0.0.0:80", "[::]:80"] {
            let shown = reachable(text.parse().unwrap());
            assert!(!shown.is_empty());
            assert!(shown.iter().all(|addr| !addr.ip().is_unspecified() && addr.port() == 80), "{shown:?}");
            assert!(shown.len() == 1 || shown.iter().all(|addr| !addr.ip().is_loopback()), "{shown:?}");
        }
    }

    #[test]
    fn loopback_and_link_local_are_of_no_use_to_others() {
        for (ip, useful) in [
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("10.0.0.1", true),
            ("fe80::1", false),
            ("fd00::2", true),
        ] {
            assert_eq!(is_useful(ip.parse().unwrap()), useful, "{ip}");
        }
    }
}
