//! What can go wrong at the public surface. Each message names the thing and says what to do.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Fid;

/// The result of a call of the public surface.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the public surface. Cloning is cheap: several callers may wait for the same transfer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client, tracker or server was closed before or during the call.
    #[error("this endpoint is closed: make a new one")]
    Closed,
    /// The call was ended by `cancel`.
    #[error("the transfer of {0} was cancelled")]
    Cancelled(Fid),
    /// The tracker knows nobody who has this file.
    #[error("the tracker knows no file {0}: check the id, or register the file first")]
    UnknownFile(Fid),
    /// This client neither shares nor downloads the file.
    #[error("this client neither shares nor downloads {0}: nothing to cancel")]
    NotShared(Fid),
    /// Holders are listed, but none gave anything within the deadline.
    #[error(
        "no holder of {fid} answered for {seconds} s ({tried} tried): see that one is running and reachable"
    )]
    NoHolder {
        /// The file in question.
        fid: Fid,
        /// How many addresses were tried.
        tried: usize,
        /// How long nothing arrived, s.
        seconds: u64,
    },
    /// The tracker gave no answer.
    #[error(
        "the tracker at {addr} gave no answer in {seconds} s: see that it is running and that the address is right"
    )]
    TrackerUnreachable {
        /// Where it was asked.
        addr: SocketAddr,
        /// For how long, s.
        seconds: u64,
    },
    /// The tracker doesn't list this node as a holder.
    #[error("the tracker refuses to list {fid}: {refusal}")]
    Refused {
        /// The file in question.
        fid: Fid,
        /// What it said.
        refusal: String,
    },
    /// The server gave no answer.
    #[error(
        "the server at {addr} gave no answer in {seconds} s: see that it is running and that the address is right"
    )]
    ServerUnreachable {
        /// Where it was asked.
        addr: SocketAddr,
        /// For how long, s.
        seconds: u64,
    },
    /// The server has no such file, or doesn't let it be read.
    #[error("the server has no file `{0}`")]
    NoSuchName(String),
    /// The server found the file, but can't read it to its end.
    #[error(
        "the server can't read `{0}` to its end: see whether the file is being changed there, then try again"
    )]
    ServerFailed(String),
    /// A file that can't be held whole.
    #[error("a file of {size} B doesn't fit in memory: free some")]
    TooLarge {
        /// How long it is, B.
        size: u64,
    },
    /// The content arrived, but isn't what the identity says.
    #[error("the content received for {0} doesn't match its id: it was thrown away")]
    Integrity(Fid),
    /// What is on the disk is no longer what was hashed: nothing of it is sent to anybody.
    #[error(
        "the content of {0} has changed on the disk: it isn't shared any more; share it again under its new id"
    )]
    Changed(Fid),
    /// An address that doesn't resolve.
    #[error("the address can't be used ({0}): write HOST:PORT, such as 127.0.0.1:10086")]
    BadAddress(String),
    /// A file that can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file in question.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A folder whose names can't travel together.
    #[error("{} can't be shared: {why}", path.display())]
    Folder {
        /// The folder in question.
        path: PathBuf,
        /// What stands in the way.
        why: String,
    },
    /// What was to be the list of a folder's files is none, or can't become files here.
    #[error("{fid} is no folder that can be fetched: {why}")]
    NotAFolder {
        /// The list in question.
        fid: Fid,
        /// What is wrong with it.
        why: String,
    },
    /// The place where a file is kept fails.
    #[error("keeping the content of {fid}: {source}")]
    Storage {
        /// The file in question.
        fid: Fid,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The socket can't be had or used.
    #[error("network: {0}")]
    Io(Arc<io::Error>),
}

impl Error {
    /// What the system said of `path`.
    pub fn file(path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::File { path: path.as_ref().to_owned(), source: Arc::new(source) }
    }

    /// Why the folder `path` can't be shared.
    pub fn folder(path: impl AsRef<Path>, why: impl fmt::Display) -> Error {
        Error::Folder { path: path.as_ref().to_owned(), why: why.to_string() }
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Error {
        Error::Io(Arc::new(source))
    }
}
