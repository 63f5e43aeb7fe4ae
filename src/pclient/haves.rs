//! When to tell the peers which pieces have come: often enough that they can be asked for, seldom enough to cost little.
//!
//! The schedule alone; what is told to whom is kept with each peer.

use crate::time::{Duration, Instant};

/// Announcements are gathered for this long, or for less while the uplink has nothing else to do.
const INTERVAL: Duration = Duration::from_millis(100);
const INTERVAL_IDLE: Duration = Duration::from_millis(20);
/// And for longer where they would take more than their share of what this node sends.
const INTERVAL_MAX: Duration = Duration::from_secs(1);
const SHARE: f64 = 0.02;
/// What an announcement costs on the wire, B.
const COST: f64 = 45.0;
/// Sources want to know what has spread, but not that soon.
const INTERVAL_SOURCE: Duration = Duration::from_millis(500);

/// What a flush is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flush {
    /// Whether sources are told too, this time.
    pub(super) to_sources: bool,
}

/// When announcements go out.
#[derive(Clone, Debug)]
pub(super) struct HaveSchedule {
    due: Option<Instant>,
    last: Instant,
    last_to_sources: Instant,
}

impl HaveSchedule {
    /// Nothing to tell yet.
    pub(super) fn new(now: Instant) -> HaveSchedule {
        HaveSchedule { due: None, last: now, last_to_sources: now }
    }

    /// Something is to be told to `peers` peers, by a node that sends content at `rate` B/s; `is_busy` says whether
    /// anybody waits for content.
    pub(super) fn schedule(&mut self, peers: usize, rate: f64, is_busy: bool) {
        let wait = if is_busy {
            let affordable =
                Duration::from_secs_f64((COST * peers as f64 / (SHARE * rate.max(1.0))).min(1e3));
            affordable.clamp(INTERVAL, INTERVAL_MAX)
        } else {
            INTERVAL_IDLE
        };
        self.due.get_or_insert(self.last + wait);
    }

    /// When to flush.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Begins the flush that is due at `now`, if one is. The last one of all holds nothing back.
    pub(super) fn begin(&mut self, now: Instant, is_last: bool) -> Option<Flush> {
        self.due.take_if(|due| *due <= now)?;
        self.last = now;
        let to_sources = is_last || now.since(self.last_to_sources) >= INTERVAL_SOURCE;
        if to_sources {
            self.last_to_sources = now;
        }
        Some(Flush { to_sources })
    }

    /// Something was held back from the sources: it is for later.
    pub(super) fn held_back(&mut self) {
        self.due.get_or_insert(self.last_to_sources + INTERVAL_SOURCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn announcements_wait_longer_the_more_they_cost() {
        for (peers, rate, is_busy, wait) in [
            (4, 1e6, true, 100),
            (20, 100_000.0, true, 450),
            (50, 10_000.0, true, 1_000),
            (50, 0.0, false, 20),
        ] {
            let mut schedule = HaveSchedule::new(at(0));
            schedule.schedule(peers, rate, is_busy);
            assert_eq!(schedule.due(), Some(at(wait)), "{peers} peers, {rate} B/s");
        }
    }

    #[test]
    fn sources_are_told_less_often_but_all_in_the_end() {
        let mut schedule = HaveSchedule::new(at(0));
        schedule.schedule(4, 1e6, true);
        assert_eq!(schedule.begin(at(99), false), None);
        assert_eq!(schedule.begin(at(100), false), Some(Flush { to_sources: false }));
        schedule.held_back();
        assert_eq!(schedule.due(), Some(at(500)));
        assert_eq!(schedule.begin(at(500), false), Some(Flush { to_sources: true }));
        schedule.schedule(4, 1e6, true);
        assert_eq!(schedule.begin(at(600), true), Some(Flush { to_sources: true }));
    }
}
