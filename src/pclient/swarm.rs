//! One file and all peers that take part in it, at one node.
//!
//! Puts the halves together: what to ask for ([`super::download`]), what to send ([`super::upload`]), where the bytes
//! lie ([`super::storage`]). Knows connections by their handle only; what it wants said goes into an outbox.

mod fairness;
mod leftovers;
mod members;
mod predictive;
mod receive;
mod serve;
mod sight;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use self::fairness::Rounds;
use self::leftovers::LookBack;
use self::predictive::Predictions;
use super::account::ledger::Ledger;
use super::availability::Availability;
use super::conduct::Conduct;
use super::crowd::Crowd;
use super::download::{Download, Peers, WholePiece};
use super::haves::HaveSchedule;
use super::manifest::Manifest;
use super::manifest_desk::ManifestDesk;
use super::manifest_fetch::ManifestFetch;
use super::message::Message;
use super::peer::{Announced, Peer};
use super::pieces::Bitfield;
use super::rate::RateMeter;
use super::resume::Checkpoint;
use super::shelf::Shelf;
use super::storage::Storage;
use super::suspects::Suspects;
use super::upload::Upload;
use crate::machine::Job;
use crate::name::FileName;
use crate::rand::Rng;
use crate::rudp::{Class, Handle};
use crate::time::{Duration, Instant};
use crate::{Error, Fid};

/// How often a receiver looks whether somebody is idle, silent or due for credits again.
const TICK: Duration = Duration::from_millis(50);

/// Who has got nothing new for this long sees to it that its neighbours are still there.
const STARVED: Duration = Duration::from_secs(10);

/// And after this long it opens the file anew to those who seem to have nothing, each time.
const REOPEN: Duration = Duration::from_secs(25);

/// Who gives less than this, B/s, gives nothing: of 16 KiB so much is left after four seconds, of 1 KiB after two.
const LEAST_GIVEN: f64 = 100.0;

/// Why a peer is banned.
const NO_PIECE: &str = "announced pieces that are none";

/// Makes the place for a file of the size that has been proved, B.
pub type MakeStorage = Box<dyn FnOnce(u64) -> Result<Box<dyn Storage>, Error> + Send>;

/// What a swarm has to tell its node.
#[derive(Debug)]
pub enum Notice {
    /// All is there, verified and stored.
    Complete,
    /// It can't go on.
    Failed(Error),
    /// This address gave what can't be right: nothing to do with it until then.
    Ban(SocketAddr, Instant),
}

/// How far a download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Verified so far, B.
    pub verified: u64,
    /// The file's size, or that of what is wanted of it, B; `None` until the file's has been proved.
    pub size: Option<u64>,
    /// Peers that take part.
    pub peers: usize,
    /// Of what is verified, what an earlier attempt had left, B.
    pub found: u64,
    /// Whether there may be more of that, which hasn't been verified yet.
    pub is_looking_back: bool,
    /// Whether what is verified outlasts this process, for the next attempt.
    pub is_kept: bool,
    /// Content that was given to others, B, each time counted; what is on its way included.
    pub served: u64,
    /// What is on its way to others, with its headers, B: it waits here, or they haven't confirmed it yet.
    pub on_its_way: u64,
}

struct Content {
    manifest: Arc<Manifest>,
    storage: Arc<dyn Storage>,
    shelf: Shelf,
    /// For the next attempt; `None` where nothing outlasts the process.
    checkpoint: Option<Arc<Mutex<Checkpoint>>>,
    availability: Availability,
    upload: Upload,
}

impl Content {
    fn new(manifest: Manifest, storage: Box<dyn Storage>) -> Content {
        let lengths = manifest.lengths();
        let storage: Arc<dyn Storage> = storage.into();
        let checkpoint = || Checkpoint::new(Arc::clone(&storage), manifest.fid(), lengths);
        Content {
            checkpoint: storage.resumable().is_some().then(|| Arc::new(Mutex::new(checkpoint()))),
            manifest: Arc::new(manifest),
            storage,
            shelf: Shelf::default(),
            availability: Availability::new(lengths),
            upload: Upload::new(lengths),
        }
    }
}

/// One file at one node.
pub struct Swarm {
    fid: Fid,
    name: Option<FileName>,
    /// What this node calls the file on every connection, and its tag there.
    number: u32,
    rng: Rng,
    content: Option<Content>,
    make_storage: Option<MakeStorage>,
    /// What is missing; `None` for a source.
    download: Option<Download>,
    fetch: Option<ManifestFetch>,
    /// Pieces that came before their hashes.
    unproved: Vec<WholePiece>,
    desk: ManifestDesk,
    /// Whether somebody may want part of the manifest: false only if nobody does.
    may_want_manifest: bool,
    peers: Peers,
    /// Peers that may have begun to owe us something, or ceased to, since their connections were last looked after.
    unwatched: Vec<Handle>,
    conduct: Conduct,
    suspects: Suspects,
    crowd: Crowd,
    sending: RateMeter,
    rounds: Rounds,
    /// Whether it passes on what it has.
    gives: bool,
    /// Content that was given to others, B.
    served: u64,
    last_served: Instant,
    tick: Option<Instant>,
    haves: HaveSchedule,
    predictions: Predictions,
    last_progress: Instant,
    /// Whether nothing new has come for long, though something is missing: even who owes nothing should say that it is there. It
    /// may have lost us, as when our address has changed while neither had anything to say.
    is_starved: bool,
    /// When the file was last opened anew for that.
    reopened: Instant,
    /// When a peer last announced something.
    last_spread: Instant,
    look_back: LookBack,
    /// Where the time of a download goes; `None` for a source.
    ledger: Option<Ledger>,
    /// Whether all that had to be written has been, for good.
    is_finished: bool,
    outbox: Vec<(Handle, Class, Vec<u8>)>,
    notices: Vec<Notice>,
    jobs: VecDeque<Job<Swarm>>,
}

impl Swarm {
    /// A file that is there and shared.
    pub fn share(
        number: u32,
        name: Option<FileName>,
        manifest: Manifest,
        storage: Box<dyn Storage>,
        rng: Rng,
        now: Instant,
    ) -> Swarm {
        let mut swarm = Swarm::new(number, manifest.fid(), rng, now);
        swarm.name = name;
        swarm.content = Some(Content::new(manifest, storage));
        swarm.is_finished = true;
        swarm
    }

    /// A file that is to be fetched into what `make_storage` will make.
    pub fn fetch(number: u32, fid: Fid, make_storage: MakeStorage, rng: Rng, now: Instant) -> Swarm {
        let mut swarm = Swarm::new(number, fid, rng, now);
        swarm.fetch = Some(ManifestFetch::new(now));
        swarm.make_storage = Some(make_storage);
        swarm.tick = Some(now);
        swarm
    }

    fn new(number: u32, fid: Fid, rng: Rng, now: Instant) -> Swarm {
        Swarm {
            fid,
            name: None,
            number,
            rng,
            content: None,
            make_storage: None,
            download: None,
            fetch: None,
            unproved: Vec::new(),
            desk: ManifestDesk::default(),
            may_want_manifest: false,
            peers: Peers::new(),
            unwatched: Vec::new(),
            conduct: Conduct::default(),
            suspects: Suspects::default(),
            crowd: Crowd::new(now),
            sending: RateMeter::new(now),
            rounds: Rounds::new(now),
            gives: true,
            served: 0,
            last_served: Instant::ORIGIN,
            tick: None,
            haves: HaveSchedule::new(now),
            predictions: Predictions::default(),
            last_progress: now,
            is_starved: false,
            reopened: now,
            last_spread: now,
            look_back: LookBack::new(now),
            ledger: None,
            is_finished: false,
            outbox: Vec::new(),
            notices: Vec::new(),
            jobs: VecDeque::new(),
        }
    }

    /// Whether anybody is choked here, and whether what was fetched is passed on.
    pub fn set_manners(&mut self, chokes: bool, gives: bool) {
        self.rounds.is_on = chokes;
        self.gives = gives || self.is_source();
    }

    /// The file.
    pub fn fid(&self) -> Fid {
        self.fid
    }

    /// The name under which it is shared here.
    pub fn name(&self) -> Option<&FileName> {
        self.name.as_ref()
    }

    /// This node's number for the file.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        self.content.is_some()
            && self.download.as_ref().is_none_or(|download| download.blocks.have().is_complete())
    }

    /// Whether all of it is there that is wanted here.
    pub fn is_done(&self) -> bool {
        self.content.is_some() && self.download.as_ref().is_none_or(|download| download.blocks.is_done())
    }

    /// Whether all that is wanted of it is there, verified, and stored for good.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// When something new was last verified, or the download began.
    pub fn last_progress(&self) -> Instant {
        self.last_progress
    }

    /// The size, once it is known, B.
    pub fn size(&self) -> Option<u64> {
        self.content.as_ref().map(|content| content.manifest.lengths().size())
    }

    /// How far it is. What is on its way to others isn't known here.
    pub fn progress(&self) -> Progress {
        let wanted = self.download.as_ref().map(|download| download.blocks.wanted_bytes());
        let size = self.size().map(|size| wanted.unwrap_or(size));
        let verified = match (&self.download, size) {
            (Some(download), Some(size)) => {
                let full =
                    self.content.as_ref().map_or(0, |content| content.manifest.lengths().full_piece_len());
                (u64::from(download.blocks.have().count()) * u64::from(full)).min(size)
            }
            (None, Some(size)) => size,
            (_, None) => 0,
        };
        let is_kept = self.content.as_ref().is_some_and(|content| content.checkpoint.is_some());
        Progress {
            verified,
            size,
            peers: self.peers.len(),
            found: self.look_back.found(),
            is_looking_back: self.download.as_ref().is_some_and(|download| download.blocks.is_looking_back()),
            is_kept,
            served: self.served,
            on_its_way: 0,
        }
    }

    /// Payload that arrived twice, B.
    pub fn duplicate_bytes(&self) -> u64 {
        self.download.as_ref().map_or(0, |download| download.duplicate_bytes)
    }

    /// Who takes part.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Whether all of it was here from the beginning.
    pub fn is_source(&self) -> bool {
        self.content.is_some() && self.download.is_none()
    }

    /// How many peers miss something.
    pub fn hungry_peers(&self) -> usize {
        let all = self.content.as_ref().map(|content| content.manifest.lengths().piece_count());
        let is_hungry = |peer: &&Peer| !peer.began_complete && all.is_none_or(|all| peer.piece_count() < all);
        self.peers.values().filter(is_hungry).count()
    }

    /// How many peers have given content of late: one that gave a block in the last seconds counts.
    pub fn givers(&self, now: Instant) -> usize {
        self.peers.values().filter(|peer| peer.dealings.getting(now) >= LEAST_GIVEN).count()
    }

    /// Whether nothing new has come for long, though something is missing.
    pub fn is_starved(&self) -> bool {
        self.is_starved
    }

    /// Whether nothing is to be taken from this address at present.
    pub fn is_banned(&self, now: Instant, addr: SocketAddr) -> bool {
        self.conduct.is_banned(now, addr)
    }

    /// What is sent of the file, B/s.
    pub fn sending_rate(&self, now: Instant) -> f64 {
        self.sending.rate(now)
    }

    /// Whether this peer owes us something, so that its silence matters.
    pub fn expects(&self, key: Handle) -> bool {
        let is_giver = || self.fetch.as_ref().is_some_and(|fetch| fetch.giver() == Some(key));
        let is_asked = |peer: &Peer| self.is_starved || !peer.source.requests().is_empty();
        is_giver() || self.peers.get(&key).is_some_and(is_asked)
    }

    /// Moves to `keys` the peers of which [`expects`](Swarm::expects) may say something else since this was last asked.
    pub fn take_unwatched(&mut self, keys: &mut Vec<Handle>) {
        keys.append(&mut self.unwatched);
    }

    /// Whether there is something to take from the outbox or the notices.
    pub fn has_news(&self) -> bool {
        !self.outbox.is_empty() || !self.notices.is_empty()
    }

    /// Where the content lies, and its size in B, once all of it is there for good.
    pub fn stored(&self) -> Option<(Arc<dyn Storage>, u64)> {
        let content = self.content.as_ref().filter(|_| self.is_finished)?;
        Some((Arc::clone(&content.storage), content.manifest.lengths().size()))
    }

    /// Gives up what has been stored of an unfinished download.
    pub fn abandon(&self) {
        if let Some(content) = &self.content {
            content.storage.abandon();
        }
    }

    /// The next piece of work for another thread.
    pub fn poll_job(&mut self) -> Option<Job<Swarm>> {
        self.jobs.pop_front()
    }

    /// Moves the messages that are to be sent to `messages`, which is empty, and whose room serves the next ones.
    pub fn take_outbox(&mut self, messages: &mut Vec<(Handle, Class, Vec<u8>)>) {
        std::mem::swap(&mut self.outbox, messages);
    }

    /// Takes what the node has to know.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The message that introduces the file on a connection.
    pub fn open_message(&self) -> Message<'static> {
        Message::Open {
            channel: self.number.into(),
            fid: self.fid,
            has_manifest: self.gives && self.content.is_some(),
            is_complete: self.gives && self.is_complete(),
        }
    }

    fn say(&mut self, to: Handle, message: &Message<'_>) {
        self.say_in(Class::Control, to, message);
    }

    fn say_in(&mut self, class: Class, to: Handle, message: &Message<'_>) {
        log::trace!("to {to:?}: {message}");
        // All that a peer comes to owe us, and is spared, it is told.
        self.unwatched.push(to);
        self.outbox.push((to, class, message.encode()));
    }

    /// Takes in a message of a peer that takes part.
    pub fn on_message(&mut self, now: Instant, key: Handle, message: &Message<'_>) {
        self.unwatched.push(key);
        match *message {
            Message::AskManifest { part, .. } => self.on_ask_manifest(now, key, part),
            Message::Outline { size, proof, joints, .. } => self.on_outline(now, key, size, proof, joints),
            Message::Hashes { part, hashes, .. } => self.on_hashes(now, key, part, hashes),
            Message::Bitfield { bytes, .. } => self.on_bitfield(now, key, bytes),
            Message::Have { ref pieces, .. } => self.on_haves(now, key, pieces),
            Message::DontHave { ref pieces, .. } => self.on_dont_have(now, key, pieces),
            Message::Request { id, piece, first, count, .. } => {
                self.on_request(now, key, id, piece, first, count);
            }
            Message::Any { id, credits, residue, modulus, .. } => {
                self.on_any(now, key, id, credits, residue, modulus);
            }
            Message::Cancel { id, .. } => {
                if let Some(content) = &mut self.content {
                    content.upload.cancel(&mut self.peers, &content.availability, key, id);
                }
            }
            Message::None { id, credits, .. } => {
                if let Some(download) = &mut self.download {
                    download.on_none(now, &mut self.peers, key, id, credits);
                }
                self.refill(now, key);
            }
            Message::Reject { id, .. } => self.on_reject(now, key, id),
            Message::Choke { .. } => self.on_choked(now, key, true),
            Message::Unchoke { .. } => self.on_choked(now, key, false),
            Message::Block { id, piece, block, data, .. } => {
                self.on_block(now, key, id, (piece, block), data);
            }
            Message::Hello { .. }
            | Message::Open { .. }
            | Message::Shut { .. }
            | Message::Refuse { .. }
            | Message::AskPeers { .. }
            | Message::Peers { .. } => {
                unreachable!("the node's business")
            }
        }
    }

    fn on_bitfield(&mut self, now: Instant, key: Handle, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if let Announced::Early { bytes: early, .. } = &mut peer.pieces {
            *early = Some(bytes.to_vec());
            return;
        }
        let Some(lengths) = self.content.as_ref().map(|content| content.manifest.lengths()) else { return };
        let Ok(pieces) = Bitfield::from_bytes(&lengths, bytes) else { return self.ban(now, key, NO_PIECE) };
        let pieces: Vec<u64> = pieces.iter().map(|piece| piece.get().into()).collect();
        self.on_haves(now, key, &pieces);
    }

    fn on_haves(&mut self, now: Instant, key: Handle, pieces: &[u64]) {
        let Some(content) = &mut self.content else {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.pieces.note_early(pieces);
            }
            return;
        };
        let lengths = content.manifest.lengths();
        for &piece in pieces {
            let Some(piece) = lengths.piece(piece) else { return self.ban(now, key, NO_PIECE) };
            let Some(peer) = self.peers.get_mut(&key) else { return };
            let Announced::Known(known) = &mut peer.pieces else { return };
            if known.set(piece) {
                self.last_spread = now;
                peer.haves.retain(|&have| have != piece);
                content.availability.count(peer, piece);
                content.upload.on_announced(now, &mut self.peers, key, piece);
            }
        }
        self.refill(now, key);
    }

    /// Does what is due; this node's downlink has a `queue`, if that is known.
    pub fn handle_timeout(&mut self, now: Instant, queue: Option<Duration>) {
        self.crowd.on_queue(now, queue);
        self.flush_haves(now);
        self.choke(now);
        if let Some(content) = &mut self.content {
            content.upload.handle_timeout(now);
        }
        self.desk.handle_timeout(now);
        if self.tick.is_some_and(|tick| tick <= now) {
            // What is missing of the manifest others may want, but nobody waits for it here.
            let is_done = self.is_done();
            let may_have_more = self.fetch.is_some() && self.peers.values().any(|peer| peer.has_manifest);
            self.tick = (!is_done || may_have_more).then_some(now + TICK);
            self.set_starved(!is_done && now.since(self.last_progress) >= STARVED);
            if self.is_starved && now.since(self.reopened.max(self.last_progress)) >= REOPEN {
                self.reopened = now;
                self.reopen();
            }
            self.keep_record(now);
            self.retract(now);
            self.advance_fetch(now);
            let keys: Vec<Handle> = self.peers.keys().copied().collect();
            for key in keys {
                if let Some(download) = &mut self.download {
                    let asks = download.unstall(now, &mut self.peers, key, self.last_spread);
                    self.send_asks(asks.into_iter().map(|ask| (key, ask)));
                }
            }
            self.refill_all(now);
        }
    }

    fn set_starved(&mut self, is_starved: bool) {
        if self.is_starved != is_starved {
            self.is_starved = is_starved;
            self.unwatched.extend(self.peers.keys());
        }
    }

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let tick = self.tick.map(|due| (due, "look after the sources"));
        let haves = self.haves.due().map(|due| (due, "announce pieces"));
        let manifest = self.desk.due().map(|due| (due, "give the manifest to another"));
        let places = self.rounds.due().map(|due| (due, "give places at the uplink"));
        let idle = self.content.as_ref().and_then(|content| content.upload.poll_timeout());
        let idle = idle.map(|due| (due, "serve who gives nothing"));
        [tick, haves, manifest, places, idle].into_iter().flatten().min()
    }
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm")
            .field("fid", &self.fid)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
