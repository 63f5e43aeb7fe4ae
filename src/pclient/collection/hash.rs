//! From a folder on the disk to its collection: every file hashed, and the stream of their contents hashed once more in pieces.
//!
//! Both passes use all cores. What is in memory is a block for each of them, and 32 B for each piece and each block of a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::scan::{Found, Scan};
use super::{Collection, Entry, Kind, Listing};
use crate::pclient::manifest::{Manifest, parallel};
use crate::pclient::storage::FolderStorage;
use crate::pclient::tree;
use crate::{Error, Fid, Result};

/// So much of a file is hashed at a time, B: a power of two.
const BLOCK: u64 = 1 << 20;

/// A folder that has been read.
#[derive(Debug)]
pub struct Hashed {
    /// What it holds.
    pub collection: Collection,
    /// The manifest of its stream.
    pub manifest: Manifest,
    /// Links and special files, which were left out.
    pub skipped: Vec<PathBuf>,
}

impl Hashed {
    /// Reads the folder `root`, twice.
    ///
    /// # Errors
    /// [`Error::File`] for what can't be read or changes meanwhile; [`Error::Folder`] if its names can't travel together.
    pub fn of(root: &Path) -> Result<Hashed> {
        let Scan { files, empty_directories, skipped } = Scan::of(root)?;
        let fids = fids(root, &files)?;
        let as_file = |(found, fid): (&Found, Fid)| {
            let kind = Kind::File { size: found.size, fid, is_executable: found.is_executable };
            Entry { path: found.path.clone(), kind }
        };
        let mut entries: Vec<Entry> = files.iter().zip(fids).map(as_file).collect();
        entries.extend(empty_directories.into_iter().map(|path| Entry { path, kind: Kind::EmptyDirectory }));
        let unfit = |why| Error::folder(root, why);
        let listing = Arc::new(Listing::new(entries).map_err(unfit)?);
        let storage = FolderStorage::open(root, Arc::clone(&listing));
        let manifest = parallel::manifest_of(&storage, listing.stream_len())
            .map_err(|source| Error::file(root, source))?;
        // Between the two passes, or during one, somebody may have written.
        for found in &files {
            let changed = || io::Error::new(io::ErrorKind::InvalidData, "it changed while it was read");
            let path = || root.join(&found.path);
            if !found.is_unchanged(root).map_err(|source| Error::file(path(), source))? {
                return Err(Error::file(path(), changed()));
            }
        }
        let collection = Collection::new(listing, manifest.fid()).map_err(unfit)?;
        Ok(Hashed { collection, manifest, skipped })
    }
}

/// The fid of each file, large ones by several threads at once.
fn fids(root: &Path, files: &[Found]) -> Result<Vec<Fid>> {
    let blocks = |found: &Found| found.size.div_ceil(BLOCK).max(1);
    let units: Vec<(usize, u64)> = files
        .iter()
        .enumerate()
        .flat_map(|(index, found)| (0..blocks(found)).map(move |block| (index, block * BLOCK)))
        .collect();
    let hashes = parallel::map(&units, |&(index, offset), buf: &mut Vec<u8>| {
        let found = &files[index];
        let path = root.join(&found.path);
        read(&path, offset, BLOCK.min(found.size - offset), buf)
            .map_err(|source| Error::file(path, source))?;
        Ok::<_, Error>(if found.size <= BLOCK {
            *Fid::of(buf).as_bytes()
        } else {
            tree::subtree(offset, buf)
        })
    })?;
    let mut rest = &hashes[..];
    let fids = files.iter().map(|found| {
        let (own, others) = rest.split_at(blocks(found) as usize);
        rest = others;
        match own {
            [one] => Fid::from_bytes(*one),
            several => Fid::from_bytes(*tree::merge_root(several, found.size, BLOCK).as_bytes()),
        }
    });
    Ok(fids.collect())
}

fn read(path: &Path, offset: u64, len: u64, buf: &mut Vec<u8>) -> io::Result<()> {
    buf.resize(len as usize, 0);
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)?.read_exact_at(buf, offset)
}
