//! Receive buffers that come back: what arrives is handed out without copying, and its memory used again.
//!
//! No socket here. A buffer is lent as [`Bytes`]; when the last slice of it is dropped, wherever, it returns.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// More than any datagram, and any train that the kernel hands over.
pub(super) const BUFFER: usize = 64 << 10;
/// From this length on a buffer is lent, below it its content is copied: a slice in some queue keeps all of the buffer,
/// and may so take at most four times the memory that it is counted as.
const LENT_FROM: usize = BUFFER / 4;
/// How many returned buffers are kept. More are out only while somebody hoards datagrams.
const SPARE: usize = 64;

/// A source of buffers. Clones share what has come back.
#[derive(Clone, Default)]
pub(super) struct Pool {
    spare: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl Pool {
    /// A buffer of [`BUFFER`] B with anything in it.
    pub(super) fn take(&self) -> Box<[u8]> {
        let spare = self.spare.lock().pop();
        spare.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    /// The first `len` bytes of `buffer`, which is then another one, or the same if that was cheaper.
    pub(super) fn lend(&self, buffer: &mut Box<[u8]>, len: usize) -> Bytes {
        if len < LENT_FROM {
            return Bytes::copy_from_slice(&buffer[..len]);
        }
        let bytes = std::mem::replace(buffer, self.take());
        Bytes::from_owner(Lent { bytes, len, home: self.clone() })
    }
}

/// A buffer that goes home when it is dropped.
struct Lent {
    bytes: Box<[u8]>,
    len: usize,
    home: Pool,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.home.spare.lock();
        if spare.len() < SPARE {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_content_is_lent_and_its_buffer_comes_back_after_the_last_slice() {
        let pool = Pool::default();
        let mut buffer = pool.take();
        buffer[..LENT_FROM].fill(7);
        let at = buffer.as_ptr();
        let lent = pool.lend(&mut buffer, LENT_FROM);
        assert_eq!(lent.as_ptr(), at, "not copied");
        assert_ne!(buffer.as_ptr(), at);
        buffer.fill(0);
        let slice = lent.slice(10..20);
        drop(lent);
        let other = pool.take();
        assert_ne!(other.as_ptr(), at);
        assert_eq!(*slice, [7; 10]);
        drop(slice);
        let same = pool.take();
        assert_eq!(same.as_ptr(), at);
    }

    #[test]
    fn a_short_content_does_not_hold_a_buffer() {
        let pool = Pool::default();
        let mut buffer = pool.take();
        let at = buffer.as_ptr();
        let copy = pool.lend(&mut buffer, LENT_FROM - 1);
        assert_eq!((buffer.as_ptr(), copy.len()), (at, LENT_FROM - 1));
        assert!(pool.lend(&mut buffer, 0).is_empty());
    }

    #[test]
    fn not_all_that_comes_back_is_kept() {
        let pool = Pool::default();
        let mut buffer = pool.take();
        let out: Vec<_> = (0..SPARE + 5).map(|_| pool.lend(&mut buffer, BUFFER)).collect();
        drop(out);
        assert_eq!(pool.spare.lock().len(), SPARE);
    }
}
