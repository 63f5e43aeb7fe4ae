//! What is known of an unfinished file when the next attempt begins: a small record beside the content.
//!
//! No disk here: where the record lies is the storage's business. Nothing trusts it either: it only says which pieces are worth
//! verifying (the swarm does that, piece by piece), so a lost, damaged or foreign one costs a scan of all that was written.

use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::pieces::{Bitfield, Lengths, PieceIndex};
use super::storage::{Resumable, Storage};
use crate::Fid;
use crate::coding::{Malformed, Reader, Writer as _};

/// At most so many bytes of content are written that the record doesn't list, B: what a kill costs where the storage can't tell
/// holes from content.
pub const BATCH: u64 = 4 << 20;

/// If more than this seems to have been written that a sound record doesn't list, B, the storage can't tell holes from content, and
/// the record counts alone.
const MOST_UNLISTED: u64 = 8 * BATCH;

const MAGIC: [u8; 4] = *b"SwRe";
const VERSION: u8 = 1;

/// A record: which pieces of a file have been written.
///
/// ```text
/// magic "SwRe" · version (1 B) · fid (32 B) · size (8 B) · log2 of the piece length (1 B) · a bit for each piece
/// · xxh3 over all before (8 B)
/// ```
pub fn encode(fid: Fid, lengths: &Lengths, have: &Bitfield) -> Vec<u8> {
    let mut record = Vec::with_capacity(encoded_len(lengths));
    record.bytes(&MAGIC);
    record.u8(VERSION);
    record.bytes(fid.as_bytes());
    record.u64(lengths.size());
    record.u8(lengths.piece_log2());
    record.bytes(&have.to_bytes());
    let check = xxh3_64(&record);
    record.u64(check);
    record
}

/// How long a record of such a file is, B: 125 kB for a million pieces.
pub fn encoded_len(lengths: &Lengths) -> usize {
    MAGIC.len() + 1 + Fid::LEN + 8 + 1 + (lengths.piece_count() as usize).div_ceil(8) + 8
}

/// The pieces that `record` lists.
///
/// # Errors
/// Why it is no record of this file.
pub fn decode(record: &[u8], fid: Fid, lengths: &Lengths) -> Result<Bitfield, RecordError> {
    let (body, check) = record.split_last_chunk::<8>().ok_or(RecordError::Damaged)?;
    if xxh3_64(body) != u64::from_be_bytes(*check) {
        return Err(RecordError::Damaged);
    }
    let mut reader = Reader::new(body);
    let head = |Malformed| RecordError::Damaged;
    if reader.array().map_err(head)? != MAGIC {
        return Err(RecordError::Damaged);
    }
    match reader.u8().map_err(head)? {
        VERSION => {}
        other => return Err(RecordError::Version(other)),
    }
    let of = (reader.array().map_err(head)?, reader.u64().map_err(head)?, reader.u8().map_err(head)?);
    if of != (*fid.as_bytes(), lengths.size(), lengths.piece_log2()) {
        return Err(RecordError::Foreign);
    }
    Bitfield::from_bytes(lengths, reader.rest()).map_err(|_| RecordError::Damaged)
}

/// Bytes that are not a record of the file in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Cut short, changed, or something else altogether.
    #[error("it is damaged")]
    Damaged,
    /// Of another version of this program.
    #[error("it is of version {0}")]
    Version(u8),
    /// Of another file, or of the same cut into other pieces.
    #[error("it is of another file")]
    Foreign,
}

/// Keeps a storage's record true: never more than [`BATCH`] behind. To be used by whoever writes the content, on that
/// thread. What is new when it is dropped is recorded then.
pub struct Checkpoint {
    storage: Arc<dyn Storage>,
    fid: Fid,
    lengths: Lengths,
    /// The pieces that the next attempt had better look at.
    listed: Bitfield,
    /// What has been written since the last record, B.
    unrecorded: u64,
    is_dirty: bool,
    /// Whether a record could not be written, and that was said.
    has_complained: bool,
}

impl Checkpoint {
    /// Of a file of which nothing is known to be there.
    pub fn new(storage: Arc<dyn Storage>, fid: Fid, lengths: Lengths) -> Checkpoint {
        let listed = Bitfield::new(&lengths);
        Checkpoint { storage, fid, lengths, listed, unrecorded: 0, is_dirty: false, has_complained: false }
    }

    /// The pieces that an earlier attempt seems to have left: what its record lists, and what it had written since; or, without
    /// a record, all where anything was written. They stay listed until they are [found spoiled](Checkpoint::on_spoiled).
    pub fn look_back(&mut self) -> Bitfield {
        let Some(resumable) = self.storage.resumable() else { return Bitfield::new(&self.lengths) };
        let record = resumable.read_record(encoded_len(&self.lengths) as u64);
        let listed = record
            .map_err(|error| error.to_string())
            .and_then(|record| decode(&record, self.fid, &self.lengths).map_err(|error| error.to_string()));
        let mut unlisted = written(resumable, &self.lengths);
        match listed {
            Ok(listed) => {
                unlisted.remove(&listed);
                self.listed = listed;
                if u64::from(unlisted.count()) << self.lengths.piece_log2() > MOST_UNLISTED {
                    return self.listed.clone();
                }
            }
            Err(why) => {
                log::info!(
                    "no record of what is there of {} ({why}): all of it is verified",
                    self.fid.short()
                );
            }
        }
        self.is_dirty = !unlisted.is_empty();
        self.listed.add(&unlisted);
        self.listed.clone()
    }

    /// A piece of `len` B is about to be written.
    pub fn make_room(&mut self, len: u64) {
        if self.unrecorded + len > BATCH {
            self.flush();
        }
    }

    /// A piece has been written, and was verified before.
    pub fn on_written(&mut self, piece: PieceIndex) {
        if self.listed.set(piece) {
            self.unrecorded += u64::from(self.lengths.piece_len(piece));
            self.is_dirty = true;
        }
    }

    /// A piece that was listed is not what it should be.
    pub fn on_spoiled(&mut self, piece: PieceIndex) {
        self.is_dirty |= self.listed.clear(piece);
    }

    /// [Finishes](Storage::finish) the storage, which removes the record. If that fails and it is to be gone on with, all is recorded
    /// again: the next attempt need not look for what is there.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn finish(&mut self) -> io::Result<()> {
        self.storage.finish().inspect_err(|_| {
            self.is_dirty = true;
            self.flush();
        })
    }

    /// Records what is new.
    pub fn flush(&mut self) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        self.unrecorded = 0;
        // What is finished, or given up, needs none.
        let Some(resumable) = self.storage.resumable() else { return };
        let record = encode(self.fid, &self.lengths, &self.listed);
        if let Err(error) = resumable.write_record(&record)
            && !self.has_complained
        {
            self.has_complained = true;
            log::warn!("what is there of {} can't be recorded: {error}", self.fid.short());
        }
    }
}

/// The pieces in which anything was ever written, as far as the storage knows.
fn written(resumable: &dyn Resumable, lengths: &Lengths) -> Bitfield {
    let mut pieces = Bitfield::new(lengths);
    let mut offset = 0;
    // Where the storage can't tell, it may be all.
    while offset < lengths.size()
        && let Some(data) = resumable.next_data(offset).unwrap_or(Some(offset..lengths.size()))
    {
        let touched = (data.start >> lengths.piece_log2())..data.end.div_ceil(1 << lengths.piece_log2());
        touched.filter_map(|index| lengths.piece(index)).for_each(|piece| _ = pieces.set(piece));
        offset = data.end.max(offset + 1);
    }
    pieces
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
