//! Tests of the record: what isn't exactly what was written is never taken for a record, and it is never far behind.

use std::ops::Range;

use parking_lot::Mutex;

use super::*;
use crate::rand::Rng;

fn fid() -> Fid {
    Fid::of(b"a file")
}

/// A record of a file of 37 pieces, of which every third is there.
fn record() -> (Lengths, Bitfield, Vec<u8>) {
    let lengths = Lengths::choose(148_539).unwrap();
    let mut have = Bitfield::new(&lengths);
    lengths.pieces().filter(|piece| piece.get() % 3 == 0).for_each(|piece| _ = have.set(piece));
    let record = encode(fid(), &lengths, &have);
    (lengths, have, record)
}

#[test]
fn a_record_comes_back() {
    let (lengths, have, record) = record();
    assert_eq!(record.len(), encoded_len(&lengths));
    assert_eq!(decode(&record, fid(), &lengths), Ok(have));
    let million = Lengths::new(Lengths::MAX_SIZE, Lengths::MAX_PIECE_LOG2).unwrap();
    assert_eq!(encoded_len(&million), 125_054);
    let none = Lengths::choose(0).unwrap();
    let empty = encode(fid(), &none, &Bitfield::new(&none));
    assert!(decode(&empty, fid(), &none).unwrap().is_complete());
}

#[test]
fn a_record_cut_anywhere_or_with_any_bit_flipped_is_refused() {
    let (lengths, _, record) = record();
    for len in 0..record.len() {
        assert_eq!(decode(&record[..len], fid(), &lengths), Err(RecordError::Damaged), "cut to {len} B");
    }
    let longer = [&record[..], &[0]].concat();
    assert_eq!(decode(&longer, fid(), &lengths), Err(RecordError::Damaged));
    for at in 0..record.len() {
        for change in 1..=u8::MAX {
            let mut flipped = record.clone();
            flipped[at] ^= change;
            assert_eq!(decode(&flipped, fid(), &lengths), Err(RecordError::Damaged), "{at}: {change:08b}");
        }
    }
}

#[test]
fn anything_at_all_is_refused() {
    let (lengths, _, record) = record();
    let mut rng = Rng::from_seed(1);
    for _ in 0..20_000 {
        let mut noise = vec![0; rng.below(2 * record.len() as u64) as usize];
        rng.fill(&mut noise);
        assert!(decode(&noise, fid(), &lengths).is_err());
    }
}

#[test]
fn a_record_of_another_file_or_version_is_refused() {
    let (lengths, have, record) = record();
    assert_eq!(decode(&record, Fid::of(b"another"), &lengths), Err(RecordError::Foreign));
    for other in [Lengths::new(148_540, 12).unwrap(), Lengths::new(148_539, 13).unwrap()] {
        assert_eq!(decode(&record, fid(), &other), Err(RecordError::Foreign), "{other:?}");
    }
    // Sound, but of the future.
    let mut newer = encode(fid(), &lengths, &have);
    newer[4] = VERSION + 1;
    newer.truncate(newer.len() - 8);
    let check = xxh3_64(&newer);
    newer.u64(check);
    assert_eq!(decode(&newer, fid(), &lengths), Err(RecordError::Version(VERSION + 1)));
    // Sound, but with a bit for a piece that doesn't exist.
    let mut beyond = encode(fid(), &lengths, &have);
    beyond.truncate(beyond.len() - 8);
    *beyond.last_mut().unwrap() |= 0x80;
    let check = xxh3_64(&beyond);
    beyond.u64(check);
    assert_eq!(decode(&beyond, fid(), &lengths), Err(RecordError::Damaged));
}

/// A storage that only keeps a record, and says where it has data.
#[derive(Default)]
struct Shelf {
    record: Mutex<Option<Vec<u8>>>,
    writes: Mutex<u32>,
    data: Vec<Range<u64>>,
    knows_no_holes: bool,
    /// Whether somebody else has the name by now.
    is_taken: bool,
}

impl Storage for Arc<Shelf> {
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        unreachable!("content is the swarm's business")
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        unreachable!("content is the swarm's business")
    }

    fn finish(&self) -> io::Result<()> {
        *self.record.lock() = None;
        if self.is_taken { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }

    fn abandon(&self) {}

    fn resumable(&self) -> Option<&dyn Resumable> {
        Some(&**self)
    }
}

impl Resumable for Shelf {
    fn has_leftovers(&self) -> bool {
        true
    }

    fn read_record(&self, _: u64) -> io::Result<Vec<u8>> {
        self.record.lock().clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write_record(&self, record: &[u8]) -> io::Result<()> {
        *self.record.lock() = Some(record.to_vec());
        *self.writes.lock() += 1;
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        if self.knows_no_holes {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let next = self.data.iter().find(|data| data.end > offset);
        Ok(next.map(|data| data.start.max(offset)..data.end))
    }
}

impl Shelf {
    fn checkpoint(self: &Arc<Shelf>, lengths: Lengths) -> Checkpoint {
        Checkpoint::new(Arc::new(Arc::clone(self)), fid(), lengths)
    }

    fn listed(&self, lengths: &Lengths) -> Bitfield {
        self.record.lock().as_ref().map_or_else(
            || Bitfield::new(lengths),
            |record| decode(record, fid(), lengths).expect("a sound record"),
        )
    }
}

#[test]
fn the_record_is_never_more_than_a_batch_behind_and_seldom_written() {
    for (size, piece_log2) in [(100_000_000, 14), (100_000_001, 20), (200_000_000, 22)] {
        let lengths = Lengths::new(size, piece_log2).unwrap();
        let shelf = Arc::new(Shelf::default());
        let mut checkpoint = shelf.checkpoint(lengths);
        let mut written = 0;
        for piece in lengths.pieces() {
            let len = u64::from(lengths.piece_len(piece));
            checkpoint.make_room(len);
            // Killed while this piece is written, or just after: this is what is lost.
            written += len;
            checkpoint.on_written(piece);
            let listed = shelf.listed(&lengths);
            let behind = written - (u64::from(listed.count()) << piece_log2).min(size);
            assert!(behind <= BATCH, "{behind} B behind");
        }
        let most = size / BATCH + 1;
        assert!(u64::from(*shelf.writes.lock()) <= most, "{} records", shelf.writes.lock());
        drop(checkpoint);
        assert!(shelf.listed(&lengths).is_complete(), "what is new is recorded at the end");
        let writes = *shelf.writes.lock();
        drop(shelf.checkpoint(lengths));
        assert_eq!(*shelf.writes.lock(), writes, "there was no news");
    }
}

#[test]
fn what_is_listed_stays_so_until_it_is_found_spoiled() {
    let (lengths, have, record) = record();
    let shelf = Arc::new(Shelf { record: Mutex::new(Some(record)), ..Shelf::default() });
    let mut checkpoint = shelf.checkpoint(lengths);
    assert_eq!(checkpoint.look_back(), have);
    // Killed in the middle of verifying: what hasn't been looked at is still listed, and what is new as well.
    let [spoiled, new] = [3, 4].map(|piece| lengths.piece(piece).unwrap());
    checkpoint.on_spoiled(spoiled);
    checkpoint.on_written(new);
    drop(checkpoint);
    let mut expected = have;
    expected.clear(spoiled);
    expected.set(new);
    assert_eq!(shelf.listed(&lengths), expected);
}

#[test]
fn a_record_outlasts_what_can_not_be_finished() {
    let (lengths, ..) = record();
    for is_taken in [false, true] {
        let shelf = Arc::new(Shelf { is_taken, ..Shelf::default() });
        let mut checkpoint = shelf.checkpoint(lengths);
        lengths.pieces().for_each(|piece| checkpoint.on_written(piece));
        // By chance there is nothing new when it is finished.
        checkpoint.flush();
        assert_eq!(checkpoint.finish().is_err(), is_taken);
        drop(checkpoint);
        assert_eq!(shelf.listed(&lengths).is_complete(), is_taken);
    }
}

#[test]
fn what_was_written_since_the_record_is_looked_at_unless_that_may_be_anything() {
    let lengths = Lengths::new(100 << 20, 20).unwrap();
    let mut have = Bitfield::new(&lengths);
    have.set(lengths.piece(7).unwrap());
    let record = Mutex::new(Some(encode(fid(), &lengths, &have)));
    let shelf =
        Arc::new(Shelf { record, data: vec![7 << 20..8 << 20, 8 << 20..9 << 20], ..Shelf::default() });
    let found = shelf.checkpoint(lengths).look_back();
    assert!(found.iter().map(PieceIndex::get).eq([7, 8]), "{found:?}");
    assert_eq!(shelf.listed(&lengths), found);
    let record = Mutex::new(Some(encode(fid(), &lengths, &have)));
    let shelf = Arc::new(Shelf { record, knows_no_holes: true, ..Shelf::default() });
    assert_eq!(shelf.checkpoint(lengths).look_back(), have);
    assert_eq!(*shelf.writes.lock(), 0);
}

#[test]
fn without_a_sound_record_all_that_was_written_is_looked_at() {
    let (lengths, _, mut record) = record();
    record[20] ^= 1;
    let data = vec![0..1, 8_000..8_193, 148_538..148_539];
    let pieces = |bitfield: &Bitfield| bitfield.iter().map(PieceIndex::get).collect::<Vec<_>>();
    for record in [None, Some(record)] {
        let shelf = Arc::new(Shelf { record: Mutex::new(record), data: data.clone(), ..Shelf::default() });
        let mut checkpoint = shelf.checkpoint(lengths);
        let found = checkpoint.look_back();
        assert_eq!(pieces(&found), [0, 1, 2, 36]);
        checkpoint.flush();
        assert_eq!(shelf.listed(&lengths), found, "it is rebuilt");
    }
    let shelf = Arc::new(Shelf { knows_no_holes: true, ..Shelf::default() });
    assert!(shelf.checkpoint(lengths).look_back().is_complete());
    assert!(Arc::new(Shelf::default()).checkpoint(lengths).look_back().is_empty());
}
