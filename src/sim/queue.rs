//! The order in which things happen: a queue of events by time, and alarms that don't fill it.
//!
//! What an event means is not known here.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::node::NodeId;
use super::pool::Slot;
use crate::time::Instant;

/// Something that happens at an instant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A datagram may leave a node's downlink, or its timer be due: its machine is to be called.
    Call(NodeId),
    /// A datagram may leave a node's uplink.
    Uplink(NodeId),
    /// A datagram comes to its receiver's downlink.
    Arrival(Slot),
    /// A clog may be over.
    Unclog(NodeId),
    /// A step of the scenario; found under the sequence number of its event.
    Action,
}

/// One event with its place in the order of events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: Instant,
    /// Breaks ties: what was scheduled first happens first, so that one seed is one history.
    pub(super) sequence: u64,
    pub(super) event: Event,
}

impl Ord for Entry {
    /// The earliest is the greatest, for the heap gives out the greatest first.
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The events to come, by time and then by the order in which they were scheduled.
///
/// Most events are scheduled in the order in which they happen, such as arrivals over paths of one latency: those that
/// are no earlier than all of `line` so far are put at its end, and only the others into the heap.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    heap: BinaryHeap<Entry>,
    line: VecDeque<Entry>,
    next_sequence: u64,
}

impl EventQueue {
    /// Schedules `event` and gives its sequence number.
    pub(super) fn push(&mut self, at: Instant, event: Event) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let is_arrival = matches!(event, Event::Arrival(_));
        let entry = Entry { at, sequence, event };
        // Only arrivals: a timer far ahead would keep all others out of the line.
        if is_arrival && self.line.back().is_none_or(|last| last.at <= at) {
            self.line.push_back(entry);
        } else {
            self.heap.push(entry);
        }
        sequence
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        if self.is_line_next() { self.line.pop_front() } else { self.heap.pop() }
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        let next = if self.is_line_next() { self.line.front() } else { self.heap.peek() };
        Some(next?.at)
    }

    fn is_line_next(&self) -> bool {
        // The greater one comes first, as in the heap.
        self.line.front().is_some_and(|line| self.heap.peek().is_none_or(|heap| line > heap))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len() + self.line.len()
    }
}

/// A deadline that moves often, kept in the event queue with few entries.
///
/// Invariant: `entries` are the instants of this alarm's entries in the queue, the earliest last, and none is later
/// than need be to be awake at the deadline. A deadline that moves to later leaves the queue alone: its owner is woken
/// early once, finds nothing due and arms again. A deadline that moves to earlier adds an entry, and the later one
/// stays to be used again, so that a timer that alternates between near and far doesn't pile up far entries.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    entries: Vec<Instant>,
}

impl Alarm {
    /// Tells whether the queue needs an entry at `deadline`, which counts as pushed then.
    #[must_use]
    pub(super) fn arm(&mut self, deadline: Instant) -> bool {
        let needed = self.entries.last().is_none_or(|&earliest| deadline < earliest);
        if needed {
            self.entries.push(deadline);
        }
        needed
    }

    /// Notes that the earliest entry has left the queue.
    pub(super) fn went_off(&mut self) {
        self.entries.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn events_come_by_time_and_ties_by_age() {
        let mut queue = EventQueue::default();
        for (time, node) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.push(at(time), Event::Call(NodeId(node)));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|entry| (entry.at, entry.event)).collect();
        let expected =
            [(3, 1), (3, 3), (5, 0), (5, 2)].map(|(time, node)| (at(time), Event::Call(NodeId(node))));
        assert_eq!(order, expected);
    }

    #[test]
    fn arrivals_in_line_and_out_of_it_come_by_time() {
        let mut queue = EventQueue::default();
        let mut scheduled = Vec::new();
        for (place, time) in [5, 7, 6, 7, 5, 9].into_iter().enumerate() {
            let event = if place == 3 { Event::Call(NodeId(0)) } else { Event::Arrival(Slot::for_test()) };
            scheduled.push((time, queue.push(at(time), event)));
        }
        scheduled.sort_unstable();
        let order = std::iter::from_fn(|| queue.pop()).map(|entry| (entry.at.as_nanos(), entry.sequence));
        assert_eq!(order.collect::<Vec<_>>(), scheduled);
    }

    #[test]
    fn an_alarm_adds_an_entry_only_for_an_earlier_deadline() {
        let mut alarm = Alarm::default();
        assert!(alarm.arm(at(100)));
        assert!(!alarm.arm(at(100)));
        assert!(!alarm.arm(at(200)));
        assert!(alarm.arm(at(50)));
        alarm.went_off();
        // The entry at 100 is still there to serve a deadline at 300.
        assert!(!alarm.arm(at(300)));
        alarm.went_off();
        assert!(alarm.arm(at(300)));
    }
}
