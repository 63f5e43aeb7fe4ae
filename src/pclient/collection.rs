//! A folder as a collection: a small blob, with a fid of its own, that says which files there are and where their bytes lie in
//! one stream, which has another fid and travels like any file.
//!
//! No disk and no network: what is made of the names is [`storage::FolderStorage`](super::storage::FolderStorage)'s business. The
//! blob comes from strangers, so nothing of it is believed before [`Collection::decode`] has seen it whole.
//!
//! The stream is every distinct content once, in the order in which the list of files first names it, without anything in between.

pub mod hash;
pub mod scan;
mod selection;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use selection::Selection;

use super::pieces::Lengths;
use crate::Fid;
use crate::coding::{Malformed, Reader, Writer as _};
use crate::name::{FileName, NameError, display_name};

/// The longest blob, B.
pub const MAX_LEN: u64 = 16 << 20;
/// Most files and empty directories of one folder.
pub const MAX_ENTRIES: usize = 200_000;
/// The longest relative name, B.
pub const MAX_PATH: usize = 1_024;
/// All names of a folder together, B: the blob holds of each only what differs from the one before.
pub const MAX_NAMES: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"SwCo";
const VERSION: u8 = 1;

const FILE: u8 = 0;
const EXECUTABLE: u8 = 1;
const DIRECTORY: u8 = 2;

/// The name of a file relative to its folder: UTF-8, components that pass as [`FileName`] with a `/` between two.
///
/// Joined to a directory, it stays in it as long as that holds no links. Hidden files are as welcome as others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// Checks `path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(path: &str) -> Result<RelativePath, CollectionError> {
        if path.len() > MAX_PATH {
            return Err(CollectionError::LongPath(path.len()));
        }
        for component in path.split('/') {
            FileName::new(component).map_err(|why| CollectionError::Name { path: path.to_owned(), why })?;
        }
        Ok(RelativePath(path.to_owned()))
    }

    /// The name itself: for the file system and the wire, not for the terminal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first `count` components.
    fn beginning(&self, count: usize) -> RelativePath {
        RelativePath(self.0.split('/').take(count).collect::<Vec<_>>().join("/"))
    }
}

impl AsRef<std::path::Path> for RelativePath {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_name(&self.0))
    }
}

/// A directory before what lies in it: as if `/` came before every other character.
impl Ord for RelativePath {
    fn cmp(&self, other: &RelativePath) -> Ordering {
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        self.0.bytes().map(rank).cmp(other.0.bytes().map(rank))
    }
}

impl PartialOrd for RelativePath {
    fn partial_cmp(&self, other: &RelativePath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// How long it is, B.
        size: u64,
        /// Its content.
        fid: Fid,
        /// Whether its owner may execute it; of its mode nothing else travels.
        is_executable: bool,
    },
    /// A directory with nothing in it. Others follow from the names of their files.
    EmptyDirectory,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub path: RelativePath,
    /// What it is.
    pub kind: Kind,
}

impl Entry {
    /// How long it is, B; 0 for a directory.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            Kind::EmptyDirectory => 0,
        }
    }

    fn kind_byte(&self) -> u8 {
        match self.kind {
            Kind::File { is_executable: false, .. } => FILE,
            Kind::File { is_executable: true, .. } => EXECUTABLE,
            Kind::EmptyDirectory => DIRECTORY,
        }
    }
}

/// A distinct content that isn't empty: where it lies in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its first byte's place, B.
    pub offset: u64,
    /// Its length, B.
    pub size: u64,
    /// The first entry that has it.
    pub entry: usize,
}

/// The files of a folder in their order, and where their contents lie in the stream.
///
/// Invariant: names ascend, none is a file and a directory at once, and no two differ by case alone; one fid has one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    entries: Vec<Entry>,
    contents: Vec<Content>,
    /// For each entry the index of its content; `None` if that is empty.
    content_of: Vec<Option<u32>>,
    stream_len: u64,
}

impl Listing {
    /// Sorts `entries` and lays their contents out.
    ///
    /// # Errors
    /// Which names can't stand together, or what there is too much of.
    pub fn new(mut entries: Vec<Entry>) -> Result<Listing, CollectionError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        check_names(&entries)?;
        let (mut contents, mut content_of) = (Vec::new(), Vec::new());
        let (mut known, mut stream_len) = (BTreeMap::<Fid, u32>::new(), 0_u64);
        for (index, entry) in entries.iter().enumerate() {
            let Kind::File { size, fid, .. } = entry.kind else {
                content_of.push(None);
                continue;
            };
            if (size == 0) != (fid == Fid::of(b"")) {
                return Err(CollectionError::Size(entry.path.clone()));
            }
            if size == 0 {
                content_of.push(None);
                continue;
            }
            let next = contents.len() as u32;
            let content = *known.entry(fid).or_insert(next);
            if content == next {
                contents.push(Content { offset: stream_len, size, entry: index });
                stream_len = stream_len
                    .checked_add(size)
                    .filter(|&len| len <= Lengths::MAX_SIZE)
                    .ok_or(CollectionError::TooLarge)?;
            } else if contents[content as usize].size != size {
                return Err(CollectionError::Size(entry.path.clone()));
            }
            content_of.push(Some(content));
        }
        Ok(Listing { entries, contents, content_of, stream_len })
    }

    /// Files and empty directories, by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The distinct contents, as they follow each other in the stream.
    pub fn contents(&self) -> &[Content] {
        &self.contents
    }

    /// The index of an entry's content; `None` if that is empty.
    pub fn content_of(&self, entry: usize) -> Option<usize> {
        self.content_of[entry].map(|content| content as usize)
    }

    /// How long the stream is, B.
    pub fn stream_len(&self) -> u64 {
        self.stream_len
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.kind != Kind::EmptyDirectory).count()
    }

    /// The sum of all files, duplicates included, B.
    pub fn size(&self) -> u64 {
        self.entries.iter().map(Entry::size).fold(0, u64::saturating_add)
    }
}

/// Whether sorted entries can stand in one directory, be it on a file system that ignores case.
fn check_names(entries: &[Entry]) -> Result<(), CollectionError> {
    if entries.len() > MAX_ENTRIES {
        return Err(CollectionError::TooMany);
    }
    if entries.iter().map(|entry| entry.path.0.len()).sum::<usize>() > MAX_NAMES {
        return Err(CollectionError::LongNames);
    }
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(CollectionError::Twice(pair[0].path.clone()));
    }
    // Names that share their first components, whatever their case, follow each other here: looking at neighbours suffices.
    let folded = |path: &RelativePath| {
        lower_case(&path.0).map(|c| if c == '/' { '\0' } else { c }).collect::<String>()
    };
    let mut by_folded: Vec<&RelativePath> = entries.iter().map(|entry| &entry.path).collect();
    by_folded.sort_by_cached_key(|path| (folded(path), path.0.clone()));
    by_folded.windows(2).try_for_each(|pair| check_neighbours(pair[0], pair[1]))
}

fn check_neighbours(first: &RelativePath, second: &RelativePath) -> Result<(), CollectionError> {
    let is_alike = |a: &str, b: &str| lower_case(a).eq(lower_case(b));
    let (mut of_first, mut of_second) = (first.0.split('/'), second.0.split('/'));
    for depth in 1.. {
        match (of_first.next(), of_second.next()) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if is_alike(a, b) => {
                return Err(CollectionError::Case(first.beginning(depth), second.beginning(depth)));
            }
            (Some(_), Some(_)) => return Ok(()),
            // One ends where the other goes on: a file, or an empty directory, with something in it.
            _ => break,
        }
    }
    Err(CollectionError::Within(first.clone(), second.clone()))
}

/// A folder: the list of its files, and the fid of the stream that holds their contents.
///
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    listing: Arc<Listing>,
    stream: Fid,
}

impl Collection {
    /// The collection of `listing`, whose contents, as laid out there, are the stream `stream`.
    ///
    /// # Errors
    /// If its blob would be longer than [`MAX_LEN`].
    pub fn new(listing: Arc<Listing>, stream: Fid) -> Result<Collection, CollectionError> {
        let collection = Collection { listing, stream };
        if collection.encode().len() as u64 > MAX_LEN {
            return Err(CollectionError::LongNames);
        }
        Ok(collection)
    }

    /// The files.
    pub fn listing(&self) -> &Arc<Listing> {
        &self.listing
    }

    /// The stream that holds their contents.
    pub fn stream(&self) -> Fid {
        self.stream
    }

    /// The blob. All integers are variable-length ones (RFC 9000 §16) but where a length is given.
    ///
    /// ```text
    /// magic "SwCo" · version (1 B) · the stream's fid (32 B) · number of entries
    /// for each, ascending by name ('/' before all other characters):
    ///   kind (1 B)   0 a file, 1 an executable one, 2 an empty directory
    ///   kept         so many bytes of the name before this one are the beginning of this name, too; as many as can be
    ///   rest         length, and the bytes that follow them
    ///   of a file:   size in B · fid (32 B)
    /// ```
    ///
    /// One list has one blob, so that one folder has one fid, wherever it lies and whoever shares it.
    pub fn encode(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.bytes(&MAGIC);
        blob.u8(VERSION);
        blob.bytes(self.stream.as_bytes());
        blob.varint(self.listing.entries.len() as u64);
        let mut before: &[u8] = b"";
        for entry in &self.listing.entries {
            let path = entry.path.0.as_bytes();
            let kept = common_prefix(before, path);
            blob.u8(entry.kind_byte());
            blob.varint(kept as u64);
            blob.varint((path.len() - kept) as u64);
            blob.bytes(&path[kept..]);
            if let Kind::File { size, fid, .. } = entry.kind {
                blob.varint(size);
                blob.bytes(fid.as_bytes());
            }
            before = path;
        }
        blob
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// Why it is none, or none that can become files here.
    pub fn decode(blob: &[u8]) -> Result<Collection, CollectionError> {
        if blob.len() as u64 > MAX_LEN {
            return Err(CollectionError::Malformed);
        }
        let mut reader = Reader::new(blob);
        if reader.array()? != MAGIC {
            return Err(CollectionError::Malformed);
        }
        match reader.u8()? {
            VERSION => {}
            other => return Err(CollectionError::Version(other)),
        }
        let stream = Fid::from_bytes(reader.array()?);
        let count: usize = reader.varint_as()?;
        if count > MAX_ENTRIES {
            return Err(CollectionError::TooMany);
        }
        let (mut entries, mut before, mut names) = (Vec::<Entry>::new(), Vec::new(), 0);
        for _ in 0..count {
            let entry = read_entry(&mut reader, &mut before)?;
            names += before.len();
            if names > MAX_NAMES {
                return Err(CollectionError::LongNames);
            }
            if entries.last().is_some_and(|last| last.path > entry.path) {
                return Err(CollectionError::Malformed);
            }
            entries.push(entry);
        }
        if !reader.is_empty() {
            return Err(CollectionError::Malformed);
        }
        Ok(Collection { listing: Arc::new(Listing::new(entries)?), stream })
    }
}

/// Reads an entry after the one of the name `before`, which becomes its own.
fn read_entry(reader: &mut Reader<'_>, before: &mut Vec<u8>) -> Result<Entry, CollectionError> {
    let kind = reader.u8()?;
    let kept: usize = reader.varint_as()?;
    let rest_len: usize = reader.varint_as()?;
    let rest = reader.bytes(rest_len)?;
    // There is one way only to write a list.
    if before.get(kept).is_some_and(|next| rest.first() == Some(next)) || kept > before.len() {
        return Err(CollectionError::Malformed);
    }
    if kept + rest.len() > MAX_PATH {
        return Err(CollectionError::LongPath(kept + rest.len()));
    }
    before.truncate(kept);
    before.extend_from_slice(rest);
    let path = RelativePath::new(str::from_utf8(before).map_err(|_| CollectionError::Malformed)?)?;
    let kind = match kind {
        FILE | EXECUTABLE => Kind::File {
            size: reader.varint()?,
            fid: Fid::from_bytes(reader.array()?),
            is_executable: kind == EXECUTABLE,
        },
        DIRECTORY => Kind::EmptyDirectory,
        _ => return Err(CollectionError::Malformed),
    };
    Ok(Entry { path, kind })
}

/// Character by character, so that it doesn't depend on what stands before or after.
fn lower_case(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_lowercase)
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Why something is no folder that can be shared or fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectionError {
    /// Cut short, changed, or something else altogether.
    #[error("it is not a list of files")]
    Malformed,
    /// Of another version of this program.
    #[error("its list of files has version {0}: use the same version of swarmcast at both ends")]
    Version(u8),
    /// A name that can't be one everywhere.
    #[error("{}: {why}: rename it", display_name(path))]
    Name {
        /// The name.
        path: String,
        /// What is wrong with one of its components.
        why: NameError,
    },
    /// A name of more than [`MAX_PATH`] B.
    #[error("a name in it has {0} bytes with its directories, and {MAX_PATH} are allowed")]
    LongPath(usize),
    /// One name twice.
    #[error("it has two files with the name {0}")]
    Twice(RelativePath),
    /// Two names that are one where case doesn't count.
    #[error("{0} and {1} differ only in upper and lower case, which isn't enough everywhere: rename one")]
    Case(RelativePath, RelativePath),
    /// A file that has something in it.
    #[error("{0} is a file, or empty, and yet {1} lies in it")]
    Within(RelativePath, RelativePath),
    /// One content with two sizes.
    #[error("the size and the content of {0} contradict each other")]
    Size(RelativePath),
    /// More than [`MAX_ENTRIES`].
    #[error("it has more than {MAX_ENTRIES} files: share it in parts, or as an archive")]
    TooMany,
    /// Longer than a blob, or its names together, may be.
    #[error(
        "the names of its files are longer than 16 MiB all together: share it in parts, or as an archive"
    )]
    LongNames,
    /// More than [`Lengths::MAX_SIZE`].
    #[error("its files have more than 4.2 TB all together: share it in parts")]
    TooLarge,
}

impl From<Malformed> for CollectionError {
    fn from(_: Malformed) -> CollectionError {
        CollectionError::Malformed
    }
}

#[cfg(test)]
mod tests;
