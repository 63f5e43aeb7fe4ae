//! How long the relay would take with the very orders that it gives, and transfers that cost nothing but their bytes.
//!
//! Not a bound: where shares are uneven, the first is done earlier, and helps earlier.

use std::collections::BTreeMap;

use super::roster::Roster;

/// The times, s, at which the first and the last of `receivers` would have all of a file of `size` B, if links were
/// filled exactly and nothing were sent but the file.
///
/// Rates in B/s, all above zero: `source_up` of the source, `up` and `down` of each receiver. A producer's uplink is
/// shared evenly by those that it serves, `spread` at most.
pub fn ideal_times(
    size: u64,
    receivers: u32,
    spread: usize,
    source_up: f64,
    (up, down): (f64, f64),
) -> (f64, f64) {
    let mut roster = Roster::new(spread);
    (0..receivers).for_each(|receiver| roster.want(receiver));
    let mut missing: BTreeMap<u32, (Option<u32>, f64)> = BTreeMap::new();
    let (mut now, mut first) = (0.0, None);
    loop {
        for order in roster.assign() {
            missing.insert(order.receiver, (order.producer, size as f64));
        }
        let rate = |producer: Option<u32>| {
            let up = if producer.is_some() { up } else { source_up };
            down.min(up / roster.load(producer).max(1) as f64)
        };
        // One after the other, also at the same moment, as the source hears of them.
        let next = missing
            .iter()
            .map(|(&receiver, &(producer, bytes))| (bytes / rate(producer), receiver))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((step, done)) = next else { return (first.unwrap_or(now), now) };
        now += step;
        for (producer, bytes) in missing.values_mut() {
            *bytes = (*bytes - step * rate(*producer)).max(0.0);
        }
        missing.remove(&done);
        first.get_or_insert(now);
        roster.have(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(receivers: u32, spread: usize) -> f64 {
        ideal_times(100, receivers, spread, 100.0, (100.0, 100.0)).1
    }

    #[test]
    fn one_at_a_time_doubles_the_copies() {
        for (receivers, rounds) in [(1, 1.0), (2, 2.0), (3, 2.0), (4, 3.0), (7, 3.0), (8, 4.0), (15, 4.0)] {
            assert!((last(receivers, 1) - rounds).abs() < 1e-9, "{receivers}: {}", last(receivers, 1));
        }
    }

    #[test]
    fn all_at_a_time_is_the_server_alone() {
        assert!((last(8, 8) - 8.0).abs() < 1e-9);
        let (first, last) = ideal_times(100, 4, 2, 100.0, (100.0, 100.0));
        assert!((first - 2.0).abs() < 1e-9 && (last - 3.0).abs() < 1e-9, "{first} {last}");
        // The receivers' own links bound it where the source is fast.
        assert!((ideal_times(100, 4, 4, 1e6, (10.0, 50.0)).1 - 2.0).abs() < 1e-9);
    }
}
