//! How fast something flows, from the amounts seen: an exponential average.

use crate::time::{Duration, Instant};

/// The time constant unless another is given: what is older than a few of these hardly counts.
const TAU: Duration = Duration::from_secs(1);

/// A meter younger than this part of the time constant is not scaled up further: one packet is no rate.
const LEAST_WEIGHT: f64 = 0.2;

/// A rate in B/s that follows changes within one or two time constants and decays in silence.
#[derive(Clone, Debug)]
pub struct RateMeter {
    tau: Duration,
    /// Average as of `updated`, B/s.
    average: f64,
    updated: Instant,
    /// How much of a full time constant has been seen: the average of a young meter is scaled up by it.
    weight: f64,
}

impl RateMeter {
    /// Nothing has flowed; counting begins at `now`. The time constant is a second.
    pub fn new(now: Instant) -> RateMeter {
        RateMeter::with_time_constant(now, TAU)
    }

    /// As [`new`](RateMeter::new), with another time constant.
    pub fn with_time_constant(now: Instant, tau: Duration) -> RateMeter {
        RateMeter { tau, average: 0.0, updated: now, weight: 0.0 }
    }

    /// `bytes` B came through.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.decay(now);
        self.average += bytes as f64 / self.tau.as_secs_f64();
    }

    /// The rate now, B/s; 0 if nothing has been seen.
    pub fn rate(&self, now: Instant) -> f64 {
        let kept = self.kept(now);
        self.average * kept / (1.0 - (1.0 - self.weight) * kept).max(LEAST_WEIGHT)
    }

    fn decay(&mut self, now: Instant) {
        let kept = self.kept(now);
        self.average *= kept;
        self.weight = 1.0 - (1.0 - self.weight) * kept;
        self.updated = now;
    }

    /// What part of an average as of `updated` still counts.
    fn kept(&self, now: Instant) -> f64 {
        let age = now.since(self.updated);
        if age.is_zero() { 1.0 } else { (-age.as_secs_f64() / self.tau.as_secs_f64()).exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_steady_rate_early_and_forgets_it_in_silence() {
        let mut now = Instant::ORIGIN;
        let mut meter = RateMeter::new(now);
        assert_eq!(meter.rate(now), 0.0);
        for step in 1..=100 {
            now += Duration::from_millis(50);
            meter.add(now, 5_000);
            if step >= 10 {
                assert!((90_000.0..115_000.0).contains(&meter.rate(now)), "{}", meter.rate(now));
            }
        }
        assert!(meter.rate(now + Duration::from_secs(3)) < 6_000.0);
    }
}
