//! What two peers have given each other in one swarm, and who of them chokes whom.
//!
//! Books only: [`super::choker`] judges by them.

use super::choker::{Probation, Standing};
use super::rate::RateMeter;
use crate::time::{Duration, Instant};

/// Over so much time it is averaged what somebody gives: long enough that chance evens out, short enough that a fall is seen in
/// two seconds.
const MERIT_TIME: Duration = Duration::from_millis(800);

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
    getting: RateMeter,
    giving: RateMeter,
    relaying: RateMeter,
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
            getting: RateMeter::with_time_constant(now, MERIT_TIME),
            giving: RateMeter::with_time_constant(now, MERIT_TIME),
            relaying: RateMeter::with_time_constant(now, MERIT_TIME),
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
        self.getting.rate(now)
    }

    /// What we give it, B/s.
    pub fn giving(&self, now: Instant) -> f64 {
        self.giving.rate(now)
    }

    /// What it passes on of what it had first from us, B/s.
    pub fn relaying(&self, now: Instant) -> f64 {
        self.relaying.rate(now)
    }

    /// Whether it took `much` B at least and neither gave us anything nor passed anything on.
    pub fn is_freeloading(&self, much: u64) -> bool {
        self.given >= much && self.got == 0 && self.relayed == 0
    }
}
