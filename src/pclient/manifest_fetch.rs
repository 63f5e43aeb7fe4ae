//! Gathering the manifest, part by part, from one peer at a time: whom to ask, and what to make of the answers. What is proved
//! of it lies with the content. Nothing is allocated for what a stranger merely claims.
//!
//! Each part is proved by itself, so that it can be passed on at once, and so that what one peer gave is kept when
//! another takes its place. Several may be asked at the beginning: who answers first is the giver. Parts follow each other
//! unasked, and one may overtake another; what comes before the outline can't be proved, and only a few of those are kept.

use std::collections::BTreeMap;

use blake3::hazmat::ChainingValue;

use super::manifest::{MAX_PART_LEN, Manifest, ManifestError, Outline};
use super::pieces::Lengths;
use super::size_proof::SizeProof;
use crate::Fid;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// Who gives no part for this long is left for others.
const PATIENCE: Duration = Duration::from_secs(3);
/// While nobody has answered, twice as many are asked each time that this has passed.
const HEDGE: Duration = Duration::from_millis(500);
/// Most peers that are asked at a time, and most while they are silent.
pub const MAX_ASKED: usize = 8;
const MAX_HEDGED: usize = 16;
/// Most hashes kept that came before the outline.
const MAX_EARLY: usize = 4 * MAX_PART_LEN;

/// Who has been asked for a manifest, and what came of it that has no place yet.
#[derive(Debug)]
pub struct ManifestFetch {
    /// Who has been asked; the giver alone, once there is one.
    asked: Vec<Handle>,
    has_giver: bool,
    /// When somebody last gave something, or was asked.
    heard: Instant,
    /// Parts that came too early. With the outline here, they are proved.
    early: BTreeMap<u32, Vec<ChainingValue>>,
    /// Whether one had to be dropped for want of room.
    has_dropped: bool,
}

/// What a part has led to.
#[derive(Debug)]
pub enum Gain {
    /// It was here already, or comes to nothing.
    Nothing,
    /// The outline is here, and what came before it.
    Begun {
        /// What is known of the manifest.
        manifest: Manifest,
        /// Whether what follows has to be asked for once more.
        ask_again: bool,
    },
    /// More is known than before.
    More,
    /// The peer lied.
    Lie(ManifestError),
}

impl ManifestFetch {
    /// Nothing is here, and nobody has been asked.
    pub fn new(now: Instant) -> ManifestFetch {
        ManifestFetch {
            asked: Vec::new(),
            has_giver: false,
            heard: now,
            early: BTreeMap::new(),
            has_dropped: false,
        }
    }

    /// Who gives parts at present.
    pub fn giver(&self) -> Option<Handle> {
        self.asked.first().copied().filter(|_| self.has_giver)
    }

    /// Who has been asked.
    pub fn asked(&self) -> &[Handle] {
        &self.asked
    }

    /// Whether another peer may be asked.
    pub fn may_ask(&self) -> bool {
        !self.has_giver && self.asked.len() < MAX_ASKED
    }

    /// Notes that a peer is asked now, for the part that is missed first and all that follow.
    pub fn ask(&mut self, now: Instant, key: Handle) {
        self.asked.push(key);
        self.heard = now;
    }

    /// Notes that a peer is not asked any more. True if it was.
    pub fn withdraw(&mut self, key: Handle) -> bool {
        let before = self.asked.len();
        self.has_giver &= self.giver() != Some(key);
        self.asked.retain(|&asked| asked != key);
        self.asked.len() < before
    }

    /// A peer that was asked has given something: the others needn't. Gives those.
    pub fn settle_on(&mut self, key: Handle) -> Vec<Handle> {
        self.has_giver = true;
        let mut others = std::mem::replace(&mut self.asked, vec![key]);
        others.retain(|&asked| asked != key);
        others
    }

    /// How many more are to be asked, as those who were asked have been silent for a while.
    pub fn lacks(&self, now: Instant) -> usize {
        if self.has_giver || self.asked.is_empty() || now.since(self.heard) < HEDGE {
            return 0;
        }
        self.asked.len().min(MAX_HEDGED.saturating_sub(self.asked.len()))
    }

    /// Whether all who were asked have been silent for too long.
    pub fn is_stale(&self, now: Instant) -> bool {
        !self.asked.is_empty() && now.since(self.heard) >= PATIENCE
    }

    /// Takes in the outline of the file `fid`, which is not known yet.
    pub fn on_outline(
        &mut self,
        now: Instant,
        fid: Fid,
        size: u64,
        proof: &[u8],
        joints: &[ChainingValue],
    ) -> Gain {
        let proof = SizeProof::from_bytes(size, proof);
        let Some((proof, lengths)) = proof.zip(Lengths::choose(size).ok()) else {
            return Gain::Lie(ManifestError::Size);
        };
        let outline = match Outline::from_parts(fid, lengths, joints.to_vec(), proof) {
            Ok(outline) => outline,
            Err(error) => return Gain::Lie(error),
        };
        self.heard = now;
        let before = self.early.len();
        self.early.retain(|&part, hashes| outline.verify(part, hashes));
        let ask_again = std::mem::take(&mut self.has_dropped) || self.early.len() < before;
        let mut manifest = Manifest::begin(outline);
        self.gather(&mut manifest);
        Gain::Begun { manifest, ask_again }
    }

    /// Takes in the hashes of a part, 0 being the first after the outline. Those that follow what is `known` are added to it.
    pub fn on_hashes(
        &mut self,
        now: Instant,
        known: Option<&mut Manifest>,
        part: u64,
        hashes: &[ChainingValue],
    ) -> Gain {
        let Ok(part) = u32::try_from(part) else { return Gain::Lie(ManifestError::Hashes) };
        let Some(manifest) = known else {
            let kept: usize = self.early.values().map(Vec::len).sum();
            if kept + hashes.len() > MAX_EARLY || hashes.is_empty() {
                self.has_dropped = true;
            } else {
                self.early.insert(part, hashes.to_vec());
            }
            return Gain::Nothing;
        };
        if part < manifest.known_parts() || self.early.contains_key(&part) {
            return Gain::Nothing;
        }
        if !manifest.outline().verify(part, hashes) {
            return Gain::Lie(ManifestError::Hashes);
        }
        self.heard = now;
        self.early.insert(part, hashes.to_vec());
        self.gather(manifest);
        Gain::More
    }

    /// Puts what came early in its place.
    fn gather(&mut self, manifest: &mut Manifest) {
        while let Some(next) = self.early.remove(&manifest.known_parts()) {
            manifest.extend(&next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    /// A manifest of five parts, and a receiver that has asked one peer for it.
    struct Talk {
        manifest: Manifest,
        proof: Vec<u8>,
        fetch: ManifestFetch,
        known: Option<Manifest>,
    }

    const GIVER: Handle = Handle::for_test(1);

    impl Talk {
        fn new() -> Talk {
            let mut content = vec![0; 300 * 4_096 - 7];
            Rng::from_seed(1).fill(&mut content);
            let manifest = Manifest::of(&content);
            let proof = manifest.outline().size_proof().to_bytes();
            let mut fetch = ManifestFetch::new(Instant::ORIGIN);
            fetch.ask(Instant::ORIGIN, GIVER);
            Talk { manifest, proof, fetch, known: None }
        }

        fn outline(&mut self, now: Instant) -> Gain {
            let outline = self.manifest.outline();
            let (fid, size) = (outline.fid(), outline.lengths().size());
            let mut gain = self.fetch.on_outline(now, fid, size, &self.proof, outline.joints());
            if let Gain::Begun { manifest, .. } = &mut gain {
                self.known = Some(manifest.clone());
            }
            gain
        }

        fn part(&mut self, now: Instant, part: u32) -> Gain {
            let hashes = &self.manifest.hashes()[self.manifest.outline().range(part)];
            self.fetch.on_hashes(now, self.known.as_mut(), part.into(), hashes)
        }

        fn knows_all(&self) -> bool {
            self.known.as_ref() == Some(&self.manifest)
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn parts_in_any_order_make_the_manifest() {
        for order in [[0, 0, 1, 2, 3, 4], [4, 3, 2, 1, 3, 0]] {
            let mut talk = Talk::new();
            assert!(matches!(talk.outline(at(0)), Gain::Begun { ask_again: false, .. }));
            for part in order {
                assert!(!talk.knows_all());
                assert!(matches!(talk.part(at(0), part), Gain::More | Gain::Nothing));
            }
            assert!(talk.knows_all());
        }
    }

    #[test]
    fn what_has_come_can_be_passed_on() {
        let mut talk = Talk::new();
        talk.outline(at(0));
        talk.part(at(0), 0);
        talk.part(at(0), 2);
        let known = talk.known.as_ref().unwrap();
        assert_eq!(known.hashes(), &talk.manifest.hashes()[..64], "up to the gap");
        assert_eq!((known.known_parts(), known.is_whole()), (1, false));
    }

    #[test]
    fn a_few_parts_may_overtake_the_outline() {
        let mut talk = Talk::new();
        for part in 0..5 {
            assert!(matches!(talk.part(at(0), part), Gain::Nothing));
        }
        assert!(matches!(talk.outline(at(0)), Gain::Begun { ask_again: false, .. }));
        assert!(talk.knows_all());
        let mut talk = Talk::new();
        for other in 0..100 {
            talk.fetch.on_hashes(at(0), None, 1_000 + other, &[[0; 32]; MAX_PART_LEN]);
        }
        assert!(talk.fetch.early.len() <= 4);
        talk.part(at(0), 0);
        assert!(matches!(talk.outline(at(0)), Gain::Begun { ask_again: true, .. }));
    }

    #[test]
    fn who_repeats_itself_or_says_nothing_is_silent() {
        let mut talk = Talk::new();
        talk.outline(at(1));
        talk.part(at(2), 0);
        for second in 3..5 {
            assert!(matches!(talk.part(at(second), 0), Gain::Nothing));
            assert!(!talk.fetch.is_stale(at(second)));
        }
        assert!(talk.fetch.is_stale(at(5)));
        assert!(talk.fetch.withdraw(GIVER) && !talk.fetch.withdraw(GIVER));
        assert!(!talk.fetch.is_stale(at(9)), "nobody is asked");
        assert_eq!(talk.known.unwrap().known_parts(), 1, "what it gave is kept");
    }

    #[test]
    fn the_first_to_answer_is_the_giver() {
        let mut talk = Talk::new();
        let [second, third] = [2, 3].map(Handle::for_test);
        [second, third].into_iter().for_each(|key| talk.fetch.ask(at(0), key));
        assert_eq!(talk.fetch.giver(), None);
        talk.outline(at(0));
        assert_eq!(talk.fetch.settle_on(second), [GIVER, third]);
        assert_eq!((talk.fetch.giver(), talk.fetch.may_ask()), (Some(second), false));
        talk.fetch.withdraw(second);
        assert_eq!((talk.fetch.giver(), talk.fetch.may_ask()), (None, true));
    }

    #[test]
    fn lies_are_told_apart() {
        let mut talk = Talk::new();
        let (fid, size) = (talk.manifest.fid(), talk.manifest.lengths().size());
        let joints = talk.manifest.outline().joints().to_vec();
        let mut forged = joints.clone();
        forged[3][0] ^= 1;
        let outline = |fetch: &mut ManifestFetch, size, proof: &[u8], joints: &[_]| {
            fetch.on_outline(at(0), fid, size, proof, joints)
        };
        let fetch = &mut talk.fetch;
        let lie = outline(fetch, size + 1, &talk.proof, &joints);
        assert!(matches!(lie, Gain::Lie(ManifestError::Size)));
        let lie = outline(fetch, size, b"", &joints);
        assert!(matches!(lie, Gain::Lie(ManifestError::Size)));
        let lie = outline(fetch, size, &talk.proof, &forged);
        assert!(matches!(lie, Gain::Lie(ManifestError::Hashes)));
        let lie = outline(fetch, size, &talk.proof, &joints[1..]);
        assert!(matches!(lie, Gain::Lie(ManifestError::Count { .. })));
        talk.outline(at(0));
        for (part, hashes) in [(0, 64..128), (0, 0..63), (5, 0..64), (1 << 40, 0..64), (4, 0..0)] {
            let hashes = &talk.manifest.hashes()[hashes];
            let lie = talk.fetch.on_hashes(at(0), talk.known.as_mut(), part, hashes);
            assert!(matches!(lie, Gain::Lie(ManifestError::Hashes)), "part {part}");
        }
        assert_eq!(talk.known.unwrap().known_parts(), 0);
    }
}
