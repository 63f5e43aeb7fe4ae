//! What two peers have given each other in one swarm, and who of them chokes whom.
//!
//! Books only: [`super::choker`] judges by them.

use super::choker::{Probation, Standing};
use super::rate::RateMeter;
use crate::time::{Duration, Instant};

/// Over so much time it is averaged what somebody gives: long enough that chance evens out, short enough that a fall is seen in
/// two seconds.
const MERIT_TIME: Duration = Duration::from_millis(800);
/// Who has no place has to give as much over this time, too: else whoever gives by fits and starts, as slow ones do, would win a place
/// again and again, and lose it a moment later.
const LASTING_TIME: Duration = Duration::from_secs(2);

/// The books of one peer, as this node keeps them.
#[derive(Debug)]
pub struct Dealings {
    /// Whether it has a place at our uplink, and since when.
    pub standing: Standing,
    /// See `standing`.
    pub since: Instant,
    /// When it was last given a place on trial.
    pub tried: Option<Instant>,
    /// Since it last lost a place that it had by what it gave.
    pub probation: Probation,
    /// Whether it says that it chokes us, and since when it is as it is.
    pub chokes_us: bool,
    /// See `chokes_us`.
    pub chokes_us_since: Instant,
    /// Content that it gave us, B.
    pub got: u64,
    /// Content that we gave it, B.
    pub given: u64,
    /// Of what we gave it first, what others have got since, B.
    pub relayed: u64,
    getting: Merit,
    giving: RateMeter,
    relaying: Merit,
}

impl Dealings {
    /// With a stranger.
    pub fn new(now: Instant) -> Dealings {
        Dealings {
            standing: Standing::default(),
            since: now,
            tried: None,
            probation: Probation::default(),
            chokes_us: false,
            chokes_us_since: now,
            got: 0,
            given: 0,
            relayed: 0,
            getting: Merit::new(now),
            giving: RateMeter::with_time_constant(now, MERIT_TIME),
            relaying: Merit::new(now),
        }
    }

    /// It gave us `bytes` B.
    pub fn on_got(&mut self, now: Instant, bytes: u64) {
        self.got += bytes;
        self.getting.add(now, bytes);
    }

    /// We gave it `bytes` B.
    pub fn on_given(&mut self, now: Instant, bytes: u64) {
        self.given += bytes;
        self.giving.add(now, bytes);
    }

    /// `bytes` B that it got first from us are spread.
    pub fn on_relayed(&mut self, now: Instant, bytes: u64) {
        self.relayed += bytes;
        self.relaying.add(now, bytes);
    }

    /// What it gives us, B/s.
    pub fn getting(&self, now: Instant) -> f64 {
        self.getting.lately.rate(now)
    }

    /// The same as far as it counts for a place, B/s.
    pub fn merit(&self, now: Instant) -> f64 {
        self.getting.of(now, self.standing)
    }

    /// What we give it, B/s.
    pub fn giving(&self, now: Instant) -> f64 {
        self.giving.rate(now)
    }

    /// What it passes on of what it had first from us, as far as it counts for a place, B/s.
    pub fn merit_of_relaying(&self, now: Instant) -> f64 {
        self.relaying.of(now, self.standing)
    }

    /// Whether it took `much` B at least and neither gave us anything nor passed anything on.
    pub fn is_freeloading(&self, much: u64) -> bool {
        self.given >= much && self.got == 0 && self.relayed == 0
    }
}

/// What somebody gives, over a shorter and a longer time.
#[derive(Debug)]
struct Merit {
    lately: RateMeter,
    lastingly: RateMeter,
}

impl Merit {
    fn new(now: Instant) -> Merit {
        let meter = |time| RateMeter::with_time_constant(now, time);
        Merit { lately: meter(MERIT_TIME), lastingly: meter(LASTING_TIME) }
    }

    fn add(&mut self, now: Instant, bytes: u64) {
        self.lately.add(now, bytes);
        self.lastingly.add(now, bytes);
    }

    /// What counts of it, B/s: quick to fall for who has a place, slow to rise for who has none.
    fn of(&self, now: Instant, standing: Standing) -> f64 {
        let lately = self.lately.rate(now);
        match standing {
            Standing::Merit => lately,
            _ => lately.min(self.lastingly.rate(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_wins_no_place_and_a_pause_costs_one() {
        let at = |millis| Instant::ORIGIN + Duration::from_millis(millis);
        let mut dealings = Dealings::new(at(0));
        let merit = |dealings: &mut Dealings, standing, millis| {
            dealings.standing = standing;
            dealings.merit(at(millis)) / 1e3
        };
        // 10 kB/s, and now and then 40 kB at once.
        (1..200).for_each(|n| dealings.on_got(at(100 * n), 1_000));
        dealings.on_got(at(20_000), 40_000);
        let burst =
            [Standing::Merit, Standing::Outdone].map(|standing| merit(&mut dealings, standing, 20_000));
        assert!(burst[0] > 55.0 && burst[1] < 35.0, "{burst:.0?}");
        let pause =
            [Standing::Merit, Standing::Outdone].map(|standing| merit(&mut dealings, standing, 23_000));
        assert!(pause[0] < 2.0 && pause[1] < 2.0, "{pause:.0?}");
    }
}
