//! Folders: the list of the files and the stream of their contents, shared and fetched as two files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{COPY_LEN, Call, PClient};
use crate::name::FileName;
use crate::pclient::collection::hash::Hashed;
use crate::pclient::collection::{self, Collection, CollectionError, Selection};
use crate::pclient::manifest::Manifest;
use crate::pclient::storage::{FolderStorage, MemoryStorage, Storage};
use crate::pclient::swarm::MakeStorage;
use crate::rand::Rng;
use crate::{Error, Fid, Result};

/// A folder that is shared.
#[derive(Clone, Debug)]
pub struct SharedFolder {
    /// What others get it by: the fid of its list.
    pub fid: Fid,
    /// What is in it.
    pub collection: Collection,
    /// Links, devices, pipes and sockets in it, which are not shared.
    pub skipped: Vec<PathBuf>,
}

impl PClient {
    /// Shares a folder and all below it, and returns when the tracker has confirmed. It is read twice, by all cores. The same
    /// content under the same names has the same id, wherever it lies.
    ///
    /// What has changed since is not served: see [`failure`](PClient::failure) of the [stream](Collection::stream).
    ///
    /// # Errors
    /// As [`PClient::register`]; [`Error::Folder`] if its names can't travel together.
    pub fn register_folder(&self, path: impl AsRef<Path>) -> Result<SharedFolder> {
        let path = path.as_ref();
        self.check_open()?;
        let Hashed { collection, manifest, skipped } = Hashed::of(path)?;
        let storage = FolderStorage::open(path, Arc::clone(collection.listing()));
        let blob = collection.encode();
        let list = Manifest::of(&blob);
        let (fid, name) = (list.fid(), FileName::of_path(path).ok());
        // Who finds the list finds the contents as well.
        self.share(None, manifest, Box::new(storage))?;
        self.share(name, list, Box::new(MemoryStorage::from(blob)))?;
        Ok(SharedFolder { fid, collection, skipped })
    }

    fn share(&self, name: Option<FileName>, manifest: Manifest, storage: Box<dyn Storage>) -> Result<()> {
        self.ask(Call::Register(manifest.fid()), move |node, now| {
            node.share(now, name, manifest, storage);
            Ok(())
        })
    }

    /// Fetches the list of a folder's files, and serves it on.
    ///
    /// # Errors
    /// As [`PClient::download`]; [`Error::NotAFolder`] if it is something else, or can't become files here.
    pub fn folder(&self, fid: Fid) -> Result<Collection> {
        let unfit = move |why: CollectionError| Error::NotAFolder { fid, why: why.to_string() };
        let failed = move |source| Error::Storage { fid, source: Arc::new(source) };
        let make: MakeStorage = Box::new(move |size| {
            if size > collection::MAX_LEN {
                return Err(unfit(CollectionError::Malformed));
            }
            Ok(Box::new(MemoryStorage::with_size(size).map_err(failed)?))
        });
        self.fetch(fid, make)?;
        let (storage, size) = self.stored(fid)?;
        if size > collection::MAX_LEN {
            return Err(unfit(CollectionError::Malformed));
        }
        let mut blob = vec![0; size as usize];
        storage.read_at(0, &mut blob).map_err(failed)?;
        Collection::decode(&blob).map_err(unfit)
    }

    /// Fetches what is selected of a folder to `path`, where nothing is yet: written to a hidden directory beside it
    /// (`.NAME.swarmcast-….part`), and moved there when all is verified. What several files have in common is fetched once.
    ///
    /// However it ends before that, what was verified stays there, as with [`PClient::download_to`], and the same call goes on.
    /// A client has one selection of a folder at a time: to fetch another, [`cancel`](PClient::cancel) its
    /// [stream](Collection::stream) first.
    ///
    /// # Errors
    /// As [`PClient::download_to`]; [`Error::Storage`] if what is here of it already, in another place, lacks something.
    pub fn download_folder(&self, selection: &Selection, path: impl AsRef<Path>) -> Result<()> {
        let (path, fid) = (path.as_ref().to_owned(), selection.collection().stream());
        if path.symlink_metadata().is_ok() {
            return Err(Error::file(path, std::io::ErrorKind::AlreadyExists.into()));
        }
        let (made, target, wanted) = (Arc::new(Mutex::new(false)), path.clone(), selection.clone());
        let was_made = Arc::clone(&made);
        let make: MakeStorage = Box::new(move |size| {
            if size != wanted.collection().listing().stream_len() {
                return Err(Error::Integrity(fid));
            }
            let storage = FolderStorage::resume(&target, &wanted, &mut Rng::from_os())
                .map_err(|source| Error::file(&target, source))?;
            *was_made.lock() = true;
            Ok(Box::new(storage))
        });
        self.fetch(fid, make)?;
        if *made.lock() && path.symlink_metadata().is_ok() {
            return Ok(());
        }
        // It is here, but in another place.
        self.copy_folder_to(selection, &path)
    }

    fn copy_folder_to(&self, selection: &Selection, path: &Path) -> Result<()> {
        let (fid, listing) = (selection.collection().stream(), selection.collection().listing());
        let (stream, _) = self.stored(fid)?;
        let as_file = |source| Error::file(path, source);
        let copy = FolderStorage::resume(path, selection, &mut Rng::from_os()).map_err(as_file)?;
        let mut chunk = Vec::new();
        let homes = selection.homes();
        for (content, _) in listing.contents().iter().zip(&homes).filter(|(_, home)| home.is_some()) {
            let mut done = 0;
            while done < content.size {
                chunk.resize(COPY_LEN.min(content.size - done) as usize, 0);
                stream
                    .read_at(content.offset + done, &mut chunk)
                    .map_err(|source| Error::Storage { fid, source: Arc::new(source) })?;
                copy.write_at(content.offset + done, &chunk).map_err(as_file)?;
                done += chunk.len() as u64;
            }
        }
        copy.finish().map_err(as_file)
    }
}
