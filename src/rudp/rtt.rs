//! The round-trip time of a path, and how long to wait for an answer (RFC 9002 §5 and §6.2).

use crate::time::{Duration, Instant};

/// Before the first sample (RFC 9002 §6.2.2).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);
/// The finest timer that a peer is expected to have (RFC 9002 §6.1.2).
pub const GRANULARITY: Duration = Duration::from_millis(1);
/// The longest wait between two probes, and between two tries of anything (RFC 6298 §2.5 asks for at least 60 s).
pub const MAX_PTO: Duration = Duration::from_secs(60);

/// How long an ack is held back: for a quarter of the round trip, but within these limits. RFC 9000 §18.2 proposes the lower one; where
/// several senders share a slow link, each has a datagram on it once in a while, and then each datagram would cost an ack.
pub const MIN_ACK_DELAY: Duration = Duration::from_millis(25);
const MAX_ACK_DELAY: Duration = Duration::from_millis(40);

impl Default for RttEstimator {
    fn default() -> RttEstimator {
        RttEstimator::new()
    }
}

/// Smoothed estimates from samples that are never ambiguous, since no packet number is used twice.
#[derive(Clone, Copy, Debug)]
pub struct RttEstimator {
    latest: Duration,
    smoothed: Option<Duration>,
    variation: Duration,
    min: Duration,
}

impl RttEstimator {
    /// An estimator without a sample.
    pub fn new() -> RttEstimator {
        RttEstimator { latest: INITIAL_RTT, smoothed: None, variation: INITIAL_RTT / 2, min: Duration::MAX }
    }

    /// Takes in the time from `sent` to `acked`, of which the other side held the ack back for `ack_delay`
    /// (RFC 9002 §5.3).
    pub fn sample(&mut self, sent: Instant, acked: Instant, ack_delay: Duration) {
        let rtt = acked.since(sent);
        self.latest = rtt;
        self.min = self.min.min(rtt);
        // The delay is the other side's word: never let it push the sample below what has been seen.
        let adjusted = if rtt >= self.min + ack_delay { rtt - ack_delay } else { rtt };
        match self.smoothed {
            None => {
                self.smoothed = Some(adjusted);
                self.variation = adjusted / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(adjusted)) / 4;
                self.smoothed = Some((smoothed * 7 + adjusted) / 8);
            }
        }
    }

    /// The smoothed RTT, or [`INITIAL_RTT`] before the first sample.
    pub fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(INITIAL_RTT)
    }

    /// The newest sample as it was measured, or [`INITIAL_RTT`] before the first.
    pub fn latest(&self) -> Duration {
        self.latest
    }

    /// The smallest sample, if there is one.
    pub fn min(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.min)
    }

    /// After how long without an ack a packet older than an acked one counts as lost (RFC 9002 §6.1.2).
    pub fn loss_delay(&self) -> Duration {
        (self.smoothed().max(self.latest) * 9 / 8).max(GRANULARITY)
    }

    /// The path has become longer: the smallest of all round trips begins anew.
    pub fn forget_min(&mut self) {
        self.min = self.latest;
    }

    /// How long either side holds an ack back at most. Each goes by its own measure of the same round trip.
    pub fn max_ack_delay(&self) -> Duration {
        (self.smoothed() / 4).clamp(MIN_ACK_DELAY, MAX_ACK_DELAY)
    }

    /// The probe time-out before any back-off (RFC 9002 §6.2.1).
    pub fn pto(&self) -> Duration {
        (self.smoothed() + (self.variation * 4).max(GRANULARITY) + self.max_ack_delay()).min(MAX_PTO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_sample_counts_whole_and_later_ones_are_smoothed() {
        let mut rtt = RttEstimator::new();
        let start = Instant::ORIGIN;
        rtt.sample(start, start + ms(100), ms(0));
        assert_eq!((rtt.smoothed(), rtt.variation), (ms(100), ms(50)));
        rtt.sample(start, start + ms(200), ms(20));
        assert_eq!(rtt.smoothed(), (ms(700) + ms(180)) / 8);
        assert_eq!(rtt.variation, (ms(150) + ms(80)) / 4);
        assert_eq!(rtt.min(), Some(ms(100)));
    }

    #[test]
    fn an_exaggerated_ack_delay_is_not_believed() {
        let mut rtt = RttEstimator::new();
        let start = Instant::ORIGIN;
        rtt.sample(start, start + ms(100), ms(0));
        rtt.sample(start, start + ms(110), ms(90));
        assert!(rtt.smoothed() > ms(100));
    }

    #[test]
    fn the_probe_time_out_has_a_floor_and_a_cap() {
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.pto(), INITIAL_RTT + INITIAL_RTT / 2 * 4 + ms(40));
        for _ in 0..100 {
            rtt.sample(Instant::ORIGIN, Instant::ORIGIN + Duration::from_micros(50), ms(0));
        }
        assert!(rtt.pto() >= GRANULARITY + ms(25));
        for _ in 0..100 {
            rtt.sample(Instant::ORIGIN, Instant::ORIGIN + Duration::from_secs(90), ms(0));
        }
        assert_eq!(rtt.pto(), MAX_PTO);
    }
}
