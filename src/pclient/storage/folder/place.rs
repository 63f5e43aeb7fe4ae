//! Where an unfinished folder is: a hidden directory beside its target, closed to other users, and what lies in it.
//!
//! ```text
//! .NAME.swarmcast-FID8.part/   locked by the process that is at it
//!     files/                   what becomes the target
//!     edges                    bytes of pieces that reach into files that aren't wanted; sparse
//!     have                     the record for the next attempt
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::Fid;
use crate::pclient::storage::file::{NAME_TRIES, sync_directory_of};
use crate::pclient::storage::partial::{Partial, TRIES, hidden_name, is_at};
use crate::rand::Rng;

/// Nobody else can lay anything out in it.
const OWN: u32 = 0o700;

/// The hidden directory of an unfinished folder.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// The directory itself, locked; `None` for one under a name that nobody looks for, which goes when it is dropped.
    lock: Option<File>,
    pub(super) has_leftovers: bool,
}

impl Place {
    /// Makes or takes over the directory in which the content `fid` for `target` is gathered; where that can't be had safely, as
    /// another process is at it or somebody else has laid it out, one under a random name.
    ///
    /// # Errors
    /// As the system reports them, if none can be made there.
    pub(super) fn claim(target: &Path, fid: Fid, rng: &mut Rng) -> io::Result<Place> {
        let directory = Partial::path_of(target, fid);
        for _ in 0..TRIES {
            let is_new = make(&directory)?;
            let Some(lock) = open_own(&directory)? else { break };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => {
                    log::debug!("{}: no lock: {error}", directory.display());
                    break;
                }
            }
            // Whoever had the lock before may have finished the folder, and removed this.
            if is_at(&lock, &directory)? {
                return Place { directory, lock: Some(lock), has_leftovers: !is_new }.with_files();
            }
        }
        for _ in 0..NAME_TRIES {
            let tag = format!("{:08x}", rng.u32());
            let directory = target.with_file_name(hidden_name(target, &tag, "part"));
            if make(&directory)? {
                return Place { directory, lock: None, has_leftovers: false }.with_files();
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn with_files(self) -> io::Result<Place> {
        match fs::create_dir(self.files()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                self.remove();
                Err(error)
            }
            _ => Ok(self),
        }
    }

    /// Whether the next attempt finds it.
    pub(super) fn is_kept(&self) -> bool {
        self.lock.is_some()
    }

    /// What becomes the target.
    pub(super) fn files(&self) -> PathBuf {
        self.directory.join("files")
    }

    /// The file for bytes that are of no file that is wanted.
    pub(super) fn open_edges(&self) -> io::Result<File> {
        File::options().read(true).write(true).create(true).truncate(false).open(self.directory.join("edges"))
    }

    fn record(&self) -> PathBuf {
        self.directory.join("have")
    }

    /// The record, but no more than its first `most` B and one.
    pub(super) fn read_record(&self, most: u64) -> io::Result<Vec<u8>> {
        let mut record = Vec::new();
        File::open(self.record())?.take(most + 1).read_to_end(&mut record)?;
        Ok(record)
    }

    /// Keeps `record` in place of the one before.
    pub(super) fn write_record(&self, record: &[u8]) -> io::Result<()> {
        let new = self.directory.join("have-new");
        fs::write(&new, record).and_then(|()| fs::rename(&new, self.record()))
    }

    /// Makes all that was written last, moves it to `target`, where nothing may be, and removes the rest.
    pub(super) fn move_to(&self, target: &Path) -> io::Result<()> {
        // Killed from here on, the next attempt verifies all of it.
        let _ = fs::remove_file(self.record());
        rename_directory(&self.files(), target)?;
        self.remove();
        sync_directory_of(target)
    }

    /// Removes all. Nobody is left to tell if that fails.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.directory);
    }

    /// Ends the use: what was written stays for the next attempt, if there is one that finds it.
    pub(super) fn close(&self) {
        let is_empty = || fs::read_dir(self.files()).is_ok_and(|mut files| files.next().is_none());
        match &self.lock {
            Some(lock) => {
                if is_empty() {
                    self.remove();
                }
                // Before the last of those who have it open is gone: a new attempt shall find it free.
                let _ = lock.unlock();
            }
            None => self.remove(),
        }
    }
}

/// Makes a directory; false if there is something already.
fn make(directory: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(OWN).create(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a directory that is our own and closed to others; `None` for anything else.
fn open_own(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::NONBLOCK).bits().cast_signed();
    let Ok(directory) = File::options().read(true).custom_flags(flags).open(path) else { return Ok(None) };
    let metadata = directory.metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0;
    Ok(is_own.then_some(directory))
}

/// Moves the directory `from` to `to`, where nothing may be.
fn rename_directory(from: &Path, to: &Path) -> io::Result<()> {
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
    // A directory may take the place of an empty one.
    fs::create_dir(to)?;
    fs::rename(from, to).inspect_err(|_| {
        let _ = fs::remove_dir(to);
    })
}
