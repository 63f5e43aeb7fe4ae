//! Where the bytes of a file lie: a trait, a file on disk, memory.
//!
//! Nothing is verified here and no piece is known: callers write what they have checked, and check what they read.

mod file;
mod folder;
mod memory;
mod partial;

use std::io;
use std::ops::Range;

pub use file::FileStorage;
pub use folder::FolderStorage;
pub use memory::MemoryStorage;

/// The bytes of one file, read and written at any offset.
///
/// What was never written may read as zeros or as an error: callers know what they wrote. All calls may run at once on
/// several threads; two writes of one place leave either there.
pub trait Storage: Send + Sync {
    /// Fills `buf` with what lies at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before `buf` is full (it may have been truncated under us); others as the
    /// system reports them. After an error the content of `buf` means nothing.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Whether the bytes can become others than those that were written: then what is read has to be verified before it is
    /// passed on. True of everything that lies on a disk.
    fn may_change(&self) -> bool {
        true
    }

    /// As [`read_at`](Storage::read_at), if that waits for no disk; else false, and the content of `buf` means nothing.
    ///
    /// # Errors
    /// As `read_at`.
    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<bool> {
        self.read_at(offset, buf).map(|()| true)
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// `InvalidInput` if it would go beyond the size that the storage was made for; `StorageFull` and others as the
    /// system reports them. After an error part of `data` may have been written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes what was written last and, if it has a name, appear under it. To be called when all is written; reading
    /// goes on as before. Harmless on what was only opened for reading, and a second time.
    ///
    /// # Errors
    /// As the system reports them; it may be tried again.
    fn finish(&self) -> io::Result<()>;

    /// Gives up what isn't finished: nothing of it is left, and writing and finishing fail from now on. Harmless on what
    /// is finished or was only opened for reading.
    fn abandon(&self);

    /// Whether any of these bytes, B from the beginning, is to be kept here. What isn't is neither fetched nor announced.
    fn wants(&self, range: &Range<u64>) -> bool {
        let _ = range;
        true
    }

    /// Whether somebody reads from the beginning on while the rest still comes: then what is needed next is fetched first.
    fn is_read_in_order(&self) -> bool {
        false
    }

    /// What this storage offers to go on where an earlier attempt has ended; `None` if nothing of it outlasts the process,
    /// or it is finished or given up.
    fn resumable(&self) -> Option<&dyn Resumable> {
        None
    }
}

/// A storage whose unfinished content outlasts the process: dropped unfinished, it is there for the next attempt, with a
/// record beside it that says nothing to the storage.
pub trait Resumable: Send + Sync {
    /// Whether an earlier attempt has left anything.
    fn has_leftovers(&self) -> bool;

    /// The record that was kept last, but no more than its first `most` B and one.
    ///
    /// # Errors
    /// `NotFound` if there is none; others as the system reports them.
    fn read_record(&self, most: u64) -> io::Result<Vec<u8>>;

    /// Keeps `record` in place of the one before: whoever reads finds one of them whole, whenever the process dies.
    ///
    /// # Errors
    /// As the system reports them; then the one before stands.
    fn write_record(&self, record: &[u8]) -> io::Result<()>;

    /// The first stretch of content from `offset` on in which something may have been written, B; `None` if nothing has.
    ///
    /// # Errors
    /// As the system reports them; then it may be anywhere.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>>;
}

/// Refuses a write of `len` B at `offset` that would go beyond `size` B.
fn check_within(size: u64, offset: u64, len: usize) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a write beyond the end of the file")),
    }
}
