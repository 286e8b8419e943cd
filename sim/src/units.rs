//! Sizes, rates and times as people write them: `256 MiB`, `100 Mbit/s`, `20 ms`.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::plan::{MILLI, SECOND};

/// Text that is no quantity of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not {1}")]
pub struct NotAQuantity(String, &'static str);

fn parse(text: &str, what: &'static str, units: &[(&str, u64)]) -> Result<u64, NotAQuantity> {
    let fault = || NotAQuantity(text.to_owned(), what);
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let number: f64 = number.parse().map_err(|_| fault())?;
    let unit = unit.trim();
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(fault)?;
    let product = number * *factor as f64;
    if product > 9e18 { Err(fault()) } else { Ok(product.round() as u64) }
}

/// In the largest unit of which it is a whole number.
fn write(f: &mut fmt::Formatter<'_>, quantity: u64, units: &[(&str, u64)]) -> fmt::Result {
    let whole =
        units.iter().filter(|(_, factor)| quantity.is_multiple_of(*factor) && *factor <= quantity.max(1));
    let (name, factor) = whole.max_by_key(|(_, factor)| *factor).copied().unwrap_or_default();
    write!(f, "{} {name}", quantity / factor.max(1))
}

const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];
const RATES: &[(&str, u64)] = &[
    ("B/s", 1),
    ("kB/s", 1_000),
    ("MB/s", 1_000_000),
    ("KiB/s", 1 << 10),
    ("MiB/s", 1 << 20),
    ("kbit/s", 125),
    ("Mbit/s", 125_000),
    ("Gbit/s", 125_000_000),
];
const TIMES: &[(&str, u64)] =
    &[("ns", 1), ("us", 1_000), ("ms", MILLI), ("s", SECOND), ("min", 60 * SECOND), ("h", 3600 * SECOND)];

/// Bytes: `1500`, `256 KiB`, `1 GB`.
///
/// # Errors
/// The text is no size.
pub fn size(text: &str) -> Result<u64, NotAQuantity> {
    parse(text, "a size like `256 MiB`", SIZES)
}

/// Bytes per second: `100 Mbit/s`, `12 MB/s`, `1.5 MiB/s`.
///
/// # Errors
/// The text is no rate.
pub fn rate(text: &str) -> Result<u64, NotAQuantity> {
    parse(text, "a rate like `100 Mbit/s`", RATES)
}

/// Nanoseconds: `250 us`, `20 ms`, `1.5 s`, `2 min`.
///
/// # Errors
/// The text is no duration.
pub fn time(text: &str) -> Result<u64, NotAQuantity> {
    parse(text, "a duration like `20 ms`", TIMES)
}

macro_rules! quantity {
    ($(#[$meta:meta])* $name:ident $parse:ident $units:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                $parse(&String::deserialize(d)?).map(Self).map_err(de::Error::custom)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotAQuantity;
            fn from_str(text: &str) -> Result<Self, NotAQuantity> {
                $parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(f, self.0, $units)
            }
        }
    };
}

quantity! {
    /// Bytes.
    Size size SIZES
}
quantity! {
    /// Bytes per second.
    Rate rate RATES
}
quantity! {
    /// Nanoseconds.
    Time time TIMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_written() {
        assert_eq!(size("256 MiB"), Ok(256 << 20));
        assert_eq!(size("1500"), Ok(1500));
        assert_eq!(rate("100 Mbit/s"), Ok(12_500_000));
        assert_eq!(rate("1.5 MiB/s"), Ok(1_572_864));
        assert_eq!(time("20ms"), Ok(20_000_000));
        for wrong in ["", "x", "12 parsecs", "-1 s", "1e9 s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert!(size("99999999999 TiB").is_err());
        let shown = [Time(0), Time(1_500 * MILLI), Time(86_400 * SECOND)].map(|time| time.to_string());
        assert_eq!(shown, ["0 ns", "1500 ms", "24 h"]);
        assert_eq!(Rate(12_500_000).to_string(), "100 Mbit/s");
        assert_eq!(Size(64 << 20).to_string(), "64 MiB");
    }
}
