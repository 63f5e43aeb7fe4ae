//! The queueing delay of a one-way path, from clocks that were never set to each other.
//!
//! One-way delays carry an unknown offset between two clocks; the smallest one seen stands for the empty path, and
//! what exceeds it is queue (RFC 6817 §2). The first sample of a connection comes from a small handshake packet, never
//! from data behind a queue of its own making.

use crate::rudp::clock::{self, Ticks};
use crate::time::{Duration, Instant};

/// A sample older than this says nothing about the present.
const FRESH: Duration = Duration::from_secs(1);

/// Two samples this close together see the same queue, and what differs is jitter.
const CLOSE: Duration = Duration::from_millis(50);

/// A filter over the samples of one direction.
#[derive(Clone, Debug, Default)]
pub struct DelayFilter {
    /// The smallest one-way delay and the clocks' offset, wrapping.
    base: Option<Ticks>,
    /// The two newest queueing delays and when they were taken: the smaller one counts (RFC 6817's CURRENT_FILTER),
    /// so that a single late packet is not a queue.
    newest: [Option<(Instant, Duration)>; 2],
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
