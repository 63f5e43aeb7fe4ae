//! The files below a root: which names lead to one, and reading them. Nothing is written, and no network is known.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::name::FileName;

/// The regular files below a directory, and nothing outside it.
///
/// Invariant: `root` is absolute and holds no symbolic link. Who can change the tree while it is served can exchange a
/// file between the check and the opening; the tree is to be in the hands of the server's owner.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
}

/// A file that may be served, opened.
#[derive(Debug)]
pub(super) struct Served {
    file: File,
    size: u64,
    stamp: u64,
}

/// Why a file can't be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The name leads to no regular file below the root, or to one that may not be read. Which of these is not told.
    #[error("there is no such file")]
    NotFound,
    /// The system can't open it now.
    #[error(transparent)]
    Io(io::Error),
}

impl Files {
    /// The files below `root`.
    ///
    /// # Errors
    /// `NotADirectory`, and whatever keeps the system from finding it.
    pub(super) fn new(root: &Path) -> io::Result<Files> {
        let root = root.canonicalize()?;
        if !root.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Files { root })
    }

    /// Opens the file that `name`, components joined by `/`, leads to. Links are followed as long as they stay below
    /// the root.
    ///
    /// # Errors
    /// [`OpenError`]; a stranger's name can give no other harm.
    pub(super) fn open(&self, name: &str) -> Result<Served, OpenError> {
        let mut path = self.root.clone();
        for component in name.split('/') {
            path.push(FileName::new(component).map_err(|_| OpenError::NotFound)?);
        }
        // A missing component, a circle of links, a file taken for a directory: all lead nowhere.
        let path = path.canonicalize().map_err(|_| OpenError::NotFound)?;
        if !path.starts_with(&self.root) {
            return Err(OpenError::NotFound);
        }
        // Before it is opened, as opening a pipe waits for a writer; and after, as it may have been exchanged.
        if !path.metadata().map_err(refusal)?.is_file() {
            return Err(OpenError::NotFound);
        }
        let file = File::open(&path).map_err(refusal)?;
        let metadata = file.metadata().map_err(refusal)?;
        if !metadata.is_file() {
            return Err(OpenError::NotFound);
        }
        let mut hasher = blake3::Hasher::new();
        let modified = (metadata.mtime() as u64, metadata.mtime_nsec() as u64);
        for part in [metadata.len(), modified.0, modified.1, metadata.dev(), metadata.ino()] {
            hasher.update(&part.to_be_bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        Ok(Served { file, size: metadata.len(), stamp: u64::from_be_bytes([a, b, c, d, e, f, g, h]) })
    }
}

/// What the system's refusal means to a stranger.
fn refusal(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => OpenError::NotFound,
        _ => OpenError::Io(error),
    }
}

impl Served {
    /// The size, B, when it was opened.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Tells this state of this file from others: made of size, time of change and identity.
    pub(super) const fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Fills `buf` with what lies at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before (it shrank since it was opened); others as the system reports them.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sc_model::tests::Directory;

    #[test]
    fn a_name_leads_to_a_file_below_the_root_or_nowhere() {
        let outer = Directory::new("files");
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("folder/inner")).unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        // A neighbour whose name begins as the root's does.
        fs::create_dir(outer.path().join("rootless")).unwrap();
        fs::write(outer.path().join("rootless/secret"), "secret").unwrap();
        fs::write(root.join("a"), "content").unwrap();
        fs::write(root.join("folder/inner/b"), "other").unwrap();
        symlink("../secret", root.join("relative")).unwrap();
        symlink(outer.path().join("secret"), root.join("absolute")).unwrap();
        symlink(outer.path(), root.join("up")).unwrap();
        symlink("../rootless", root.join("neighbour")).unwrap();
        symlink("folder", root.join("inside")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        symlink("/dev/zero", root.join("device")).unwrap();

        let files = Files::new(&root).unwrap();
        let read = |name: &str| {
            let served = files.open(name).unwrap();
            let mut content = vec![0; served.size() as usize];
            served.read_at(0, &mut content).unwrap();
            content
        };
        assert_eq!(read("a"), b"content");
        assert_eq!(read("folder/inner/b"), b"other");
        assert_eq!(read("inside/inner/b"), b"other");
        let absolute = root.join("a").to_str().unwrap().to_owned();
        for name in [
            "",
            "/",
            ".",
            "..",
            "./a",
            "../secret",
            "folder/../a",
            "folder/../../secret",
            "/etc/passwd",
            &absolute,
            "a/",
            "a//",
            "folder//inner/b",
            "a/b",
            "a\0",
            "a\n",
            "..\\secret",
            "folder",
            "missing",
            "relative",
            "absolute",
            "up/secret",
            "up/root/../secret",
            "neighbour/secret",
            "circle",
            "device",
            &"x".repeat(300),
        ] {
            assert!(matches!(files.open(name), Err(OpenError::NotFound)), "{name:?}");
        }
        // Out of the root and back in: what counts is where it ends.
        assert_eq!(read("up/root/a"), b"content");
    }

    #[test]
    fn a_root_has_to_be_a_directory() {
        let directory = Directory::new("root");
        fs::write(directory.path().join("a"), "").unwrap();
        let kind = |name: &str| Files::new(&directory.path().join(name)).unwrap_err().kind();
        assert_eq!(kind("a"), io::ErrorKind::NotADirectory);
        assert_eq!(kind("missing"), io::ErrorKind::NotFound);
    }

    #[test]
    fn another_content_has_another_stamp() {
        let directory = Directory::new("stamp");
        let path = directory.path().join("a");
        let files = Files::new(directory.path()).unwrap();
        fs::write(&path, "one").unwrap();
        let first = files.open("a").unwrap().stamp();
        assert_eq!(files.open("a").unwrap().stamp(), first);
        fs::write(&path, "three").unwrap();
        assert_ne!(files.open("a").unwrap().stamp(), first);
    }
}
