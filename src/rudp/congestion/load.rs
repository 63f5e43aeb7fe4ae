//! Whether a downlink is full, from what comes in: its rate nobody needs to tell.
//!
//! What has waited for a link comes out of it in one go, as fast as it can. So the greatest rate over a tenth of a second is that of
//! the link (packet trains; Dovrolis, Ramanathan, Moore, "What do packet dispersion techniques measure?", INFOCOM 2001), and a full
//! one brings nearly as much all the time. One that was not full for ten seconds may pass for it; one in front of which things come in
//! bursts for other reasons (others use the link) may pass for one that has room. That this program stood still for a moment is no
//! such reason: what came meanwhile has one time, and counts where it belongs.

use crate::time::{Duration, Instant};

/// A rate is taken over so much time at least, and so many datagrams.
const SPAN: Duration = Duration::from_millis(100);
const DATAGRAMS: u32 = 8;
/// Of late means this many spans.
const SPANS: f64 = 5.0;
/// The greatest rate is that of this long, and of up to as long before.
const LATE: Duration = Duration::from_secs(5);
/// So much of it fills the link.
const FULL: f64 = 0.9;
/// For so long, and for two spans, it has to be less: flows that begin leave room for moments.
const LASTING: Duration = Duration::from_millis(500);

/// A running measurement.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// The span that has begun: when, when the last of it came, and what has come in it.
    span: Option<(Instant, Instant)>,
    bytes: u64,
    datagrams: u32,
    /// The average rate of late, and that of the newest span, B/s.
    lately: Option<f64>,
    newest: f64,
    /// The greatest rates since this moment, and in the time before, B/s.
    peaks: (Instant, [f64; 2]),
    /// Until when the link passes for full; as long as that is not known, it does.
    full_until: Option<Instant>,
}

impl Load {
    /// A datagram of `len` B came.
    pub fn on_datagram(&mut self, now: Instant, len: usize) {
        let (mut began, last) = self.span.unwrap_or((now, now));
        if now.since(last) > LATE {
            // What was before the silence is long ago.
            *self = Load::default();
            began = now;
        } else if now > last && last.since(began) >= SPAN && self.datagrams >= DATAGRAMS {
            self.judge(last, last.since(began));
            (began, self.bytes, self.datagrams) = (last, 0, 0);
        }
        // The one that begins it all marks a time only.
        if now > began {
            self.bytes += len as u64;
            self.datagrams += 1;
        }
        self.span = Some((began, now));
    }

    /// The span of this length is over.
    fn judge(&mut self, now: Instant, span: Duration) {
        let rate = self.bytes as f64 / span.as_secs_f64();
        let lately = self.lately.map_or(rate, |lately| lately + (rate - lately) / SPANS);
        let (since, [peak, before]) = self.peaks;
        self.peaks = match now.since(since) > LATE {
            true => (now, [rate, peak]),
            false => (since, [peak.max(rate), before]),
        };
        if lately >= FULL * self.greatest() {
            self.full_until = Some(now + LASTING.max(2 * span));
        }
        (self.lately, self.newest) = (Some(lately), rate);
    }

    fn greatest(&self) -> f64 {
        self.peaks.1.into_iter().fold(0.0, f64::max)
    }

    /// Whether about as much has come of late as the link can take, as far as was seen in the last seconds.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_until.is_none_or(|until| now < until)
    }

    /// The same, but a link that has just been filled again counts at once: where it is slow, the average takes ten seconds to follow.
    pub fn may_be_full(&self, now: Instant) -> bool {
        self.is_full(now) || self.newest >= FULL * self.greatest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the link is full after so many seconds in which `gaps` lie between datagrams of 1,000 B, ms, in turn.
    fn is_full(load: &mut Load, now: &mut Instant, seconds: u64, gaps: &[u64]) -> bool {
        let end = *now + Duration::from_secs(seconds);
        for &gap in gaps.iter().cycle() {
            if *now >= end {
                break;
            }
            *now += Duration::from_millis(gap);
            load.on_datagram(*now, 1_000);
        }
        load.is_full(*now)
    }

    #[test]
    fn full_is_as_much_as_was_seen_of_late() {
        let (mut load, mut now) = (Load::default(), Instant::ORIGIN);
        assert!(load.is_full(now), "nothing is known");
        assert!(is_full(&mut load, &mut now, 3, &[10]));
        assert!(!is_full(&mut load, &mut now, 3, &[12]), "there was more");
        assert!(is_full(&mut load, &mut now, 20, &[12]), "that is long ago");
        assert!(is_full(&mut load, &mut now, 3, &[10]));
    }

    #[test]
    fn what_fills_it_again_may_fill_it_at_once() {
        let (mut load, mut now) = (Load::default(), Instant::ORIGIN);
        assert!(is_full(&mut load, &mut now, 3, &[10]));
        assert!(!is_full(&mut load, &mut now, 3, &[20]) && !load.may_be_full(now));
        for _ in 0..25 {
            now += Duration::from_millis(10);
            load.on_datagram(now, 1_000);
        }
        assert!(load.may_be_full(now) && !load.is_full(now));
    }

    #[test]
    fn after_a_silence_what_was_before_it_says_nothing() {
        let (mut load, mut now) = (Load::default(), Instant::ORIGIN);
        assert!(is_full(&mut load, &mut now, 10, &[10]));
        now += Duration::from_secs(3_600);
        assert!(is_full(&mut load, &mut now, 3, &[20]), "as far as is known");
        assert!(!is_full(&mut load, &mut now, 5, &bursts()));
    }

    #[test]
    fn standing_still_for_a_moment_makes_no_room() {
        for stall in [12, 20, 50, 300] {
            let (mut load, mut now) = (Load::default(), Instant::ORIGIN);
            for millis in 1..60_000u64 {
                // All that came meanwhile is seen at once.
                let seen = millis.next_multiple_of(if millis % 4_000 < stall { stall } else { 1 });
                now = now.max(Instant::ORIGIN + Duration::from_millis(seen));
                load.on_datagram(now, 1_000);
                assert!(load.is_full(now), "{stall} ms, after {millis} ms");
            }
        }
    }

    /// Gaps of datagrams that come twice as fast half of the time, ms.
    fn bursts() -> [u64; 60] {
        let mut gaps = [5; 60];
        gaps[30..].fill(10);
        gaps
    }

    #[test]
    fn what_comes_in_bursts_leaves_room() {
        assert!(!is_full(&mut Load::default(), &mut Instant::ORIGIN.clone(), 5, &bursts()));
    }

    #[test]
    fn on_a_slow_link_single_datagrams_say_nothing() {
        for seconds in 1..60 {
            let (mut load, mut now) = (Load::default(), Instant::ORIGIN);
            assert!(is_full(&mut load, &mut now, seconds, &[150, 430]), "after {seconds} s");
        }
    }
}
