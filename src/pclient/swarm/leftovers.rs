//! What an earlier attempt has left: verified like anything else, then had; and the record for the next attempt.
//!
//! Pieces are read and verified as jobs, one batch after the other, so that what arrives meanwhile is stored in between.

use std::sync::Arc;

use super::Swarm;
use crate::pclient::message::Message;
use crate::pclient::pieces::{Bitfield, PieceIndex};
use crate::pclient::resume::BATCH;
use crate::pclient::storage::Resumable;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// What is new is recorded after this time at the latest, if there is too little for a batch.
const RECORD_LATEST: Duration = Duration::from_secs(1);
/// While much is verified, the others are told this often what has been found.
const TELL: Duration = Duration::from_secs(10);

/// How far all that is.
#[derive(Debug)]
pub(super) struct LookBack {
    /// What was found, B.
    found: u64,
    /// What was there, but isn't what it should be, or can't be read, B.
    spoiled: u64,
    told: Instant,
    /// Whether anything has been stored since the last record, and when that was made.
    pub(super) has_news: bool,
    recorded: Instant,
}

impl LookBack {
    pub(super) fn new(now: Instant) -> LookBack {
        LookBack { found: 0, spoiled: 0, told: now, has_news: false, recorded: now }
    }

    pub(super) fn found(&self) -> u64 {
        self.found
    }
}

impl Swarm {
    /// If an earlier attempt has left anything, nothing is asked for until it is known what that can be.
    pub(super) fn hold_for_leftovers(&mut self) {
        let (Some(content), Some(download)) = (&self.content, &mut self.download) else { return };
        if content.storage.resumable().is_some_and(Resumable::has_leftovers) {
            download.blocks.check_all();
        }
    }

    /// Looks at what an earlier attempt has left, now that each piece's hash is known.
    pub(super) fn look_back(&mut self, now: Instant) {
        let (Some(content), Some(download)) = (&self.content, &self.download) else { return };
        if !download.blocks.is_looking_back() {
            return;
        }
        let Some(checkpoint) = content.checkpoint.clone() else { return };
        self.look_back.told = now;
        self.jobs.push_back(Box::new(move || {
            let listed = checkpoint.lock().look_back();
            Box::new(move |swarm: &mut Swarm, now| swarm.on_looked_back(now, &listed))
        }));
    }

    fn on_looked_back(&mut self, now: Instant, listed: &Bitfield) {
        if let Some(download) = &mut self.download {
            download.blocks.check_only(listed);
        }
        self.look_on(now);
    }

    /// Verifies the next batch, or ends the look back.
    fn look_on(&mut self, now: Instant) {
        let Some(download) = &self.download else { return };
        // Finding something is progress too.
        self.last_progress = now;
        let is_over = !download.blocks.is_looking_back();
        let batch = download.blocks.next_to_check(BATCH);
        if is_over || now.since(self.look_back.told) >= TELL {
            self.look_back.told = now;
            self.tell_found();
        }
        if is_over {
            self.report_found();
            return if self.is_done() { self.complete() } else { self.refill_all(now) };
        }
        let Some(content) = &self.content else { return };
        let (manifest, storage) = (Arc::clone(&content.manifest), Arc::clone(&content.storage));
        let checkpoint = content.checkpoint.clone();
        self.jobs.push_back(Box::new(move || {
            let mut data = Vec::new();
            let mut check = |piece: PieceIndex| {
                let range = manifest.lengths().piece_range(piece);
                data.resize((range.end - range.start) as usize, 0);
                // What can't be read is fetched anew: writing may find another place for it.
                let is_there =
                    storage.read_at(range.start, &mut data).is_ok() && manifest.verify_piece(piece, &data);
                if let Some(checkpoint) = checkpoint.as_ref().filter(|_| !is_there) {
                    checkpoint.lock().on_spoiled(piece);
                }
                (piece, is_there)
            };
            let checked: Vec<(PieceIndex, bool)> = batch.into_iter().map(&mut check).collect();
            Box::new(move |swarm: &mut Swarm, now| swarm.on_checked(now, &checked))
        }));
        self.refill_all(now);
    }

    fn on_checked(&mut self, now: Instant, checked: &[(PieceIndex, bool)]) {
        let (Some(content), Some(download)) = (&self.content, &mut self.download) else { return };
        for &(piece, is_there) in checked {
            download.blocks.on_checked(piece, is_there);
            let len = u64::from(content.manifest.lengths().piece_len(piece));
            *(if is_there { &mut self.look_back.found } else { &mut self.look_back.spoiled }) += len;
        }
        self.look_on(now);
    }

    /// Tells all peers what is here, as a whole: one by one it would be more.
    fn tell_found(&mut self) {
        let Some(download) = self.download.as_ref().filter(|download| !download.blocks.have().is_empty())
        else {
            return;
        };
        let bytes = download.blocks.have().to_bytes();
        let keys: Vec<Handle> = self.peers.keys().copied().collect();
        for key in keys {
            self.say(key, &Message::Bitfield { channel: self.number.into(), bytes: &bytes });
        }
    }

    fn report_found(&self) {
        let (found, spoiled) = (self.look_back.found, self.look_back.spoiled);
        log::info!("{}: {found} B were here already, {spoiled} B did not verify", self.fid.short());
    }

    /// Has what is new recorded, if the last record is old.
    pub(super) fn keep_record(&mut self, now: Instant) {
        if !self.look_back.has_news || now.since(self.look_back.recorded) < RECORD_LATEST {
            return;
        }
        let Some(checkpoint) = self.content.as_ref().and_then(|content| content.checkpoint.clone()) else {
            return;
        };
        (self.look_back.has_news, self.look_back.recorded) = (false, now);
        self.jobs.push_back(Box::new(move || {
            checkpoint.lock().flush();
            Box::new(|_, _| {})
        }));
    }
}
