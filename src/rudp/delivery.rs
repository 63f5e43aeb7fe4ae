//! How fast a path delivers, from what is acked.
//!
//! A plain measurement: follows an increase at once and a decrease slowly. It sizes datagrams and is shown to people; the
//! windows don't depend on it.

use crate::time::{Duration, Instant};

/// The shortest time over which a rate is taken: several acks, whatever the round trip.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// A longer one has seen a pause, and says nothing of the path.
const MAX_INTERVAL: Duration = Duration::from_secs(2);

/// The best rate of late is that of this long, and of up to as long before.
const LATE: Duration = Duration::from_secs(15);

/// A running measurement.
#[derive(Clone, Debug)]
pub struct DeliveryRate {
    rate: f64,
    since: Instant,
    acked: u64,
    /// The best rates since this moment, and in the time before.
    best: (Instant, [f64; 2]),
}

impl DeliveryRate {
    /// Nothing delivered yet.
    pub fn new(now: Instant) -> DeliveryRate {
        DeliveryRate { rate: 0.0, since: now, acked: 0, best: (now, [0.0; 2]) }
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
            let (began, [best, _]) = self.best;
            if now.since(began) > LATE {
                self.best = (now, [sample, best]);
            } else {
                self.best.1[0] = best.max(sample);
            }
            self.rate = if sample > self.rate { sample } else { (7.0 * self.rate + sample) / 8.0 };
        }
        self.since = now;
        self.acked = 0;
    }

    /// The best rate of the last 15 to 30 s, B/s: what the path takes, though less may be sent now. 0 if nothing is known.
    pub fn best(&self) -> f64 {
        let (_, [best, before]) = self.best;
        best.max(before)
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
        assert_eq!(delivery.best(), 2e6);
        run(&mut delivery, 500, 6_400);
        assert!(delivery.best() < 0.2e6, "that is half a minute ago");
    }
}
