//! When to let a narrow uplink run empty, to see how long the ways are without a queue (the idea is BBR's ProbeRTT).
//!
//! Measures nothing and holds nothing back itself: it is told what the shared window does, and asked.
//!
//! A connection that begins beside others takes their word for the queue. Where that is too long (jitter, or the queue has
//! just gone), so is this one's own word from then on, and the next one's. What seems to be queued narrows the window to two
//! datagrams, and as long as one of them is under way nobody sees the empty uplink that would show it.

use crate::time::{Duration, Instant};

/// What seems to be queued in a narrow window for so long is put to the test. So often BBR makes its own.
const AFTER: Duration = Duration::from_secs(10);
/// Twice the queue that the window aims at.
const LEAST_QUEUE: Duration = Duration::from_millis(120);
/// With somebody silent it doesn't run empty: the others go on then.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The state of one uplink.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drain {
    /// Since when there was always something under way, and a queue behind it.
    held_since: Option<Instant>,
    is_on: bool,
}

impl Drain {
    /// Whether nothing may go before all that is under way has settled.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Takes in an ack: whether the window is narrow, shared by several, and the `queue` that all of them see.
    pub fn on_ack(&mut self, now: Instant, is_narrow: bool, is_shared: bool, queue: Duration) {
        // Who is alone finds out without idling, by the gaps between its own datagrams.
        if !is_narrow || !is_shared || queue < LEAST_QUEUE {
            *self = Drain::default();
            return;
        }
        let held = now.since(*self.held_since.get_or_insert(now));
        self.is_on = held >= AFTER;
        if held > AFTER + MAX_WAIT {
            *self = Drain { held_since: Some(now), is_on: false };
        }
    }

    /// A datagram leaves while nothing else is under way. True if that was what it waited for.
    pub fn on_sent_alone(&mut self) -> bool {
        std::mem::take(self).is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    const LONG: Duration = Duration::from_millis(300);

    /// When it was on, ms, with an ack every half second for 30 s.
    fn times(is_narrow: bool, is_shared: bool, queue: impl Fn(u64) -> Duration) -> Vec<u64> {
        let mut drain = Drain::default();
        let mut is_on = |millis| {
            drain.on_ack(at(millis), is_narrow, is_shared, queue(millis));
            drain.is_on()
        };
        (0..30_000).step_by(500).filter(|&millis| is_on(millis)).collect()
    }

    #[test]
    fn a_queue_that_stays_in_a_narrow_window_is_put_to_the_test() {
        let seen = times(true, true, |_| LONG);
        assert_eq!(seen, [10_000, 10_500, 11_000, 11_500, 12_000, 22_500, 23_000, 23_500, 24_000, 24_500]);
        assert_eq!(times(false, true, |_| LONG), [], "there is enough under way");
        assert_eq!(times(true, false, |_| LONG), [], "there is another way to find out");
        assert_eq!(times(true, true, |_| LONG / 3), [], "that much is aimed at");
        assert_eq!(times(true, true, |millis| if millis % 9_000 == 0 { LONG / 3 } else { LONG }), []);
    }

    #[test]
    fn once_it_has_run_empty_it_goes_on() {
        let mut drain = Drain::default();
        drain.on_ack(at(0), true, true, LONG);
        assert!(!drain.on_sent_alone(), "nobody waited for that");
        for millis in [100, 5_000, 10_100] {
            drain.on_ack(at(millis), true, true, LONG);
        }
        assert!(drain.is_on());
        assert!(drain.on_sent_alone());
        assert!(!drain.is_on() && !drain.on_sent_alone());
        drain.on_ack(at(10_200), true, true, LONG);
        assert!(!drain.is_on());
    }
}
