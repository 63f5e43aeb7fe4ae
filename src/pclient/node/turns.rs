//! Whose turn it is at the uplink: files that have something to send get equal parts of it, in bytes.
//!
//! Start-time fair queueing: each file has a tag that grows by what it sends, and the lowest goes first. A file that had
//! nothing to send resumes where the others are: it has neither saved up nor lost anything. Sends nothing itself.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::Fid;

/// The tags of the files.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// B.
    tags: BTreeMap<Fid, u64>,
    /// The tag of the file that was served last, before it was, B.
    reached: u64,
}

impl Turns {
    /// `files` in the order in which they are to be asked for something to send.
    pub(super) fn order(&self, files: impl Iterator<Item = Fid>) -> SmallVec<[Fid; 2]> {
        let mut files: SmallVec<[Fid; 2]> = files.collect();
        files.sort_by_key(|fid| (self.tag(fid), *fid));
        files
    }

    /// `fid` has sent `len` B.
    pub(super) fn charge(&mut self, fid: Fid, len: usize) {
        let tag = self.tag(&fid);
        self.reached = tag;
        self.tags.insert(fid, tag + len as u64);
    }

    /// `fid` is no longer taken part in.
    pub(super) fn forget(&mut self, fid: &Fid) {
        self.tags.remove(fid);
    }

    fn tag(&self, fid: &Fid) -> u64 {
        self.tags.get(fid).map_or(self.reached, |&tag| tag.max(self.reached))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [Fid; 3] = [Fid::from_bytes([1; 32]), Fid::from_bytes([2; 32]), Fid::from_bytes([3; 32])];

    /// Serves whoever of `files` is first, `count` times, in blocks of the given lengths. What each has sent.
    fn serve(turns: &mut Turns, files: &[(usize, usize)], count: usize) -> [usize; 3] {
        let mut sent = [0; 3];
        for _ in 0..count {
            let first = turns.order(files.iter().map(|&(file, _)| FILES[file]))[0];
            let &(file, len) = files.iter().find(|&&(file, _)| FILES[file] == first).unwrap();
            turns.charge(first, len);
            sent[file] += len;
        }
        sent
    }

    #[test]
    fn parts_are_equal_in_bytes_not_in_blocks() {
        let mut turns = Turns::default();
        let sent = serve(&mut turns, &[(0, 4_096), (1, 8_192), (2, 16_384)], 700);
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(most - least <= 2 * 16_384, "{sent:?}");
    }

    #[test]
    fn who_was_idle_has_not_saved_up() {
        let mut turns = Turns::default();
        serve(&mut turns, &[(0, 1_000), (1, 1_000)], 2);
        serve(&mut turns, &[(0, 1_000)], 100);
        let sent = serve(&mut turns, &[(0, 1_000), (1, 1_000), (2, 1_000)], 30);
        assert!(sent.iter().all(|sent| (9_000..=11_000).contains(sent)), "{sent:?}");
    }

    #[test]
    fn who_comes_back_begins_where_the_others_are() {
        let mut turns = Turns::default();
        serve(&mut turns, &[(0, 1_000), (1, 1_000)], 100);
        turns.forget(&FILES[1]);
        let sent = serve(&mut turns, &[(0, 1_000), (1, 1_000)], 10);
        assert_eq!(sent, [5_000, 5_000, 0]);
    }
}
