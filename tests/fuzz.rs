//! The fuzz targets of `fuzz/targets.rs` on the stable toolchain: each plays its corpus, then mutants of it for a moment.
//! `POTLUCK_FUZZ_SECONDS` asks for longer. Random by a seed that is the same in every run, so that CI does not fail at random;
//! with a time asked for, by one of its own, which is printed with what fails.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what is missing fails the test")]

#[path = "../core/tests/support/script.rs"]
mod script;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs};

use potluck_core::seed::Seed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

/// Bytes of the longest mutant.
const BYTES_MAX: usize = 4096;

struct Mutator {
    rng: ChaCha8Rng,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound.max(1) as u64) as usize
    }

    /// An input of the corpus, altered in a few places as decoders are most often wrong about: lengths, ends, joints.
    fn mutant(&mut self) -> Vec<u8> {
        let n = self.below(self.corpus.len());
        let mut bytes = self.corpus[n].clone();
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.rng.next_u32() as u8,
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.rng.next_u32() as u8),
                4 => {
                    let number = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, u32::MAX][self.below(8)];
                    let size = [1, 2, 4][self.below(3)];
                    for (byte, with) in bytes.iter_mut().skip(at).zip(&number.to_le_bytes()[..size]) {
                        *byte = *with;
                    }
                }
                5 => {
                    let other = self.below(self.corpus.len());
                    let from = self.below(self.corpus[other].len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&self.corpus[other][from..]);
                }
                6 => {
                    let end = (at + self.below(64)).min(bytes.len());
                    let span = bytes[at..end].to_vec();
                    bytes.splice(at..at, span);
                }
                _ => bytes.extend((0..self.below(64)).map(|_| self.rng.next_u32() as u8).collect::<Vec<_>>()),
            }
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }
}

fn play(name: &str, target: fn(&[u8]), bytes: &[u8], seed: u64) {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        let kept = env::temp_dir().join(format!("potluck-fuzz-{name}"));
        fs::write(&kept, bytes).unwrap();
        panic!("{name} fails (seed {seed}; kept at {}): {}", kept.display(), hex::encode(bytes));
    }
}

fn fuzz(name: &str) {
    let target = targets::TARGETS.iter().find(|(known, _)| *known == name).expect("a target").1;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(!corpus.is_empty());
    corpus.iter().for_each(|bytes| play(name, target, bytes, 0));
    let asked = env::var("POTLUCK_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let seed = match asked {
        None => 1,
        Some(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(),
    };
    let mut mutator = Mutator { rng: Seed::from_number(seed).fork(name).rng(), corpus };
    let until = Instant::now() + asked.map_or(Duration::from_millis(500), Duration::from_secs);
    while Instant::now() < until {
        let mutant = mutator.mutant();
        play(name, target, &mutant, seed);
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*

        #[test]
        fn every_target_is_played() {
            let played = [$(stringify!($name)),*];
            assert!(targets::TARGETS.iter().map(|(name, _)| *name).eq(played));
        }
    };
}

tests! {
    frame handshake peer_message tracker_request tracker_message piece_table bitfield listing sidecar ticket name scenario
    peer_machine tracker_machine
}
