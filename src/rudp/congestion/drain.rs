//! When to let a narrow uplink run empty, to see how long the ways are without a queue (the idea is BBR's ProbeRTT).
//!
//! Measures nothing and holds nothing back itself: it is told what the shared window does, and asked.
//!
//! A connection that begins beside others takes their word for the queue. Where that is too long (jitter, or the queue has
//! just gone), so is this one's own word from then on, and the next one's. What seems to be queued narrows the window to two
//! datagrams, and as long as one of them is under way nobody sees the empty uplink that would show it.

use crate::time::{Duration, Instant};

/// What seems to be queued in a narrow window for so long is put to the test. BBR probes as often. Where the uplink didn't run empty, as there
/// is always something small to say, twice as long passes each time, up to sixteen times.
const AFTER: Duration = Duration::from_secs(10);
const MOST_DOUBLINGS: u32 = 4;
/// Twice the queue that the window aims at.
const LEAST_QUEUE: Duration = Duration::from_millis(120);
/// When it hasn't run empty after this time, all go on at the next ack. Who is silent holds them up for two probe time-outs more at
/// most, for then nothing of it counts as under way.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The state of one uplink.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drain {
    /// Since when there was always something under way, and a queue behind it.
    held_since: Option<Instant>,
    is_on: bool,
    /// How often in a row it was in vain.
    failures: u32,
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
            (self.held_since, self.is_on) = (None, false);
            return;
        }
        let held = now.since(*self.held_since.get_or_insert(now));
        let after = AFTER * (1 << self.failures.min(MOST_DOUBLINGS));
        self.is_on = held >= after;
        if held > after + MAX_WAIT {
            self.failures += 1;
            (self.held_since, self.is_on) = (None, false);
        }
    }

    /// A datagram leaves while nothing else is under way. True if that was what it waited for.
    pub fn on_sent_alone(&mut self) -> bool {
        if self.is_on {
            self.failures = 0;
        }
        self.held_since = None;
        std::mem::take(&mut self.is_on)
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
        assert_eq!(seen, [10_000, 10_500, 11_000, 11_500, 12_000], "and then not before 33 s");
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
