//! What the connections of an endpoint have in common: its uplink and its downlink.

use std::collections::BTreeMap;

use super::window::DelayWindow;
use crate::time::{Duration, Instant};

/// A connection's word on a shared queue is believed for this long.
const FRESH: Duration = Duration::from_millis(500);

/// Both links of an endpoint.
#[derive(Debug)]
pub struct Links {
    /// Out of this node.
    pub uplink: Uplink,
    /// Into this node.
    pub downlink: Downlink,
}

impl Links {
    /// Idle links for datagrams of up to `datagram` B.
    pub fn new(datagram: u64) -> Links {
        Links {
            uplink: Uplink { window: DelayWindow::new(datagram), in_flight: 0, seen: QueueWords::default() },
            downlink: Downlink { seen: QueueWords::default() },
        }
    }

    /// The connection `key` is gone, and with it the `charge` that it still had on the uplink, B.
    pub fn forget(&mut self, key: u64, charge: u64) {
        self.uplink.on_settled(charge);
        self.uplink.seen.0.remove(&key);
        self.downlink.seen.0.remove(&key);
    }
}

/// The window that all connections share, since they share the uplink and its queue.
#[derive(Debug)]
pub struct Uplink {
    window: DelayWindow,
    in_flight: u64,
    seen: QueueWords,
}

impl Uplink {
    /// Whether another datagram may go.
    pub fn has_room(&self) -> bool {
        self.window.has_room(self.in_flight)
    }

    /// The shared window.
    pub fn window(&self) -> &DelayWindow {
        &self.window
    }

    /// Bytes in flight over all connections.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// A datagram of `size` B left.
    pub fn on_sent(&mut self, size: u64) {
        self.in_flight += size;
    }

    /// `size` B were acked, lost, or given up.
    pub fn on_settled(&mut self, size: u64) {
        self.in_flight -= size;
    }

    /// The uplink's queue by the last word of all, for whoever has none of its own yet.
    pub fn queue(&self, now: Instant) -> Duration {
        self.seen.fresh(now).min().unwrap_or_default()
    }

    /// The connection `key` sees a queue of this length on the way to its receiver, the receiver's own downlink
    /// deducted. Gives the uplink's queue by the word of all: each is at least the truth, the smallest comes nearest.
    pub fn observe(&mut self, now: Instant, key: u64, queue: Duration) -> Duration {
        self.seen.put(now, key, queue);
        self.seen.fresh(now).min().unwrap_or(queue)
    }

    /// `acked` B arrived while the uplink's queue was `queue`; before that, `in_flight` B had been in flight.
    pub fn on_acked(&mut self, now: Instant, acked: u64, queue: Duration, in_flight: u64, srtt: Duration) {
        self.window.on_ack(now, acked, queue, in_flight, srtt);
    }
}

/// The queue in front of this node, as far as the comparison of its senders shows it.
#[derive(Debug)]
pub struct Downlink {
    seen: QueueWords,
}

impl Downlink {
    /// What came in over the connection `key` had queued this long, on the sender's uplink and on this downlink.
    pub fn observe(&mut self, now: Instant, key: u64, queue: Duration) {
        self.seen.put(now, key, queue);
    }

    /// The queue that all senders share. With less than two of them nothing can be told apart, and it is zero.
    pub fn queue(&self, now: Instant) -> Duration {
        if self.seen.fresh(now).nth(1).is_none() {
            return Duration::ZERO;
        }
        self.seen.fresh(now).min().unwrap_or_default()
    }
}

/// What each connection last said of a queue, while it is fresh.
#[derive(Debug, Default)]
struct QueueWords(BTreeMap<u64, (Instant, Duration)>);

impl QueueWords {
    fn put(&mut self, now: Instant, key: u64, queue: Duration) {
        self.0.insert(key, (now, queue));
        self.0.retain(|_, (taken, _)| now.since(*taken) <= FRESH);
    }

    fn fresh(&self, now: Instant) -> impl Iterator<Item = Duration> + '_ {
        self.0.values().filter(move |(taken, _)| now.since(*taken) <= FRESH).map(|&(_, queue)| queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + ms(millis)
    }

    #[test]
    fn the_smallest_fresh_word_on_the_uplink_counts() {
        let mut links = Links::new(1_200);
        assert_eq!(links.uplink.observe(at(0), 1, ms(40)), ms(40));
        assert_eq!(links.uplink.observe(at(10), 2, ms(90)), ms(40));
        assert_eq!(links.uplink.observe(at(600), 2, ms(90)), ms(90));
        links.uplink.on_sent(100);
        links.forget(2, 100);
        assert_eq!(links.uplink.observe(at(610), 3, ms(95)), ms(95));
        assert_eq!(links.uplink.in_flight(), 0);
        assert_eq!(links.uplink.queue(at(2_000)), ms(0));
    }

    #[test]
    fn one_sender_alone_says_nothing_of_the_downlink() {
        let mut links = Links::new(1_200);
        links.downlink.observe(at(0), 1, ms(40));
        assert_eq!(links.downlink.queue(at(0)), ms(0));
        links.downlink.observe(at(0), 2, ms(30));
        assert_eq!(links.downlink.queue(at(0)), ms(30));
        assert_eq!(links.downlink.queue(at(600)), ms(0));
    }
}
