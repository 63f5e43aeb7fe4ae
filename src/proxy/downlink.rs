//! The downlink: what has arrived and waits, in order, until the bandwidth law lets `recv` have it.
//!
//! No socket and no thread here. There is one queue and no hand-over: the law says when the head has passed the link,
//! and a receiver waits for that instant itself, so nothing wakes twice per datagram.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::shaper::Shaper;
use crate::time::{Clock, Duration, Instant};
use crate::units::Rate;

/// How many payload bytes may wait. What arrives beyond is dropped.
pub(super) const CAPACITY: usize = 64 << 20;

/// How many datagrams may wait: their bookkeeping takes memory too, and an empty one has no other weight.
pub(super) const DATAGRAMS: usize = 1 << 20;

/// A datagram and where it came from.
pub(super) type Incoming = (Bytes, SocketAddr);

/// Counted since the start.
#[derive(Clone, Copy, Default)]
pub(super) struct Received {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) dropped: u64,
}

pub(super) struct Downlink {
    state: Mutex<State>,
    /// There is more to receive, or the head is due at another instant, or it is closed.
    changed: Condvar,
}

/// A datagram is in `shaper` until it has passed the link; an unlimited link, and a change of rate, put what has passed
/// in `passed`.
struct State {
    closed: bool,
    shaper: Shaper<Incoming>,
    passed: VecDeque<Incoming>,
    waiting_bytes: usize,
    waiting: usize,
    received: Received,
}

impl Downlink {
    /// An idle downlink of `rate`.
    pub(super) fn new(rate: Rate) -> Downlink {
        let state = State {
            closed: false,
            shaper: Shaper::new(rate, CAPACITY),
            passed: VecDeque::new(),
            waiting_bytes: 0,
            waiting: 0,
            received: Received::default(),
        };
        Downlink { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes in what arrived at `now`.
    pub(super) fn admit(&self, now: Instant, arrivals: impl Iterator<Item = Incoming>) {
        let mut state = self.state.lock();
        for arrival in arrivals {
            state.admit(now, arrival);
        }
        self.changed.notify_one();
    }

    /// Waits until a datagram has passed the link, and gives it with its sender.
    ///
    /// # Errors
    /// `TimedOut` when `timeout` has gone by (`None`: never); `NotConnected` once closed.
    pub(super) fn recv(&self, clock: &Clock, timeout: Option<Duration>) -> io::Result<Incoming> {
        let mut state = self.state.lock();
        // What has passed already needs no clock: at full speed that is a good part of the work.
        if let Some(incoming) = state.take_passed() {
            self.pass_on_wake_up(&state);
            return Ok(incoming);
        }
        let mut now = clock.now();
        let deadline = timeout.map(|timeout| now + timeout);
        loop {
            if state.closed {
                return Err(super::closed());
            }
            if let Some(incoming) = state.take(now) {
                self.pass_on_wake_up(&state);
                return Ok(incoming);
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                // Without words: whoever polls gets many of these, and each would have to be allocated.
                return Err(io::ErrorKind::TimedOut.into());
            }
            match [state.shaper.next_departure(), deadline].into_iter().flatten().min() {
                Some(wake) => {
                    self.changed.wait_until(&mut state, clock.to_std(wake));
                }
                None => self.changed.wait(&mut state),
            }
            now = clock.now();
        }
    }

    /// A wake-up may have been spent on this thread while another waits.
    fn pass_on_wake_up(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_one();
        }
    }

    /// Changes the rate, for what is queued as well.
    pub(super) fn set_rate(&self, now: Instant, rate: Rate) {
        let mut state = self.state.lock();
        while let Some((_, incoming)) = state.shaper.pop(now) {
            state.passed.push_back(incoming);
        }
        state.shaper.set_rate(now, rate);
        self.changed.notify_all();
    }

    /// Drops all that waits and wakes whoever waits for it.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.shaper.clear();
        state.passed = VecDeque::new();
        self.changed.notify_all();
    }

    pub(super) fn received(&self) -> Received {
        self.state.lock().received
    }
}

impl State {
    fn admit(&mut self, now: Instant, arrival: Incoming) {
        let len = arrival.0.len();
        if self.closed {
            return;
        }
        if self.waiting >= DATAGRAMS || len > CAPACITY - self.waiting_bytes {
            self.received.dropped += 1;
            return;
        }
        if self.shaper.rate().is_unlimited() && self.shaper.next_departure().is_none() {
            self.passed.push_back(arrival);
        } else if self.shaper.push(now, len, arrival).is_err() {
            self.received.dropped += 1;
            return;
        }
        self.waiting += 1;
        self.waiting_bytes += len;
        self.received.datagrams += 1;
        self.received.bytes += len as u64;
    }

    fn take_passed(&mut self) -> Option<Incoming> {
        let incoming = self.passed.pop_front()?;
        Some(self.discount(incoming))
    }

    fn take(&mut self, now: Instant) -> Option<Incoming> {
        self.take_passed().or_else(|| {
            let (_, incoming) = self.shaper.pop(now)?;
            Some(self.discount(incoming))
        })
    }

    fn discount(&mut self, incoming: Incoming) -> Incoming {
        self.waiting -= 1;
        self.waiting_bytes -= incoming.0.len();
        incoming
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(len: usize) -> Incoming {
        (Bytes::from(vec![7; len]), SocketAddr::from(([127, 0, 0, 1], 9)))
    }

    fn admit(downlink: &Downlink, now: Instant, len: usize) {
        downlink.admit(now, std::iter::once(datagram(len)));
    }

    #[test]
    fn beyond_64_mib_the_tail_is_dropped_and_counted() {
        let clock = Clock::new();
        let downlink = Downlink::new(Rate::new(1));
        for _ in 0..65 {
            admit(&downlink, clock.now(), 1 << 20);
        }
        assert_eq!((downlink.received().datagrams, downlink.received().dropped), (64, 1));
        // What has passed the link but was not fetched still counts.
        downlink.set_rate(clock.now(), Rate::UNLIMITED);
        downlink.set_rate(clock.now(), Rate::new(1));
        admit(&downlink, clock.now(), 1);
        assert_eq!((downlink.received().datagrams, downlink.received().dropped), (64, 2));
        for _ in 0..64 {
            assert_eq!(downlink.recv(&clock, Some(Duration::ZERO)).unwrap().0.len(), 1 << 20);
        }
        downlink.set_rate(clock.now(), Rate::UNLIMITED);
        admit(&downlink, clock.now(), 1);
        assert_eq!(downlink.recv(&clock, Some(Duration::ZERO)).unwrap().0.len(), 1);
    }

    #[test]
    fn empty_datagrams_have_a_limit_too() {
        let clock = Clock::new();
        let downlink = Downlink::new(Rate::UNLIMITED);
        let empty = (Bytes::new(), SocketAddr::from(([127, 0, 0, 1], 9)));
        downlink.admit(clock.now(), std::iter::repeat_n(empty, DATAGRAMS + 3));
        assert_eq!((downlink.received().datagrams, downlink.received().dropped), (DATAGRAMS as u64, 3));
    }

    #[test]
    fn a_change_of_rate_wakes_a_receiver() {
        let clock = Clock::new();
        let downlink = Downlink::new(Rate::new(1));
        admit(&downlink, clock.now(), 1_000);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| downlink.recv(&clock, Some(Duration::from_secs(20))));
            downlink.set_rate(clock.now(), Rate::new(1_000_000));
            assert_eq!(waiting.join().unwrap().unwrap().0.len(), 1_000);
        });
    }

    #[test]
    fn every_receiver_gets_one_of_what_arrived_together() {
        let clock = Clock::new();
        let downlink = Downlink::new(Rate::UNLIMITED);
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| downlink.recv(&clock, Some(Duration::from_secs(20))).is_ok()))
                .collect();
            downlink.admit(clock.now(), (0..4).map(|_| datagram(10)));
            assert!(waiting.into_iter().all(|receiver| receiver.join().unwrap()));
        });
    }

    #[test]
    fn closed_it_keeps_and_takes_nothing() {
        let clock = Clock::new();
        let downlink = Downlink::new(Rate::UNLIMITED);
        admit(&downlink, clock.now(), 10);
        downlink.close();
        admit(&downlink, clock.now(), 10);
        let error = downlink.recv(&clock, Some(Duration::ZERO)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        assert_eq!(downlink.received().datagrams, 1);
    }
}
