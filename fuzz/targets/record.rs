//! Records of interrupted downloads: whatever lies beside the file, under a check that fits.

use swarmcast::Fid;
use swarmcast::pclient::pieces::{Bitfield, Lengths};
use swarmcast::pclient::resume::{RecordError, decode, encode};
use xxhash_rust::xxh3::xxh3_64;

use crate::notes::reached;

/// A file of 37 pieces.
fn file() -> (Fid, Lengths) {
    (Fid::from_bytes([7; 32]), Lengths::choose(148_539).expect("it isn't too large"))
}

/// What reads is exactly what would be written.
pub(crate) fn record(data: &[u8]) {
    let (fid, lengths) = file();
    let sealed = [data, &xxh3_64(data).to_be_bytes()].concat();
    match decode(&sealed, fid, &lengths) {
        Ok(have) => {
            reached(0, 10 + u64::from(have.count()));
            assert_eq!(encode(fid, &lengths, &have), sealed);
        }
        Err(RecordError::Damaged) => reached(0, 0),
        Err(RecordError::Version(version)) => reached(1, version.into()),
        Err(RecordError::Foreign) => reached(0, 2),
    }
}

/// Nothing, half and all of the file; without their checks.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (fid, lengths) = file();
    let seed = |every: u32| {
        let mut have = Bitfield::new(&lengths);
        lengths.pieces().filter(|piece| piece.get() % every == 0).for_each(|piece| _ = have.set(piece));
        let record = encode(fid, &lengths, &have);
        record[..record.len() - 8].to_vec()
    };
    [u32::MAX, 2, 1].map(seed).to_vec()
}
