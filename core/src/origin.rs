//! Whom to count together, where a bound is meant for one stranger.

use std::net::{IpAddr, Ipv6Addr};

/// What whoever has this address has: of IPv4 the address, of IPv6 a network of 64 bits.
#[must_use]
pub const fn origin(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}
