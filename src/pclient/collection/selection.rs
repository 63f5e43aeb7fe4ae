//! Which files of a folder are wanted.

use super::{Collection, Kind};
use crate::Fid;

/// A folder, and which of its entries are wanted.
#[derive(Clone, Debug)]
pub struct Selection {
    collection: Collection,
    /// For each entry.
    wanted: Vec<bool>,
}

impl Selection {
    /// Those entries whose name `is_wanted`.
    pub fn new(collection: Collection, is_wanted: impl Fn(&str) -> bool) -> Selection {
        let wanted =
            collection.listing().entries().iter().map(|entry| is_wanted(entry.path.as_str())).collect();
        Selection { collection, wanted }
    }

    /// The folder.
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// Whether this entry is wanted.
    pub fn is_wanted(&self, entry: usize) -> bool {
        self.wanted[entry]
    }

    /// The entries that are wanted, with their indices.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &super::Entry)> {
        self.collection.listing().entries().iter().enumerate().filter(|(index, _)| self.wanted[*index])
    }

    /// How many files are wanted.
    pub fn file_count(&self) -> usize {
        self.entries().filter(|(_, entry)| entry.kind != Kind::EmptyDirectory).count()
    }

    /// How long they are all together, duplicates included, B.
    pub fn size(&self) -> u64 {
        self.entries().map(|(_, entry)| entry.size()).fold(0, u64::saturating_add)
    }

    /// For each content the entry that it is written to first; `None` if it isn't wanted.
    pub fn homes(&self) -> Vec<Option<usize>> {
        let listing = self.collection.listing();
        let mut homes = vec![None; listing.contents().len()];
        for (index, _) in self.entries() {
            if let Some(content) = listing.content_of(index) {
                homes[content].get_or_insert(index);
            }
        }
        homes
    }

    /// What an unfinished copy is kept under: two selections of one folder don't get into each other's way.
    pub fn fid(&self) -> Fid {
        let mut what = self.collection.stream().as_bytes().to_vec();
        what.extend(self.collection.encode());
        what.extend(self.wanted.iter().map(|&wanted| u8::from(wanted)));
        Fid::of(&what)
    }
}
