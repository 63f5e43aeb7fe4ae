//! A file put together from blocks that come in any order, and verified. No network and no time here.

use std::collections::BTreeMap;

use super::held::Held;
use crate::Fid;
use crate::rudp::recv_window::MESSAGE_WINDOW;

/// What keeps a file from being put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The server contradicts itself.
    Nonsense,
    /// All has arrived, but doesn't have this hash, which the server gave.
    Integrity(Fid),
    /// The file, of this size, B, doesn't fit in memory.
    TooLarge(u64),
}

/// A file that is being put together.
///
/// Invariant: `data` is the file's beginning, without a gap, and `hasher` has taken in all of it; `early` holds blocks
/// of the present connection only.
#[derive(Debug)]
pub(super) struct Assembly {
    data: Held,
    hasher: blake3::Hasher,
    /// Size and stamp, as first announced; another stamp begins anew.
    state: Option<(u64, u64)>,
    /// Whether the present connection has said where its blocks begin.
    found: bool,
    hash: Option<Fid>,
    /// Blocks that came before those in front of them.
    early: BTreeMap<u64, Vec<u8>>,
}

impl Assembly {
    /// Nothing yet; what comes goes to `data`, which is empty.
    pub(super) fn new(data: Held) -> Assembly {
        Assembly {
            data,
            hasher: blake3::Hasher::new(),
            state: None,
            found: false,
            hash: None,
            early: BTreeMap::new(),
        }
    }

    /// How much there is without a gap, B.
    pub(super) fn len(&self) -> u64 {
        self.data.len() as u64
    }

    /// The size of the whole, B, if it has been told.
    pub(super) fn size(&self) -> Option<u64> {
        self.state.map(|(size, _)| size)
    }

    /// What to ask for: the first missing byte, and the stamp of the file it belongs to.
    pub(super) fn resume(&self) -> (u64, u64) {
        (self.len(), self.state.map_or(0, |(_, stamp)| stamp))
    }

    /// What came without a gap stays, all else will be sent again.
    pub(super) fn on_connection_lost(&mut self) {
        self.found = false;
        self.hash = None;
        self.early.clear();
    }

    /// Takes in what file it is and where the blocks begin. Gives the whole if that completes it.
    pub(super) fn on_found(&mut self, size: u64, stamp: u64, offset: u64) -> Result<Option<Held>, Flaw> {
        if self.found {
            return Err(Flaw::Nonsense);
        }
        if offset == 0 {
            self.data.clear();
            self.hasher.reset();
        } else if offset != self.len() || self.state != Some((size, stamp)) {
            return Err(Flaw::Nonsense);
        }
        (self.found, self.state) = (true, Some((size, stamp)));
        self.absorb()
    }

    /// Takes in a block. Gives the whole if that completes it.
    pub(super) fn on_block(&mut self, offset: u64, block: &[u8]) -> Result<Option<Held>, Flaw> {
        // As far ahead as rudp lets an honest sender be, and no further: it all has to be held here.
        if self.early.len() as u64 >= MESSAGE_WINDOW {
            return Err(Flaw::Nonsense);
        }
        if self.early.insert(offset, block.to_vec()).is_some() {
            return Err(Flaw::Nonsense);
        }
        self.absorb()
    }

    /// Takes in the hash of the whole. Gives the whole if that completes it.
    pub(super) fn on_done(&mut self, hash: Fid) -> Result<Option<Held>, Flaw> {
        if self.hash.replace(hash).is_some() {
            return Err(Flaw::Nonsense);
        }
        self.absorb()
    }

    /// Moves to `data` what fits there by now.
    fn absorb(&mut self) -> Result<Option<Held>, Flaw> {
        let Some((size, _)) = self.state.filter(|_| self.found) else { return Ok(None) };
        while let Some(first) = self.early.first_entry()
            && *first.key() <= self.data.len() as u64
        {
            let (offset, block) = first.remove_entry();
            let end = offset.checked_add(block.len() as u64);
            if offset != self.len() || end.is_none_or(|end| end > size) {
                return Err(Flaw::Nonsense);
            }
            self.data.append(size, &block)?;
            self.hasher.update(&block);
        }
        let Some(hash) = self.hash.filter(|_| self.len() == size) else { return Ok(None) };
        if !self.early.is_empty() {
            return Err(Flaw::Nonsense);
        }
        if Fid::from_bytes(*self.hasher.finalize().as_bytes()) != hash {
            return Err(Flaw::Integrity(hash));
        }
        Ok(Some(std::mem::replace(&mut self.data, Held::Memory(Vec::new()))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::STEP;
    use super::*;
    use crate::rand::Rng;

    fn content(len: usize) -> Vec<u8> {
        let mut content = vec![0; len];
        Rng::from_seed(1).fill(&mut content);
        content
    }

    #[test]
    fn messages_in_any_order_make_the_same_file() {
        let content = content(100);
        let mut rng = Rng::from_seed(5);
        for _ in 0..500 {
            let mut order: Vec<usize> = (0..12).collect();
            rng.shuffle(&mut order);
            let mut assembly = Assembly::new(Held::Memory(Vec::new()));
            let mut whole = None;
            for n in order {
                assert_eq!(whole, None);
                whole = match n {
                    10 => assembly.on_found(100, 1, 0).unwrap(),
                    11 => assembly.on_done(Fid::of(&content)).unwrap(),
                    n => assembly.on_block(n as u64 * 10, &content[n * 10..][..10]).unwrap(),
                };
            }
            assert_eq!(whole, Some(Held::Memory(content.clone())));
        }
    }

    #[test]
    fn a_resumed_file_is_verified_as_a_whole() {
        let content = content(100);
        let resumed = |hash| {
            let mut assembly = Assembly::new(Held::Memory(Vec::new()));
            assembly.on_found(100, 7, 0).unwrap();
            assembly.on_block(0, &content[..40]).unwrap();
            assembly.on_block(60, &content[60..]).unwrap();
            assembly.on_connection_lost();
            assert_eq!(assembly.resume(), (40, 7));
            assembly.on_found(100, 7, 40).unwrap();
            assembly.on_block(40, &content[40..]).unwrap();
            assembly.on_done(hash)
        };
        assert_eq!(resumed(Fid::of(&content)), Ok(Some(Held::Memory(content.clone()))));
        let other = Fid::of(&content[40..]);
        assert_eq!(resumed(other), Err(Flaw::Integrity(other)));
    }

    #[test]
    fn another_file_under_the_name_begins_anew() {
        let content = content(50);
        let mut assembly = Assembly::new(Held::Memory(Vec::new()));
        assembly.on_found(100, 7, 0).unwrap();
        assembly.on_block(0, &[0; 40]).unwrap();
        assembly.on_connection_lost();
        assembly.on_found(50, 8, 0).unwrap();
        assembly.on_block(0, &content).unwrap();
        assert_eq!(assembly.on_done(Fid::of(&content)), Ok(Some(Held::Memory(content))));
    }

    #[test]
    fn nonsense_is_noticed() {
        let started = || {
            let mut assembly = Assembly::new(Held::Memory(Vec::new()));
            assembly.on_found(100, 7, 0).unwrap();
            assembly.on_block(0, &[0; 40]).unwrap();
            assembly
        };
        assert_eq!(started().on_found(100, 7, 40), Err(Flaw::Nonsense), "found twice");
        assert_eq!(started().on_block(0, &[0; 40]), Err(Flaw::Nonsense), "a block twice");
        assert_eq!(started().on_block(39, &[0]), Err(Flaw::Nonsense), "an overlap");
        assert_eq!(started().on_block(40, &[0; 61]), Err(Flaw::Nonsense), "beyond the end");
        let mut resumed = started();
        resumed.on_connection_lost();
        assert_eq!(resumed.on_found(100, 7, 39), Err(Flaw::Nonsense), "not where asked");
        let mut changed = started();
        changed.on_connection_lost();
        assert_eq!(changed.on_found(100, 8, 40), Err(Flaw::Nonsense), "the end of another file");
    }

    #[test]
    fn the_announced_size_costs_nothing() {
        let mut assembly = Assembly::new(Held::Memory(Vec::new()));
        assert_eq!(assembly.on_found(1 << 61, 1, 0), Ok(None));
        assert_eq!(assembly.on_block(0, &[0; 100]), Ok(None));
        let Held::Memory(bytes) = &assembly.data else { panic!("not in memory") };
        assert!(bytes.capacity() <= 2 * STEP);
        // What doesn't join on has to be held, so there is an end to it.
        let refused = (1..).position(|n| assembly.on_block(n * 1_000, &[0; 1]).is_err());
        assert_eq!(refused, Some(MESSAGE_WINDOW as usize));
    }
}
