//! Whether a downlink is full, from what comes in: its rate nobody needs to tell.
//!
//! What has waited for a link comes out of it in one go, as fast as it can. So the greatest rate over a tenth of a second is that of
//! the link (packet trains; Dovrolis, Ramanathan, Moore, "What do packet dispersion techniques measure?", INFOCOM 2001), and a full
//! one brings nearly as much all the time. One that has never been full may pass for it; one in front of which things come in bursts
//! for other reasons (this program stood still, others use the link) may pass for one that has room.

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
    /// The span that has begun: when, and what has come in it.
    began: Option<Instant>,
    bytes: u64,
    datagrams: u32,
    /// The average rate of late, B/s.
    lately: Option<f64>,
    /// The greatest rates since this moment, and in the time before, B/s.
    peaks: (Instant, [f64; 2]),
    /// Until when the link passes for full; as long as that is not known, it does.
    full_until: Option<Instant>,
}

impl Load {
    /// A datagram of `len` B came.
    pub fn on_datagram(&mut self, now: Instant, len: usize) {
        let Some(began) = self.began else {
            self.began = Some(now);
            return;
        };
        self.bytes += len as u64;
        self.datagrams += 1;
        let span = now.since(began);
        if span < SPAN || self.datagrams < DATAGRAMS {
            return;
        }
        let rate = self.bytes as f64 / span.as_secs_f64();
        let lately = self.lately.map_or(rate, |lately| lately + (rate - lately) / SPANS);
        let (since, [peak, before]) = self.peaks;
        self.peaks = match now.since(since) > LATE {
            true => (now, [rate, if now.since(since) > 2 * LATE { 0.0 } else { peak }]),
            false => (since, [peak.max(rate), before]),
        };
        let greatest = self.peaks.1.into_iter().fold(0.0, f64::max);
        if lately >= FULL * greatest {
            self.full_until = Some(now + LASTING.max(2 * span));
        }
        self.lately = Some(lately);
        (self.began, self.bytes, self.datagrams) = (Some(now), 0, 0);
    }

    /// Whether about as much has come of late as the link can take, as far as was ever seen.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_until.is_none_or(|until| now < until)
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
    fn full_is_as_much_as_was_ever_seen() {
        let (mut load, mut now) = (Load::default(), Instant::ORIGIN);
        assert!(load.is_full(now), "nothing is known");
        assert!(is_full(&mut load, &mut now, 3, &[10]));
        assert!(!is_full(&mut load, &mut now, 3, &[12]), "there was more");
        assert!(is_full(&mut load, &mut now, 20, &[12]), "that is long ago");
        assert!(is_full(&mut load, &mut now, 3, &[10]));
    }

    #[test]
    fn what_comes_in_bursts_leaves_room() {
        let mut pauses = [5; 60];
        pauses[30..].fill(10);
        assert!(!is_full(&mut Load::default(), &mut Instant::ORIGIN.clone(), 5, &pauses));
    }

    #[test]
    fn on_a_slow_link_single_datagrams_say_nothing() {
        for seconds in 1..60 {
            let (mut load, mut now) = (Load::default(), Instant::ORIGIN);
            assert!(is_full(&mut load, &mut now, seconds, &[150, 430]), "after {seconds} s");
        }
    }
}
