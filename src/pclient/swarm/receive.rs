//! The receiver's side of a swarm: the manifest, then the pieces, verified and stored.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Content, Notice, Swarm};
use crate::Error;
use crate::pclient::download::{Arrival, Ask, Download, WholePiece};
use crate::pclient::haves::FEW;
use crate::pclient::manifest::{Manifest, ManifestError};
use crate::pclient::manifest_fetch::{Gain, MAX_ASKED, ManifestFetch};
use crate::pclient::message::Message;
use crate::pclient::peer::{Announced, Peer};
use crate::pclient::pieces::{Bitfield, PieceIndex};
use crate::pclient::suspects::{BlockHash, block_hashes};
use crate::rudp::{Class, Handle};
use crate::time::Instant;

/// Why a peer is banned.
const FALSE: &str = "gave false content";

/// What a piece turned out to be, with what its blocks hash to if somebody has to answer for them.
enum Verdict {
    Stored(Vec<BlockHash>),
    Spoiled(Vec<BlockHash>),
}

/// Who gave all blocks of a piece, if it was one peer.
fn sole_giver(givers: &[SocketAddr]) -> Option<SocketAddr> {
    let (&first, rest) = givers.split_first()?;
    rest.iter().all(|&giver| giver == first).then_some(first)
}

impl Swarm {
    /// Whoever has just been told of the file is asked for the manifest in the same breath, if nobody was yet: once it has said
    /// what it has, a round trip would have passed.
    pub fn on_dialled(&mut self, now: Instant, key: Handle) {
        if self.fetch.as_ref().is_some_and(|fetch| fetch.asked().is_empty()) {
            self.ask_manifest_of(now, key);
        }
    }

    /// Asks somebody for the manifest, unless it is here or under way.
    pub(super) fn advance_fetch(&mut self, now: Instant) {
        let Some(fetch) = &mut self.fetch else { return };
        if fetch.is_stale(now) {
            for key in fetch.asked().to_vec() {
                // It gets a second chance when nobody else has the manifest.
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.source.refusals += 1;
                }
                self.stop_asking(key);
            }
        }
        let Some(fetch) = &self.fetch else { return };
        let (asked, lacks) = (fetch.asked().to_vec(), fetch.lacks(now));
        // Whose word that it has one was damaged on the way says it only once.
        let may_have = |peer: &Peer| peer.has_manifest || self.is_starved;
        let is_promised = asked.iter().any(|key| self.peers.get(key).is_some_and(may_have));
        if is_promised && lacks == 0 {
            return;
        }
        let holders = self.peers.iter().filter(|(key, peer)| may_have(peer) && !asked.contains(key));
        // Relays before a source, whose uplink is precious.
        let mut ranked: Vec<_> =
            holders.map(|(&key, peer)| (peer.source.refusals, peer.began_complete, key)).collect();
        self.rng.shuffle(&mut ranked);
        ranked.sort_by_key(|&(refusals, is_source, _)| (refusals, is_source));
        if !is_promised {
            let Some(&(refusals, is_source, _)) = ranked.first() else { return };
            ranked.retain(|&(r, s, _)| (r, s) == (refusals, is_source));
            ranked.truncate(if is_source { 1 } else { MAX_ASKED });
        } else {
            ranked.truncate(lacks);
        }
        ranked.into_iter().for_each(|(_, _, key)| self.ask_manifest_of(now, key));
    }

    /// A peer says that it can be asked for the manifest. Who waits for the first part asks it too; sources that were asked
    /// needn't.
    pub(super) fn on_manifest_spread(&mut self, now: Instant, key: Handle) {
        self.desk.on_spread(now, key);
        let is_source = |key: &Handle| self.peers.get(key).is_some_and(|peer| peer.began_complete);
        let Some(fetch) = self.fetch.as_ref().filter(|fetch| fetch.may_ask() && !is_source(&key)) else {
            return;
        };
        let sources: Vec<Handle> = fetch.asked().iter().copied().filter(is_source).collect();
        let is_asked = fetch.asked().contains(&key);
        sources.into_iter().for_each(|source| self.stop_asking(source));
        if !is_asked {
            self.ask_manifest_of(now, key);
        }
    }

    fn ask_manifest_of(&mut self, now: Instant, key: Handle) {
        let Some(fetch) = &mut self.fetch else { return };
        fetch.ask(now, key);
        self.ask_next_part(key);
    }

    /// Asks for the part of the manifest that is missed first, and all that follow.
    fn ask_next_part(&mut self, key: Handle) {
        let known = self.content.as_ref().map(|content| content.manifest.known_parts());
        let part = Some(known.map_or(0, |parts| 1 + u64::from(parts)));
        self.say(key, &Message::AskManifest { channel: self.number.into(), part });
    }

    fn stop_asking(&mut self, key: Handle) {
        if self.fetch.as_mut().is_some_and(|fetch| fetch.withdraw(key)) {
            self.say(key, &Message::AskManifest { channel: self.number.into(), part: None });
        }
    }

    pub(super) fn on_outline(
        &mut self,
        now: Instant,
        key: Handle,
        size: u64,
        proof: &[u8],
        joints: &[[u8; 32]],
    ) {
        let fid = self.fid;
        self.on_part(now, key, |fetch, known| match known {
            None => fetch.on_outline(now, fid, size, proof, joints),
            Some(_) => Gain::Nothing,
        });
    }

    pub(super) fn on_hashes(&mut self, now: Instant, key: Handle, part: u64, hashes: &[[u8; 32]]) {
        self.on_part(now, key, |fetch, known| match part.checked_sub(1) {
            Some(part) => fetch.on_hashes(now, known, part, hashes),
            None => Gain::Lie(ManifestError::Hashes),
        });
    }

    fn on_part(
        &mut self,
        now: Instant,
        key: Handle,
        take_in: impl FnOnce(&mut ManifestFetch, Option<&mut Manifest>) -> Gain,
    ) {
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.asked().contains(&key)) else { return };
        let known = self.content.as_mut().map(|content| Arc::make_mut(&mut content.manifest));
        let gain = take_in(fetch, known);
        if let Gain::Lie(error) = gain {
            log::warn!("manifest of {}: {error}", self.fid.short());
            fetch.withdraw(key);
            self.ban(now, key, "gave a false part of the manifest");
            return self.advance_fetch(now);
        }
        for other in fetch.settle_on(key) {
            self.say(other, &Message::AskManifest { channel: self.number.into(), part: None });
        }
        match gain {
            Gain::Begun { manifest, ask_again } => {
                self.begin(now, manifest);
                if ask_again && self.fetch.is_some() {
                    self.ask_next_part(key);
                }
            }
            Gain::More => {
                self.last_progress = now;
                self.on_proved(now);
            }
            Gain::Nothing | Gain::Lie(_) => {}
        }
    }

    /// More hashes are known: the pieces that came before theirs can be verified.
    fn on_proved(&mut self, now: Instant) {
        let Some(content) = &self.content else { return };
        let manifest = Arc::clone(&content.manifest);
        let is_known = |whole: &mut WholePiece| manifest.check(whole.piece).is_some();
        let proved: Vec<WholePiece> = self.unproved.extract_if(.., is_known).collect();
        proved.into_iter().for_each(|whole| self.on_whole_piece(whole));
        if self.fetch.is_some() && manifest.is_whole() {
            self.fetch = None;
            self.look_back(now);
        }
    }

    /// Tells everybody that the manifest can be asked for here, as far as it has come.
    fn tell_manifest(&mut self) {
        if !self.gives {
            return;
        }
        let open = Message::Open {
            channel: self.number.into(),
            fid: self.fid,
            has_manifest: true,
            is_complete: false,
        };
        let keys: Vec<Handle> = self.peers.keys().copied().collect();
        keys.into_iter().for_each(|key| self.say(key, &open));
    }

    /// The size is proved: the content can be fetched. What arrives of it before its hash waits for that, unless an earlier
    /// attempt has left something: then all has to wait until it is known what.
    pub(super) fn begin(&mut self, now: Instant, manifest: Manifest) {
        let lengths = manifest.lengths();
        let Some(make_storage) = self.make_storage.take() else { return };
        let storage = match make_storage(lengths.size()) {
            Ok(storage) => storage,
            Err(error) => return self.notices.push(Notice::Failed(error)),
        };
        let mut download = Download::new(lengths, Bitfield::new(&lengths));
        let mut wanted = Bitfield::full(&lengths);
        for piece in lengths.pieces().filter(|&piece| !storage.wants(&lengths.piece_range(piece))) {
            wanted.clear(piece);
        }
        if !wanted.is_complete() {
            download.blocks.want_only(wanted);
        }
        if storage.is_read_in_order() {
            download.read_in_order();
        }
        self.download = Some(download);
        self.content = Some(Content::new(manifest, storage));
        self.last_progress = now;
        self.hold_for_leftovers();
        self.tell_manifest();
        self.on_proved(now);
        let keys: Vec<Handle> = self.peers.keys().copied().collect();
        keys.into_iter().for_each(|key| self.understand_peer(now, key, &lengths));
        if self.is_done() {
            self.complete();
        } else {
            self.refill_all(now);
        }
    }

    pub(super) fn on_block(&mut self, now: Instant, key: Handle, id: u64, at: (u64, u64), data: &[u8]) {
        let (Some(download), Some(_)) = (&mut self.download, self.peers.get(&key)) else { return };
        self.crowd.on_block();
        match download.on_block(now, &mut self.peers, key, id, at, data) {
            Arrival::Duplicate => {}
            Arrival::Partial => self.last_progress = now,
            Arrival::Nonsense => {
                return self.ban(now, key, "gave what it was never asked for, or what is no part");
            }
            Arrival::Whole(whole) => self.on_whole_piece(whole),
        }
        self.refill(now, key);
    }

    /// A peer won't serve a request. What it doesn't serve it doesn't have, whatever it says: it isn't asked for that
    /// again.
    pub(super) fn on_reject(&mut self, now: Instant, key: Handle, id: u64) {
        let Some(download) = &mut self.download else { return };
        if let Some(target) = download.on_reject(now, &mut self.peers, key, id) {
            self.discount(now, key, target.piece);
        }
    }

    /// A piece has all its blocks: it counts only if it is what the manifest says, and when it is stored. Both take
    /// long, so another thread does them.
    fn on_whole_piece(&mut self, whole: WholePiece) {
        let Some(content) = &self.content else { return };
        let Some(check) = content.manifest.check(whole.piece) else { return self.unproved.push(whole) };
        let WholePiece { piece, data, givers } = whole;
        let is_suspect = self.suspects.holds(piece);
        let block_len = content.manifest.lengths().block_len();
        let storage = Arc::clone(&content.storage);
        let checkpoint = content.checkpoint.clone();
        self.jobs.push_back(Box::new(move || {
            let outcome = if check.passes(&data) {
                let hashes = if is_suspect { block_hashes(&data, block_len) } else { Vec::new() };
                let mut checkpoint = checkpoint.as_ref().map(|checkpoint| checkpoint.lock());
                if let Some(checkpoint) = &mut checkpoint {
                    checkpoint.make_room(data.len() as u64);
                }
                let written = storage.write_at(check.range().start, &data);
                if let Some(checkpoint) = &mut checkpoint
                    && written.is_ok()
                {
                    checkpoint.on_written(piece);
                }
                written.map(|()| Verdict::Stored(hashes))
            } else {
                let hashes =
                    if sole_giver(&givers).is_none() { block_hashes(&data, block_len) } else { Vec::new() };
                Ok(Verdict::Spoiled(hashes))
            };
            Box::new(move |swarm: &mut Swarm, now| {
                let Some(download) = &mut swarm.download else { return };
                download.blocks.recycle(data);
                match outcome {
                    Ok(Verdict::Stored(hashes)) => {
                        swarm.on_stored(now, piece, &givers);
                        for liar in swarm.suspects.convict(piece, &hashes) {
                            swarm.ban_address(now, liar, FALSE);
                        }
                    }
                    Ok(Verdict::Spoiled(hashes)) => swarm.on_spoiled(now, piece, &givers, &hashes),
                    Err(source) => swarm.on_storage_error(source),
                }
            })
        }));
    }

    pub(super) fn on_storage_error(&mut self, source: std::io::Error) {
        self.notices.push(Notice::Failed(Error::Storage { fid: self.fid, source: source.into() }));
    }

    fn on_spoiled(&mut self, now: Instant, piece: PieceIndex, givers: &[SocketAddr], hashes: &[BlockHash]) {
        let Some(download) = &mut self.download else { return };
        log::warn!("piece {} of {} doesn't verify", piece.get(), self.fid.short());
        let cancels = download.give_up(&mut self.peers, piece);
        match sole_giver(givers) {
            Some(liar) => self.ban_address(now, liar, FALSE),
            None => {
                self.suspects.note(piece, hashes, givers);
                download.blocks.fetch_alone(piece);
            }
        }
        self.send_asks(cancels);
        self.refill_all(now);
    }

    fn on_stored(&mut self, now: Instant, piece: PieceIndex, givers: &[SocketAddr]) {
        let Some(download) = &mut self.download else { return };
        self.last_progress = now;
        self.look_back.has_news = true;
        if let Some(giver) = sole_giver(givers) {
            self.conduct.good(giver);
        }
        let was_held_up = download.blocks.is_held_up();
        let cancels = download.on_verified(&mut self.peers, piece);
        self.send_asks(cancels);
        let is_told = self.announce_first(piece) || self.fulfil(now, piece);
        for peer in self.peers.values_mut().filter(|_| self.gives) {
            if peer.began_complete || !is_told && !peer.has(piece) {
                peer.haves.push(piece);
            }
        }
        self.schedule_haves(now);
        if self.is_done() {
            self.complete();
        } else if was_held_up {
            self.refill_all(now);
        }
    }

    /// All pieces that are wanted are there: nothing more is asked for, and what is written is to last.
    pub(super) fn complete(&mut self) {
        // Others may still want what is missing of the manifest.
        self.tick = self.tick.filter(|_| self.fetch.is_some());
        self.set_starved(false);
        if let Some(download) = &mut self.download {
            let twice = download.duplicate_bytes;
            let cancels = download.give_up_all(&mut self.peers);
            self.send_asks(cancels);
            log::info!("{}: all that is wanted is here; {twice} B came twice", self.fid.short());
        }
        let Some(content) = &self.content else { return };
        let (storage, checkpoint) = (Arc::clone(&content.storage), content.checkpoint.clone());
        self.jobs.push_back(Box::new(move || {
            let finished =
                checkpoint.map_or_else(|| storage.finish(), |checkpoint| checkpoint.lock().finish());
            Box::new(move |swarm: &mut Swarm, _| match finished {
                Ok(()) => {
                    swarm.is_finished = true;
                    swarm.notices.push(Notice::Complete);
                }
                Err(source) => swarm.on_storage_error(source),
            })
        }));
    }

    /// Asks a source for more; one that has nothing to do for us may take over from a slower one.
    pub(super) fn refill(&mut self, now: Instant, key: Handle) {
        let (Some(download), Some(content)) = (&mut self.download, &self.content) else { return };
        let Some(peer) = self.peers.get(&key) else { return };
        if !matches!(peer.pieces, Announced::Known(_)) {
            return;
        }
        // Where there are too many, whoever owes something is asked for no more until enough of them are done.
        if self.peers.len() > self.crowd.most() {
            let owes = |peer: &Peer| !peer.source.requests().is_empty();
            let others = self.peers.values().filter(|peer| owes(peer)).count() - usize::from(owes(peer));
            if !self.crowd.has_room(others) {
                return;
            }
        }
        let asks = download.fill(now, &mut self.peers, &content.availability, key, &mut self.rng);
        let mut asks: Vec<_> = asks.into_iter().map(|ask| (key, ask)).collect();
        if asks.is_empty() {
            asks = download.steal(now, &mut self.peers, key);
        }
        self.send_asks(asks);
    }

    pub(super) fn refill_all(&mut self, now: Instant) {
        let mut keys: Vec<Handle> = self.peers.keys().copied().collect();
        self.rng.shuffle(&mut keys);
        keys.into_iter().for_each(|key| self.refill(now, key));
    }

    pub(super) fn send_asks(&mut self, asks: impl IntoIterator<Item = (Handle, Ask)>) {
        let channel = self.number.into();
        let are_few = self.peers.len() <= FEW;
        for (to, ask) in asks {
            let message = match ask {
                Ask::Blocks { id, target } => Message::Request {
                    channel,
                    id,
                    piece: target.piece.get().into(),
                    first: target.blocks.start.into(),
                    count: (target.blocks.end - target.blocks.start).into(),
                },
                Ask::Any { id, credits, residue, modulus } => {
                    Message::Any { channel, id, credits, residue, modulus }
                }
                Ask::Cancel { id } => Message::Cancel { channel, id },
            };
            // As long as the source has more to send than this, the request may wait a little; but not in a large swarm, where a source
            // has many to serve and each has its turn seldom (a hundred receivers would be done 0.2 s later).
            let waits = match message {
                Message::Cancel { .. } => false,
                _ => are_few && self.peers.get(&to).is_some_and(|peer| peer.source.requests().len() > 1),
            };
            self.say_in(if waits { Class::Patient } else { Class::Control }, to, &message);
        }
    }
}
