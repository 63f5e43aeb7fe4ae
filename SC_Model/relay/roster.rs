//! Who waits, who has the file, and who is to fetch from whom. No network and no time here.

use std::collections::{BTreeMap, VecDeque};

/// The source's book. A receiver is named by an `H`; `None` stands for the source where a producer is meant.
///
/// Invariant: a receiver waits, fetches or produces, one of these at most; the source is always a producer.
#[derive(Debug)]
pub(super) struct Roster<H> {
    /// How many may fetch from one producer at a time.
    spread: usize,
    /// Who has all of it, for longest first.
    producers: Vec<Option<H>>,
    /// Who waits, for longest first.
    waiting: VecDeque<H>,
    /// Who fetches: from whom, and the order's number.
    fetching: BTreeMap<H, (Option<H>, u64)>,
    orders: u64,
}

/// "Fetch from there."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order<H> {
    pub(super) number: u64,
    pub(super) receiver: H,
    pub(super) producer: Option<H>,
}

impl<H: Copy + Ord> Roster<H> {
    /// Nobody but the source, and `spread` receivers at a time (at least one) for each producer.
    pub(super) fn new(spread: usize) -> Roster<H> {
        Roster {
            spread: spread.max(1),
            producers: vec![None],
            waiting: VecDeque::new(),
            fetching: BTreeMap::new(),
            orders: 0,
        }
    }

    /// A receiver goes to the end of the line, unless it stands in it.
    pub(super) fn want(&mut self, receiver: H) {
        if !self.waiting.contains(&receiver) {
            self.gone(receiver);
            self.waiting.push_back(receiver);
        }
    }

    /// A receiver has all of it, and becomes a producer.
    pub(super) fn have(&mut self, receiver: H) {
        if !self.producers.contains(&Some(receiver)) {
            self.gone(receiver);
            self.producers.push(Some(receiver));
        }
    }

    /// What a receiver was ordered came to nothing: it is next in line, and the producer isn't named again until it says
    /// that it has the file. Only the latest order counts.
    pub(super) fn lost(&mut self, receiver: H, number: u64) {
        let Some((producer, _)) = self.fetching.get(&receiver).copied().filter(|order| order.1 == number)
        else {
            return;
        };
        self.fetching.remove(&receiver);
        if producer.is_some() {
            self.producers.retain(|other| *other != producer);
        }
        self.waiting.push_front(receiver);
    }

    /// A receiver isn't there any more. Those that fetch from it find out for themselves.
    pub(super) fn gone(&mut self, receiver: H) {
        self.fetching.remove(&receiver);
        self.waiting.retain(|other| *other != receiver);
        self.producers.retain(|other| *other != Some(receiver));
    }

    /// Orders for those in line, as many as there are free places: each at the producer that serves fewest, of several
    /// at the one that has the file for longest.
    pub(super) fn assign(&mut self) -> Vec<Order<H>> {
        let mut orders = Vec::new();
        while let Some(&receiver) = self.waiting.front() {
            let Some((load, producer)) =
                self.producers.iter().map(|&producer| (self.load(producer), producer)).min_by_key(|p| p.0)
            else {
                break;
            };
            if load >= self.spread {
                break;
            }
            self.waiting.pop_front();
            self.orders += 1;
            self.fetching.insert(receiver, (producer, self.orders));
            orders.push(Order { number: self.orders, receiver, producer });
        }
        orders
    }

    /// How many fetch from a producer.
    pub(super) fn load(&self, producer: Option<H>) -> usize {
        self.fetching.values().filter(|order| order.0 == producer).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The orders as (receiver, producer), producer 0 being the source.
    fn orders(roster: &mut Roster<u32>) -> Vec<(u32, u32)> {
        roster.assign().iter().map(|order| (order.receiver, order.producer.unwrap_or(0))).collect()
    }

    #[test]
    fn each_producer_serves_so_many_and_no_more() {
        let mut roster = Roster::new(2);
        (1..=7).for_each(|n| roster.want(n));
        roster.want(3);
        assert_eq!(orders(&mut roster), [(1, 0), (2, 0)]);
        assert_eq!(orders(&mut roster), []);
        // The first that is done has no one to serve yet, the source has one place: the idle one comes first.
        roster.have(1);
        assert_eq!(orders(&mut roster), [(3, 1), (4, 0), (5, 1)]);
        roster.have(2);
        assert_eq!(orders(&mut roster), [(6, 2), (7, 0)]);
    }

    #[test]
    fn a_receiver_whose_producer_fails_is_next_and_goes_elsewhere() {
        let mut roster = Roster::new(1);
        roster.have(1);
        (2..=4).for_each(|n| roster.want(n));
        let first = roster.assign();
        assert_eq!((first[1].receiver, first[1].producer), (3, Some(1)));
        roster.lost(3, first[1].number + 1);
        assert_eq!(orders(&mut roster), [], "of another order");
        roster.lost(3, first[1].number);
        assert_eq!(orders(&mut roster), [], "the source is busy, and 1 has failed");
        roster.have(2);
        assert_eq!(orders(&mut roster), [(3, 0), (4, 2)]);
        // It may come back.
        roster.want(5);
        roster.have(1);
        assert_eq!(orders(&mut roster), [(5, 1)]);
    }

    #[test]
    fn who_leaves_frees_its_place() {
        let mut roster = Roster::new(1);
        (1..=3).for_each(|n| roster.want(n));
        assert_eq!(orders(&mut roster), [(1, 0)]);
        roster.gone(1);
        roster.gone(2);
        assert_eq!(orders(&mut roster), [(3, 0)]);
        // A source that fails a receiver stays one: there is no other.
        roster.lost(3, 2);
        assert_eq!(orders(&mut roster), [(3, 0)]);
    }
}
