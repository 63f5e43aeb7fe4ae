//! Spreads a window over the round trip instead of sending it as one burst (RFC 9002 §7.7).

use crate::time::{Duration, Instant};

/// A burst of this many datagrams goes unspread: timers are coarse, and a few back to back do no harm.
const BURST_DATAGRAMS: u64 = 16;
/// Or what goes in this time, on fast paths.
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
        Pacer { datagram, tokens: (BURST_DATAGRAMS * datagram) as f64, filled: now }
    }

    /// When the next datagram may go: `None` for now, else the instant.
    pub fn blocked_until(
        &mut self,
        now: Instant,
        window: u64,
        srtt: Duration,
        slow_start: bool,
    ) -> Option<Instant> {
        let headroom = if slow_start { SLOW_START_HEADROOM } else { HEADROOM };
        let rate = headroom * window as f64 / srtt.as_secs_f64().max(1e-6);
        let burst = (BURST_DATAGRAMS as f64 * self.datagram as f64).max(rate * BURST_TIME.as_secs_f64());
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

    #[test]
    fn keeps_to_its_rate_after_a_first_burst() {
        let mut pacer = Pacer::new(1_000, Instant::ORIGIN);
        let (mut now, mut sent) = (Instant::ORIGIN, 0);
        let (window, srtt) = (100_000, Duration::from_millis(100));
        while now < Instant::ORIGIN + Duration::from_secs(10) {
            match pacer.blocked_until(now, window, srtt, false) {
                None => {
                    pacer.on_sent(1_000);
                    sent += 1_000;
                }
                Some(later) => {
                    assert!(later > now);
                    now = later;
                }
            }
        }
        let expected = 1_000_000.0 * 10.0 * HEADROOM;
        assert!((sent as f64 / expected - 1.0).abs() < 0.01, "{sent}");
    }
}
