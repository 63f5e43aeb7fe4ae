//! Sets of whole numbers as sorted, disjoint ranges: what was received, what was acknowledged.
//!
//! Meant for sets with few gaps: a vector, searched from its end, where the news is.

use std::ops::Range;

/// A set of `u64` kept as sorted, disjoint, non-adjacent half-open ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<Range<u64>>,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> RangeSet {
        RangeSet { ranges: Vec::new() }
    }

    /// Adds `range` and says how many of its numbers are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        // The ranges in `from..to` overlap or touch the new one.
        let from = self.position(|have| have.end < range.start);
        let to = self.position(|have| have.start <= range.end);
        let mut merged = range.clone();
        let mut already = 0;
        for have in &self.ranges[from..to] {
            already += have.end.min(range.end).saturating_sub(have.start.max(range.start));
            merged.start = merged.start.min(have.start);
            merged.end = merged.end.max(have.end);
        }
        if from == to {
            self.ranges.insert(from, merged);
        } else {
            self.ranges[from] = merged;
            self.ranges.drain(from + 1..to);
        }
        range.end - range.start - already
    }

    /// Whether all of `range` is in the set.
    pub fn contains(&self, range: Range<u64>) -> bool {
        let at = self.position(|have| have.end < range.end);
        range.is_empty() || self.ranges.get(at).is_some_and(|have| have.start <= range.start)
    }

    /// Removes all below `floor`.
    pub fn remove_below(&mut self, floor: u64) {
        let keep_from = self.ranges.partition_point(|have| have.end <= floor);
        self.ranges.drain(..keep_from);
        if let Some(first) = self.ranges.first_mut() {
            first.start = first.start.max(floor);
        }
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + ExactSizeIterator + '_ {
        self.ranges.iter().cloned()
    }

    /// How many ranges there are.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// The end of the range that begins at or below `start` and reaches beyond it, or `start` itself.
    pub fn contiguous_end(&self, start: u64) -> u64 {
        let at = self.position(|have| have.end <= start);
        self.ranges.get(at).filter(|have| have.start <= start).map_or(start, |have| have.end)
    }

    /// Index of the first range for which `before` is false. The news is nearly always at the end.
    fn position(&self, before: impl Fn(&Range<u64>) -> bool) -> usize {
        match self.ranges.last() {
            Some(last) if before(last) => self.ranges.len(),
            _ => self.ranges.partition_point(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rand::Rng;

    #[test]
    fn agrees_with_a_plain_set() {
        let mut rng = Rng::from_seed(5);
        for _ in 0..300 {
            let (mut ranges, mut plain) = (RangeSet::new(), BTreeSet::new());
            for _ in 0..40 {
                let start = rng.below(60);
                let range = start..start + rng.below(8);
                let new = range.clone().filter(|n| plain.insert(*n)).count() as u64;
                assert_eq!(ranges.insert(range), new);
                let probe = rng.below(60);
                let probe = probe..probe + rng.below(6);
                assert_eq!(ranges.contains(probe.clone()), probe.clone().all(|n| plain.contains(&n)));
                let mut end = probe.start;
                while plain.contains(&end) {
                    end += 1;
                }
                assert_eq!(ranges.contiguous_end(probe.start), end);
            }
            let floor = rng.below(60);
            ranges.remove_below(floor);
            plain.retain(|&n| n >= floor);
            assert_eq!(ranges.iter().flatten().collect::<BTreeSet<_>>(), plain);
            assert!(ranges.ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
        }
    }
}
