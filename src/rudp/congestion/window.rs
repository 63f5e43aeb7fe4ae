//! A congestion window that keeps a standing queue short and never empty (LEDBAT++, RFC 6817).
//!
//! Knows no packet and no path: it is told how much was acked and how long the queue is. One such window guards each
//! connection against the receiver's downlink, another all of them against the sender's own uplink.

use crate::time::{Duration, Instant};

/// The standing queue to aim at (RFC 6817 allows up to 100 ms; LEDBAT++ takes 60).
const TARGET: Duration = Duration::from_millis(60);
/// Slow start ends at a queue of this length.
const SLOW_START_EXIT: Duration = Duration::from_millis(30);
/// Below this queue the link has room for everybody: the window grows by [`GROWTH`] of itself per round trip.
const NEARLY_EMPTY: Duration = Duration::from_millis(15);
const GROWTH: f64 = 0.2;
/// Above it, each window grows by the same amount per round trip, B, and shrinks in proportion to itself by what the
/// queue exceeds the target. So large windows give way to small ones until all who share a queue are equal (LEDBAT++).
const STEP: f64 = 400.0;
/// What part of the excess is taken back per round trip.
const GIVE_BACK: f64 = 0.35;
/// But no more than this part of the window.
const MAX_SHRINK: f64 = 0.3;
/// A queue of this length means that the rate has collapsed: cut at once instead of step by step.
const COLLAPSE: Duration = Duration::from_millis(480);
/// After a cut, nothing is believed until what was sent before it has been acked. That takes as long as the round trip, and a little longer, as the
/// queue has grown since that began whose ack led to the cut. But no longer than this.
const MAX_DRAIN: Duration = Duration::from_secs(2);
/// What a cut aims at.
const AFTER_COLLAPSE: Duration = Duration::from_millis(90);
/// The smallest window, in datagrams: one on the link while the ack of the other is under way.
const MIN_DATAGRAMS: u64 = 2;
/// What looks like a queue of 200 ms and never goes holds a window at [`STEP`] ÷ [`GIVE_BACK`] · round trip ÷ 140 ms: less than
/// so many datagrams up to a round trip of 1.4 s.
const NARROW_DATAGRAMS: u64 = 8;
/// The window before anything is known, in datagrams. RFC 9002 §7.2 allows ten; on a 5 kB/s uplink those take 2.4 s,
/// and a fast path costs no more than two round trips to find out.
const INITIAL_DATAGRAMS: u64 = 2;
/// No window grows beyond this, B.
const MAX_WINDOW: u64 = 16 << 20;

/// How many bytes may be in flight.
#[derive(Clone, Debug)]
pub struct DelayWindow {
    window: f64,
    datagram: u64,
    slow_start: bool,
    /// Until then the queue that led to the last cut drains, and says nothing new.
    draining_until: Instant,
}

impl DelayWindow {
    /// The initial window for datagrams of up to `datagram` B.
    pub fn new(datagram: u64) -> DelayWindow {
        DelayWindow {
            window: (INITIAL_DATAGRAMS * datagram) as f64,
            datagram,
            slow_start: true,
            draining_until: Instant::ORIGIN,
        }
    }

    /// Whether another datagram may go while `in_flight` B are under way. It may overshoot by half: a window of two
    /// datagrams holds two, whatever a piggybacked ack adds to their size.
    pub fn has_room(&self, in_flight: u64) -> bool {
        (in_flight + self.datagram / 2) as f64 <= self.window
    }

    /// The same where `window` B may be under way in its place, if that is more.
    pub fn has_room_within(&self, in_flight: u64, window: u64) -> bool {
        self.has_room(in_flight) || in_flight + self.datagram / 2 <= window
    }

    /// Datagrams are of up to `datagram` B from now on.
    pub fn set_datagram(&mut self, datagram: u64) {
        self.datagram = datagram;
        self.set(self.window);
    }

    /// The window, B.
    pub fn bytes(&self) -> u64 {
        self.window as u64
    }

    /// Whether the window is so small that a queue that never goes may be what keeps it there.
    pub fn is_narrow(&self) -> bool {
        self.bytes() <= NARROW_DATAGRAMS * self.datagram
    }

    /// Whether the window still grows without having seen a queue.
    pub fn in_slow_start(&self) -> bool {
        self.slow_start
    }

    /// Takes in that `acked` B arrived over a path with this `queue`, of `in_flight` B that had been under way. A
    /// window that was not nearly used up must not grow: a lack of data had held the sender back (RFC 9002 §7.8).
    pub fn on_ack(&mut self, now: Instant, acked: u64, queue: Duration, in_flight: u64, srtt: Duration) {
        let limited = 2 * in_flight >= self.bytes();
        if now < self.draining_until {
            return;
        }
        if queue > COLLAPSE {
            self.slow_start = false;
            self.set(self.window * AFTER_COLLAPSE.as_secs_f64() / queue.as_secs_f64());
            self.draining_until = now + (queue.max(srtt) * 5 / 4).min(MAX_DRAIN);
            return;
        }
        if self.slow_start {
            if queue <= SLOW_START_EXIT {
                if limited {
                    self.set(self.window + acked as f64);
                }
                return;
            }
            self.slow_start = false;
        }
        // Where more is under way than the window and what overshoots it, still no more than that counts for a round trip.
        let most = self.window + self.datagram as f64;
        let acked = acked as f64 * (most / in_flight.max(1) as f64).min(1.0);
        let growth = match limited {
            true if queue < NEARLY_EMPTY => GROWTH * acked,
            true => STEP * acked / self.window,
            false => 0.0,
        };
        let excess = queue.saturating_sub(TARGET).as_secs_f64() / srtt.max(TARGET).as_secs_f64();
        let shrink = acked * (GIVE_BACK * excess).min(MAX_SHRINK);
        self.set(self.window + growth - shrink);
    }

    /// Nothing was acked for several probe time-outs: what was known of the path no longer holds (RFC 9002 §7.6).
    pub fn on_persistent_congestion(&mut self) {
        self.set(0.0);
        self.slow_start = true;
    }

    fn set(&mut self, window: f64) {
        self.window = window.clamp((MIN_DATAGRAMS * self.datagram) as f64, MAX_WINDOW as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    /// A window's worth of acks at once.
    fn acked_whole(window: &mut DelayWindow, now: Instant, queue: Duration) {
        window.on_ack(now, window.bytes(), queue, window.bytes(), queue + 10 * MS);
    }

    #[test]
    fn doubles_until_a_queue_shows() {
        let mut window = DelayWindow::new(1_000);
        acked_whole(&mut window, at(0), 29 * MS);
        assert_eq!(window.bytes(), 4_000);
        window.on_ack(at(1), 4_000, Duration::ZERO, 1_500, 10 * MS);
        assert_eq!(window.bytes(), 4_000, "an unused window doesn't grow");
        acked_whole(&mut window, at(2), 45 * MS);
        assert!(!window.in_slow_start());
        assert_eq!(window.bytes(), 4_400);
    }

    #[test]
    fn however_fast_the_acks_come_the_window_has_an_end() {
        let mut window = DelayWindow::new(1_000);
        for n in 0..40 {
            acked_whole(&mut window, at(n), Duration::ZERO);
        }
        assert_eq!(window.bytes(), 16 << 20);
    }

    /// Windows that share one queue of a link of `rate` B/s; gives the windows and the queue at the end.
    fn share(mut windows: Vec<DelayWindow>, rate: f64, seconds: f64) -> (Vec<u64>, Duration) {
        let base = 10 * MS;
        let mut now = Instant::ORIGIN;
        let mut queue = Duration::ZERO;
        while now.as_secs_f64() < seconds {
            let sum: u64 = windows.iter().map(DelayWindow::bytes).sum();
            queue = Duration::from_secs_f64(sum as f64 / rate).saturating_sub(base);
            now += queue + base;
            for window in &mut windows {
                window.on_ack(now, window.bytes(), queue, window.bytes(), queue + base);
            }
        }
        (windows.iter().map(DelayWindow::bytes).collect(), queue)
    }

    #[test]
    fn one_window_settles_at_the_target() {
        let (_, queue) = share(vec![DelayWindow::new(1_000)], 100_000.0, 20.0);
        assert!((58 * MS..75 * MS).contains(&queue), "{queue:?}");
    }

    #[test]
    fn a_large_and_a_small_window_become_equal() {
        let mut large = DelayWindow::new(1_000);
        while large.bytes() < 60_000 {
            acked_whole(&mut large, at(0), Duration::ZERO);
        }
        let (windows, queue) = share(vec![large, DelayWindow::new(1_000)], 1_000_000.0, 30.0);
        let ratio = windows[0] as f64 / windows[1] as f64;
        assert!((0.9..1.1).contains(&ratio), "{windows:?}");
        assert!((55 * MS..75 * MS).contains(&queue), "{queue:?}");
    }

    #[test]
    fn a_collapse_cuts_once_until_the_queue_has_drained() {
        let mut window = DelayWindow::new(1_000);
        for _ in 0..6 {
            acked_whole(&mut window, at(0), Duration::ZERO);
        }
        assert_eq!(window.bytes(), 128_000);
        window.on_ack(at(10), 1_000, 900 * MS, 10_000, 900 * MS);
        assert_eq!(window.bytes(), 12_800);
        // Sent just before the cut.
        window.on_ack(at(930), 1_000, 910 * MS, 10_000, 920 * MS);
        assert_eq!(window.bytes(), 12_800);
        window.on_ack(at(1_200), 1_000, 900 * MS, 10_000, 900 * MS);
        assert_eq!(window.bytes(), 2_000, "it has not drained");
    }

    #[test]
    fn never_below_two_datagrams_which_both_may_go() {
        let mut window = DelayWindow::new(1_000);
        for _ in 0..100 {
            acked_whole(&mut window, at(0), 400 * MS);
        }
        assert_eq!(window.bytes(), 2_000);
        assert!(window.has_room(0) && window.has_room(1_030) && !window.has_room(2_060));
        window.on_persistent_congestion();
        assert!(window.in_slow_start());
    }
}
