//! Points in time as plain numbers, and the one place that reads the machine's clock.
//!
//! An [`Instant`] counts nanoseconds since an origin that its [`Clock`] (or the simulator) chose. Nanoseconds, because
//! on a 1 GB/s link a datagram of 1,400 B lasts 1.4 µs and whole microseconds would bend its rate. Durations are
//! `std::time::Duration`. No wall clock here: a jump of the system's date must not touch a time-out.

use std::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

/// A point in time: nanoseconds since the origin of its clock.
///
/// Arithmetic saturates at both ends, so that a far deadline is merely far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin of its clock.
    pub const ORIGIN: Instant = Instant(0);

    /// The instant `nanos` ns after the origin.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Microseconds since the origin, rounded down.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Seconds since the origin, for people and for tables.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The time from `earlier` to this, or zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, rhs: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, rhs: Duration) -> Instant {
        Instant(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl std::fmt::Debug for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}

/// The machine's monotonic clock, counted from its creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock whose origin is now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn new() -> Clock {
        Clock { origin: std::time::Instant::now() }
    }

    /// The present.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(&self) -> Instant {
        Instant::ORIGIN + std::time::Instant::now().duration_since(self.origin)
    }

    /// Where `instant` lies on the standard library's scale, for condition variables.
    pub fn to_std(&self, instant: Instant) -> std::time::Instant {
        self.origin + instant.since(Instant::ORIGIN)
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let early = Instant::from_nanos(5);
        assert_eq!(early - Duration::from_secs(1), Instant::ORIGIN);
        assert_eq!(early + Duration::MAX, Instant::from_nanos(u64::MAX));
        assert_eq!(early.since(early + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn the_clock_goes_forward() {
        let clock = Clock::new();
        let (first, second) = (clock.now(), clock.now());
        assert!(first <= second);
    }
}
