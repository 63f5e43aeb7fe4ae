//! How far the packets of a path overtake one another, and so how patient loss detection has to be.
//!
//! Measures only; what is lost is decided in [`super::loss`]. RFC 9002 §6.1 starts from 3 packets and 1/8 of a round trip
//! and allows more where a path reorders deeper (as RFC 8985 §6.2 does after each spurious retransmission). Here each
//! packet that is acked after later ones were, declared lost or not, says how much would have been enough. What wasn't
//! needed for a while is forgotten.

use super::rtt::RttEstimator;
use crate::time::{Duration, Instant};

/// A packet is lost once this many later ones have been acked, on a path that keeps the order (RFC 9002 §6.1.1).
const PACKET_THRESHOLD: u64 = 3;
/// But no path gets more. The time threshold decides then, an eighth of a round trip after the later ones at the least.
const MAX_PACKET_THRESHOLD: u64 = 1_000;
/// The time threshold is never more than this many round trips (RFC 8985 §6.2 bounds its window by one beyond the first).
const MAX_ROUND_TRIPS: u32 = 2;
/// What was measured is remembered for one to two periods of this many round trips (RFC 8985 §7.1 keeps its window for 16
/// recoveries),
const PERIOD_ROUND_TRIPS: u32 = 16;
/// and for at least this long: where little is sent, little is overtaken.
const MIN_PERIOD: Duration = Duration::from_secs(2);

/// The deepest reordering of late.
#[derive(Clone, Debug)]
pub struct Reordering {
    now: Extent,
    before: Extent,
    period_ends: Instant,
}

/// How far a packet was overtaken.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    /// By so many packets.
    packets: u64,
    /// It was acked so much later than a round trip after it was sent.
    time: Duration,
}

impl Extent {
    fn max(self, other: Extent) -> Extent {
        Extent { packets: self.packets.max(other.packets), time: self.time.max(other.time) }
    }
}

impl Reordering {
    /// Nothing was overtaken yet.
    pub fn new(now: Instant) -> Reordering {
        Reordering { now: Extent::default(), before: Extent::default(), period_ends: now }
    }

    /// An ack came. Forgets what is too old.
    pub fn on_ack(&mut self, now: Instant, rtt: &RttEstimator) {
        if now >= self.period_ends {
            self.before = std::mem::take(&mut self.now);
            self.period_ends = now + (rtt.smoothed() * PERIOD_ROUND_TRIPS).max(MIN_PERIOD);
        }
    }

    /// A packet sent at `sent` was acked only now, after one that had been sent `packets` later.
    pub fn on_overtaken(&mut self, now: Instant, packets: u64, sent: Instant, rtt: &RttEstimator) {
        let time = now.since(sent).saturating_sub(round_trip(rtt));
        self.now = self.now.max(Extent { packets, time });
    }

    /// A packet is lost once one has been acked that was sent this many later. A quarter more than was ever needed.
    pub fn packet_threshold(&self) -> u64 {
        let deepest = self.deepest().packets;
        (deepest + deepest / 4 + 1).clamp(PACKET_THRESHOLD, MAX_PACKET_THRESHOLD)
    }

    /// After how long without an ack a packet older than an acked one is lost. A quarter more than was ever needed beyond
    /// a round trip, and at least what RFC 9002 §6.1.2 gives.
    pub fn loss_delay(&self, rtt: &RttEstimator) -> Duration {
        let round_trip = round_trip(rtt);
        (round_trip + self.deepest().time * 5 / 4).min(round_trip * MAX_ROUND_TRIPS).max(rtt.loss_delay())
    }

    fn deepest(&self) -> Extent {
        self.now.max(self.before)
    }
}

fn round_trip(rtt: &RttEstimator) -> Duration {
    rtt.smoothed().max(rtt.latest())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn path() -> (Reordering, RttEstimator) {
        let mut rtt = RttEstimator::new();
        rtt.sample(at(0), at(0) + RTT, Duration::ZERO);
        let mut reordering = Reordering::new(at(0));
        reordering.on_ack(at(0), &rtt);
        (reordering, rtt)
    }

    /// Both thresholds.
    fn patience((reordering, rtt): &(Reordering, RttEstimator)) -> (u64, u64) {
        (reordering.packet_threshold(), reordering.loss_delay(rtt).as_millis() as u64)
    }

    #[test]
    fn patience_is_what_would_have_been_enough_and_a_quarter() {
        let mut path = path();
        assert_eq!(patience(&path), (3, 90));
        path.0.on_overtaken(at(85), 1, at(0), &path.1);
        assert_eq!(patience(&path), (3, 90));
        path.0.on_overtaken(at(120), 20, at(0), &path.1);
        assert_eq!(patience(&path), (26, 80 + 50));
        path.0.on_overtaken(at(121), 8, at(40), &path.1);
        assert_eq!(patience(&path), (26, 80 + 50));
    }

    #[test]
    fn patience_has_an_end() {
        let mut path = path();
        path.0.on_overtaken(at(5_000), 1 << 40, at(0), &path.1);
        assert_eq!(patience(&path), (1_000, 160));
    }

    #[test]
    fn what_is_not_needed_is_forgotten() {
        let mut path = path();
        path.0.on_overtaken(at(120), 20, at(0), &path.1);
        path.0.on_ack(at(2_500), &path.1);
        assert_eq!(patience(&path), (26, 130));
        path.0.on_overtaken(at(2_600), 8, at(2_500), &path.1);
        path.0.on_ack(at(5_000), &path.1);
        assert_eq!(patience(&path), (11, 105));
        path.0.on_ack(at(7_500), &path.1);
        assert_eq!(patience(&path), (3, 90));
    }
}
