//! Which packets have arrived, and when to say so.
//!
//! Duplicates are recognised here; messages are put together in [`super::recv_window`].

use super::clock;
use super::frame::{Ack, MAX_ACK_RANGES};
use super::ranges::RangeSet;
use super::rtt::MIN_ACK_DELAY;
use crate::time::{Duration, Instant};

/// An ack goes out at once for every second packet that asks for one (RFC 9000 §13.2.2).
const PACKETS_PER_ACK: u32 = 2;

/// Ranges kept beside those that an ack carries; beyond that the oldest packets count as duplicates.
const MAX_RANGES: usize = 4 * MAX_ACK_RANGES;

/// No peer is so many packets further than its newest that has arrived: they would be more bytes than any window lets go
/// unacked. Numbers begin at random, so that this end's own, sent back to it by whoever now has the peer's address, are
/// as good as always out of reach, one way or the other.
const MAX_LEAP: u64 = 1 << 20;

/// The packet numbers received, and the state of the ack that is due for them.
#[derive(Debug)]
pub struct Received {
    numbers: RangeSet,
    /// All below counts as received.
    floor: u64,
    largest: u64,
    largest_arrival: Instant,
    /// Packets since the last ack that ask for one.
    unacked: u32,
    /// When the ack has to go at the latest, and since when it waits.
    due: Option<Instant>,
    due_since: Instant,
    /// Whether there is a gap that the sender doesn't know of.
    has_news: bool,
}

impl Received {
    /// The other side's first packet has the number `first` and arrived at `now`; it asks for an ack.
    pub fn new(first: u64, now: Instant) -> Received {
        let mut received = Received {
            numbers: RangeSet::new(),
            floor: first,
            largest: first,
            largest_arrival: now,
            unacked: 0,
            due: None,
            due_since: now,
            has_news: false,
        };
        received.on_packet(first, now, Some(MIN_ACK_DELAY));
        received
    }

    /// The number that the next packet most likely has.
    pub fn expected(&self) -> u64 {
        self.largest + 1
    }

    /// Whether a packet with this number would be the newest of all.
    pub fn is_newest(&self, number: u64) -> bool {
        number > self.largest && self.can_be_next(number)
    }

    /// Whether a packet with this number hasn't been taken in yet, and can be the peer's.
    pub fn is_fresh(&self, number: u64) -> bool {
        number >= self.floor && self.can_be_next(number) && !self.numbers.contains(number..number + 1)
    }

    /// Whether the peer can be as far as `number`.
    fn can_be_next(&self, number: u64) -> bool {
        number < self.largest + MAX_LEAP
    }

    /// Takes in a fresh packet. If it asks for an ack, that may be held back for `hold`.
    pub fn on_packet(&mut self, number: u64, now: Instant, hold: Option<Duration>) {
        let in_order = number == self.largest + 1;
        self.numbers.insert(number..number + 1);
        if number >= self.largest {
            self.largest = number;
            self.largest_arrival = now;
        }
        if self.numbers.range_count() > MAX_RANGES {
            let second_oldest = self.numbers.iter().nth(1);
            self.settle_below(second_oldest.map_or(self.floor, |range| range.start));
        }
        if let Some(hold) = hold {
            self.unacked += 1;
            // A gap is news that the sender needs at once (RFC 9000 §13.2.1).
            self.has_news |= !in_order;
            let at_once = self.unacked >= PACKETS_PER_ACK || !in_order;
            let latest = self.due.unwrap_or(now + hold);
            self.expect(now, if at_once { now } else { latest });
        }
    }

    fn expect(&mut self, now: Instant, due: Instant) {
        if self.due.is_none() {
            self.due_since = now;
        }
        self.due = Some(due);
    }

    /// The sender asks for an ack at once.
    pub fn on_immediate(&mut self, now: Instant) {
        self.expect(now, now);
    }

    /// The sender has no more interest in packets below `floor`.
    pub fn settle_below(&mut self, floor: u64) {
        // The largest always stays: an ack needs a range.
        let floor = floor.min(self.largest);
        if floor > self.floor {
            self.floor = floor;
            self.numbers.remove_below(floor);
        }
    }

    /// When an ack has to go at the latest; `None` if none is owed.
    pub fn ack_due(&self) -> Option<Instant> {
        self.due
    }

    /// Since when the ack that is owed waits, unless it tells news that can't.
    pub fn waits_since(&self) -> Option<Instant> {
        (self.due.is_some() && !self.has_news).then_some(self.due_since)
    }

    /// The ack to send now.
    pub fn make_ack(&mut self, now: Instant, downlink_queue: Duration, credit: u8) -> Ack {
        self.unacked = 0;
        self.due = None;
        self.has_news = false;
        Ack {
            ranges: Ack::ranges_of(&self.numbers),
            received: clock::at(self.largest_arrival),
            delay: now.since(self.largest_arrival),
            downlink_queue,
            credit,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    const HOLD: Option<Duration> = Some(Duration::from_millis(40));

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn ack(received: &mut Received, now: Instant) -> Ack {
        received.make_ack(now, Duration::ZERO, 0)
    }

    #[test]
    fn every_second_packet_is_acked_at_once_and_a_single_one_soon() {
        let mut received = Received::new(100, at(0));
        ack(&mut received, at(0));
        received.on_packet(101, at(1), HOLD);
        assert_eq!(received.ack_due(), Some(at(41)));
        received.on_packet(102, at(2), None);
        assert_eq!(received.ack_due(), Some(at(41)));
        received.on_packet(103, at(3), HOLD);
        assert_eq!(received.ack_due(), Some(at(3)));
        let ack = ack(&mut received, at(5));
        assert_eq!((&ack.ranges[..], ack.received), (slice::from_ref(&(100..104)), clock::at(at(3))));
        assert_eq!(ack.delay, Duration::from_millis(2));
        assert_eq!(received.ack_due(), None);
    }

    #[test]
    fn no_packet_is_taken_in_that_the_peer_can_t_have_reached() {
        let mut received = Received::new(100, at(0));
        for (number, is_good) in [(99, false), (101, true), (100 + MAX_LEAP, false), (99 + MAX_LEAP, true)] {
            assert_eq!(received.is_fresh(number), is_good, "{number}");
            assert_eq!(received.is_newest(number), is_good, "{number}");
        }
        received.on_packet(99 + MAX_LEAP, at(1), HOLD);
        assert!(received.is_fresh(100 + MAX_LEAP));
    }

    #[test]
    fn a_gap_is_told_at_once() {
        let mut received = Received::new(100, at(0));
        ack(&mut received, at(0));
        received.on_packet(102, at(1), HOLD);
        assert_eq!(received.ack_due(), Some(at(1)));
        assert_eq!(ack(&mut received, at(1)).ranges, [102..103, 100..101]);
    }

    #[test]
    fn duplicates_and_settled_packets_are_not_fresh() {
        let mut received = Received::new(100, at(0));
        received.on_packet(105, at(0), HOLD);
        assert!(!received.is_fresh(105) && !received.is_fresh(99) && received.is_fresh(103));
        received.settle_below(104);
        assert!(!received.is_fresh(103) && received.is_fresh(104));
        received.settle_below(1_000);
        assert_eq!(ack(&mut received, at(0)).ranges, slice::from_ref(&(105..106)));
    }

    #[test]
    fn a_flood_of_gaps_takes_no_memory() {
        let mut received = Received::new(0, at(0));
        for number in 1..10_000 {
            received.on_packet(number * 2, at(0), HOLD);
        }
        assert!(received.numbers.range_count() <= MAX_RANGES);
        assert_eq!(ack(&mut received, at(0)).ranges.len(), MAX_ACK_RANGES);
    }
}
