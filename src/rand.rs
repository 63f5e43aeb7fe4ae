//! The only source of randomness: a seeded generator that every machine is handed.
//!
//! The real world seeds it from the operating system; the simulator seeds it from the scenario and forks one per
//! node, so that one seed is one history. ChaCha8 serves both: connection ids and packet numbers must not be guessed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A seeded random number generator.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn from_seed(seed: u64) -> Rng {
        Rng(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A generator that nobody can predict, seeded by the operating system.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: nothing safe could be built on that.
    pub fn from_os() -> Rng {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        Rng(ChaCha8Rng::from_seed(seed))
    }

    /// A generator of its own sequence, for a node or a part.
    pub fn fork(&mut self) -> Rng {
        Rng(ChaCha8Rng::from_seed(self.bytes()))
    }

    /// Uniform over all of `u32`.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform over all of `u64`.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills `buf` with random bytes.
    pub fn fill(&mut self, buf: &mut [u8]) {
        self.0.fill_bytes(buf);
    }

    /// Uniform over `0..n`, by multiplication and shift (Lemire 2019, without the rejection: the bias is below n/2⁶⁴).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "an empty range has no element");
        ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
    }

    /// Uniform index into something of `len` elements. Panics if `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Uniform over [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Puts `items` in a uniformly random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_sequence() {
        let mut a = Rng::from_seed(7);
        let mut b = Rng::from_seed(7);
        assert_eq!(a.u64(), b.u64());
        assert_eq!(a.fork().u64(), b.fork().u64());
        assert_ne!(a.u64(), Rng::from_seed(8).u64());
    }

    #[test]
    fn ranges_are_kept_and_reached() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [0u32; 5];
        for _ in 0..5_000 {
            seen[rng.index(5)] += 1;
            assert!((0.0..1.0).contains(&rng.unit()));
        }
        assert!(seen.iter().all(|&n| (850..1_150).contains(&n)), "{seen:?}");
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Rng::from_seed(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
