//! How this node stands with one peer, for those who watch. Decides nothing.

use std::net::SocketAddr;

use super::choker::Standing;
use crate::Fid;
use crate::time::Duration;

/// How this node stands with one peer that takes part in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatus {
    /// The file.
    pub fid: Fid,
    /// Where the peer is.
    pub addr: SocketAddr,
    /// Whether it had all of the file when it joined.
    pub is_source: bool,
    /// How much of the file it has, 0–1, as far as it has said.
    pub share: f32,
    /// What it sends us of the file, B/s.
    pub download_rate: f64,
    /// What we send it, B/s.
    pub upload_rate: f64,
    /// What it has sent us that we needed, B.
    pub downloaded: u64,
    /// What we have sent it, B.
    pub uploaded: u64,
    /// Of the pieces that it was the first to get, from us, what others have got since, B.
    pub relayed: u64,
    /// Whether it has a place at our uplink, and why.
    pub standing: Standing,
    /// For how long.
    pub standing_for: Duration,
    /// Whether it says that we have none at its uplink.
    pub chokes_us: bool,
    /// For how long it has been as it is.
    pub chokes_us_for: Duration,
}

impl PeerStatus {
    /// What it gave us less what we gave it, B.
    pub fn credit(&self) -> i64 {
        self.downloaded.cast_signed().wrapping_sub(self.uploaded.cast_signed())
    }
}
