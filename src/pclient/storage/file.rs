//! A file on disk: an existing one to share, or a new one that appears under its name only when it is whole.
//!
//! Reads and writes are positioned (`pread`, `pwrite`), never mapped: a file truncated under a map kills the process.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::{Storage, check_within};
use crate::name;
use crate::rand::Rng;

/// How often another temporary name is tried where one is taken. One try in four thousand million meets a taken one.
const NAME_TRIES: u32 = 8;

/// A file on disk.
///
/// One that was [created](FileStorage::create) is written under a temporary name beside its own, moved to its own name
/// by [`finish`](Storage::finish), and removed if dropped before. (A process that is killed leaves the temporary file.)
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
    /// Being written under the name `temporary`; not yet at `target`.
    Unfinished { temporary: PathBuf, target: PathBuf },
    /// Written, and under its own name.
    Finished,
    /// Given up before that, and removed.
    Abandoned,
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
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
        match fs::symlink_metadata(target) {
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut tries = 0;
        let (file, temporary) = loop {
            let temporary = target.with_file_name(temporary_name(name.as_bytes(), rng.u32()));
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
        let access = Access::Unfinished { temporary, target: target.to_owned() };
        let storage = FileStorage { file, size, access: Mutex::new(access) };
        storage.file.set_len(size)?;
        Ok(storage)
    }

    /// The size, B: when it was opened, or as it was created.
    pub const fn size(&self) -> u64 {
        self.size
    }

    fn check_not_abandoned(&self) -> io::Result<()> {
        match *self.access.lock() {
            Access::Abandoned => Err(io::ErrorKind::PermissionDenied.into()),
            Access::ReadOnly | Access::Unfinished { .. } | Access::Finished => Ok(()),
        }
    }
}

impl Storage for FileStorage {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    /// Reads from the page cache alone. A file system that can't (tmpfs, which is memory, is one) is read at once.
    #[cfg(target_os = "linux")]
    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<bool> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let mut filled = 0;
        while filled < buf.len() {
            let part = &mut [io::IoSliceMut::new(&mut buf[filled..])];
            match preadv2(&self.file, part, offset + filled as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP) => return self.read_at(offset, buf).map(|()| true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if !matches!(*self.access.lock(), Access::Unfinished { .. }) {
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
        let Access::Unfinished { temporary, target } = &*access else {
            drop(access);
            return self.check_not_abandoned();
        };
        rename_without_overwrite(temporary, target)?;
        let target = target.clone();
        *access = Access::Finished;
        drop(access);
        sync_directory_of(&target)
    }

    fn abandon(&self) {
        let mut access = self.access.lock();
        if let Access::Unfinished { temporary, .. } = &*access {
            // Nobody is left to tell if this fails.
            let _ = fs::remove_file(temporary);
            *access = Access::Abandoned;
        }
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        self.abandon();
    }
}

fn check_regular(metadata: &fs::Metadata) -> io::Result<()> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// `.NAME.swarmcast-XXXXXXXX.part`, where a name too long for that is cut (between two UTF-8 characters: some file
/// systems take nothing else).
fn temporary_name(name: &[u8], tag: u32) -> OsString {
    let suffix = format!(".swarmcast-{tag:08x}.part");
    let longest = name::MAX_LEN - 1 - suffix.len();
    let starts_character = |at: usize| name.get(at).is_none_or(|byte| byte >> 6 != 0b10);
    let cut = (0..=longest).rev().find(|&at| starts_character(at)).unwrap_or(longest);
    let kept = name.get(..cut).unwrap_or(name);
    OsString::from_vec([b".", kept, suffix.as_bytes()].concat())
}

/// Moves `from` to `to` in the same directory, or fails with `AlreadyExists`.
fn rename_without_overwrite(from: &Path, to: &Path) -> io::Result<()> {
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

/// As [`rename_without_overwrite`], without hard links: claims the name with an empty file and renames over that.
fn rename_over_placeholder(from: &Path, to: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(to)?;
    fs::rename(from, to).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })
}

/// Makes the names in the directory of `path` last.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(directory)?.sync_all() {
        // Some file systems have nothing to sync for a directory.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
