//! The stream of a folder's contents, laid over its files: an existing folder to share, or a new one that appears under its name only
//! when it is whole.
//!
//! No second copy of anything: what is read of the stream is read from the files, and what is written goes to them. A content that
//! several files have is written once; the others are copied when all is there. Nothing is verified here.

mod open;
mod place;

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::OFlags;

use self::open::OpenFiles;
use self::place::Place;
use super::file::{check_vacant, try_read_at};
use super::{Resumable, Storage, check_within};
use crate::pclient::collection::{Kind, Listing, Selection};
use crate::rand::Rng;

/// A file that may be executed, and one that may not, before the user's mask.
const EXECUTABLE_MODE: u32 = 0o777;
const PLAIN_MODE: u32 = 0o666;

/// The stream of a folder's contents.
///
/// One that is [made](FolderStorage::resume) is written below a hidden directory beside its target, and moved there by
/// [`finish`](Storage::finish). Dropped before, it stays for the next attempt.
#[derive(Debug)]
pub struct FolderStorage {
    listing: Arc<Listing>,
    /// For each content the entry whose file holds it; `None` if none of those that are wanted does.
    homes: Vec<Option<usize>>,
    /// The entries that are wanted.
    wanted: Vec<usize>,
    files: OpenFiles,
    /// Bytes of contents that aren't wanted, but belong to pieces that are: at their places in the stream.
    edges: Option<File>,
    access: Mutex<Access>,
}

#[derive(Debug)]
enum Access {
    /// An existing folder.
    ReadOnly { root: PathBuf },
    /// Being written; not yet at `target`.
    Unfinished { place: Place, target: PathBuf },
    /// Written, and under its own name.
    Finished { root: PathBuf },
    /// Given up before that, and removed.
    Abandoned,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Read,
    /// To be read if that waits for no disk.
    Peek,
    Write,
}

impl FolderStorage {
    /// The files of `listing` as they lie below `root`, to be read alone. Each is opened when it is needed.
    pub fn open(root: &Path, listing: Arc<Listing>) -> FolderStorage {
        let homes = listing.contents().iter().map(|content| Some(content.entry)).collect();
        let wanted = (0..listing.entries().len()).collect();
        let access = Mutex::new(Access::ReadOnly { root: root.to_owned() });
        FolderStorage { listing, homes, wanted, files: OpenFiles::default(), edges: None, access }
    }

    /// Makes the folder `target` with what is selected, or goes on with what an earlier attempt has left of the same selection.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything at `target`, be it a dangling link; `InvalidInput` if `target` ends in no
    /// name; others as the system reports them.
    pub fn resume(target: &Path, selection: &Selection, rng: &mut Rng) -> io::Result<FolderStorage> {
        check_vacant(target)?;
        let place = Place::claim(target, selection.fid(), rng)?;
        let homes = selection.homes();
        let edges =
            homes.contains(&None).then(|| place.open_edges()).transpose().inspect_err(|_| place.close())?;
        Ok(FolderStorage {
            listing: Arc::clone(selection.collection().listing()),
            homes,
            wanted: selection.entries().map(|(index, _)| index).collect(),
            files: OpenFiles::default(),
            edges,
            access: Mutex::new(Access::Unfinished { place, target: target.to_owned() }),
        })
    }

    /// Calls `act` with each part of `len` B from `offset` on that lies in one content: its place among them, the content, and
    /// where in that it begins, B.
    fn each_part(
        &self,
        offset: u64,
        len: usize,
        mut act: impl FnMut(Range<usize>, usize, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let contents = self.listing.contents();
        let end = offset + len as u64;
        let mut at = offset;
        let first = contents.partition_point(|content| content.offset + content.size <= offset);
        for (index, content) in contents.iter().enumerate().skip(first) {
            if at >= end {
                break;
            }
            let stop = end.min(content.offset + content.size);
            act((at - offset) as usize..(stop - offset) as usize, index, at - content.offset)?;
            at = stop;
        }
        Ok(())
    }

    fn root(&self) -> io::Result<PathBuf> {
        match &*self.access.lock() {
            Access::ReadOnly { root } | Access::Finished { root } => Ok(root.clone()),
            Access::Unfinished { place, .. } => Ok(place.files()),
            Access::Abandoned => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn is_unfinished(&self) -> bool {
        matches!(*self.access.lock(), Access::Unfinished { .. })
    }

    /// The open file that holds a content, or the edges; and where in that the content's byte `at` is.
    fn locate(&self, content: usize, at: u64, purpose: Use) -> io::Result<(Located<'_>, u64)> {
        match self.homes[content] {
            Some(entry) => {
                let file = self.files.get(entry, || self.open_file(entry, purpose))?;
                Ok((Located::Own(file), at))
            }
            None => {
                let edges = self.edges.as_ref().ok_or(io::ErrorKind::NotFound)?;
                Ok((Located::Edges(edges), self.listing.contents()[content].offset + at))
            }
        }
    }

    fn open_file(&self, entry: usize, purpose: Use) -> io::Result<File> {
        let path = self.root()?.join(&self.listing.entries()[entry].path);
        let is_unfinished = self.is_unfinished();
        // A link or a pipe may have come in a file's place: neither is followed, nor waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = File::options();
        options.read(true).write(is_unfinished).custom_flags(flags);
        if purpose == Use::Write {
            options.create(true).mode(self.mode(entry));
            return with_parents(&path, || options.open(&path));
        }
        let file = match purpose {
            Use::Peek => open_cached(&path, is_unfinished, flags),
            _ => options.open(&path),
        };
        let file = file.map_err(as_changed)?;
        // Of a pipe, or a directory, nothing can be read at a place.
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn mode(&self, entry: usize) -> u32 {
        match self.listing.entries()[entry].kind {
            Kind::File { is_executable: true, .. } => EXECUTABLE_MODE,
            _ => PLAIN_MODE,
        }
    }

    /// Makes below `root` what has no bytes in the stream: empty files and directories, and further copies of a content.
    fn complete(&self, root: &Path) -> io::Result<()> {
        for &entry in &self.wanted {
            let path = root.join(&self.listing.entries()[entry].path);
            if self.listing.entries()[entry].kind == Kind::EmptyDirectory {
                fs::create_dir_all(&path)?;
                continue;
            }
            let home = self.listing.content_of(entry).map(|content| self.homes[content]);
            if home == Some(Some(entry)) {
                continue;
            }
            let make =
                || File::options().write(true).create(true).truncate(true).mode(self.mode(entry)).open(&path);
            let mut file = with_parents(&path, make)?;
            if let Some(Some(home)) = home {
                io::copy(&mut File::open(root.join(&self.listing.entries()[home].path))?, &mut file)?;
            }
        }
        Ok(())
    }

    fn with_place<T>(&self, act: impl FnOnce(&Place) -> io::Result<T>) -> io::Result<T> {
        match &*self.access.lock() {
            Access::Unfinished { place, .. } if place.is_kept() => act(place),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// An open file of its own, or the one that all edges share.
enum Located<'a> {
    Own(Arc<File>),
    Edges(&'a File),
}

impl std::ops::Deref for Located<'_> {
    type Target = File;
    fn deref(&self) -> &File {
        match self {
            Located::Own(file) => file,
            Located::Edges(file) => file,
        }
    }
}

/// What isn't at its place any more has changed, as much as what is shorter.
fn as_changed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            io::ErrorKind::UnexpectedEof.into()
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            io::ErrorKind::UnexpectedEof.into()
        }
        _ => error,
    }
}

/// Opens the file `path`, whose directories may have to be made.
fn with_parents(path: &Path, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            open()
        }
        result => result,
    }
}

/// Opens a file if the system knows where it is without asking a disk; else fails with `WouldBlock`. Where that can't be told, it
/// is opened.
fn open_cached(path: &Path, for_writing: bool, flags: i32) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, Mode, ResolveFlags, openat2};
        use rustix::io::Errno;
        let access = if for_writing { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = access | OFlags::CLOEXEC | OFlags::from_bits_retain(flags.cast_unsigned());
        match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
            // A kernel that can't.
            Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {}
            result => return Ok(result?.into()),
        }
    }
    File::options().read(true).write(for_writing).custom_flags(flags).open(path)
}

/// Makes all that was written below `root` last. One by one, thousands of small files would take a disk minutes.
fn sync_all_below(root: &Path) -> io::Result<()> {
    let root = File::open(root)?;
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::syncfs(&root)?);
    #[cfg(not(target_os = "linux"))]
    root.sync_all()
}

impl Storage for FolderStorage {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check_within(self.listing.stream_len(), offset, buf.len())
            .map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.each_part(offset, buf.len(), |range, content, at| {
            let (file, at) = self.locate(content, at, Use::Read)?;
            file.read_exact_at(&mut buf[range], at)
        })
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<bool> {
        check_within(self.listing.stream_len(), offset, buf.len())
            .map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let read = self.each_part(offset, buf.len(), |range, content, at| {
            let (file, at) = self.locate(content, at, Use::Peek)?;
            let is_here = try_read_at(&file, at, &mut buf[range])?;
            if is_here { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if !self.is_unfinished() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        check_within(self.listing.stream_len(), offset, data.len())?;
        self.each_part(offset, data.len(), |range, content, at| {
            let (file, at) = self.locate(content, at, Use::Write)?;
            file.write_all_at(&data[range], at)
        })
    }

    fn finish(&self) -> io::Result<()> {
        if !self.is_unfinished() {
            return self.root().map(|_| ());
        }
        let root = self.root()?;
        // The contents are on the disk before the name is: a crash leaves no folder that is whole by name only. It takes
        // long, so the lock is not held meanwhile.
        let completed = self.complete(&root).and_then(|()| sync_all_below(&root));
        let mut access = self.access.lock();
        let Access::Unfinished { place, target } = &*access else {
            drop(access);
            // Given up meanwhile: what was made since is in nobody's way, but of no use.
            let _ = root.parent().map(fs::remove_dir_all);
            return self.root().map(|_| ());
        };
        completed?;
        place.move_to(target)?;
        let root = target.clone();
        *access = Access::Finished { root };
        Ok(())
    }

    fn abandon(&self) {
        let mut access = self.access.lock();
        if let Access::Unfinished { place, .. } = &*access {
            place.remove();
            *access = Access::Abandoned;
        }
    }

    fn wants(&self, range: &Range<u64>) -> bool {
        let contents = self.listing.contents();
        let first = contents.partition_point(|content| content.offset + content.size <= range.start);
        let touched = contents.iter().zip(&self.homes).skip(first);
        touched.take_while(|(content, _)| content.offset < range.end).any(|(_, home)| home.is_some())
    }

    fn resumable(&self) -> Option<&dyn Resumable> {
        self.with_place(|_| Ok(())).is_ok().then_some(self)
    }
}

impl Resumable for FolderStorage {
    fn has_leftovers(&self) -> bool {
        self.with_place(|place| Ok(place.has_leftovers)).unwrap_or(false)
    }

    fn read_record(&self, most: u64) -> io::Result<Vec<u8>> {
        self.with_place(|place| place.read_record(most))
    }

    fn write_record(&self, record: &[u8]) -> io::Result<()> {
        self.with_place(|place| place.write_record(record))
    }

    /// Anything may have been written anywhere: looking for holes in every file would take longer than trusting the record.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.listing.stream_len();
        Ok((offset < end).then_some(offset..end))
    }
}

impl Drop for FolderStorage {
    fn drop(&mut self) {
        if let Access::Unfinished { place, .. } = &*self.access.lock() {
            place.close();
        }
    }
}

#[cfg(test)]
mod tests;
