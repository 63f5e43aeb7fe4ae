//! The bandwidth law: when each datagram of a queue leaves a link of a given rate.
//!
//! One pure type, used by the real [`Proxy`](crate::Proxy) and by the simulated link alike. No socket, thread or
//! clock here.

use std::collections::VecDeque;

use crate::time::{Duration, Instant};
use crate::units::Rate;

/// A link as a first-in-first-out queue: a datagram of n bytes occupies it for n ÷ rate and leaves at the end of that.
///
/// Departures follow a virtual clock: the next datagram starts where the one before ended, however late anybody
/// looked, so the long-run rate is exact whatever the grain of the caller's timer. Idle time is not banked. A new
/// rate holds from the moment it is set, for the remainder of the datagram on the link and for all that is queued.
#[derive(Debug)]
pub struct Shaper<T> {
    rate: Rate,
    queue: VecDeque<Queued<T>>,
    queued_bytes: usize,
    capacity: usize,
    /// When the head of the queue began to occupy the link.
    head_start: Instant,
    /// What part of the head had passed when the rate last changed.
    head_passed: u64,
    last_departure: Instant,
}

#[derive(Debug)]
struct Queued<T> {
    arrival: Instant,
    len: usize,
    item: T,
}

impl<T> Shaper<T> {
    /// An idle link of `rate` whose queue holds at most `capacity` bytes.
    pub fn new(rate: Rate, capacity: usize) -> Shaper<T> {
        Shaper {
            rate,
            queue: VecDeque::new(),
            queued_bytes: 0,
            capacity,
            head_start: Instant::ORIGIN,
            head_passed: 0,
            last_departure: Instant::ORIGIN,
        }
    }

    /// Queues `item`, which takes up `len` bytes of the link. Gives it back if the queue is full.
    pub fn push(&mut self, now: Instant, len: usize, item: T) -> Result<(), T> {
        if len > self.capacity - self.queued_bytes {
            return Err(item);
        }
        self.queued_bytes += len;
        self.queue.push_back(Queued { arrival: now, len, item });
        if self.queue.len() == 1 {
            self.start_head();
        }
        Ok(())
    }

    /// When the head of the queue leaves the link; `None` if the queue is empty.
    pub fn next_departure(&self) -> Option<Instant> {
        let head = self.queue.front()?;
        Some(self.head_start + self.rate.time_for((head.len as u64).saturating_sub(self.head_passed)))
    }

    /// When the head of the queue came; `None` if the queue is empty.
    pub fn head_arrival(&self) -> Option<Instant> {
        Some(self.queue.front()?.arrival)
    }

    /// Takes the head of the queue if it has left the link by `now`, with the instant at which it did.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, T)> {
        let departure = self.next_departure().filter(|&departure| departure <= now)?;
        let head = self.queue.pop_front()?;
        self.queued_bytes -= head.len;
        self.last_departure = departure;
        self.start_head();
        Some((departure, head.item))
    }

    /// Changes the rate from `now` on. Take out what has left by now first, or it is counted at the new rate.
    pub fn set_rate(&mut self, now: Instant, rate: Rate) {
        if let Some(head) = self.queue.front()
            && now > self.head_start
        {
            let elapsed = now.since(self.head_start);
            let passed = if self.rate.is_unlimited() {
                head.len as u64
            } else {
                (elapsed.as_nanos() * u128::from(self.rate.bytes_per_sec()) / 1_000_000_000) as u64
            };
            self.head_passed = (self.head_passed + passed).min(head.len as u64);
            self.head_start = now;
        }
        self.rate = rate;
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How many bytes wait, the datagram on the link included.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// How long a datagram that arrived now would wait before the link is free for it.
    pub fn standing_queue(&self, now: Instant) -> Duration {
        let Some(head_departure) = self.next_departure() else { return Duration::ZERO };
        let behind_head = self.queued_bytes - self.queue.front().map_or(0, |head| head.len);
        (head_departure + self.rate.time_for(behind_head as u64)).since(now)
    }

    /// Drops all that waits.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
    }

    fn start_head(&mut self) {
        if let Some(head) = self.queue.front() {
            self.head_start = head.arrival.max(self.last_departure);
            self.head_passed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn link(rate: u64) -> Shaper<char> {
        Shaper::new(Rate::new(rate), 10_000)
    }

    #[test]
    fn a_datagram_leaves_at_the_end_of_its_time_on_the_link() {
        let mut link = link(1_000);
        link.push(at(5), 100, 'a').unwrap();
        assert_eq!(link.next_departure(), Some(at(105)));
        assert_eq!(link.pop(at(104)), None);
        assert_eq!(link.pop(at(105)), Some((at(105), 'a')));
        assert_eq!(link.next_departure(), None);
    }

    #[test]
    fn a_late_look_does_not_slow_the_link_and_idle_time_is_not_banked() {
        let mut link = link(1_000);
        link.push(at(0), 100, 'a').unwrap();
        link.push(at(0), 100, 'b').unwrap();
        assert_eq!(link.pop(at(950)), Some((at(100), 'a')));
        assert_eq!(link.pop(at(950)), Some((at(200), 'b')));
        link.push(at(950), 100, 'c').unwrap();
        assert_eq!(link.next_departure(), Some(at(1_050)));
    }

    #[test]
    fn a_new_rate_holds_for_the_rest_of_the_head_and_for_the_queue() {
        let mut link = link(1_000);
        link.push(at(0), 100, 'a').unwrap();
        link.push(at(0), 100, 'b').unwrap();
        link.set_rate(at(50), Rate::new(100));
        assert_eq!(link.next_departure(), Some(at(550)));
        link.set_rate(at(300), Rate::new(1_000));
        assert_eq!(link.pop(at(400)), Some((at(325), 'a')));
        assert_eq!(link.next_departure(), Some(at(425)));
        link.set_rate(at(325), Rate::UNLIMITED);
        assert_eq!(link.pop(at(400)), Some((at(325), 'b')));
    }

    #[test]
    fn unlimited_takes_no_time_and_a_full_queue_gives_back() {
        let mut link = link(0);
        link.push(at(7), 6_000, 'a').unwrap();
        assert_eq!(link.push(at(7), 6_000, 'b'), Err('b'));
        assert_eq!(link.queued_bytes(), 6_000);
        assert_eq!(link.pop(at(7)), Some((at(7), 'a')));
    }

    #[test]
    fn the_long_run_rate_is_exact() {
        let mut link = Shaper::new(Rate::new(1_250_000_000), usize::MAX);
        for _ in 0..100_000 {
            link.push(at(0), 1_400, ()).unwrap();
        }
        let last = std::iter::from_fn(|| link.pop(at(10_000))).last().unwrap().0;
        let expected = 1_400.0 * 100_000.0 / 1.25e9;
        assert!((last.as_secs_f64() / expected - 1.0).abs() < 1e-6, "{last:?}");
    }

    #[test]
    fn the_standing_queue_is_told_in_time() {
        let mut link = link(1_000);
        assert_eq!(link.standing_queue(at(0)), Duration::ZERO);
        link.push(at(0), 100, 'a').unwrap();
        link.push(at(0), 200, 'b').unwrap();
        assert_eq!(link.standing_queue(at(40)), Duration::from_millis(260));
        link.clear();
        assert_eq!(link.standing_queue(at(40)), Duration::ZERO);
    }
}
