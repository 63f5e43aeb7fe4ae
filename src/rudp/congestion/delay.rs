//! The queueing delay of a one-way path, from clocks that were never set to each other.
//!
//! One-way delays carry an unknown offset between two clocks; the smallest one seen stands for the empty path, and
//! what exceeds it is queue (RFC 6817 §2). The first sample of a connection comes from a small handshake packet, never
//! from data behind a queue of its own making.
//!
//! A path may become longer while it is used. That looks like a queue that never goes, and whose it would be can't be seen.
//! It is taken for the path only where for ten seconds it was longer than all that this end had under way
//! ([`DelayFilter::reconsider`]), or stood before packets that came long after all others ([`DelayFilter::reconsider_gaps`]), and nobody
//! else was known to send to the same receiver; or where it stood before a packet for which the own uplink was
//! [drained](super::drain) ([`DelayFilter::relearn`]): with it goes what is queued at the receiver and wasn't told, until it has gone. Another program's standing queue is then taken for the path too, as over
//! RFC 6817's base history.

use crate::rudp::clock::{self, Ticks};
use crate::time::{Duration, Instant};

/// A sample older than this says nothing about the present.
const FRESH: Duration = Duration::from_secs(1);

/// Two samples this close together see the same queue, and what differs is jitter.
const CLOSE: Duration = Duration::from_millis(50);

/// What looks like a queue for so long, though there is nothing that could be in it, is the path. So long is BBR's window
/// for the smallest round trip.
const REBASE_AFTER: Duration = Duration::from_secs(10);
/// And in so many samples.
const REBASE_SAMPLES: u32 = 8;

/// A filter over the samples of one direction.
#[derive(Clone, Debug, Default)]
pub struct DelayFilter {
    /// The smallest one-way delay and the clocks' offset, wrapping.
    base: Option<Ticks>,
    /// The two newest queueing delays and when they were taken: the smaller one counts (RFC 6817's CURRENT_FILTER),
    /// so that a single late packet is not a queue.
    newest: [Option<(Instant, Duration)>; 2],
    /// When the newest one arrived by the other clock, and how long after the one before it; zero if that is unknown.
    arrived: Option<Ticks>,
    gap: Duration,
    unexplained: Option<Unexplained>,
    /// The same by gaps.
    unexplained_by_gaps: Option<Unexplained>,
}

/// A time in which nobody else is known whose queue it may be.
#[derive(Clone, Copy, Debug)]
struct Unexplained {
    since: Instant,
    samples: u32,
    /// The smallest queue in it, beyond what this end had under way.
    least: Duration,
}

impl Unexplained {
    /// Takes in a queue that this end didn't make; unless that `is_certain` it only shows that there is no longer one. Gives
    /// the least of them when it is time to judge, and begins anew.
    fn note(
        slot: &mut Option<Unexplained>,
        now: Instant,
        queue: Duration,
        is_certain: bool,
    ) -> Option<Duration> {
        let noted = slot.get_or_insert(Unexplained { since: now, samples: 0, least: queue });
        noted.samples += u32::from(is_certain);
        noted.least = noted.least.min(queue);
        let Unexplained { since, samples, least } = *noted;
        if now.since(since) < REBASE_AFTER || samples < REBASE_SAMPLES {
            return None;
        }
        *slot = None;
        Some(least)
    }
}

impl DelayFilter {
    /// Takes in a packet sent at `sent` by one clock and received at `received` by the other.
    ///
    /// `known` is the queue that others have found on this path. It counts for the first sample only: without it, a
    /// flow that joins where a queue stands would take that for the empty path, and crowd out those that know better.
    pub fn sample(&mut self, now: Instant, sent: Ticks, received: Ticks, known: Duration) {
        let one_way = received.wrapping_sub(sent);
        let base = *self.base.get_or_insert(one_way.wrapping_sub(clock::ticks(known)));
        let above = one_way.wrapping_sub(base) as i32;
        if above < 0 {
            self.base = Some(one_way);
        }
        let queue = clock::span(above.max(0) as Ticks);
        self.newest = [Some((now, queue)), self.newest[0]];
        let gap = self.arrived.map_or(0, |before| received.wrapping_sub(before) as i32);
        (self.arrived, self.gap) = (Some(received), clock::span(gap.max(0) as Ticks));
    }

    /// Whether there was a sample: what others know counts no more.
    pub fn has_base(&self) -> bool {
        self.base.is_some()
    }

    /// A packet has arrived, and nobody says when: how long after it the next one does is unknown.
    pub fn on_untimed(&mut self) {
        self.arrived = None;
    }

    /// Says how long a queue of this end's own the newest sample may have seen at most; `None` where it may have seen others'.
    /// True if the path has become longer: what was more than that is in the base from now on.
    pub fn reconsider(&mut self, now: Instant, own: Option<Duration>) -> bool {
        let (Some((_, queue)), Some(own)) = (self.newest[0], own) else {
            self.unexplained = None;
            return false;
        };
        let excess = Unexplained::note(&mut self.unexplained, now, queue.saturating_sub(own), true);
        excess.is_some_and(|excess| self.lengthen(excess))
    }

    /// The same for a window so narrow that the path idles most of the time: what it takes is unknown then, and so is how long a queue
    /// could be. But a packet that arrives later after the one before it than it has queued didn't wait behind that one. `is_next` says
    /// that none was sent between those of the two newest samples, `is_alone` that nobody else is known whose queue it may be.
    pub fn reconsider_gaps(&mut self, now: Instant, is_next: bool, is_alone: bool) -> bool {
        let Some((_, queue)) = self.newest[0].filter(|_| is_alone) else {
            self.unexplained_by_gaps = None;
            return false;
        };
        let is_certain = is_next && self.gap >= queue;
        let excess = Unexplained::note(&mut self.unexplained_by_gaps, now, queue, is_certain);
        excess.is_some_and(|excess| self.lengthen(excess))
    }

    /// The newest sample saw no queue but what may be `at_receiver`: the rest is the path. True if it has become longer.
    pub fn relearn(&mut self, at_receiver: Duration) -> bool {
        self.newest[0].is_some_and(|(_, queue)| self.lengthen(queue.saturating_sub(at_receiver)))
    }

    /// The path takes so much longer than was thought; false if that is nothing.
    fn lengthen(&mut self, excess: Duration) -> bool {
        if excess.is_zero() {
            return false;
        }
        self.base = self.base.map(|base| base.wrapping_add(clock::ticks(excess)));
        (self.newest, self.unexplained, self.unexplained_by_gaps) = ([None; 2], None, None);
        true
    }

    /// The present queueing delay, unless nothing was heard of late.
    pub fn queue(&self, now: Instant) -> Option<Duration> {
        let (newest, queue) = self.newest[0].filter(|(taken, _)| now.since(*taken) <= FRESH)?;
        let before = self.newest[1].filter(|(taken, _)| newest.since(*taken) <= CLOSE);
        Some(before.map_or(queue, |(_, before)| queue.min(before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn micros(micros: u64) -> Ticks {
        clock::ticks(Duration::from_micros(micros))
    }

    #[test]
    fn queue_is_what_exceeds_the_smallest_delay_whatever_the_offset() {
        for offset in [0u32, 1 << 31, u32::MAX - 5_000] {
            let mut filter = DelayFilter::default();
            assert_eq!(filter.queue(at(0)), None);
            for (millis, delay) in [(0, 10_000), (1, 40_000), (2, 30_000)] {
                filter.sample(at(millis), 0, offset.wrapping_add(micros(delay)), Duration::ZERO);
            }
            assert_eq!(filter.queue(at(3)), Some(Duration::from_millis(20)));
            filter.sample(at(4), 0, offset.wrapping_add(micros(4_000)), Duration::ZERO);
            assert_eq!(filter.queue(at(4)), Some(Duration::ZERO));
            filter.sample(at(5), 0, offset.wrapping_add(micros(9_000)), Duration::ZERO);
            filter.sample(at(6), 0, offset.wrapping_add(micros(9_000)), Duration::ZERO);
            assert_eq!(filter.queue(at(6)), Some(Duration::from_millis(5)));
            assert_eq!(filter.queue(at(3_000)), None);
        }
    }

    /// The queue after ten seconds of `delays` in turn, µs, `own` of which may be this end's.
    fn after_ten_seconds(delays: [u64; 2], own: Option<Duration>) -> Option<Duration> {
        let mut filter = DelayFilter::default();
        filter.sample(at(0), 0, micros(20_000), Duration::ZERO);
        for n in 0..=20 {
            filter.sample(at(500 * n), 0, micros(delays[n as usize % 2]), Duration::ZERO);
            filter.reconsider(at(500 * n), own);
        }
        filter.sample(at(10_000), 0, micros(delays[0]), Duration::ZERO);
        filter.queue(at(10_000))
    }

    #[test]
    fn what_stays_though_nothing_could_be_queued_is_the_path() {
        let longer = [256_000, 240_000];
        let own = Duration::from_millis(100);
        assert_eq!(after_ten_seconds(longer, Some(own)), Some(own + Duration::from_millis(16)));
        let unknown = after_ten_seconds(longer, None);
        assert_eq!(unknown, Some(Duration::from_millis(236)), "it may be anybody's queue");
        let passing = after_ten_seconds([256_000, 20_000], Some(own));
        assert_eq!(passing, Some(Duration::from_millis(236)), "it goes, now and then");
    }

    /// The queue after twelve seconds on a path that has become 240 ms longer, with two packets every `round` ms.
    fn after_rounds(round: u64, is_timed: bool, is_next: bool, is_alone: bool) -> Option<Duration> {
        let mut filter = DelayFilter::default();
        filter.sample(at(0), 0, micros(20_000), Duration::ZERO);
        for sent in (round..12_000).step_by(round as usize).flat_map(|first| [first, first + 17]) {
            filter.sample(at(sent), micros(1_000 * sent), micros(1_000 * sent + 260_000), Duration::ZERO);
            filter.reconsider_gaps(at(sent), is_next, is_alone);
            if !is_timed {
                filter.on_untimed();
            }
        }
        filter.queue(at(12_000))
    }

    #[test]
    fn what_queues_though_nothing_came_for_long_is_the_path() {
        let queue = Some(Duration::from_millis(240));
        assert_eq!(after_rounds(900, true, true, true), Some(Duration::ZERO));
        assert_eq!(after_rounds(200, true, true, true), queue, "each may wait for the one before it");
        assert_eq!(after_rounds(900, false, true, true), queue, "another came between, and none knows when");
        assert_eq!(after_rounds(900, true, false, true), queue, "others may have been sent between");
        assert_eq!(after_rounds(900, true, true, false), queue, "it may be anybody's");
    }

    #[test]
    fn what_queues_though_the_uplink_is_drained_is_the_path() {
        let mut filter = DelayFilter::default();
        filter.sample(at(0), 0, micros(320_000), Duration::from_millis(300));
        filter.sample(at(1), 0, micros(340_000), Duration::ZERO);
        assert!(filter.relearn(Duration::from_millis(50)));
        filter.sample(at(2), 0, micros(330_000), Duration::ZERO);
        assert_eq!(filter.queue(at(2)), Some(Duration::from_millis(40)));
        assert!(!filter.relearn(Duration::from_millis(50)), "that much may be at the receiver");
        filter.sample(at(3), 0, micros(25_000), Duration::ZERO);
        assert_eq!(filter.queue(at(3)), Some(Duration::ZERO), "it was a queue after all");
    }

    #[test]
    fn whoever_joins_a_standing_queue_knows_it_from_others() {
        let mut filter = DelayFilter::default();
        filter.sample(at(0), 0, micros(70_000), Duration::from_millis(60));
        assert_eq!(filter.queue(at(0)), Some(Duration::from_millis(60)));
        filter.sample(at(1), 0, micros(80_000), Duration::from_millis(75));
        filter.sample(at(1), 0, micros(80_000), Duration::from_millis(75));
        assert_eq!(filter.queue(at(1)), Some(Duration::from_millis(70)));
    }
}
