//! A file on disk: an existing one to share, or a new one that appears under its name only when it is whole.
//!
//! Until then it has another name, under which the next attempt may find it ([`super::partial`]) or nobody.
//!
//! Reads and writes are positioned (`pread`, `pwrite`), never mapped: a file truncated under a map kills the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::partial::{self, Partial};
use super::{Resumable, Storage, check_within};
use crate::Fid;
use crate::rand::Rng;

/// How often another temporary name is tried where one is taken. One try in four thousand million meets a taken one.
pub(super) const NAME_TRIES: u32 = 8;

/// A file on disk.
///
/// One that was [created](FileStorage::create) is written under a temporary name beside its own, moved to its own name
/// by [`finish`](Storage::finish), and removed if dropped before. (A process that is killed leaves the temporary file.) One
/// that is [gone on with](FileStorage::resume) stays when dropped, for the next attempt.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    size: u64,
    access: Mutex<Access>,
}

#[derive(Debug)]
enum Access {
    /// Opened for reading.
    ReadOnly,
    /// Being written; not yet at `target`.
    Unfinished { place: Place, target: PathBuf },
    /// Being written, and never to have a name.
    Unnamed,
    /// Written, and under its own name.
    Finished,
    /// Given up before that, and removed.
    Abandoned,
}

/// Where an unfinished file is.
#[derive(Debug)]
enum Place {
    /// Under a name that nobody looks for.
    Temporary(PathBuf),
    /// Where the next attempt finds it.
    Partial(Partial),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Place::Temporary(path) => path,
            Place::Partial(partial) => &partial.path,
        }
    }

    fn remove(&self) {
        match self {
            // Nobody is left to tell if this fails.
            Place::Temporary(path) => _ = fs::remove_file(path),
            Place::Partial(partial) => partial.remove(),
        }
    }
}

impl FileStorage {
    /// Opens an existing file to share it. Links are followed: it is the user's own path.
    ///
    /// # Errors
    /// `IsADirectory`; `InvalidInput` for a device, a pipe or a socket; others as the system reports them.
    pub fn open(path: &Path) -> io::Result<FileStorage> {
        // Before it is opened, as opening a pipe waits for a writer; and after, as it may have been exchanged.
        check_regular(&fs::metadata(path)?)?;
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        check_regular(&metadata)?;
        Ok(FileStorage { file, size: metadata.len(), access: Mutex::new(Access::ReadOnly) })
    }

    /// Makes a file of `size` B that will be `target`. The temporary name holds random digits from `rng`.
    ///
    /// The room is claimed as a sparse file: a full disk shows when the data arrives.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything at `target`, be it a dangling link; `InvalidInput` if `target` ends in no
    /// file name; others as the system reports them.
    pub fn create(target: &Path, size: u64, rng: &mut Rng) -> io::Result<FileStorage> {
        check_vacant(target)?;
        let mut tries = 0;
        let (file, temporary) = loop {
            let tag = format!("{:08x}", rng.u32());
            let temporary = target.with_file_name(partial::hidden_name(target, &tag, "part"));
            // O_CREAT with O_EXCL: neither an existing file nor a link laid out for us is opened.
            match OpenOptions::new().read(true).write(true).create_new(true).open(&temporary) {
                Ok(file) => break (file, temporary),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < NAME_TRIES => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        };
        // From here on the drop removes the temporary file.
        let storage = FileStorage::unfinished(file, size, Place::Temporary(temporary), target);
        storage.file.set_len(size)?;
        Ok(storage)
    }

    /// Makes a file of `size` B with the content `fid` that will be `target`, or goes on with what an earlier attempt has left
    /// ([`Resumable`]). Where that can't be had safely, as another process is at it or somebody else has laid it out, it is
    /// [created](FileStorage::create) anew.
    ///
    /// # Errors
    /// As [`FileStorage::create`].
    pub fn resume(target: &Path, fid: Fid, size: u64, rng: &mut Rng) -> io::Result<FileStorage> {
        check_vacant(target)?;
        match Partial::claim(target, fid, size)? {
            Some((file, partial)) => Ok(FileStorage::unfinished(file, size, Place::Partial(partial), target)),
            None => FileStorage::create(target, size, rng),
        }
    }

    /// Makes a file of at most `size` B among the system's temporary files that never has a name: it is gone with the process,
    /// however that ends.
    ///
    /// # Errors
    /// As the system reports them.
    pub fn unnamed(size: u64) -> io::Result<FileStorage> {
        let file = tempfile::tempfile()?;
        Ok(FileStorage { file, size, access: Mutex::new(Access::Unnamed) })
    }

    /// Whether there is an unfinished file of `fid` that is to become `target`, whoever is at it.
    pub fn has_leftovers_of(target: &Path, fid: Fid) -> bool {
        Partial::path_of(target, fid).symlink_metadata().is_ok()
    }

    fn unfinished(file: File, size: u64, place: Place, target: &Path) -> FileStorage {
        let access = Access::Unfinished { place, target: target.to_owned() };
        FileStorage { file, size, access: Mutex::new(access) }
    }

    /// Reads it from its beginning to its end, whatever else is read meanwhile.
    pub fn reader(&self) -> impl Read + '_ {
        Positioned { file: &self.file, offset: 0 }
    }

    /// The size, B: when it was opened, or as it was created.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Does something with the file that the next attempt finds, while nobody finishes or abandons it.
    fn with_partial<T>(&self, act: impl FnOnce(&Partial) -> io::Result<T>) -> io::Result<T> {
        match &*self.access.lock() {
            Access::Unfinished { place: Place::Partial(partial), .. } => act(partial),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn check_not_abandoned(&self) -> io::Result<()> {
        match *self.access.lock() {
            Access::Abandoned => Err(io::ErrorKind::PermissionDenied.into()),
            Access::ReadOnly | Access::Unfinished { .. } | Access::Unnamed | Access::Finished => Ok(()),
        }
    }
}

impl Storage for FileStorage {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<bool> {
        try_read_at(&self.file, offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if !matches!(*self.access.lock(), Access::Unfinished { .. } | Access::Unnamed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        check_within(self.size, offset, data.len())?;
        self.file.write_all_at(data, offset)
    }

    fn finish(&self) -> io::Result<()> {
        if !matches!(*self.access.lock(), Access::Unfinished { .. }) {
            return self.check_not_abandoned();
        }
        // The content is on the disk before the name is: a crash leaves no file that is whole by name only. It takes
        // long, so the lock is not held meanwhile.
        self.file.sync_all()?;
        let mut access = self.access.lock();
        let Access::Unfinished { place, target } = &*access else {
            drop(access);
            return self.check_not_abandoned();
        };
        if let Place::Partial(partial) = place {
            // Killed from here on, the next attempt verifies all of it; the other way round it would leave the record for ever.
            partial.remove_record();
        }
        rename_without_overwrite(place.path(), target)?;
        let target = target.clone();
        *access = Access::Finished;
        drop(access);
        let _ = self.file.unlock();
        sync_directory_of(&target)
    }

    fn abandon(&self) {
        let mut access = self.access.lock();
        if let Access::Unfinished { place, .. } = &*access {
            place.remove();
            *access = Access::Abandoned;
        }
    }

    fn resumable(&self) -> Option<&dyn Resumable> {
        self.with_partial(|_| Ok(())).is_ok().then_some(self)
    }
}

impl Resumable for FileStorage {
    fn has_leftovers(&self) -> bool {
        self.with_partial(|partial| Ok(partial.has_leftovers)).unwrap_or(false)
    }

    fn read_record(&self, most: u64) -> io::Result<Vec<u8>> {
        self.with_partial(|partial| partial.read_record(most))
    }

    fn write_record(&self, record: &[u8]) -> io::Result<()> {
        self.with_partial(|partial| partial.write_record(record))
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        partial::next_data(&self.file, offset)
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        match &*self.access.lock() {
            Access::Unfinished { place: Place::Partial(partial), .. } => partial.close(&self.file),
            Access::Unfinished { place, .. } => place.remove(),
            Access::ReadOnly | Access::Unnamed | Access::Finished | Access::Abandoned => {}
        }
    }
}

/// Reads from the page cache alone; false if not all is there. A file system that can't (tmpfs, which is memory, is one) is read
/// at once.
pub(super) fn try_read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let mut filled = 0;
        while filled < buf.len() {
            let part = &mut [io::IoSliceMut::new(&mut buf[filled..])];
            match preadv2(file, part, offset + filled as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP) => return file.read_exact_at(buf, offset).map(|()| true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
    #[cfg(not(target_os = "linux"))]
    file.read_exact_at(buf, offset).map(|()| true)
}

struct Positioned<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Refuses a target where there is anything, be it a dangling link, or that can't be a file.
pub(super) fn check_vacant(target: &Path) -> io::Result<()> {
    if target.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file name"));
    }
    match fs::symlink_metadata(target) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn check_regular(metadata: &fs::Metadata) -> io::Result<()> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Moves `from` to `to` in the same directory, or fails with `AlreadyExists`.
fn rename_without_overwrite(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // A file system, or a kernel, that can't.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            result => return Ok(result?),
        }
    }
    rename_by_link(from, to)
}

/// As [`rename_without_overwrite`], in two steps: killed between them, the file has both names.
fn rename_by_link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => {
            // The file has its name; that it keeps a second one is no reason to call it lost.
            let _ = fs::remove_file(from);
            return Ok(());
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
            return Err(error);
        }
        // A file system without hard links, such as FAT.
        Err(_) => {}
    }
    rename_over_placeholder(from, to)
}

/// As [`rename_by_link`], without hard links: claims the name with an empty file and renames over that.
fn rename_over_placeholder(from: &Path, to: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(to)?;
    fs::rename(from, to).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })
}

/// Makes the names in the directory of `path` last.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(directory)?.sync_all() {
        // Some file systems have nothing to sync for a directory.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
