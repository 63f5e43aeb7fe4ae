//! From how many sources a receiver takes at the same time.
//!
//! Each source keeps two datagrams under way at least, so that twenty of them fill a downlink of 5 kB/s for ten seconds: acks come
//! so late that everything is sent again, and nothing arrives in time. No window of a single sender can be narrow enough; only
//! the receiver can ask fewer. Knows neither who they are nor what they are asked for.

use crate::time::{Duration, Instant};

/// So many are asked before anything is known of the downlink.
const FIRST: usize = 6;
/// With two, one is on the link while the other is asked.
const LEAST: usize = 2;
/// While the downlink's queue is shorter, another source is welcome, once in a while and with each block.
const SHORT: Duration = Duration::from_millis(250);
/// While it is longer there are too many.
const LONG: Duration = Duration::from_secs(1);

/// What the queue was, when it was last known, counts for so long.
const FRESH: Duration = Duration::from_secs(10);

/// How many sources may be asked.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    most: usize,
    /// As it was last known, and when.
    queue: Duration,
    known: Instant,
    changed: Instant,
}

impl Crowd {
    /// Nothing is known of the downlink.
    pub(super) fn new(now: Instant) -> Crowd {
        Crowd { most: FIRST, queue: Duration::ZERO, known: now, changed: now }
    }

    /// Whether a source may be asked beside `others` that owe something.
    pub(super) fn has_room(&self, others: usize) -> bool {
        others < self.most
    }

    /// Most sources that may be asked.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// The downlink's queue is this long, if it is known.
    pub(super) fn on_queue(&mut self, now: Instant, queue: Option<Duration>) {
        if let Some(queue) = queue {
            (self.queue, self.known) = (queue, now);
        } else if now.since(self.known) >= FRESH {
            self.queue = Duration::ZERO;
        }
        let since = now.since(self.changed);
        if queue.is_some_and(|queue| queue >= LONG) && since >= LONG {
            (self.most, self.changed) = ((self.most / 2).max(LEAST), now);
        } else if self.queue < SHORT && since >= if queue.is_some() { SHORT } else { LONG } {
            // What nobody knows of may still be there, if not for long.
            (self.most, self.changed) = (self.most.saturating_add(1), now);
        }
    }

    /// A block has come.
    pub(super) fn on_block(&mut self) {
        if self.queue < SHORT {
            self.most = self.most.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn a_short_queue_lets_in_more_and_a_long_one_fewer() {
        let mut crowd = Crowd::new(at(0));
        assert!(crowd.has_room(FIRST - 1) && !crowd.has_room(FIRST));
        crowd.on_block();
        crowd.on_queue(at(250), None);
        crowd.on_queue(at(250), Some(SHORT));
        assert_eq!(crowd.most(), FIRST + 1);
        crowd.on_queue(at(250), Some(Duration::ZERO));
        assert_eq!(crowd.most(), FIRST + 2);
        crowd.on_queue(at(1_000), Some(SHORT));
        crowd.on_queue(at(2_000), None);
        crowd.on_block();
        assert_eq!(crowd.most(), FIRST + 2, "neither short nor long");
        let most: Vec<usize> = (0..5u64)
            .map(|n| {
                crowd.on_queue(at(2_000 + 500 * n), Some(LONG));
                crowd.most()
            })
            .collect();
        assert_eq!(most, [4, 4, 2, 2, 2], "once a second, and never fewer than two");
        crowd.on_queue(at(13_999), None);
        assert_eq!(crowd.most(), LEAST);
        crowd.on_queue(at(14_000), None);
        assert_eq!(crowd.most(), LEAST + 1, "that is long ago");
    }
}
