//! Who may stay: a connection that opens no file is closed, and a peer that wants nothing makes room for one that does.
//!
//! How many connections there may be at all is the transport's affair.

use std::collections::VecDeque;

use super::{Node, say};
use crate::Fid;
use crate::pclient::message::Message;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// Who is connected for so long without opening a file wants nothing.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Most files that a peer may open in vain over one connection.
const MAX_REFUSED: u32 = 100;

/// Connections that may still have to open their first file, and until when, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    waiting: VecDeque<(Instant, Handle)>,
}

impl Newcomers {
    pub(super) fn add(&mut self, now: Instant, key: Handle) {
        self.waiting.push_back((now + OPEN_TIMEOUT, key));
    }

    /// When the next one has to have opened a file.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|&(due, _)| due)
    }
}

impl Node {
    /// Closes connections over which the other side has opened no file in time.
    pub(super) fn close_idle_newcomers(&mut self, now: Instant) {
        while self.newcomers.due().is_some_and(|due| due <= now) {
            let Some((_, key)) = self.newcomers.waiting.pop_front() else { return };
            if self.connections.get(&key).is_some_and(|connection| connection.channels.is_empty()) {
                self.endpoint.close(key, 0);
            }
        }
    }

    /// Whether nothing is to be taken from the other end of a connection at present.
    pub(super) fn is_banned(&self, now: Instant, key: Handle) -> bool {
        self.remote(key)
            .is_some_and(|remote| self.members.values().any(|member| member.swarm.is_banned(now, remote)))
    }

    /// Whether one more peer is taken in of a file, if need be in the place of another that wants nothing.
    pub(super) fn admits(&mut self, now: Instant, fid: Fid) -> bool {
        let Some(member) = self.members.get_mut(&fid) else { return false };
        if member.swarm.hungry_peers() < self.config.most_peers(&member.swarm) {
            return true;
        }
        let Some(idler) = member.swarm.idler(now) else { return false };
        let owed = member.swarm.remove_peer(now, idler);
        if let Some(connection) = self.connections.get_mut(&idler) {
            connection.note_debt(fid, owed);
            connection.opened.remove(&fid);
        }
        say(&mut self.endpoint, idler, &Message::Refuse { fid });
        true
    }

    /// Tells a peer that this node takes no part in a file with it; who goes on opening such is closed.
    pub(super) fn refuse(&mut self, now: Instant, key: Handle, fid: Fid) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        connection.refused += 1;
        if connection.refused > MAX_REFUSED {
            let remote = connection.remote;
            self.members.values_mut().for_each(|member| member.swarm.ban_flooder(now, remote));
            self.endpoint.close(key, 3);
        } else {
            say(&mut self.endpoint, key, &Message::Refuse { fid });
        }
    }
}
