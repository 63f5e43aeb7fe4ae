//! How fast a path delivers, from what is acked.
//!
//! A plain measurement: follows an increase at once and a decrease slowly. It sizes datagrams and is shown to people; the
//! windows don't depend on it.

use crate::time::{Duration, Instant};

/// The shortest time over which a rate is taken: several acks, whatever the round trip.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// A longer one has seen a pause, and says nothing of the path.
const MAX_INTERVAL: Duration = Duration::from_secs(2);

/// A running measurement.
#[derive(Clone, Debug)]
pub struct DeliveryRate {
    rate: f64,
    since: Instant,
    acked: u64,
}

impl DeliveryRate {
    /// Nothing delivered yet.
    pub fn new(now: Instant) -> DeliveryRate {
        DeliveryRate { rate: 0.0, since: now, acked: 0 }
    }

    /// `bytes` B were acked on a path with this round trip.
    pub fn on_acked(&mut self, now: Instant, bytes: u64, srtt: Duration) {
        self.acked += bytes;
        let elapsed = now.since(self.since);
        if elapsed < srtt.max(MIN_INTERVAL) {
            return;
        }
        if elapsed <= MAX_INTERVAL.max(3 * srtt) {
            let sample = self.acked as f64 / elapsed.as_secs_f64();
            self.rate = if sample > self.rate { sample } else { (7.0 * self.rate + sample) / 8.0 };
        }
        self.since = now;
        self.acked = 0;
    }

    /// The rate, B/s; 0 if nothing is known.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_at_once_and_falls_slowly() {
        let srtt = Duration::from_millis(20);
        let mut now = Instant::ORIGIN;
        let mut delivery = DeliveryRate::new(now);
        let mut run = |delivery: &mut DeliveryRate, bytes: u64, steps: u32| {
            for _ in 0..steps {
                now += Duration::from_millis(5);
                delivery.on_acked(now, bytes, srtt);
            }
            delivery.rate()
        };
        assert_eq!(run(&mut delivery, 5_000, 4), 1e6);
        assert_eq!(run(&mut delivery, 10_000, 4), 2e6);
        assert!(run(&mut delivery, 500, 4) > 1.7e6);
        assert!(run(&mut delivery, 500, 200) < 0.2e6);
    }
}
