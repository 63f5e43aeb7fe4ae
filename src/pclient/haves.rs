//! When to tell the peers which pieces have come, or are about to: often enough that they can be asked for, seldom enough to cost little.
//!
//! The schedule alone; what is told to whom is kept with each peer.

use std::ops::RangeInclusive;

use crate::time::{Duration, Instant};

/// Announcements are gathered for this long, or for less while the uplink has nothing else to do.
const INTERVAL: Duration = Duration::from_millis(100);
const INTERVAL_IDLE: Duration = Duration::from_millis(20);
/// With more peers than this, each of whom costs a datagram and its ack, for twice as long.
pub(super) const FEW: usize = 12;
const INTERVAL_MANY: Duration = Duration::from_millis(200);
/// And for longer where they would take more than their share of what this node sends.
const INTERVAL_MAX: Duration = Duration::from_secs(1);
const SHARE: f64 = 0.02;
/// What an announcement costs on the wire, B.
const COST: f64 = 45.0;
/// Sources want to know what has spread, but not that soon, and not for more than this share of their uplink: each
/// announcement costs them an acknowledgement.
const INTERVAL_SOURCE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(10);
const SHARE_SOURCE: f64 = 0.0025;
const COST_ACK: f64 = 35.0;

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
    interval_source: Duration,
}

impl HaveSchedule {
    /// Nothing to tell yet.
    pub(super) fn new(now: Instant) -> HaveSchedule {
        HaveSchedule { due: None, last: now, last_to_sources: now, interval_source: *INTERVAL_SOURCE.start() }
    }

    /// Something is to be told to `peers` peers, by a node that sends content at `rate` B/s; `is_busy` says whether
    /// anybody waits for content.
    pub(super) fn schedule(&mut self, peers: usize, rate: f64, is_busy: bool) {
        let wait = if is_busy {
            let affordable =
                Duration::from_secs_f64((COST * peers as f64 / (SHARE * rate.max(1.0))).min(1e3));
            affordable.clamp(if peers > FEW { INTERVAL_MANY } else { INTERVAL }, INTERVAL_MAX)
        } else {
            INTERVAL_IDLE
        };
        self.expect(self.last + wait);
    }

    /// There is but one source, which sends `rate` B/s to this node; `None` if there are more, or none. (What it sends to
    /// others is not known, nor how many they are; but they all hold back by their own part.)
    pub(super) fn set_lone_source(&mut self, rate: Option<f64>) {
        // At less than 1 B/s nothing is known of it yet.
        let affordable = rate
            .filter(|&rate| rate >= 1.0)
            .map_or(Duration::ZERO, |rate| Duration::from_secs_f64(COST_ACK / (SHARE_SOURCE * rate)));
        self.interval_source = affordable.clamp(*INTERVAL_SOURCE.start(), *INTERVAL_SOURCE.end());
    }

    /// Nobody else receives, so that no source needs to know what has come from the others.
    pub(super) fn spare_sources(&mut self) {
        self.interval_source = *INTERVAL_SOURCE.end();
    }

    /// When to flush.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Begins the flush that is due at `now`, if one is. The last one of all holds nothing back.
    pub(super) fn begin(&mut self, now: Instant, is_last: bool) -> Option<Flush> {
        self.due.take_if(|due| *due <= now)?;
        self.last = now;
        let to_sources = is_last || now.since(self.last_to_sources) >= self.interval_source;
        if to_sources {
            self.last_to_sources = now;
        }
        Some(Flush { to_sources })
    }

    /// Something was held back from the sources: it is for later.
    pub(super) fn held_back(&mut self) {
        self.expect(self.last_to_sources + self.interval_source);
    }

    fn expect(&mut self, due: Instant) {
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
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
            (13, 1e6, true, 200),
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
    fn a_slow_lone_source_is_told_seldom() {
        let rates = [
            (Some(1e5), 500),
            (Some(14e3), 1_000),
            (Some(2_800.0), 5_000),
            (Some(2.0), 10_000),
            (Some(0.0), 500),
            (None, 500),
        ];
        for (rate, wait) in rates {
            let mut schedule = HaveSchedule::new(at(0));
            schedule.set_lone_source(rate);
            schedule.held_back();
            assert_eq!(schedule.due(), Some(at(wait)), "{rate:?} B/s");
        }
    }

    #[test]
    fn sources_that_serve_nobody_else_are_spared() {
        let mut schedule = HaveSchedule::new(at(0));
        schedule.set_lone_source(None);
        schedule.spare_sources();
        schedule.held_back();
        assert_eq!(schedule.due(), Some(at(10_000)));
    }

    #[test]
    fn sources_are_told_less_often_but_all_in_the_end() {
        let mut schedule = HaveSchedule::new(at(0));
        schedule.schedule(4, 1e6, true);
        assert_eq!(schedule.begin(at(99), false), None);
        assert_eq!(schedule.begin(at(100), false), Some(Flush { to_sources: false }));
        schedule.held_back();
        assert_eq!(schedule.due(), Some(at(500)));
        schedule.schedule(4, 1e6, true);
        assert_eq!(schedule.due(), Some(at(200)), "nobody else waits for the sources' turn");
        assert_eq!(schedule.begin(at(200), false), Some(Flush { to_sources: false }));
        schedule.held_back();
        assert_eq!(schedule.begin(at(500), false), Some(Flush { to_sources: true }));
        schedule.schedule(4, 1e6, true);
        assert_eq!(schedule.begin(at(600), true), Some(Flush { to_sources: true }));
    }
}
