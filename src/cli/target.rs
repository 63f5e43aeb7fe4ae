//! Where `get` writes to: a file or folder, or stdout. Which of them, and under what name, is decided elsewhere.

use std::path::{Path, PathBuf};
use std::{env, fmt, io};

use swarmcast::pclient::storage::FileStorage;
use swarmcast::{Fid, PClient, Result};

use super::failure::show_path;
use super::stream;

/// Where the content goes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    File(PathBuf),
    Stdout,
}

impl Target {
    /// What it is called in messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Target::File(path) => path,
            Target::Stdout => Path::new("stdout"),
        }
    }

    /// Where the content lies until all is there.
    pub(super) fn place(&self) -> PathBuf {
        match self {
            Target::File(path) => path.clone(),
            Target::Stdout => env::temp_dir(),
        }
    }

    /// Whether an attempt to get `fid` has left something there for the next one.
    pub(super) fn has_leftovers(&self, fid: Fid) -> bool {
        matches!(self, Target::File(path) if FileStorage::has_leftovers_of(path, fid))
    }

    /// Whether what is fetched has its name there, and so is whole.
    pub(super) fn is_written(&self) -> bool {
        matches!(self, Target::File(path) if path.exists())
    }

    /// Fetches `fid` to it.
    ///
    /// # Errors
    /// As [`PClient::download_to`].
    pub(super) fn download(&self, client: &PClient, fid: Fid) -> Result<()> {
        match self {
            Target::File(path) => client.download_to(fid, path),
            Target::Stdout => stream::download(client, fid, io::stdout()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_path(self.path()))
    }
}
