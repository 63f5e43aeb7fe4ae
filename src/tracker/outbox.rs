//! Answers on their way to a slow uplink: what waits, what is dropped, and when the next one goes.
//!
//! The proxy below queues without end and tells nobody how long its queue is. At 10 kB/s an answer given to it at
//! once could leave a minute later, when its asker has long repeated itself, and every repeat would wait behind it.
//! So answers wait here, where a repeat is seen to be one, and go down no faster than the uplink takes them.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::rudp::packet::Transaction;
use crate::time::{Duration, Instant};
use crate::units::Rate;

/// How far ahead of the uplink an answer is given down, so that a late timer doesn't let it idle.
const HEAD_START: Duration = Duration::from_millis(50);

/// How long the queue may be in time: what waits longer has most likely been repeated by then.
const MAX_WAIT: Duration = Duration::from_secs(4);

/// Bounds of the queue's length, B, whatever the rate.
const CAPACITY: std::ops::RangeInclusive<usize> = 4_800..=65_536;

/// Answers that wait for one address at most; beyond that it crowds out others.
const MAX_PER_ADDRESS: usize = 32;

/// Who an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// One that has shown that it receives at its address. Goes first: a flood of forged sources delays no client.
    Proven,
    /// One that hasn't yet, and gets a cookie.
    Unproven,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It waits for the uplink.
    Queued,
    /// An answer to the same question of the same asker waits already.
    Repeated,
    /// There is no room: dropped.
    Full,
}

#[derive(Debug)]
struct Answer {
    to: SocketAddr,
    transaction: Transaction,
    datagram: Vec<u8>,
}

/// The queue in front of the uplink.
#[derive(Debug)]
pub(super) struct Outbox {
    rate: Rate,
    /// Of each queue, B.
    capacity: usize,
    proven: Queue,
    unproven: Queue,
    /// When the uplink has sent all that was given down.
    free_at: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    answers: VecDeque<Answer>,
    bytes: usize,
}

impl Outbox {
    /// An empty queue for an uplink of `rate`.
    pub(super) fn new(rate: Rate) -> Outbox {
        let (least, most) = (*CAPACITY.start(), *CAPACITY.end());
        let in_time = u128::from(rate.bytes_per_sec()) * MAX_WAIT.as_millis() / 1_000;
        let capacity = if rate.is_unlimited() {
            most
        } else {
            usize::try_from(in_time).map_or(most, |bytes| bytes.clamp(least, most))
        };
        Outbox {
            rate,
            capacity,
            proven: Queue::default(),
            unproven: Queue::default(),
            free_at: Instant::ORIGIN,
        }
    }

    /// Whether an answer of `len` B for such an asker has room.
    pub(super) fn has_room(&self, asker: Asker, len: usize) -> bool {
        let queue = match asker {
            Asker::Proven => &self.proven,
            Asker::Unproven => &self.unproven,
        };
        queue.bytes + len <= self.capacity
    }

    /// Queues the finished `datagram` that answers `transaction` of `to`, if it isn't queued yet and has room.
    pub(super) fn push(
        &mut self,
        asker: Asker,
        to: SocketAddr,
        transaction: Transaction,
        datagram: &[u8],
    ) -> Outcome {
        let has_room = self.has_room(asker, datagram.len());
        let queue = match asker {
            Asker::Proven => &mut self.proven,
            Asker::Unproven => &mut self.unproven,
        };
        let mut of_this_address = queue.answers.iter().filter(|answer| answer.to == to);
        if of_this_address.clone().any(|answer| answer.transaction == transaction) {
            return Outcome::Repeated;
        }
        if !has_room || of_this_address.nth(MAX_PER_ADDRESS - 1).is_some() {
            return Outcome::Full;
        }
        queue.bytes += datagram.len();
        queue.answers.push_back(Answer { to, transaction, datagram: datagram.to_vec() });
        Outcome::Queued
    }

    /// Takes out the next answer, if the uplink is free for it at `now`, and writes it over `buf`.
    pub(super) fn pop(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.next_departure().filter(|&departure| departure <= now)?;
        let answer = self.proven.pop().or_else(|| self.unproven.pop())?;
        self.free_at = self.free_at.max(now) + self.rate.time_for(answer.datagram.len() as u64);
        buf.clear();
        buf.extend_from_slice(&answer.datagram);
        Some(answer.to)
    }

    /// When the next answer can go; `None` if none waits.
    pub(super) fn next_departure(&self) -> Option<Instant> {
        let empty = self.proven.answers.is_empty() && self.unproven.answers.is_empty();
        (!empty).then(|| self.free_at - HEAD_START)
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Answer> {
        let answer = self.answers.pop_front()?;
        self.bytes -= answer.datagram.len();
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(10) + Duration::from_millis(millis)
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn push(outbox: &mut Outbox, asker: Asker, port: u16, transaction: u64, len: usize) -> Outcome {
        outbox.push(asker, addr(port), Transaction(transaction), &vec![7; len])
    }

    #[test]
    fn answers_go_at_the_uplinks_pace_with_a_head_start() {
        let mut outbox = Outbox::new(Rate::new(1_000));
        let mut buf = Vec::new();
        for transaction in 0..3 {
            push(&mut outbox, Asker::Proven, 1, transaction, 100);
        }
        assert_eq!(outbox.pop(at(0), &mut buf), Some(addr(1)));
        assert_eq!(buf, [7; 100]);
        assert_eq!(outbox.next_departure(), Some(at(50)));
        assert_eq!(outbox.pop(at(49), &mut buf), None);
        assert_eq!(outbox.pop(at(50), &mut buf), Some(addr(1)));
        assert_eq!(outbox.pop(at(150), &mut buf), Some(addr(1)));
        assert_eq!(outbox.next_departure(), None);
    }

    #[test]
    fn an_unlimited_uplink_takes_all_at_once() {
        let mut outbox = Outbox::new(Rate::UNLIMITED);
        (0..32).for_each(|n| _ = push(&mut outbox, Asker::Proven, 1, n, 1_200));
        let mut buf = Vec::new();
        assert_eq!(std::iter::from_fn(|| outbox.pop(at(0), &mut buf)).count(), 32);
    }

    #[test]
    fn a_repeat_is_answered_once_and_again_only_after_the_first_has_gone() {
        let mut outbox = Outbox::new(Rate::new(1_000));
        assert_eq!(push(&mut outbox, Asker::Proven, 1, 5, 100), Outcome::Queued);
        assert_eq!(push(&mut outbox, Asker::Proven, 1, 5, 100), Outcome::Repeated);
        assert_eq!(push(&mut outbox, Asker::Proven, 2, 5, 100), Outcome::Queued);
        outbox.pop(at(0), &mut Vec::new());
        assert_eq!(push(&mut outbox, Asker::Proven, 1, 5, 100), Outcome::Queued);
    }

    #[test]
    fn the_queue_is_bounded_in_time_and_by_address() {
        let mut outbox = Outbox::new(Rate::new(10_000));
        let queued =
            (0..1_000).filter(|&n| push(&mut outbox, Asker::Proven, n, 0, 200) == Outcome::Queued).count();
        assert_eq!(queued * 200, 40_000, "4 s of the uplink");
        let mut outbox = Outbox::new(Rate::new(10_000));
        let queued =
            (0..1_000).filter(|&n| push(&mut outbox, Asker::Proven, 1, n, 40) == Outcome::Queued).count();
        assert_eq!(queued, MAX_PER_ADDRESS);
        assert_eq!(push(&mut outbox, Asker::Proven, 2, 0, 40), Outcome::Queued);
    }

    #[test]
    fn cookies_neither_delay_nor_displace_answers() {
        let mut outbox = Outbox::new(Rate::new(1_000));
        assert!((0..1_000).any(|n| push(&mut outbox, Asker::Unproven, n, 0, 38) == Outcome::Full));
        assert_eq!(push(&mut outbox, Asker::Proven, 9_999, 0, 200), Outcome::Queued);
        assert_eq!(outbox.pop(at(0), &mut Vec::new()), Some(addr(9_999)));
        assert_eq!(outbox.pop(at(200), &mut Vec::new()), Some(addr(0)));
    }
}
