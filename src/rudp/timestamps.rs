//! Which packets tell when they were sent: often enough for the other side to see its downlink's queue, and no oftener.
//!
//! The choice alone; what is told stands in [`super::frame`].

use std::ops::RangeInclusive;

use crate::time::{Duration, Instant};

/// A packet tells when it was sent after so many that didn't and so much time, or after so much time if they are few.
const PACKETS: u64 = 4;
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(250);

/// The timestamps of one connection and direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timestamps {
    /// When the last packet told, and its number.
    last: Option<(Instant, u64)>,
}

impl Timestamps {
    /// Whether the packet `number`, which leaves now, has to tell; noted if so.
    pub fn is_due(&mut self, now: Instant, number: u64) -> bool {
        let is_due = self.last.is_none_or(|(last, before)| {
            let (shortest, longest) = INTERVAL.into_inner();
            let wait = if number - before >= PACKETS { shortest } else { longest };
            now.since(last) >= wait
        });
        if is_due {
            self.last = Some((now, number));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 1,000 packets tell, one every `millis` ms.
    fn told(millis: u64) -> usize {
        let mut timestamps = Timestamps::default();
        let at = |number: u64| Instant::ORIGIN + Duration::from_millis(millis * number);
        (0..1_000).filter(|&number| timestamps.is_due(at(number), number)).count()
    }

    #[test]
    fn fast_flows_tell_by_time_slow_ones_by_packets_and_the_slowest_always() {
        assert_eq!([1, 10, 60, 130, 300].map(told), [50, 250, 250, 500, 1_000]);
    }
}
