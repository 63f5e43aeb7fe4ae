//! Gathering the manifest from one peer, part by part. Nothing is allocated for what a stranger merely claims.
//!
//! Parts follow each other unasked, and one may overtake another. Before the size is proved, which the first part does, only
//! a few of those are kept.

use std::collections::BTreeMap;

use super::manifest::{Manifest, ManifestError};
use super::message::MAX_HASHES;
use super::pieces::Lengths;
use super::size_proof::SizeProof;
use crate::Fid;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// A peer that gives no part for this long is left for another.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most hashes kept that came before the first part.
const MAX_EARLY: usize = 4 * MAX_HASHES;

/// The parts that came from one peer so far.
#[derive(Debug)]
pub struct ManifestFetch {
    /// From whom.
    pub from: Handle,
    asked: Instant,
    proved: Option<(Lengths, SizeProof)>,
    hashes: Vec<[u8; 32]>,
    /// Parts that came too early, by their first hash.
    early: BTreeMap<u64, Vec<[u8; 32]>>,
    /// Whether one had to be dropped for want of room.
    has_dropped: bool,
}

/// What a part has led to.
#[derive(Debug)]
pub enum Part {
    /// Ask anew, for the hashes from this index on.
    AskFrom(u64),
    /// More is on its way.
    Partial,
    /// That was all.
    Whole(Manifest),
    /// The peer lied.
    Lie(ManifestError),
}

impl ManifestFetch {
    /// Nothing has come from `from` yet; it has just been asked for the first hashes.
    pub fn new(from: Handle, now: Instant) -> ManifestFetch {
        ManifestFetch {
            from,
            asked: now,
            proved: None,
            hashes: Vec::new(),
            early: BTreeMap::new(),
            has_dropped: false,
        }
    }

    /// Whether the peer has been silent for too long.
    pub fn is_stale(&self, now: Instant) -> bool {
        now.since(self.asked) >= PATIENCE
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.proved.is_none()
    }

    /// Takes in a part for the file `fid`.
    pub fn on_part(
        &mut self,
        now: Instant,
        fid: Fid,
        size: u64,
        proof: &[u8],
        first: u64,
        hashes: &[[u8; 32]],
    ) -> Part {
        // Repetitions and parts without content are no sign of life.
        let is_empty = hashes.is_empty() && (first > 0 || self.proved.is_some());
        if is_empty || first < self.hashes.len() as u64 {
            return Part::Partial;
        }
        self.asked = now;
        if self.proved.is_none() {
            if first > 0 {
                self.keep_early(first, hashes, MAX_EARLY);
                return Part::Partial;
            }
            let proof = SizeProof::from_bytes(size, proof).filter(|proof| proof.proves(&fid, size));
            let Some((proof, lengths)) = proof.zip(Lengths::choose(size).ok()) else {
                return Part::Lie(ManifestError::Size);
            };
            self.proved = Some((lengths, proof));
        }
        let (lengths, proof) = self.proved.as_ref().expect("just proved");
        let (lengths, proof) = (*lengths, proof.clone());
        let wanted = u64::from(lengths.piece_count());
        if first.checked_add(hashes.len() as u64).is_none_or(|end| end > wanted) {
            return Part::Lie(ManifestError::Count { expected: lengths.piece_count(), found: hashes.len() });
        }
        if first == self.hashes.len() as u64 {
            self.hashes.extend_from_slice(hashes);
        } else {
            self.keep_early(first, hashes, wanted as usize);
        }
        while let Some(next) = self.early.remove(&(self.hashes.len() as u64)) {
            self.hashes.extend_from_slice(&next);
        }
        if (self.hashes.len() as u64) < wanted {
            return match std::mem::take(&mut self.has_dropped) {
                true => Part::AskFrom(self.hashes.len() as u64),
                false => Part::Partial,
            };
        }
        match Manifest::from_parts(fid, lengths, std::mem::take(&mut self.hashes), proof) {
            Ok(manifest) => Part::Whole(manifest),
            Err(error) => Part::Lie(error),
        }
    }

    /// Keeps a part for later, if there is room for it among `most` hashes.
    fn keep_early(&mut self, first: u64, hashes: &[[u8; 32]], most: usize) {
        let kept: usize = self.early.values().map(Vec::len).sum();
        if kept + hashes.len() <= most {
            self.early.insert(first, hashes.to_vec());
        } else {
            self.has_dropped = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    fn fetch() -> ManifestFetch {
        ManifestFetch::new(Handle::for_test(1), Instant::ORIGIN)
    }

    fn content() -> Vec<u8> {
        let mut content = vec![0; 50_001];
        Rng::from_seed(1).fill(&mut content);
        content
    }

    #[test]
    fn parts_in_any_order_make_the_manifest() {
        let manifest = Manifest::of(&content());
        let (fid, proof) = (manifest.fid(), manifest.size_proof().to_bytes());
        for order in [[(0, 5), (0, 5), (5, 9), (9, 13)], [(9, 13), (5, 9), (9, 13), (0, 5)]] {
            let mut fetch = fetch();
            let mut part = |(first, end): (usize, usize)| {
                let proof = if first == 0 { &proof[..] } else { b"" };
                let hashes = &manifest.hashes()[first..end];
                fetch.on_part(Instant::ORIGIN, fid, 50_001, proof, first as u64, hashes)
            };
            let [before @ .., last] = order;
            before.into_iter().for_each(|range| assert!(matches!(part(range), Part::Partial), "{range:?}"));
            assert!(matches!(part(last), Part::Whole(whole) if whole == manifest));
        }
    }

    #[test]
    fn who_repeats_itself_or_says_nothing_is_silent() {
        let manifest = Manifest::of(&content());
        let (fid, proof) = (manifest.fid(), manifest.size_proof().to_bytes());
        let mut fetch = fetch();
        let mut part = |seconds: u64, first: u64, hashes: &[[u8; 32]]| {
            let now = Instant::ORIGIN + Duration::from_secs(seconds);
            let part = fetch.on_part(now, fid, 50_001, &proof, first, hashes);
            assert!(matches!(part, Part::Partial), "{part:?}");
            fetch.is_stale(now)
        };
        assert!(!part(1, 0, &manifest.hashes()[..5]));
        assert!(!part(3, 0, &manifest.hashes()[..5]));
        assert!(part(4, 0, &manifest.hashes()[..5]));
        assert!((5..1_000).all(|first| part(4, first, &[])));
        assert!(fetch.early.is_empty());
    }

    #[test]
    fn what_found_no_room_before_the_first_part_is_asked_for_again() {
        let content = vec![7; 50_000 * 1_024];
        let manifest = Manifest::of(&content);
        let (fid, size, proof) = (manifest.fid(), content.len() as u64, manifest.size_proof().to_bytes());
        let parts: Vec<_> = manifest.hashes().chunks(MAX_HASHES).collect();
        assert_eq!(parts.len(), 7);
        let mut fetch = fetch();
        let mut part = |part: usize| {
            let proof = if part == 0 { &proof[..] } else { b"" };
            fetch.on_part(Instant::ORIGIN, fid, size, proof, (part * MAX_HASHES) as u64, parts[part])
        };
        (1..7).for_each(|early| assert!(matches!(part(early), Part::Partial)));
        assert!(matches!(part(0), Part::AskFrom(first) if first == 5 * MAX_HASHES as u64));
        assert!(matches!(part(5), Part::Partial));
        assert!(matches!(part(6), Part::Whole(whole) if whole == manifest));
    }

    #[test]
    fn lies_are_told_apart() {
        let manifest = Manifest::of(&content());
        let (fid, proof) = (manifest.fid(), manifest.size_proof().to_bytes());
        let mut forged = manifest.hashes().to_vec();
        forged[3][0] ^= 1;
        let now = Instant::ORIGIN;
        assert!(matches!(
            fetch().on_part(now, fid, 50_002, &proof, 0, &forged),
            Part::Lie(ManifestError::Size)
        ));
        assert!(matches!(
            fetch().on_part(now, fid, 50_001, &proof, 0, &forged),
            Part::Lie(ManifestError::Hashes)
        ));
        forged.push([0; 32]);
        assert!(matches!(
            fetch().on_part(now, fid, 50_001, &proof, 0, &forged),
            Part::Lie(ManifestError::Count { .. })
        ));
    }
}
