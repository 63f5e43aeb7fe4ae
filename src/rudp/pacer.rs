//! Spreads a window over the round trip instead of sending it as one burst (RFC 9002 §7.7).

use crate::time::{Duration, Instant};

/// So many datagrams go unspread on the slowest path.
const LEAST_BURST: u64 = 2;
/// On a fast one it may be this many, or what goes in this time: timers are coarse.
const MOST_BURST: u64 = 16;
const BURST_TIME: Duration = Duration::from_millis(2);
/// Faster than the window per RTT, so that the pacer is not what limits (RFC 9002 §7.7 gives 1.25; slow start doubles).
const HEADROOM: f64 = 1.25;
const SLOW_START_HEADROOM: f64 = 2.0;

/// A bucket of tokens, one a byte, that fills at a little more than the window per RTT.
#[derive(Clone, Debug)]
pub struct Pacer {
    datagram: u64,
    tokens: f64,
    filled: Instant,
}

impl Pacer {
    /// A full bucket.
    pub fn new(datagram: u64, now: Instant) -> Pacer {
        Pacer { datagram, tokens: (MOST_BURST * datagram) as f64, filled: now }
    }

    /// When the next datagram may go, at a `window` of so many B per `srtt`: `None` for now, else the instant. What goes unspread is
    /// `burst` B, within what was said above of slow and of fast paths.
    pub fn blocked_until(
        &mut self,
        now: Instant,
        window: u64,
        srtt: Duration,
        slow_start: bool,
        burst: u64,
    ) -> Option<Instant> {
        let headroom = if slow_start { SLOW_START_HEADROOM } else { HEADROOM };
        let rate = headroom * window as f64 / srtt.as_secs_f64().max(1e-6);
        let burst = burst.clamp(LEAST_BURST * self.datagram, MOST_BURST * self.datagram) as f64;
        let burst = burst.max(rate * BURST_TIME.as_secs_f64());
        self.tokens = (self.tokens + rate * now.since(self.filled).as_secs_f64()).min(burst);
        self.filled = now;
        if self.tokens >= 0.0 {
            return None;
        }
        // Wait for half a burst rather than for a single datagram: one timer, several datagrams.
        let wait = (burst / 2.0 - self.tokens) / rate;
        Some(now + Duration::from_secs_f64(wait))
    }

    /// A datagram of `size` B left.
    pub fn on_sent(&mut self, size: u64) {
        self.tokens -= size as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What leaves in ten seconds at a window of 100 kB and a round trip of 100 ms, in bursts of `burst` B, in datagrams of
    /// 1,000 B; and how many of them back to back at most, the first burst left out.
    fn ten_seconds(burst: u64) -> (u64, u64) {
        let mut pacer = Pacer::new(1_000, Instant::ORIGIN);
        let (mut now, mut sent, mut together, mut most) = (Instant::ORIGIN, 0, 0, 0);
        let (window, srtt) = (100_000, Duration::from_millis(100));
        while now < Instant::ORIGIN + Duration::from_secs(10) {
            match pacer.blocked_until(now, window, srtt, false, burst) {
                None => {
                    pacer.on_sent(1_000);
                    (sent, together) = (sent + 1, together + 1);
                }
                Some(later) => {
                    assert!(later > now);
                    if now > Instant::ORIGIN {
                        most = most.max(together);
                    }
                    (now, together) = (later, 0);
                }
            }
        }
        (sent, most)
    }

    #[test]
    fn keeps_to_its_rate_after_a_first_burst() {
        for burst in [0, 5_000, 1_000_000] {
            let (sent, _) = ten_seconds(burst);
            let expected = 10_000.0 * HEADROOM;
            assert!((sent as f64 / expected - 1.0).abs() < 0.01, "{burst}: {sent}");
        }
    }

    #[test]
    fn no_burst_is_longer_than_was_said_nor_needs_a_timer_for_each_datagram() {
        let most = [0, 5_000, 1_000_000].map(|burst| ten_seconds(burst).1);
        // At 1.25 MB/s, 2.5 kB are what goes in 2 ms.
        assert_eq!(most, [2, 3, 9]);
    }
}
