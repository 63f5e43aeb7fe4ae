//! What a download is waiting for at the moment, as far as its receiver can see.
//!
//! Looks and tells; asks for nothing and changes nothing but the books ([`crate::pclient::account`]).

use super::Swarm;
use crate::pclient::account::ledger::{Intake, Ledger, Sight, Spread};
use crate::pclient::account::{Account, Cause};
use crate::time::{Duration, Instant};

/// The books are kept no finer than this while pieces come: looking takes time too.
const GRAIN: Duration = Duration::from_millis(5);
/// What peers deliver in so much time, or this many pieces, is no backlog of theirs: it has just been announced.
const FRESH: Duration = Duration::from_millis(300);
const FRESH_PIECES: u64 = 4;

impl Swarm {
    /// Opens the books of a download that begins now.
    pub fn open_account(&mut self, now: Instant, intake: &Intake) {
        self.ledger = Some(Ledger::new(now, intake));
    }

    /// Enters what has happened up to `now`. To be called whenever something has.
    pub fn keep_account(&mut self, now: Instant, intake: &Intake, is_lookup: bool) {
        let Some(ledger) = &self.ledger else { return };
        if self.content.is_some() && now.since(ledger.until()) < GRAIN {
            return;
        }
        let sight = self.sight(now, is_lookup);
        if let Some(ledger) = &mut self.ledger {
            ledger.enter(now, intake, &sight);
        }
    }

    /// The download ends now.
    pub fn close_account(&mut self, now: Instant, intake: &Intake) {
        if let Some(ledger) = &mut self.ledger {
            ledger.close(now, intake);
        }
    }

    /// What has held the download back; `None` for a file that was here from the beginning.
    pub fn account(&self, now: Instant, intake: &Intake) -> Option<Account> {
        let progress = self.progress();
        // What an earlier attempt has left took none of this one's time.
        let (size, verified) =
            (progress.size.map(|size| size - progress.found), progress.verified - progress.found);
        Some(self.ledger.as_ref()?.account(now, intake, size, verified))
    }

    fn sight(&self, now: Instant, is_lookup: bool) -> Sight {
        let nobody = if is_lookup { Cause::Tracker } else { Cause::Connecting };
        let peers = self.peers.len();
        let has_origin = self.peers.values().any(|peer| peer.began_complete);
        let blind = |cause| Sight { cause, peers, spread: None };
        let of_the_manifest = || {
            let giver = self.fetch.as_ref().and_then(|fetch| self.peers.get(fetch.asked().first()?));
            match giver {
                _ if peers == 0 => nobody,
                Some(giver) if giver.began_complete => Cause::Source,
                Some(_) => Cause::Peers,
                None if has_origin => Cause::Source,
                None => nobody,
            }
        };
        let (Some(content), Some(download)) = (&self.content, &self.download) else {
            return blind(of_the_manifest());
        };
        let lengths = content.manifest.lengths();
        let piece = u64::from(lengths.full_piece_len());
        let missing = download.blocks.missing();
        let mut first_copies = missing.clone();
        first_copies.keep(content.availability.unspread());
        let relayed = u64::from(missing.count() - first_copies.count());
        let fresh = || {
            let rate: f64 = self.peers.values().map(|peer| peer.source.meter.rate(now)).sum();
            ((rate * FRESH.as_secs_f64()) as u64).max(FRESH_PIECES * piece)
        };
        let cause = if missing.is_empty() || download.blocks.is_held_up() {
            // What is here can't be verified without its hashes.
            if self.fetch.is_some() { of_the_manifest() } else { Cause::Storing }
        } else if peers == 0 {
            nobody
        } else if !first_copies.is_empty() && relayed * piece <= fresh() {
            // Where no source is known, others have to get them first.
            if has_origin { Cause::Source } else { Cause::Peers }
        } else {
            Cause::Peers
        };
        let size = download.blocks.wanted_bytes();
        let out = size.saturating_sub(u64::from(first_copies.count()) * piece);
        // What is still to be verified may be missing after all.
        let spread = (!download.blocks.is_looking_back()).then_some(Spread { out, size, piece });
        Sight { cause, peers, spread }
    }
}
