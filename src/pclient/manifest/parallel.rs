//! Hashing by all cores at once what can be read at any place.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use super::{Manifest, READ_LEN, check_value};
use crate::pclient::pieces::Lengths;
use crate::pclient::storage::Storage;

/// Does `work` on each of `units`, by as many threads as there are cores, and gives the outcomes in the units' order, or an error.
/// Each thread has a buffer, which it hands to `work`.
///
/// # Errors
/// One of those that came; then the other threads end soon.
pub(in crate::pclient) fn map<U: Sync, T: Send, E: Send>(
    units: &[U],
    work: impl Fn(&U, &mut Vec<u8>) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let run = || {
        let (mut done, mut buf) = (Vec::new(), Vec::new());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = units.get(index) else { return done };
            match work(unit, &mut buf) {
                Ok(outcome) => done.push((index, outcome)),
                Err(error) => {
                    next.store(units.len(), Ordering::Relaxed);
                    *failure.lock() = Some(error);
                    return done;
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(units.len());
    let mut outcomes = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut outcomes = run();
        for other in others {
            outcomes.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        outcomes
    });
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    outcomes.sort_unstable_by_key(|(index, _)| *index);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// The manifest of the `size` B in `storage`: as [`Manifest::from_reader`].
///
/// # Errors
/// Those of `storage`; `InvalidInput` for a size beyond [`Lengths::MAX_SIZE`].
pub(in crate::pclient) fn manifest_of(storage: &impl Storage, size: u64) -> io::Result<Manifest> {
    let lengths =
        Lengths::choose(size).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let piece_len = lengths.full_piece_len() as usize;
    // Both are powers of two, so that a span holds whole pieces.
    let span = READ_LEN.max(piece_len) as u64;
    let spans: Vec<u64> = (0..size.div_ceil(span)).map(|index| index * span).collect();
    let hashed = map(&spans, |&start, buf| {
        buf.resize(span.min(size - start) as usize, 0);
        storage.read_at(start, buf)?;
        let hash =
            |(index, piece): (usize, &[u8])| check_value(lengths, start + (index * piece_len) as u64, piece);
        Ok::<_, io::Error>(buf.chunks(piece_len).enumerate().map(hash).collect::<Vec<_>>())
    })?;
    let last_piece = match lengths.pieces().next_back() {
        Some(last) => {
            let range = lengths.piece_range(last);
            let mut data = vec![0; (range.end - range.start) as usize];
            storage.read_at(range.start, &mut data)?;
            data
        }
        None => Vec::new(),
    };
    Ok(Manifest::from_pieces(lengths, hashed.concat(), &last_piece))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::storage::MemoryStorage;
    use crate::rand::Rng;

    #[test]
    fn several_threads_find_what_one_finds() {
        for size in [0, 1, 4_096, 4_097, 262_144, 700_001, 6_000_000] {
            let mut content = vec![0; size];
            Rng::from_seed(size as u64).fill(&mut content);
            let expected = Manifest::of(&content);
            let found = manifest_of(&MemoryStorage::from(content), size as u64).unwrap();
            assert_eq!(found, expected, "{size} B");
        }
    }

    #[test]
    fn outcomes_keep_their_order_and_an_error_ends_it() {
        let units: Vec<u32> = (0..1_000).collect();
        let squares = map(&units, |unit, _| Ok::<u32, ()>(unit * unit)).unwrap();
        assert!(squares.iter().zip(&units).all(|(square, unit)| *square == unit * unit));
        let failed = map(&units, |&unit, _| if unit == 700 { Err("at 700") } else { Ok(unit) });
        assert_eq!(failed, Err("at 700"));
        assert_eq!(map(&[] as &[u32], |&unit, _| Ok::<u32, ()>(unit)), Ok(vec![]));
    }
}
