//! A producer's half: blocks to all who asked, in turn. Whom it serves is the source's affair.

use std::collections::VecDeque;

use crate::rudp::{Class, Endpoint, Handle, Tag};
use crate::sc_model::protocol::{BLOCK, Reply};

/// The label of blocks; all other messages are [`CONTROL`].
const CONTENT: Tag = 1;
/// The label of all messages but blocks.
pub(super) const CONTROL: Tag = 0;

/// Who is being served.
///
/// Invariant: a connection is in the line at most once, and only while it lacks bytes.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    /// With the first byte that is in no block yet; the one served least recently first.
    line: VecDeque<(Handle, usize)>,
    /// The most that were served at the same time.
    pub(super) peak: usize,
}

impl Uplink {
    /// Serves the file, which is `size` B long, from `offset` on. What this connection asked for before is given up.
    pub(super) fn start(&mut self, endpoint: &mut Endpoint, handle: Handle, offset: u64, size: usize) {
        endpoint.abandon(handle, CONTENT);
        self.forget(handle);
        if let Some(offset) = usize::try_from(offset).ok().filter(|&offset| offset < size) {
            self.line.push_back((handle, offset));
            self.peak = self.peak.max(self.line.len());
        }
    }

    /// Gives one block to each who can send it at once, and again until nobody can. Whether any was given.
    pub(super) fn serve(&mut self, endpoint: &mut Endpoint, content: &[u8]) -> bool {
        let mut any = false;
        let len = |next: usize| (content.len() - next).min(BLOCK);
        while let Some(position) = self
            .line
            .iter()
            .position(|&(handle, next)| endpoint.wants_bulk(handle, len(next) + Reply::BLOCK_OVERHEAD))
        {
            let Some((handle, next)) = self.line.remove(position) else { break };
            let end = next + len(next);
            let block = Reply::Block { offset: next as u64, data: &content[next..end] };
            endpoint.send(handle, Class::Bulk, CONTENT, block.encode());
            if end < content.len() {
                self.line.push_back((handle, end));
            }
            any = true;
        }
        any
    }

    /// Serves a connection no more.
    pub(super) fn forget(&mut self, handle: Handle) {
        self.line.retain(|&(other, _)| other != handle);
    }
}
