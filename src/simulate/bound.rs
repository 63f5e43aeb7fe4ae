//! The fluid bound: how soon a file can be everywhere at best, if bytes flowed like water and nothing had a header.
//!
//! No node and no protocol here, only rates over time. While they rest and all begin together, the bound is
//! D = max{F/u_s, F/d_min, N·F/(u_s + Σu_i)} (Kumar and Ross 2006). In general each of the three becomes an integral:
//!
//! - the sources have to send every byte once, from the scenario's start on;
//! - each receiver has to receive every byte by its own downlink, from its join on, and from others' uplinks;
//! - all uplinks together, those who leave later included, have to send every byte once for each who is to have it.
//!
//! No schedule beats any of them, so their maximum is a sound bound; with joins and changes it may be one that no
//! schedule reaches. Loss, latency and headers are left out: they only make it slower.

/// A rate over time: constant from each step to the next, zero before the first. B/s; infinite if unlimited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capacity {
    /// From when on (s) it is how much, in ascending order.
    steps: Vec<(f64, f64)>,
}

impl Capacity {
    /// Changes the rate from `at` s on, which is not before the last change.
    pub fn set(&mut self, at: f64, rate: f64) {
        match self.steps.last_mut() {
            Some(last) if last.0 >= at => last.1 = rate,
            _ => self.steps.push((at, rate)),
        }
    }

    /// All of `parts` together.
    pub fn sum<'a>(parts: impl IntoIterator<Item = &'a Capacity>) -> Capacity {
        let mut changes = Vec::new();
        for part in parts {
            let mut before = 0.0;
            for &(at, rate) in &part.steps {
                changes.push((at, before, rate));
                before = rate;
            }
        }
        changes.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Unlimited ones are counted apart: what is infinite can't be taken off again.
        let (mut finite, mut unlimited) = (0.0, 0);
        let mut sum = Capacity::default();
        for (at, before, after) in changes {
            if before == f64::INFINITY {
                unlimited -= 1;
            } else {
                finite -= before;
            }
            if after == f64::INFINITY {
                unlimited += 1;
            } else {
                finite += after;
            }
            sum.set(at, if unlimited > 0 { f64::INFINITY } else { f64::max(finite, 0.0) });
        }
        sum
    }

    /// How many bytes it carries from `from` to `to`, s.
    pub fn carried(&self, from: f64, to: f64) -> f64 {
        self.spans(from)
            .take_while(|&(start, _, _)| start < to)
            .map(|(start, end, rate)| if rate == 0.0 { 0.0 } else { rate * (end.min(to) - start) })
            .sum()
    }

    /// When it has carried `bytes` since `from`, s; infinite if never.
    pub fn time_to_carry(&self, from: f64, bytes: f64) -> f64 {
        let mut left = bytes;
        if left <= 0.0 {
            return from;
        }
        for (start, end, rate) in self.spans(from) {
            if rate == f64::INFINITY {
                return start;
            }
            if rate > 0.0 && start + left / rate <= end {
                return start + left / rate;
            }
            left -= if rate == 0.0 { 0.0 } else { rate * (end - start) };
        }
        f64::INFINITY
    }

    /// Start, end and rate of each step, from `from` on.
    fn spans(&self, from: f64) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        // The step in force at `from` is the last that doesn't begin after it.
        let first = self.steps.partition_point(|step| step.0 <= from).saturating_sub(1);
        self.steps[first..].iter().enumerate().filter_map(move |(index, &(at, rate))| {
            let end = self.steps.get(first + index + 1).map_or(f64::INFINITY, |next| next.0);
            (end > from).then_some((at.max(from), end, rate))
        })
    }
}

/// One node's part in the flow.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Whether it has the file from the beginning.
    pub is_source: bool,
    /// When it joins, s.
    pub join: f64,
    /// Its uplink while it is there.
    pub up: Capacity,
    /// Its downlink while it is there.
    pub down: Capacity,
}

/// What the rates of a scenario allow. Times are seconds since its start.
#[derive(Clone, Debug)]
pub struct Bound {
    size: f64,
    sources: Capacity,
    all: Capacity,
}

impl Bound {
    /// The bound for a file of `size` B among `flows`.
    pub fn new(size: u64, flows: &[Flow]) -> Bound {
        Bound {
            size: size as f64,
            sources: Capacity::sum(flows.iter().filter(|flow| flow.is_source).map(|flow| &flow.up)),
            all: Capacity::sum(flows.iter().map(|flow| &flow.up)),
        }
    }

    /// When `receiver` can have all of it at the earliest, whatever becomes of the others.
    pub fn of(&self, receiver: &Flow) -> f64 {
        let down = receiver.down.time_to_carry(receiver.join, self.size);
        let first_copy = self.sources.time_to_carry(0.0, self.size);
        down.max(first_copy).max(self.all.time_to_carry(receiver.join, self.size)).max(receiver.join)
    }

    /// When the last of `receivers` can have all of it at the earliest.
    pub fn of_last<'a>(&self, receivers: impl IntoIterator<Item = &'a Flow>) -> f64 {
        let (mut count, mut last) = (0.0, 0.0);
        for receiver in receivers {
            count += 1.0;
            last = self.of(receiver).max(last);
        }
        last.max(self.all.time_to_carry(0.0, count * self.size))
    }

    /// What part of the file all of `receivers` can have at `time` at the most, 0–1.
    pub fn share_at<'a>(&self, receivers: impl IntoIterator<Item = &'a Flow>, time: f64) -> f64 {
        let (mut count, mut least) = (0.0, self.sources.carried(0.0, time));
        for receiver in receivers {
            count += 1.0;
            least = least.min(receiver.down.carried(receiver.join, time));
        }
        if self.size == 0.0 || count == 0.0 {
            return 1.0;
        }
        (least.min(self.all.carried(0.0, time) / count) / self.size).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(steps: &[(f64, f64)]) -> Capacity {
        let mut capacity = Capacity::default();
        steps.iter().for_each(|&(at, rate)| capacity.set(at, rate));
        capacity
    }

    fn flow(is_source: bool, join: f64, up: f64, down: f64) -> Flow {
        Flow { is_source, join, up: steps(&[(join, up)]), down: steps(&[(join, down)]) }
    }

    #[test]
    fn a_capacity_carries_its_integral() {
        let capacity = steps(&[(1.0, 10.0), (3.0, 0.0), (4.0, 100.0)]);
        assert_eq!(capacity.carried(0.0, 0.5), 0.0);
        assert_eq!(capacity.carried(0.0, 5.0), 120.0);
        assert_eq!(capacity.carried(2.0, 4.5), 60.0);
        assert_eq!(capacity.time_to_carry(0.0, 15.0), 2.5);
        assert_eq!(capacity.time_to_carry(2.0, 60.0), 4.5);
        assert_eq!(steps(&[(0.0, 5.0), (1.0, 0.0)]).time_to_carry(0.0, 6.0), f64::INFINITY);
        assert_eq!(steps(&[(0.0, 5.0), (1.0, f64::INFINITY)]).time_to_carry(0.0, 6.0), 1.0);
        assert_eq!(Capacity::default().time_to_carry(3.0, 0.0), 3.0);
    }

    #[test]
    fn capacities_add_up_and_unlimited_ones_come_and_go() {
        let sum = Capacity::sum([
            &steps(&[(0.0, 5.0), (2.0, 0.0)]),
            &steps(&[(0.0, 1.0)]),
            &steps(&[(1.0, f64::INFINITY), (3.0, 0.0)]),
        ]);
        assert_eq!(sum.steps, [(0.0, 6.0), (1.0, f64::INFINITY), (2.0, f64::INFINITY), (3.0, 1.0)]);
    }

    #[test]
    fn at_rest_it_is_that_of_kumar_and_ross() {
        for (source, receiver, count, expected) in [
            ((100.0, 100.0), (100.0, 100.0), 4, 10.0),
            ((5.0, 5.0), (100.0, 500.0), 4, 200.0),
            ((1000.0, 0.0), (10.0, 1000.0), 50, 50.0 * 1000.0 / 1500.0),
            ((1000.0, 0.0), (1000.0, 20.0), 3, 50.0),
        ] {
            let mut flows = vec![flow(true, 0.0, source.0, source.1)];
            flows.extend((0..count).map(|_| flow(false, 0.0, receiver.0, receiver.1)));
            let bound = Bound::new(1_000, &flows);
            let last = bound.of_last(&flows[1..]);
            assert!((last - expected).abs() < 1e-9, "{last} {expected}");
            assert!((bound.share_at(&flows[1..], expected) - 1.0).abs() < 1e-9);
            assert!((bound.share_at(&flows[1..], expected / 2.0) - 0.5).abs() < 1e-9);
        }
    }

    #[test]
    fn who_joins_late_is_bound_from_then_on() {
        let flows =
            [flow(true, 0.0, 100.0, 100.0), flow(false, 0.0, 100.0, 100.0), flow(false, 50.0, 100.0, 20.0)];
        let bound = Bound::new(1_000, &flows);
        assert_eq!(bound.of(&flows[1]), 10.0);
        assert_eq!(bound.of_last(&flows[1..]), 100.0);
        assert_eq!(bound.share_at(&flows[1..], 50.0), 0.0);
    }
}
