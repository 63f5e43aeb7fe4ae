//! What lies in a folder on the disk: names, sizes and modes. Content isn't read here.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{CollectionError, MAX_ENTRIES, RelativePath};
use crate::{Error, Result};

/// The bit by which the owner may execute a file.
const OWNER_EXECUTES: u32 = 0o100;

/// A file as it was when the folder was looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub path: RelativePath,
    /// How long it is, B.
    pub size: u64,
    /// Whether its owner may execute it.
    pub is_executable: bool,
    /// When it was last written: seconds and nanoseconds.
    modified: (i64, i64),
}

/// What there is in a folder.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The regular files, in no order.
    pub files: Vec<Found>,
    /// Directories with nothing in them.
    pub empty_directories: Vec<RelativePath>,
    /// Links, devices, pipes and sockets: nobody follows or reads them.
    pub skipped: Vec<PathBuf>,
}

impl Scan {
    /// Looks through `root` and all below it.
    ///
    /// # Errors
    /// [`Error::File`] for what can't be read; [`Error::Folder`] for a name that can't travel, or too many of them.
    pub fn of(root: &Path) -> Result<Scan> {
        let mut scan = Scan::default();
        let mut open = vec![String::new()];
        while let Some(directory) = open.pop() {
            scan.look_into(root, &directory, &mut open)?;
            if scan.files.len() + scan.empty_directories.len() + open.len() > MAX_ENTRIES {
                return Err(Error::folder(root, CollectionError::TooMany));
            }
        }
        scan.skipped.sort();
        Ok(scan)
    }

    fn look_into(&mut self, root: &Path, directory: &str, open: &mut Vec<String>) -> Result<()> {
        let path = root.join(directory);
        let (mut is_empty, as_file) = (true, |source| Error::file(&path, source));
        for entry in fs::read_dir(&path).map_err(as_file)? {
            is_empty = false;
            let entry = entry.map_err(as_file)?;
            let metadata = entry.metadata().map_err(|source| Error::file(entry.path(), source))?;
            if !metadata.is_dir() && !metadata.is_file() {
                self.skipped.push(entry.path());
                continue;
            }
            let name = entry.file_name();
            let unfit = |why| Error::folder(root, why);
            let name = name.to_str().ok_or_else(|| {
                let path = entry.path().to_string_lossy().into_owned();
                unfit(CollectionError::Name { path, why: crate::name::NameError::Encoding })
            })?;
            let name = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            let relative = RelativePath::new(&name).map_err(unfit)?;
            if metadata.is_dir() {
                open.push(name);
            } else {
                self.files.push(Found::new(relative, &metadata));
            }
        }
        if is_empty && !directory.is_empty() {
            self.empty_directories.push(RelativePath::new(directory).expect("it was one before"));
        }
        Ok(())
    }
}

impl Found {
    fn new(path: RelativePath, metadata: &fs::Metadata) -> Found {
        Found {
            path,
            size: metadata.len(),
            is_executable: metadata.permissions().mode() & OWNER_EXECUTES != 0,
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    /// Whether it is as it was, as far as its metadata tell.
    ///
    /// # Errors
    /// As the system reports them.
    pub fn is_unchanged(&self, root: &Path) -> io::Result<bool> {
        let metadata = fs::symlink_metadata(root.join(&self.path))?;
        Ok(metadata.is_file() && *self == Found::new(self.path.clone(), &metadata))
    }
}
