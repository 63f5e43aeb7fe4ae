//! The sender's side of a swarm: the manifest, the requests of peers, content, and word of what is here.

use std::io;
use std::sync::Arc;

use super::{Content, Notice, Swarm};
use crate::Error;
use crate::pclient::choker::Standing;
use crate::pclient::download::Peers;
use crate::pclient::haves::FEW;
use crate::pclient::manifest::PieceCheck;
use crate::pclient::manifest_desk::Stock;
use crate::pclient::message::{self, MAX_HAVES, Message};
use crate::pclient::peer::{Peer, Target, Wanted, What};
use crate::pclient::pieces::PieceIndex;
use crate::pclient::upload::{MAX_WANTED, Next};
use crate::rudp::stats::Arrivals;
use crate::rudp::{Class, Handle};
use crate::time::{Duration, Instant};

/// A peer that asks for the manifest this often wants to keep the uplink from content, which comes after it.
const MAX_MANIFESTS: u64 = 5;
/// A peer that has asked for nothing for this long may have to make room for another.
const IDLE: Duration = Duration::from_secs(20);
/// Who has served a block within this time counts as busy, where many are to be told: the block is on its way out.
const BUSY: Duration = Duration::from_millis(50);

impl Swarm {
    /// Notes what a peer asks for. It is written only when it can leave, so that questions don't pile up answers.
    pub(super) fn on_ask_manifest(&mut self, now: Instant, key: Handle, part: Option<u64>) {
        if let Some(peer) = self.peers.get_mut(&key).filter(|_| self.gives) {
            peer.queue.asked = now;
            peer.wants_manifest = part;
            self.may_want_manifest = true;
        }
    }

    /// The next part of the manifest to send, with its receiver.
    fn next_manifest_part(
        &mut self,
        now: Instant,
        may_go: impl Fn(Handle) -> bool,
    ) -> Option<(Handle, Vec<u8>)> {
        if !self.may_want_manifest {
            return None;
        }
        self.may_want_manifest = self.peers.values().any(|peer| peer.wants_manifest.is_some());
        let content = self.content.as_mut()?;
        let manifest = &content.manifest;
        let (outline, hashes) = (manifest.outline(), manifest.hashes());
        let [here, all] = [manifest.known_parts(), outline.part_count()].map(|parts| 1 + u64::from(parts));
        let stock = Stock { here, all };
        let is_source = self.download.is_none();
        let (key, part) = self.desk.next(now, &mut self.peers, is_source, stock, &mut self.rng, may_go)?;
        let peer = self.peers.get_mut(&key)?;
        peer.manifest_parts += 1;
        if peer.manifest_parts > MAX_MANIFESTS * stock.all {
            let remote = peer.remote;
            self.ban_flooder(now, remote);
            return None;
        }
        let channel = self.number.into();
        let message = match u32::try_from(part).ok()?.checked_sub(1) {
            None => Message::Outline {
                channel,
                size: outline.lengths().size(),
                proof: &outline.size_proof().to_bytes(),
                joints: outline.joints(),
            }
            .encode(),
            Some(part) => {
                let hashes = hashes.get(outline.range(part))?;
                Message::Hashes { channel, part: u64::from(part) + 1, hashes }.encode()
            }
        };
        Some((key, message))
    }

    pub(super) fn on_request(
        &mut self,
        now: Instant,
        key: Handle,
        id: u64,
        piece: u64,
        first: u64,
        count: u64,
    ) {
        let target = self.checked_target(piece, first, count);
        let served = target.is_some_and(|target| {
            if self.predictions.contains(target.piece) {
                self.await_piece(now, key, id, target)
            } else {
                self.want(now, key, Wanted { id, what: What::Blocks(target) })
            }
        });
        if !served {
            self.deny(now, key, &Message::Reject { channel: self.number.into(), id });
        }
    }

    /// Tells a peer that it isn't served; one that asks on and on for what can't be would fill the memory with such answers.
    fn deny(&mut self, now: Instant, key: Handle, answer: &Message<'_>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.queue.denied += 1;
        if peer.queue.denied > MAX_WANTED {
            let remote = peer.remote;
            self.ban_flooder(now, remote);
        } else {
            self.say(key, answer);
        }
    }

    /// The peer that has asked for nothing for longest and gives nothing, if its place may be given to another.
    pub fn idler(&self, now: Instant) -> Option<Handle> {
        let is_idle = |peer: &Peer| {
            let wants_nothing = !peer.queue.is_waiting() && peer.wants_manifest.is_none();
            !peer.began_complete
                && wants_nothing
                && now.since(peer.queue.asked) >= IDLE
                && peer.source.meter.rate(now) < 1.0
        };
        let idle = self.peers.iter().filter(|(_, peer)| is_idle(peer));
        idle.min_by_key(|(_, peer)| peer.queue.asked).map(|(&key, _)| key)
    }

    /// The blocks of a request, if they exist and are here, or are announced as about to come.
    pub(super) fn checked_target(&self, piece: u64, first: u64, count: u64) -> Option<Target> {
        let lengths = self.content.as_ref()?.manifest.lengths();
        let piece = lengths.piece(piece)?;
        let end = first.checked_add(count)?;
        let blocks = u64::from(lengths.block_count(piece));
        let is_promised = self.has(piece) || self.predictions.contains(piece);
        (self.gives && is_promised && count > 0 && end <= blocks)
            .then_some(Target { piece, blocks: first as u32..end as u32 })
    }

    pub(super) fn on_any(
        &mut self,
        now: Instant,
        key: Handle,
        id: u64,
        credits: u64,
        residue: u64,
        modulus: u64,
    ) {
        // Relays choose nothing: they would choose alike.
        let class = u32::try_from(residue).ok().zip(u32::try_from(modulus).ok());
        let class = class.filter(|(residue, modulus)| residue < modulus && self.gives && self.is_complete());
        let Some((residue, modulus)) = class else {
            return self.deny(now, key, &Message::None { channel: self.number.into(), id, credits });
        };
        for id in id..id.saturating_add(credits) {
            if !self.want(now, key, Wanted { id, what: What::Any { residue, modulus } }) {
                return;
            }
        }
    }

    pub(super) fn want(&mut self, now: Instant, key: Handle, wanted: Wanted) -> bool {
        let (Some(content), Some(peer)) = (&mut self.content, self.peers.get_mut(&key)) else { return false };
        peer.queue.asked = now;
        let (accepted, remote) = (content.upload.want(key, peer, wanted), peer.remote);
        if !accepted {
            self.ban_flooder(now, remote);
        }
        accepted
    }

    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        self.download.as_ref().is_none_or(|download| download.blocks.have().get(piece))
    }

    /// Whether anybody waits for content or the manifest.
    pub fn is_wanted(&self) -> bool {
        self.peers.values().any(|peer| peer.queue.is_waiting() || peer.wants_manifest.is_some())
    }

    /// Whether what goes to a peer goes before what others send to it: a source's content, but not to who passes nothing on.
    pub fn leads(&self, key: Handle) -> bool {
        let freeloads = |peer: &Peer| peer.dealings.standing == Standing::Freeloads;
        self.is_source() && self.peers.get(&key).is_some_and(|peer| !freeloads(peer))
    }

    /// The next block, or part of the manifest, to send, with its receiver, given to whom one `may_go` at once.
    /// `has_room` says whether one may go to anybody at all; of a peer to whom one may not go otherwise, nothing is asked
    /// again before it is [stirred](Swarm::stir).
    pub fn next_block(
        &mut self,
        now: Instant,
        has_room: bool,
        may_go: impl Fn(Handle) -> bool,
    ) -> Option<(Handle, Vec<u8>)> {
        // Whoever began with the whole file is a source; a receiver that is done goes on relaying.
        let is_source = self.download.is_none();
        if let Some(part) = self.next_manifest_part(now, &may_go) {
            return Some(part);
        }
        if !has_room {
            return None;
        }
        loop {
            let content = self.content.as_mut()?;
            let (peers, availability) = (&mut self.peers, &content.availability);
            match content.upload.next(now, peers, availability, is_source, &mut self.rng, &may_go)? {
                Next::Refuse { to, first, credits } => {
                    self.say(to, &Message::None { channel: self.number.into(), id: first, credits });
                }
                Next::Block(serve) => {
                    let lengths = content.manifest.lengths();
                    let Target { piece, blocks } = &serve.target;
                    let range = lengths.block_range(*piece, blocks);
                    let len = (range.end - range.start) as usize;
                    let mut buf = Vec::with_capacity(len + 32);
                    let (channel, id) = (self.number.into(), serve.id);
                    message::block_header(&mut buf, channel, id, piece.get().into(), blocks.start.into());
                    let start = buf.len();
                    buf.resize(start + len, 0);
                    match content.read(&self.peers, *piece, range.start, &mut buf[start..]) {
                        Ok(true) => {}
                        Ok(false) => {
                            content.upload.hold_back(&mut self.peers, &serve);
                            self.load(serve.target.piece);
                            continue;
                        }
                        Err(unfit) => {
                            self.on_unfit(unfit);
                            return None;
                        }
                    }
                    self.sending.add(now, len as u64);
                    if let Some(peer) = self.peers.get_mut(&serve.to) {
                        peer.dealings.on_given(now, len as u64);
                    }
                    self.last_served = now;
                    self.served += len as u64;
                    self.rounds.on_sent(now, len as u64);
                    return Some((serve.to, buf));
                }
            }
        }
    }

    /// Something has happened to a connection: `may_go` may say something else of it.
    /// `arrivals` says how what it sends arrives.
    pub fn stir(&mut self, now: Instant, key: Handle, arrivals: Arrivals) {
        if let Some(content) = &mut self.content
            && let Some(peer) = self.peers.get_mut(&key)
        {
            peer.source.on_arriving(now, arrivals.partial);
            peer.source.min_rtt = arrivals.min_rtt;
            content.upload.stir(key);
        }
        self.predict(now, key);
        if self.download.as_ref().is_some_and(|download| download.is_nearly_through(now, &self.peers, key)) {
            self.refill(now, key);
        }
    }

    /// Has a piece read and verified by another thread, as its disk is slow.
    fn load(&mut self, piece: PieceIndex) {
        let Some(content) = &self.content else { return };
        let Some(check) = content.manifest.check(piece) else { return };
        let storage = Arc::clone(&content.storage);
        self.jobs.push_back(Box::new(move || {
            let range = check.range();
            let mut data = vec![0; (range.end - range.start) as usize];
            let read = storage.read_at(range.start, &mut data).map_err(Unfit::from);
            let fit = read.and_then(|()| Unfit::check(&check, &data));
            Box::new(move |swarm: &mut Swarm, _| {
                let Some(content) = &mut swarm.content else { return };
                content.upload.on_loaded(&swarm.peers, piece);
                match fit {
                    Ok(()) => content.shelf.put(piece, data),
                    Err(unfit) => swarm.on_unfit(unfit),
                }
            })
        }));
    }

    /// What is here can't be served any more: the file is given up rather than half of it passed on.
    fn on_unfit(&mut self, unfit: Unfit) {
        match unfit {
            Unfit::Changed => self.notices.push(Notice::Failed(Error::Changed(self.fid))),
            Unfit::Unreadable(source) => self.on_storage_error(source),
        }
    }

    pub(super) fn schedule_haves(&mut self, now: Instant) {
        let has_just_served = self.peers.len() > FEW && now.since(self.last_served) < BUSY;
        let is_busy = has_just_served || self.peers.values().any(|peer| peer.queue.is_waiting());
        let mut sources = self.peers.values().filter(|peer| peer.began_complete);
        // A lone source needn't hurry to know what it has sent itself; of several, one must not send what another has.
        let lone = sources.next().filter(|_| sources.next().is_none());
        self.haves.set_lone_source(lone.map(|peer| peer.source.meter.rate(now)));
        if lone.is_none() && self.peers.values().all(|peer| peer.began_complete) {
            self.haves.spare_sources();
        }
        self.haves.schedule(self.peers.len(), self.sending.rate(now), is_busy);
    }

    pub(super) fn flush_haves(&mut self, now: Instant) {
        let Some(flush) = self.haves.begin(now, self.is_done()) else { return };
        let channel = self.number.into();
        for (&key, peer) in self.peers.iter_mut() {
            if peer.began_complete && !flush.to_sources {
                if !peer.haves.is_empty() {
                    self.haves.held_back();
                }
                continue;
            }
            for pieces in std::mem::take(&mut peer.haves).chunks(MAX_HAVES) {
                let pieces = pieces.iter().map(|piece| piece.get().into()).collect();
                self.outbox.push((key, Class::Patient, Message::Have { channel, pieces }.encode()));
            }
        }
    }
}

/// Why content that was here can't be served.
enum Unfit {
    /// It isn't what it was when it was verified.
    Changed,
    Unreadable(io::Error),
}

impl Unfit {
    fn check(check: &PieceCheck, data: &[u8]) -> Result<(), Unfit> {
        if check.passes(data) { Ok(()) } else { Err(Unfit::Changed) }
    }
}

impl From<io::Error> for Unfit {
    fn from(source: io::Error) -> Unfit {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Unfit::Changed,
            _ => Unfit::Unreadable(source),
        }
    }
}

impl Content {
    /// Fills `buf` with what lies at `offset` in the file, within `piece`; false if that has to wait for the disk.
    fn read(&mut self, peers: &Peers, piece: PieceIndex, offset: u64, buf: &mut [u8]) -> Result<bool, Unfit> {
        if !self.storage.may_change() {
            return Ok(self.storage.try_read_at(offset, buf)?);
        }
        let range = self.manifest.lengths().piece_range(piece);
        if self.shelf.get(piece).is_none() {
            let is_served = |piece| peers.values().any(|peer| peer.queue.is_served(piece));
            let mut data = self.shelf.take_room((range.end - range.start) as usize, is_served);
            if !self.storage.try_read_at(range.start, &mut data)? {
                return Ok(false);
            }
            let check = self.manifest.check(piece).ok_or(Unfit::Changed)?;
            Unfit::check(&check, &data)?;
            self.shelf.put(piece, data);
        }
        let start = (offset - range.start) as usize;
        let data = self.shelf.get(piece).expect("it was there or has just been put");
        buf.copy_from_slice(&data[start..start + buf.len()]);
        Ok(true)
    }
}
