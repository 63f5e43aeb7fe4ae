//! Gathering the manifest from one peer, part by part. Nothing is allocated for what a stranger merely claims.

use super::manifest::{Manifest, ManifestError};
use super::pieces::Lengths;
use super::size_proof::SizeProof;
use crate::Fid;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// A peer that gives no part for this long is left for another.
const PATIENCE: Duration = Duration::from_secs(3);

/// The parts that came from one peer so far.
#[derive(Debug)]
pub struct ManifestFetch {
    /// From whom.
    pub from: Handle,
    asked: Instant,
    proved: Option<(Lengths, SizeProof)>,
    hashes: Vec<[u8; 32]>,
}

/// What a part has led to.
#[derive(Debug)]
pub enum Part {
    /// Ask for the hashes from this index on.
    AskFrom(u64),
    /// It was a repetition.
    Stale,
    /// That was all.
    Whole(Manifest),
    /// The peer lied.
    Lie(ManifestError),
}

impl ManifestFetch {
    /// Nothing has come from `from` yet; it has just been asked for the first hashes.
    pub fn new(from: Handle, now: Instant) -> ManifestFetch {
        ManifestFetch { from, asked: now, proved: None, hashes: Vec::new() }
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
        self.asked = now;
        if self.proved.is_none() {
            let proof = SizeProof::from_bytes(size, proof).filter(|proof| proof.proves(&fid, size));
            let Some((proof, lengths)) = proof.zip(Lengths::choose(size).ok()) else {
                return Part::Lie(ManifestError::Size);
            };
            self.proved = Some((lengths, proof));
        }
        let (lengths, proof) = self.proved.as_ref().expect("just proved");
        let wanted = lengths.piece_count() as usize;
        if first != self.hashes.len() as u64 || (hashes.is_empty() && wanted > 0) {
            return Part::Stale;
        }
        if self.hashes.len() + hashes.len() > wanted {
            return Part::Lie(ManifestError::Count {
                expected: lengths.piece_count(),
                found: self.hashes.len() + hashes.len(),
            });
        }
        self.hashes.extend_from_slice(hashes);
        if self.hashes.len() < wanted {
            return Part::AskFrom(self.hashes.len() as u64);
        }
        match Manifest::from_parts(fid, *lengths, std::mem::take(&mut self.hashes), proof.clone()) {
            Ok(manifest) => Part::Whole(manifest),
            Err(error) => Part::Lie(error),
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
    fn parts_in_order_make_the_manifest() {
        let manifest = Manifest::of(&content());
        let (fid, proof) = (manifest.fid(), manifest.size_proof().to_bytes());
        let mut fetch = fetch();
        let mut part = |proof: &[u8], first: usize, end: usize| {
            fetch.on_part(Instant::ORIGIN, fid, 50_001, proof, first as u64, &manifest.hashes()[first..end])
        };
        assert!(matches!(part(&proof, 0, 5), Part::AskFrom(5)));
        assert!(matches!(part(&proof, 0, 5), Part::Stale));
        assert!(matches!(part(b"", 5, 13), Part::Whole(whole) if whole == manifest));
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
