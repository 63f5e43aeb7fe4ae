//! What can happen to a datagram between two links, and how often.
//!
//! Decisions only: a [`Fate`] says what happens, [`World`](super::World) lets it happen. Partitions, clogs and crashes
//! are events of a scenario, not chance, and have no place here.

use std::ops::RangeInclusive;

use crate::rand::Rng;
use crate::rudp::packet::{HEADER_LEN, seal};
use crate::time::Duration;

/// Length of the crc, the last field of the header, B.
const CRC_LEN: usize = 4;

/// All parameters of the network's misbehaviour. Probabilities are per datagram, within 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Probability that a datagram vanishes. One that vanishes suffers nothing else.
    pub loss: f64,
    /// Probability that an intact copy of a datagram arrives too, after a delay of its own.
    pub duplication: f64,
    /// Probability that one byte of a datagram has some of its bits flipped.
    pub corruption: f64,
    /// Share of the corrupted whose crc32 is computed anew, so that only the layers above can notice.
    ///
    /// Applies to the header of [`rudp::packet`](crate::rudp::packet); the flipped bits lie outside its crc field.
    pub corruption_fixes_crc: f64,
    /// Probability that a datagram is held back by `delay`, and so overtaken.
    pub reordering: f64,
    /// What a datagram that is held back, or a copy, takes longer than the others: uniform within this range.
    pub delay: RangeInclusive<Duration>,
}

impl Faults {
    /// A network that does nothing wrong.
    pub const fn none() -> Faults {
        Faults {
            loss: 0.0,
            duplication: 0.0,
            corruption: 0.0,
            corruption_fixes_crc: 0.5,
            reordering: 0.0,
            delay: Duration::from_millis(1)..=Duration::from_millis(100),
        }
    }

    /// A bad network: loss of up to 30 %, duplication 10 %, reordering 20 % by up to 0.5 s, corruption 2 %.
    pub fn random(rng: &mut Rng) -> Faults {
        Faults {
            loss: 0.30 * rng.unit(),
            duplication: 0.10 * rng.unit(),
            corruption: 0.02 * rng.unit(),
            corruption_fixes_crc: 0.5,
            reordering: 0.20 * rng.unit(),
            delay: Duration::ZERO..=Duration::from_millis(1 + rng.below(500)),
        }
    }

    /// Decides over one datagram of `len` B. Draws nothing for a fault whose probability is 0.
    pub fn fate(&self, rng: &mut Rng, len: usize) -> Fate {
        if happens(rng, self.loss) {
            return Fate::Lost;
        }
        Fate::Arrives {
            held_back: happens(rng, self.reordering).then(|| self.draw_delay(rng)),
            corruption: (len > 0 && happens(rng, self.corruption)).then(|| self.draw_corruption(rng, len)),
            copy: happens(rng, self.duplication).then(|| self.draw_delay(rng)),
        }
    }

    fn draw_delay(&self, rng: &mut Rng) -> Duration {
        let spread = self.delay.end().saturating_sub(*self.delay.start());
        *self.delay.start() + up_to(rng, spread)
    }

    fn draw_corruption(&self, rng: &mut Rng, len: usize) -> Corruption {
        let fixes_crc = len >= HEADER_LEN && happens(rng, self.corruption_fixes_crc);
        let at = if fixes_crc {
            // A flip within the crc would be undone by the new crc.
            let at = rng.index(len - CRC_LEN);
            if at < HEADER_LEN - CRC_LEN { at } else { at + CRC_LEN }
        } else {
            rng.index(len)
        };
        Corruption { at, mask: 1 + rng.below(255) as u8, fixes_crc }
    }
}

impl Default for Faults {
    fn default() -> Faults {
        Faults::none()
    }
}

/// What happens to one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It vanishes.
    Lost,
    /// It arrives, perhaps not as it was sent.
    Arrives {
        /// How much later than the others it arrives, and without keeping their order; `None` if it keeps it.
        held_back: Option<Duration>,
        /// What is changed in it.
        corruption: Option<Corruption>,
        /// How much later than undisturbed datagrams an intact copy arrives too; `None` if there is none.
        copy: Option<Duration>,
    },
}

/// Flipped bits within one byte of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Which byte.
    pub at: usize,
    /// Which of its bits; never 0.
    pub mask: u8,
    /// Whether the crc32 is made to fit again.
    pub fixes_crc: bool,
}

impl Corruption {
    /// Flips the bits in `datagram`. Panics if it is shorter than the one that the fate was drawn for.
    pub fn apply(self, datagram: &mut [u8]) {
        datagram[self.at] ^= self.mask;
        if self.fixes_crc {
            seal(datagram);
        }
    }
}

/// Uniform over 0..=`longest`; draws nothing if that is zero.
pub(super) fn up_to(rng: &mut Rng, longest: Duration) -> Duration {
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX - 1);
    if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(rng.below(nanos + 1)) }
}

fn happens(rng: &mut Rng, probability: f64) -> bool {
    probability > 0.0 && rng.chance(probability)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rudp::packet::{ConnectionId, DecodeError, Header, Kind, begin, open};

    const DRAWS: u32 = 20_000;

    /// How often `is` holds among the fates of many datagrams of 100 B.
    fn frequency(faults: &Faults, is: impl Fn(Fate) -> bool) -> f64 {
        let mut rng = Rng::from_seed(11);
        let hits = (0..DRAWS).filter(|_| is(faults.fate(&mut rng, 100))).count();
        hits as f64 / f64::from(DRAWS)
    }

    #[test]
    fn each_fault_is_as_frequent_as_it_is_said_to_be() {
        let faults = Faults { loss: 0.2, ..Faults::none() };
        assert!((frequency(&faults, |fate| fate == Fate::Lost) - 0.2).abs() < 0.01);
        let faults = Faults { duplication: 0.1, reordering: 0.3, corruption: 0.05, ..Faults::none() };
        let share = |is: fn(Option<Duration>, Option<Corruption>, Option<Duration>) -> bool| {
            frequency(&faults, |fate| match fate {
                Fate::Lost => panic!("nothing is lost"),
                Fate::Arrives { held_back, corruption, copy } => is(held_back, corruption, copy),
            })
        };
        assert!((share(|_, _, copy| copy.is_some()) - 0.1).abs() < 0.01);
        assert!((share(|held_back, _, _| held_back.is_some()) - 0.3).abs() < 0.01);
        assert!((share(|_, corruption, _| corruption.is_some()) - 0.05).abs() < 0.005);
        let fixed = share(|_, corruption, _| corruption.is_some_and(|corruption| corruption.fixes_crc));
        assert!((fixed - 0.025).abs() < 0.005, "{fixed}");
    }

    #[test]
    fn without_faults_all_arrive_untouched_and_nothing_is_drawn() {
        let mut rng = Rng::from_seed(3);
        let untouched = Fate::Arrives { held_back: None, corruption: None, copy: None };
        for len in [0, 1, 1_400] {
            assert_eq!(Faults::none().fate(&mut rng, len), untouched);
        }
        assert_eq!(rng.u64(), Rng::from_seed(3).u64());
    }

    #[test]
    fn delays_fill_their_range() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(20));
        let faults = Faults { reordering: 1.0, delay: min..=max, ..Faults::none() };
        let mut rng = Rng::from_seed(5);
        let delays: Vec<Duration> = (0..1_000)
            .map(|_| match faults.fate(&mut rng, 1) {
                Fate::Arrives { held_back: Some(delay), .. } => delay,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(delays.iter().all(|delay| (min..=max).contains(delay)));
        assert!(delays.iter().any(|&delay| delay < min + Duration::from_millis(1)));
        assert!(delays.iter().any(|&delay| delay > max - Duration::from_millis(1)));
    }

    #[test]
    fn a_fixed_crc_hides_the_change_and_an_unfixed_one_shows_it() {
        let mut good = Vec::new();
        begin(&mut good, Header { kind: Kind::Data, connection: ConnectionId(1), number: 2 });
        good.extend_from_slice(&[7; 13]);
        seal(&mut good);
        for (share, seed) in (0..400).flat_map(|seed| [(0.0, seed), (1.0, seed)]) {
            let faults = Faults { corruption: 1.0, corruption_fixes_crc: share, ..Faults::none() };
            let Fate::Arrives { corruption: Some(corruption), .. } =
                faults.fate(&mut Rng::from_seed(seed), good.len())
            else {
                panic!("every datagram is corrupted")
            };
            let mut bad = good.clone();
            corruption.apply(&mut bad);
            if share == 0.0 {
                assert!(open(&bad).is_err());
            } else {
                assert_ne!(open(&bad), open(&good));
                assert_ne!(open(&bad), Err(DecodeError::Crc));
            }
        }
    }

    #[test]
    fn datagrams_too_short_for_a_header_are_corrupted_all_the_same() {
        let faults = Faults { corruption: 1.0, corruption_fixes_crc: 1.0, ..Faults::none() };
        let mut rng = Rng::from_seed(1);
        for len in 1..HEADER_LEN {
            let Fate::Arrives { corruption: Some(corruption), .. } = faults.fate(&mut rng, len) else {
                panic!("every datagram is corrupted")
            };
            let mut datagram = vec![0; len];
            corruption.apply(&mut datagram);
            assert!(datagram.iter().any(|&byte| byte != 0));
        }
    }

    #[test]
    fn random_faults_keep_their_bounds_and_differ() {
        let mut rng = Rng::from_seed(9);
        let drawn: Vec<Faults> = (0..200).map(|_| Faults::random(&mut rng)).collect();
        for faults in &drawn {
            assert!(faults.loss <= 0.3 && faults.duplication <= 0.1, "{faults:?}");
            assert!(faults.reordering <= 0.2 && faults.corruption <= 0.02, "{faults:?}");
        }
        assert!(
            drawn.iter().any(|faults| faults.loss > 0.25) && drawn.iter().any(|faults| faults.loss < 0.05)
        );
    }
}
