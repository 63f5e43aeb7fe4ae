//! Who takes part in a swarm: newcomers, those who leave, and those who are banned.

use std::net::SocketAddr;

use super::{NO_PIECE, Notice, Swarm};
use crate::pclient::message::Message;
use crate::pclient::peer::{Announced, Peer};
use crate::pclient::pieces::{Bitfield, Lengths};
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// A peer is told once more what is here at most this often.
const REMIND: Duration = Duration::from_secs(5);

impl Swarm {
    /// A peer takes part, or says so again because a flag came true.
    pub fn on_open(
        &mut self,
        now: Instant,
        key: Handle,
        remote: SocketAddr,
        channel: u64,
        has_manifest: bool,
        is_complete: bool,
    ) {
        if self.is_banned(now, remote) {
            return;
        }
        let lengths = self.content.as_ref().map(|content| content.manifest.lengths());
        if let Some(peer) = self.peers.get_mut(&key) {
            if has_manifest && !peer.has_manifest {
                peer.has_manifest = true;
                self.on_manifest_spread(now, key);
            } else if std::mem::take(&mut peer.is_reopened) {
                // That is the answer.
            } else if now.since(peer.reminded) >= REMIND {
                peer.reminded = now;
                self.remind(key);
            }
        } else {
            let mut peer = Peer::new(remote, channel, now);
            peer.has_manifest = has_manifest;
            peer.began_complete = is_complete;
            if is_complete {
                peer.pieces.set_complete(None);
            } else {
                peer.haves.extend(self.predictions.iter());
            }
            let is_to_be_told = !peer.haves.is_empty();
            self.introduce_pieces(key);
            self.peers.insert(key, peer);
            self.unwatched.push(key);
            if is_to_be_told {
                self.schedule_haves(now);
            }
            self.rounds.begin(now);
            if let Some(lengths) = lengths {
                self.understand_peer(now, key, &lengths);
            }
            if has_manifest {
                self.on_manifest_spread(now, key);
            }
        }
        self.advance_fetch(now);
        self.refill(now, key);
    }

    /// Opens the file anew to who seems to have nothing that is missing here, and to sources, which may not know that we take part: what
    /// was damaged on the way, here or there, is said but once.
    pub(super) fn reopen(&mut self) {
        let open = self.open_message();
        let missing = self.download.as_ref().map(|download| download.blocks.missing());
        let offers = |peer: &Peer| match (&peer.pieces, &missing) {
            (Announced::Known(pieces), Some(missing)) => missing.meets(pieces),
            _ => peer.piece_count() > 0,
        };
        let is_doubtful = |peer: &Peer| peer.began_complete || !offers(peer);
        let doubtful = self.peers.iter().filter(|(_, peer)| is_doubtful(peer));
        let keys: Vec<Handle> = doubtful.map(|(&key, _)| key).collect();
        for key in keys {
            self.say(key, &open);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.is_reopened = true;
            }
        }
    }

    /// Tells all that is here to a peer that opens the file again with nothing new: it lacks something. It may be the channel, if
    /// our open was damaged on the way to it: then it finds that out, closes the connection, and one of us dials anew.
    fn remind(&mut self, key: Handle) {
        self.say(key, &self.open_message());
        let Some(content) = self.content.as_ref().filter(|_| self.gives) else { return };
        let lengths = content.manifest.lengths();
        let have = self.download.as_ref().map(|download| download.blocks.have().clone());
        let have = have.unwrap_or_else(|| Bitfield::full(&lengths));
        if !have.is_empty() {
            self.say(key, &Message::Bitfield { channel: self.number.into(), bytes: &have.to_bytes() });
        }
    }

    /// Tells a newcomer what is here, if its open doesn't say it all.
    fn introduce_pieces(&mut self, key: Handle) {
        if let Some(download) = &self.download
            && self.gives
            && !self.is_complete()
            && download.blocks.have().count() > 0
        {
            let bytes = download.blocks.have().to_bytes();
            self.say(key, &Message::Bitfield { channel: self.number.into(), bytes: &bytes });
        }
    }

    /// Makes sense of what a peer has announced, now that the lengths are known; a peer that makes none is dropped.
    pub(super) fn understand_peer(&mut self, now: Instant, key: Handle, lengths: &Lengths) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !peer.pieces.understand(lengths) {
            self.ban(now, key, NO_PIECE);
            return;
        }
        if let Some(content) = &mut self.content {
            content.availability.count_peer(peer);
        }
        if let Some(download) = &mut self.download {
            download.add_peer(&self.peers);
        }
    }

    /// A peer no longer takes part, or its connection is gone. Gives how much it was asked for that has not come, B.
    pub fn remove_peer(&mut self, now: Instant, key: Handle) -> u64 {
        let peer = self.peers.remove(&key);
        // It may have been asked before it said that it takes part.
        if self.fetch.as_mut().is_some_and(|fetch| fetch.withdraw(key)) {
            self.advance_fetch(now);
        }
        let Some(peer) = peer else { return 0 };
        let owed = peer.source.owed();
        self.unwatched.push(key);
        if let Some(content) = &mut self.content {
            content.availability.discount_peer(&peer);
            content.upload.remove_peer(&self.peers, &content.availability, key, &peer);
        }
        if let Some(download) = &mut self.download {
            download.remove_peer(&self.peers, peer);
        }
        self.refill_all(now);
        owed
    }

    /// A peer that takes part again may still send so much, B, that it was asked for before.
    pub fn on_returned(&mut self, key: Handle, owed: u64) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.source.owe(owed);
        }
    }

    pub(super) fn ban(&mut self, now: Instant, key: Handle, why: &str) {
        if let Some(peer) = self.peers.get(&key) {
            self.ban_address(now, peer.remote, why);
        }
    }

    /// Bans who is, or was, at `addr`.
    pub(super) fn ban_address(&mut self, now: Instant, addr: SocketAddr, why: &str) {
        let until = self.conduct.strike(now, addr);
        self.announce_ban(now, addr, until, why);
    }

    /// Bans who asked for far more than anybody needs.
    pub fn ban_flooder(&mut self, now: Instant, addr: SocketAddr) {
        let until = self.conduct.flood(now, addr);
        self.announce_ban(now, addr, until, "asked for far more than anybody needs");
    }

    fn announce_ban(&mut self, now: Instant, addr: SocketAddr, until: Instant, why: &str) {
        log::warn!("{addr} {why} of {}: banned for {:?}", self.fid.short(), until.since(now));
        self.notices.push(Notice::Ban(addr, until));
    }

    /// A peer has another address from now on: it answers for what it does there.
    pub fn on_moved(&mut self, key: Handle, remote: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.remote = remote;
        }
    }
}
