//! Trains: datagrams of one length for one address, back to back, as segmentation offload takes them.
//!
//! Pure bookkeeping of what waits for the wire, in order. No law (that is [`shaper`](super::shaper)) and no socket; whether
//! a train really leaves in one call is the [`Wire`](super::uplink::Wire)'s affair.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::MAX_DATAGRAM;

/// The most bytes in one train: what a single IPv4 packet holds, for that is what the kernel splits up.
const MAX_BYTES: usize = MAX_DATAGRAM;
/// How many emptied buffers are kept for the next trains.
const SPARE: usize = 4;

/// One or more datagrams for `to`. All are `segment` B long, but the last may be shorter.
pub(super) struct Train {
    pub(super) to: SocketAddr,
    pub(super) segment: usize,
    bytes: Vec<u8>,
    /// How much of `bytes` has left, one by one.
    gone: usize,
}

impl Train {
    /// The datagrams that are still to leave, back to back.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// How many those are.
    pub(super) fn count(&self) -> usize {
        self.bytes().len().div_ceil(self.segment.max(1)).max(1)
    }

    /// The first of those.
    pub(super) fn first(&self) -> &[u8] {
        let bytes = self.bytes();
        &bytes[..self.segment.min(bytes.len())]
    }

    /// The first of those has left, and another is still to. `false` if it was the last.
    pub(super) fn shift(&mut self) -> bool {
        self.gone += self.first().len();
        self.gone < self.bytes.len()
    }

    /// Whether a datagram of `len` B may follow, with at most `limit` datagrams to a train.
    fn takes(&self, len: usize, limit: usize) -> bool {
        let is_whole = self.bytes.len().is_multiple_of(self.segment.max(1));
        len > 0
            && len <= self.segment
            && is_whole
            && self.bytes.len() + len <= MAX_BYTES
            && self.bytes.len() / self.segment < limit
    }

    /// Whether nothing as long as the others may follow.
    fn is_full(&self, limit: usize) -> bool {
        self.segment == 0 || !self.takes(self.segment, limit)
    }
}

/// What waits for the wire, in the order in which it is to leave.
#[derive(Default)]
pub(super) struct Trains {
    queue: VecDeque<Train>,
    spare: Vec<Vec<u8>>,
}

impl Trains {
    /// Puts a datagram last, in the last train if it may be there: at most `limit` are in one.
    pub(super) fn push(&mut self, datagram: &[u8], to: SocketAddr, limit: usize) {
        if let Some(last) = self.queue.back_mut()
            && last.to == to
            && last.takes(datagram.len(), limit)
        {
            last.bytes.extend_from_slice(datagram);
            return;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(datagram);
        self.queue.push_back(Train { to, segment: datagram.len(), bytes, gone: 0 });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn front(&mut self) -> Option<&mut Train> {
        self.queue.front_mut()
    }

    /// Whether the first train will not become longer.
    pub(super) fn is_front_complete(&self, limit: usize) -> bool {
        self.queue.len() > 1 || self.queue.front().is_some_and(|train| train.is_full(limit))
    }

    /// The first train has left.
    pub(super) fn pop(&mut self) {
        let Some(train) = self.queue.pop_front() else { return };
        if self.spare.len() < SPARE {
            let mut bytes = train.bytes;
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Drops all that waits.
    pub(super) fn clear(&mut self) {
        *self = Trains::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// The lengths and counts of the trains that datagrams of these lengths make.
    fn made_of(lens: &[usize], limit: usize) -> Vec<(usize, usize)> {
        let mut trains = Trains::default();
        for &len in lens {
            trains.push(&vec![1; len], to(1), limit);
        }
        trains.queue.iter().map(|train| (train.segment, train.count())).collect()
    }

    #[test]
    fn equals_make_a_train_and_a_shorter_one_ends_it() {
        assert_eq!(made_of(&[5, 5, 5], 64), [(5, 3)]);
        assert_eq!(made_of(&[5, 5, 3, 5, 3, 3], 64), [(5, 3), (5, 2), (3, 1)]);
        assert_eq!(made_of(&[3, 5], 64), [(3, 1), (5, 1)]);
        assert_eq!(made_of(&[0, 0, 5, 0], 64), [(0, 1), (0, 1), (5, 1), (0, 1)]);
    }

    #[test]
    fn a_train_has_an_end() {
        assert_eq!(made_of(&[5; 7], 3), [(5, 3), (5, 3), (5, 1)]);
        assert_eq!(made_of(&[5; 2], 1), [(5, 1), (5, 1)]);
        assert_eq!(made_of(&[1_472; 46], 64), [(1_472, 44), (1_472, 2)]);
        // 65,507 B exactly, and one more.
        assert_eq!(made_of(&[32_768, 32_739, 1], 64), [(32_768, 2), (1, 1)]);
        assert_eq!(made_of(&[32_768, 32_740], 64), [(32_768, 1), (32_740, 1)]);
        assert_eq!(made_of(&[MAX_DATAGRAM, 1], 64), [(MAX_DATAGRAM, 1), (1, 1)]);
    }

    #[test]
    fn addresses_do_not_mix() {
        let mut trains = Trains::default();
        for port in [1, 1, 2, 1] {
            trains.push(&[0; 9], to(port), 64);
        }
        let all: Vec<_> = trains.queue.iter().map(|train| (train.to.port(), train.count())).collect();
        assert_eq!(all, [(1, 2), (2, 1), (1, 1)]);
    }

    #[test]
    fn the_first_is_complete_when_nothing_can_follow() {
        let mut trains = Trains::default();
        let mut complete = Vec::new();
        for (len, port) in [(5, 1), (5, 1), (5, 1), (4, 1), (4, 2)] {
            trains.push(&vec![0; len], to(port), 4);
            complete.push(trains.is_front_complete(4));
        }
        assert_eq!(complete, [false, false, false, true, true]);
    }

    #[test]
    fn one_by_one_all_of_a_train_leaves() {
        let mut trains = Trains::default();
        for datagram in [&b"abc"[..], b"def", b"g"] {
            trains.push(datagram, to(1), 64);
        }
        let train = trains.front().unwrap();
        let mut seen = Vec::new();
        loop {
            seen.push((train.first().to_vec(), train.count()));
            if !train.shift() {
                break;
            }
        }
        assert_eq!(seen, [(b"abc".to_vec(), 3), (b"def".to_vec(), 2), (b"g".to_vec(), 1)]);
        trains.pop();
        assert!(trains.is_empty());
        trains.push(b"again", to(1), 64);
        assert_eq!(trains.front().unwrap().bytes(), b"again");
    }

    #[test]
    fn an_empty_datagram_is_one_datagram() {
        let mut trains = Trains::default();
        trains.push(&[], to(1), 64);
        let train = trains.front().unwrap();
        assert_eq!((train.count(), train.first().len(), train.shift()), (1, 0, false));
    }
}
