//! Names of peers: what is one, and which is free.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use crate::content::escape;
use crate::limits::PEER_NAME_BYTES_MAX;

/// Is it a name: not empty or too long, nothing in it that does not print, no space around it?
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= PEER_NAME_BYTES_MAX && name.trim() == name && escape(name) == name
}

/// A free name like the wanted one: `name-2` to `name-9`, then random numbers from a range that grows until it is free.
pub(super) fn free_name(wanted: &str, is_taken: impl Fn(&str) -> bool, rng: &mut ChaCha8Rng) -> String {
    let stem = match wanted.rsplit_once('-') {
        Some((stem, number)) if !stem.is_empty() && number.len() < 10 && is_number(number) => stem,
        _ => wanted,
    };
    let mut number = 2;
    let mut end = 10_u64;
    loop {
        let name = numbered(stem, number);
        if !is_taken(&name) {
            return name;
        }
        if number < 9 {
            number += 1;
        } else {
            end = end.saturating_mul(2).min(u64::from(u32::MAX));
            number = 10 + ((u64::from(rng.next_u32()) * end) >> 32);
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The stem, cut to leave room, and the number.
fn numbered(stem: &str, number: u64) -> String {
    let suffix = format!("-{number}");
    let mut end = stem.len().min(PEER_NAME_BYTES_MAX - suffix.len());
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", stem[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::seed::Seed;

    #[test]
    fn what_does_not_print_is_no_name() {
        for name in ["pavan", "user@host", "Leo 2", "名前"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", " ", " a", "a\n", "\u{1b}[31m", "a\u{202e}b", &"x".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn the_offer_is_like_the_name_and_free() {
        let mut rng = Seed::from_number(1).rng();
        assert_eq!(free_name("pavan", |_| false, &mut rng), "pavan-2");
        assert_eq!(free_name("pavan-2", |name| name == "pavan-2", &mut rng), "pavan-3");
        assert_eq!(free_name("-7", |_| false, &mut rng), "-7-2");
        let long = "ü".repeat(32);
        let offer = free_name(&long, |_| false, &mut rng);
        assert!(is_name(&offer) && offer.starts_with('ü') && offer.ends_with("-2"));
    }

    #[test]
    fn ten_thousand_of_one_name_are_named_quickly() {
        let mut rng = Seed::from_number(2).rng();
        let mut taken = BTreeSet::from(["user@host".to_owned()]);
        for _ in 0..10_000 {
            let name = free_name("user@host", |name| taken.contains(name), &mut rng);
            assert!(is_name(&name) && taken.insert(name));
        }
    }
}
