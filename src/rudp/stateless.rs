//! Datagrams of no connection that wait to be sent: answers to strangers, and last words.
//!
//! No cookie and no connection is known here, only how much strangers may cost. The queues of the links are endless, so
//! whoever floods this side with forged questions could fill its uplink with answers. Therefore a bounded number of them
//! waits, and what they may take of the uplink follows what connections send: newcomers pay for a flood with some
//! repeated hellos, not those who are served already with their rate.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::time::{Duration, Instant};

/// As many wait at a time; more are dropped.
const MAX_WAITING: usize = 256;
/// Closes of unknown connections go out at most this often, so that a forged source is not bombarded.
const STRAY_INTERVAL: Duration = Duration::from_millis(10);
/// Answers to strangers may take this share of what connections send,
const ANSWER_SHARE: f64 = 0.1;
/// and this much beside it, B/s: a fifth of the slowest uplink that is cared for.
const ANSWER_RATE: f64 = 1_000.0;
/// What may be saved up of both, B: a crowd of 400 that comes at once waits for nothing.
const ANSWER_BURST: f64 = 16_000.0;

/// The queue of what belongs to no connection.
#[derive(Debug)]
pub struct Stateless {
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    last_stray: Option<Instant>,
    /// What answers to strangers may still take, B, as of `filled`.
    allowance: f64,
    filled: Instant,
}

impl Stateless {
    /// Nothing waits, and the allowance is whole.
    pub fn new() -> Stateless {
        Stateless {
            waiting: VecDeque::new(),
            last_stray: None,
            allowance: ANSWER_BURST,
            filled: Instant::ORIGIN,
        }
    }

    /// The answer to a hello without a good cookie. False if there is no room for it.
    pub fn push_retry(&mut self, now: Instant, to: SocketAddr, datagram: Vec<u8>) -> bool {
        self.push_answer(now, to, datagram)
    }

    /// The answer to data of an unknown connection.
    pub fn push_stray(&mut self, now: Instant, to: SocketAddr, datagram: Vec<u8>) {
        if self.last_stray.is_none_or(|last| now.since(last) >= STRAY_INTERVAL)
            && self.push_answer(now, to, datagram)
        {
            self.last_stray = Some(now);
        }
    }

    /// The last word on a connection that this side has ended.
    pub fn push_close(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        self.push(to, datagram);
    }

    /// Takes out what has waited longest.
    pub fn pop(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.waiting.pop_front()
    }

    /// A connection has sent `size` B: the uplink carries that much.
    pub fn on_sent(&mut self, size: usize) {
        self.allowance = (self.allowance + ANSWER_SHARE * size as f64).min(ANSWER_BURST);
    }

    /// Whether the uplink has `len` B to spare for an address that isn't proved; taken from the allowance if so.
    pub fn grant(&mut self, now: Instant, len: usize) -> bool {
        let fresh = ANSWER_RATE * now.since(self.filled).as_secs_f64();
        self.allowance = (self.allowance + fresh).min(ANSWER_BURST);
        self.filled = now;
        let granted = self.allowance >= len as f64;
        if granted {
            self.allowance -= len as f64;
        }
        granted
    }

    fn push_answer(&mut self, now: Instant, to: SocketAddr, datagram: Vec<u8>) -> bool {
        self.waiting.len() < MAX_WAITING && self.grant(now, datagram.len()) && self.push(to, datagram)
    }

    fn push(&mut self, to: SocketAddr, datagram: Vec<u8>) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.push_back((to, datagram));
        }
        has_room
    }
}

impl Default for Stateless {
    fn default() -> Stateless {
        Stateless::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn stranger() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 9], 7_000))
    }

    /// How many of `tries` retries of 37 B are granted if each is sent at once.
    fn granted(stateless: &mut Stateless, now: Instant, tries: usize) -> usize {
        let mut granted = 0;
        for _ in 0..tries {
            granted += usize::from(stateless.push_retry(now, stranger(), vec![0; 37]));
            stateless.pop();
        }
        granted
    }

    #[test]
    fn a_flood_gets_a_share_of_what_connections_send() {
        let mut stateless = Stateless::new();
        assert_eq!(granted(&mut stateless, at(0), 10_000), 16_000 / 37);
        assert!((26..=28).contains(&granted(&mut stateless, at(1_000), 10_000)), "1,000 B in a second");
        for _ in 0..80 {
            stateless.on_sent(1_000);
        }
        assert!((215..=217).contains(&granted(&mut stateless, at(1_000), 10_000)), "a tenth of 80,000 B");
        assert_eq!(granted(&mut stateless, at(1_000_000), 10_000), 16_000 / 37);
    }

    #[test]
    fn a_bounded_number_waits() {
        let mut stateless = Stateless::new();
        for _ in 0..2 * MAX_WAITING {
            stateless.push_close(stranger(), vec![0; 18]);
        }
        assert!(!stateless.push_retry(at(0), stranger(), vec![0; 37]));
        assert_eq!(std::iter::from_fn(|| stateless.pop()).count(), MAX_WAITING);
    }

    #[test]
    fn strays_are_answered_now_and_then() {
        let mut stateless = Stateless::new();
        for millis in 0..100 {
            stateless.push_stray(at(millis), stranger(), vec![0; 18]);
        }
        assert_eq!(std::iter::from_fn(|| stateless.pop()).count(), 10);
    }
}
