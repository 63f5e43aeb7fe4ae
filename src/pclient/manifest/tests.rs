//! Tests of the manifest: equal to the plain hash for every size and piece length, and proof against forgery.

use super::*;
use crate::rand::Rng;

fn content(size: usize) -> Vec<u8> {
    let mut content = vec![0; size];
    Rng::from_seed(size as u64).fill(&mut content);
    content
}

fn manifest(content: &[u8], piece_log2: u8) -> Manifest {
    let lengths = Lengths::new(content.len() as u64, piece_log2).unwrap();
    Manifest::from_reader_in(content, lengths).unwrap()
}

/// What a receiver makes of what a stranger sends: joints that suit the hashes, then part after part.
fn receive(
    fid: Fid,
    lengths: Lengths,
    hashes: &[ChainingValue],
    size_proof: SizeProof,
) -> Result<Manifest, ManifestError> {
    let joints = Outline::of(fid, lengths, hashes, size_proof.clone()).joints().to_vec();
    let outline = Outline::from_parts(fid, lengths, joints, size_proof)?;
    let mut manifest = Manifest::begin(outline.clone());
    for part in 0..outline.part_count() {
        let hashes = hashes.get(outline.range(part)).unwrap_or_default();
        if !outline.verify(part, hashes) {
            return Err(ManifestError::Hashes);
        }
        manifest.extend(hashes);
    }
    if hashes.len() == manifest.hashes().len() { Ok(manifest) } else { Err(ManifestError::Hashes) }
}

/// All sizes next to a chunk's or a power of two's end, and some odd ones.
fn sizes() -> impl Iterator<Item = usize> {
    let around = |size: usize| [size - 1, size, size + 1];
    let chunks = (1..=17).chain([31, 32, 33, 48, 63, 64, 65, 96, 100]).map(|chunks| chunks * 1024);
    [0, 3, 63, 65, 777, 5_555, 33_333, 99_999, 148_539].into_iter().chain(chunks.flat_map(around))
}

fn all_log2() -> std::ops::RangeInclusive<u8> {
    Lengths::MIN_PIECE_LOG2..=Lengths::MAX_PIECE_LOG2
}

#[test]
fn equals_the_plain_hash_for_every_size_and_piece_length() {
    for size in sizes() {
        let content = content(size);
        for log2 in all_log2() {
            let manifest = manifest(&content, log2);
            assert_eq!(manifest.fid(), Fid::of(&content), "{size} B in pieces of 2^{log2} B");
            assert_eq!(manifest.hashes().len(), size.div_ceil(1 << log2));
            let (hashes, size_proof) = (manifest.hashes().to_vec(), manifest.outline().size_proof().clone());
            assert_eq!(
                receive(manifest.fid(), manifest.lengths(), &hashes, size_proof),
                Ok(manifest),
                "{size} B, 2^{log2}"
            );
        }
    }
}

#[test]
fn files_longer_than_the_read_buffer_are_read_to_the_end() {
    for size in [READ_LEN - 1, READ_LEN, READ_LEN + 1, 3 * READ_LEN + 7, 5 << 20] {
        let content = content(size);
        for log2 in [12, 18, 22] {
            assert_eq!(manifest(&content, log2).fid(), Fid::of(&content), "{size} B in pieces of 2^{log2} B");
        }
    }
}

#[test]
fn every_piece_verifies_and_nothing_else_does() {
    for size in [1, 2_048, 2_049, 10_000, 65_536] {
        let content = content(size);
        for log2 in [11, 13, 16] {
            let manifest = manifest(&content, log2);
            for piece in manifest.lengths().pieces() {
                let range = manifest.lengths().piece_range(piece);
                let data = &content[range.start as usize..range.end as usize];
                assert!(manifest.verify_piece(piece, data));
                assert!(!manifest.verify_piece(piece, &data[..data.len() - 1]));
                assert!(!manifest.verify_piece(piece, &[data, &[0]].concat()));
                assert!(!manifest.verify_piece(piece, &[]));
                let mut flipped = data.to_vec();
                flipped[data.len() / 2] ^= 1;
                assert!(!manifest.verify_piece(piece, &flipped));
            }
        }
    }
}

#[test]
fn equal_content_elsewhere_in_the_file_is_not_the_piece() {
    // A chunk's position enters its hash: a piece of zeros is not any piece of zeros.
    let manifest = manifest(&[0; 8192], 12);
    assert_ne!(manifest.hashes()[0], manifest.hashes()[1]);
}

#[test]
fn a_forged_list_fails() {
    for size in [1, 2_049, 4_097, 10_000, 50_000] {
        let content = content(size);
        let manifest = manifest(&content, 11);
        let (outline, hashes) = (manifest.outline(), manifest.hashes().to_vec());
        let check =
            |hashes: Vec<_>| receive(outline.fid(), outline.lengths(), &hashes, outline.size_proof().clone());
        for at in 0..hashes.len() {
            let mut flipped = hashes.clone();
            flipped[at][at % 32] ^= 1 << (at % 8);
            assert_eq!(check(flipped), Err(ManifestError::Hashes), "{size} B, hash {at}");
            if at > 0 {
                let mut swapped = hashes.clone();
                swapped.swap(at - 1, at);
                assert_eq!(check(swapped), Err(ManifestError::Hashes), "{size} B, hash {at}");
            }
        }
        for found in [0, hashes.len() - 1, hashes.len() + 1] {
            let mut cut = hashes.clone();
            cut.resize(found, [0; 32]);
            assert!((0..outline.part_count()).all(|part| !outline.verify(part, &cut)));
        }
    }
}

#[test]
fn a_part_is_proved_by_itself_and_in_its_place_alone() {
    for (size, parts) in [(2_048 * 64, 1), (2_048 * 64 + 1, 2), (2_048 * 300 + 5, 5), (2_048 * 5_000, 40)] {
        let content = content(size);
        let manifest = manifest(&content, 11);
        let outline = manifest.outline();
        assert_eq!(outline.part_count(), parts, "{size} B");
        assert_eq!(outline.joints().len(), if parts > 1 { parts as usize } else { 0 });
        for part in 0..parts {
            let hashes = &manifest.hashes()[outline.range(part)];
            assert!(outline.verify(part, hashes));
            assert!((0..parts + 2).all(|other| other == part || !outline.verify(other, hashes)));
            assert!(!outline.verify(part, &hashes[1..]) && !outline.verify(part, &[]));
        }
    }
}

#[test]
fn forged_joints_fail() {
    let manifest = manifest(&content(2_048 * 300 + 5), 11);
    let outline = manifest.outline();
    let check = |joints: &[ChainingValue]| {
        Outline::from_parts(outline.fid(), outline.lengths(), joints.to_vec(), outline.size_proof().clone())
    };
    assert_eq!(check(outline.joints()).as_ref(), Ok(outline));
    for at in 0..outline.joints().len() {
        let mut flipped = outline.joints().to_vec();
        flipped[at][at] ^= 1;
        assert_eq!(check(&flipped), Err(ManifestError::Hashes), "joint {at}");
    }
    for found in [0, 4, 6, MAX_JOINTS] {
        assert_eq!(check(&vec![[0; 32]; found]), Err(ManifestError::Count { expected: 5, found }));
    }
}

#[test]
fn a_forged_size_fails_even_where_the_hashes_still_join_to_the_fid() {
    for size in [0u64, 1, 1024, 2_048, 2_049, 10_000, 50_000] {
        for log2 in [11, 12, 16] {
            let manifest = manifest(&content(size as usize), log2);
            let (hashes, size_proof) = (manifest.hashes(), manifest.outline().size_proof());
            for forged in (0..2 * size + 3_000).filter(|&forged| forged != size) {
                let lengths = Lengths::new(forged, log2).unwrap();
                let made = Outline::from_parts(manifest.fid(), lengths, hashes.to_vec(), size_proof.clone());
                assert_eq!(made, Err(ManifestError::Size), "{size} B as {forged}, 2^{log2}");
            }
        }
    }
    // Why the list alone is not enough: three pieces are three pieces.
    let true_size = manifest(&content(10_000), 12);
    for (size, log2) in [(10_001, 12), (12_288, 12), (20_000, 13)] {
        assert_eq!(outline::root(Lengths::new(size, log2).unwrap(), true_size.hashes()), true_size.fid());
    }
}

#[test]
fn a_forged_piece_length_fails() {
    for size in [2_049, 10_000, 50_000, 148_539] {
        let content = content(size);
        for log2 in all_log2() {
            let manifest = manifest(&content, log2);
            let (hashes, size_proof) = (manifest.hashes(), manifest.outline().size_proof());
            for forged in all_log2().filter(|&forged| forged != log2) {
                let forged = Lengths::new(size as u64, forged).unwrap();
                let outline = Outline::from_parts(manifest.fid(), forged, Vec::new(), size_proof.clone());
                let is_taken = outline.is_ok_and(|outline| outline.verify(0, hashes));
                // It is no forgery if the whole file is the one piece of both.
                let is_true = forged.piece_count() == 1 && manifest.lengths().piece_count() == 1;
                assert_eq!(is_taken, is_true, "{size} B, 2^{log2} as {forged:?}");
            }
        }
    }
}

#[test]
fn a_reader_that_ends_early_or_late_is_an_error() {
    let content = content(10_000);
    for (size, kind) in [(10_001, io::ErrorKind::UnexpectedEof), (9_999, io::ErrorKind::InvalidData)] {
        assert_eq!(Manifest::from_reader(&content[..], size).unwrap_err().kind(), kind);
    }
    assert_eq!(Manifest::from_reader(&b"x"[..], 0).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(Manifest::from_reader(io::empty(), u64::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

/// Prints how fast content is hashed: `cargo test --release throughput -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, worth something in release mode only"]
fn throughput() {
    let content = content(256 << 20);
    let clock = crate::time::Clock::new();
    let rate = |begin| content.len() as f64 / clock.now().since(begin).as_secs_f64() / 1e9;
    let begin = clock.now();
    let fid = Fid::of(&content);
    println!("at one go:           {:.2} GB/s", rate(begin));
    for log2 in [12, 13, 14, 15, 17, 20, 22] {
        let begin = clock.now();
        let manifest = manifest(&content, log2);
        println!("pieces of {:>7} B: {:.2} GB/s", 1 << log2, rate(begin));
        assert_eq!(manifest.fid(), fid);
    }
}
