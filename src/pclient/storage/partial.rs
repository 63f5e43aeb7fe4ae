//! An unfinished file that the next attempt finds again: its name, who may open it, and the record beside it.
//!
//! Its name follows from the target's and the content's id, so it is no secret: what lies there is opened only if it can't be
//! somebody's trap, and by one process at a time. Nothing of the content is looked at here.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::{Fid, name};

/// How often it is tried again if somebody else exchanges the file meanwhile.
pub(super) const TRIES: u32 = 4;

/// A file under a name of its own, locked against other processes.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) path: PathBuf,
    record: PathBuf,
    new_record: PathBuf,
    pub(super) has_leftovers: bool,
}

impl Partial {
    /// Makes or opens the file in which the content `fid` for `target` is gathered, and cuts or extends it to `size` B;
    /// `None` if that is better done elsewhere: it is in use, or not a regular file of our own with one name, or its file system
    /// knows no locks.
    ///
    /// # Errors
    /// As the system reports them, if no file can be made there.
    pub(super) fn claim(target: &Path, fid: Fid, size: u64) -> io::Result<Option<(File, Partial)>> {
        let place = |kind| target.with_file_name(hidden_name(target, &fid.short(), kind));
        let (path, record, new_record) = (Partial::path_of(target, fid), place("have"), place("have-new"));
        for _ in 0..TRIES {
            let Some((file, is_new)) = make_or_open(&path)? else { return Ok(None) };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    log::debug!("{}: no lock: {error}", path.display());
                    if is_new {
                        let _ = fs::remove_file(&path);
                    }
                    return Ok(None);
                }
            }
            // Whoever had the lock before may have finished the file: then it has another name by now.
            if !is_at(&file, &path)? {
                continue;
            }
            let has_leftovers = !is_new && has_data(&file);
            let partial = Partial { path, record, new_record, has_leftovers };
            if is_new {
                // Of content that somebody has removed.
                partial.remove_record();
            }
            if let Err(error) = file.set_len(size) {
                partial.close(&file);
                return Err(error);
            }
            return Ok(Some((file, partial)));
        }
        Ok(None)
    }

    /// Where the content `fid` for `target` is gathered.
    pub(super) fn path_of(target: &Path, fid: Fid) -> PathBuf {
        target.with_file_name(hidden_name(target, &fid.short(), "part"))
    }

    /// Ends the use of `file`, the file itself: what was written stays for the next attempt.
    pub(super) fn close(&self, file: &File) {
        if !has_data(file) {
            self.remove();
        }
        // Before the last of those who have it open is gone: a new attempt shall find it free.
        let _ = file.unlock();
    }

    /// Removes all. Nobody is left to tell if that fails.
    pub(super) fn remove(&self) {
        self.remove_record();
        let _ = fs::remove_file(&self.path);
    }

    /// Removes the record.
    pub(super) fn remove_record(&self) {
        for path in [&self.record, &self.new_record] {
            let _ = fs::remove_file(path);
        }
    }

    /// The record, but no more than its first `most` B and one.
    pub(super) fn read_record(&self, most: u64) -> io::Result<Vec<u8>> {
        let file = open_own(&self.record, false)?.ok_or(io::ErrorKind::PermissionDenied)?;
        let mut record = Vec::new();
        file.take(most + 1).read_to_end(&mut record)?;
        Ok(record)
    }

    /// Keeps `record` in place of the one before.
    pub(super) fn write_record(&self, record: &[u8]) -> io::Result<()> {
        let make = || OpenOptions::new().write(true).create_new(true).open(&self.new_record);
        let mut file = match make() {
            // A process died here. Its name is removed, whatever it leads to.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&self.new_record)?;
                make()?
            }
            result => result?,
        };
        let written = file.write_all(record).and_then(|()| fs::rename(&self.new_record, &self.record));
        written.inspect_err(|_| {
            let _ = fs::remove_file(&self.new_record);
        })
    }
}

/// `.NAME.swarmcast-TAG.KIND` for the file `target`, where a name too long for that is cut (between two UTF-8 characters: some
/// file systems take nothing else).
pub(super) fn hidden_name(target: &Path, tag: &str, kind: &str) -> OsString {
    let name = target.file_name().unwrap_or_default().as_bytes();
    let suffix = format!(".swarmcast-{tag}.{kind}");
    let longest = name::MAX_LEN - 1 - suffix.len();
    let starts_character = |at: usize| name.get(at).is_none_or(|byte| byte >> 6 != 0b10);
    let cut = (0..=longest).rev().find(|&at| starts_character(at)).unwrap_or(longest);
    let kept = name.get(..cut).unwrap_or(name);
    OsString::from_vec([b".", kept, suffix.as_bytes()].concat())
}

/// The first stretch of `file` from `offset` on in which something may have been written.
pub(super) fn next_data(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    // The offset of the open file is moved; nothing else uses it.
    match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => Ok(Some(start..seek(file, SeekFrom::Hole(start))?)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn has_data(file: &File) -> bool {
    next_data(file, 0).map_or(true, |data| data.is_some())
}

/// The file at `path` for reading and writing, and whether it is new; `None` if what is there is not to be used.
fn make_or_open(path: &Path) -> io::Result<Option<(File, bool)>> {
    // O_CREAT with O_EXCL: no link laid out for us is followed.
    match OpenOptions::new().read(true).write(true).create_new(true).open(path) {
        Ok(file) => Ok(Some((file, true))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Whatever keeps it from being opened is no reason to give up the download.
            Ok(open_own(path, true).unwrap_or_default().map(|file| (file, false)))
        }
        Err(error) => Err(error),
    }
}

/// Opens a regular file that is our own and has no other name; `None` for anything else.
fn open_own(path: &Path, for_writing: bool) -> io::Result<Option<File>> {
    let is_own = |metadata: &fs::Metadata| {
        metadata.is_file() && metadata.nlink() == 1 && metadata.uid() == rustix::process::geteuid().as_raw()
    };
    // Before it is opened, as opening a device may have effects; and after, as it may have been exchanged.
    if !is_own(&path.symlink_metadata()?) {
        return Ok(None);
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).write(for_writing).custom_flags(flags).open(path)?;
    Ok(is_own(&file.metadata()?).then_some(file))
}

/// Whether `path` is the name of `file`.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
