//! Whether a datagram with content goes to the peer soon, that small things can travel in.
//!
//! A header, and the ack that it leads to, cost more than most announcements and acks themselves. Where content flows both
//! ways, nearly all of them can do without a datagram of their own. Knows no frame: only when content was sent, and who waits.

use crate::time::{Duration, Instant};

/// A datagram with content is in sight if the last one is younger than so many round trips, and than this: where a peer
/// shares the uplink with twenty others, its turns can be that far apart.
const ROUND_TRIPS: u32 = 2;
const MAX_SIGHT: Duration = Duration::from_millis(300);
/// Nothing waits for longer than this part of a round trip, in hundredths,
const PERCENT: u32 = 40;
/// nor than this. A sender reckons with less ([`RttEstimator::max_ack_delay`](super::rtt::RttEstimator)), as most flows have nobody
/// to wait for; that it probes for want of an ack that waits is rare: for 1 of 6,000 datagrams among a hundred receivers.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// The rides of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rides {
    last: Option<Instant>,
    waiting_since: Option<Instant>,
}

impl Rides {
    /// A datagram with content was sent.
    pub fn on_bulk(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// Nobody waits any more.
    pub fn on_taken(&mut self) {
        self.waiting_since = None;
    }

    /// Somebody waits: when it has to go by itself, on a path with this round trip.
    pub fn due(&mut self, now: Instant, srtt: Duration) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        if self.is_in_sight(now, srtt) { since + longest_wait(srtt) } else { now }
    }

    /// When an ack has to go that would be `due` by itself, and waits since `since`.
    pub fn ack_due(&self, now: Instant, srtt: Duration, since: Instant, due: Instant) -> Instant {
        if self.is_in_sight(now, srtt) { due.max(since + longest_wait(srtt)) } else { due }
    }

    fn is_in_sight(&self, now: Instant, srtt: Duration) -> bool {
        self.last.is_some_and(|last| now.since(last) < (srtt * ROUND_TRIPS).min(MAX_SIGHT))
    }
}

fn longest_wait(srtt: Duration) -> Duration {
    (srtt * PERCENT / 100).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRTT: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn without_content_nobody_waits() {
        let mut rides = Rides::default();
        assert_eq!(rides.due(at(5), SRTT), at(5));
        assert_eq!(rides.ack_due(at(5), SRTT, at(5), at(5)), at(5));
        rides.on_taken();
        rides.on_bulk(at(100));
        assert_eq!(rides.due(at(199), SRTT), at(219));
        rides.on_taken();
        assert_eq!(rides.due(at(200), SRTT), at(200), "the content has ended");
    }

    #[test]
    fn with_content_all_wait_but_not_for_long() {
        let mut rides = Rides::default();
        rides.on_bulk(at(0));
        assert_eq!(rides.due(at(10), SRTT), at(30));
        assert_eq!(rides.due(at(25), SRTT), at(30), "counted from the first");
        rides.on_taken();
        assert_eq!(rides.due(at(60), SRTT), at(80));
        assert_eq!(rides.due(at(60), Duration::from_secs(2)), at(60) + MAX_WAIT);
        assert_eq!(rides.ack_due(at(10), SRTT, at(8), at(10)), at(28));
        assert_eq!(rides.ack_due(at(10), SRTT, at(8), at(33)), at(33), "it may wait for longer anyway");
        assert_eq!(rides.ack_due(at(10), Duration::from_secs(2), at(8), at(10)), at(8) + MAX_WAIT);
    }
}
