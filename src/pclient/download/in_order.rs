//! Where the content is read while it comes: what the reader needs soon is asked for in particular, and in that order.
//!
//! Only a window at the reader's place is ordered; beyond it, and while nothing is left to ask in it, all goes on as for others. An
//! origin may decline a piece of the window that it has sent to somebody else, as it would choose another for a credit: who got it
//! relays it, so that no first copy goes out twice, however many read at the same place. It also learns from that where the reader
//! is, and lets the credits of others begin there (`upload`).

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Ask, Download, MAX_REFUSALS, Peers};
use crate::pclient::availability::Availability;
use crate::pclient::peer::{Announced, Target};
use crate::pclient::pieces::{Lengths, PieceIndex};
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// The window has at least so many pieces.
const LEAST_PIECES: u64 = 16;
/// Or what arrives in this time: several times what is under way, so that a slow relay is asked for what has time.
const AHEAD: Duration = Duration::from_secs(2);
/// Of an origin that chooses, what arrives in this time: where many read at one place, all ask for the same, and while it
/// declines that, its uplink idles. With 2 s, 11 readers were done a quarter later.
const AHEAD_OF_ORIGIN: Duration = Duration::from_millis(500);
/// What an origin has declined for so long is asked of it for good: whoever got it doesn't relay it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the reader is.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// All before this piece is here, or not wanted.
    next: u32,
    /// Pieces that an origin has sent to somebody else, and when it said so.
    declined: BTreeMap<PieceIndex, Instant>,
}

impl Download {
    /// The content is read from its beginning on while it comes. To be called before anything is asked for.
    pub fn read_in_order(&mut self) {
        self.reader = Some(Reader::default());
    }

    /// Asks a source for what is needed next of all that it is to give, if that is needed soon.
    pub(super) fn ask_ahead(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        availability: &Availability,
        key: Handle,
    ) -> Option<Ask> {
        self.reader.as_ref()?;
        let place = self.place_among_origins(key).filter(|_| self.lets_origins_choose(peers));
        let window = self.window(now, peers, if place.is_some() { AHEAD_OF_ORIGIN } else { AHEAD })?;
        let Announced::Known(offered) = &peers[&key].pieces else { return None };
        if let Some(rest) = self.blocks.rest_of(offered).filter(|rest| window.contains(&rest.piece.get())) {
            return Some(self.ask_for(now, peers, key, rest));
        }
        let is_missing = |piece: &PieceIndex| self.blocks.untouched.get(*piece) && offered.get(*piece);
        let mut missing = window.filter_map(|index| self.lengths.piece(index.into())).filter(is_missing);
        let Some(place) = place else {
            let target = self.blocks.whole(missing.next()?);
            return Some(self.ask_for(now, peers, key, target));
        };
        let left_to_others = |piece: PieceIndex| {
            let owner = piece.as_usize() % self.origins.len();
            owner != place && !self.is_mute(now, &peers[&self.origins[owner]].source)
        };
        let declined = &self.reader.as_ref()?.declined;
        let has_time = |piece: PieceIndex| declined.get(&piece).is_some_and(|&at| now.since(at) < PATIENCE);
        let piece = missing.find(|&piece| {
            availability.unspread().get(piece) && !left_to_others(piece) && !has_time(piece)
        })?;
        let target = self.blocks.whole(piece);
        if peers[&key].source.refusals >= MAX_REFUSALS || declined.contains_key(&piece) {
            return Some(self.ask_for(now, peers, key, target));
        }
        let id = self.request(now, peers, key, Some(target));
        Some(Ask::Any { id, credits: 1, residue: piece.get().into(), modulus: Lengths::MAX_PIECES.into() })
    }

    fn ask_for(&mut self, now: Instant, peers: &mut Peers, key: Handle, target: Target) -> Ask {
        let id = self.request(now, peers, key, Some(target.clone()));
        Ask::Blocks { id, target }
    }

    /// The pieces that are needed before what arrives `ahead` from now, by number; `None` if nobody reads.
    fn window(&mut self, now: Instant, peers: &Peers, ahead: Duration) -> Option<Range<u32>> {
        let reader = self.reader.as_mut()?;
        let blocks = &self.blocks;
        let is_passed =
            |piece| blocks.have.get(piece) || blocks.wanted.as_ref().is_some_and(|wanted| !wanted.get(piece));
        while self.lengths.piece(reader.next.into()).is_some_and(is_passed) {
            reader.next += 1;
        }
        if let Some(next) = self.lengths.piece(reader.next.into()) {
            reader.declined = reader.declined.split_off(&next);
        }
        let rate: f64 = peers.values().map(|peer| peer.source.meter.rate(now)).sum();
        let soon = (rate * ahead.as_secs_f64()) as u64 / u64::from(self.lengths.full_piece_len());
        let end = u64::from(reader.next).saturating_add(soon.max(LEAST_PIECES));
        Some(reader.next..end.min(self.lengths.piece_count().into()) as u32)
    }

    /// Whether an origin has declined the piece that it was asked for under this name: that is free again.
    pub(super) fn take_declined(&mut self, now: Instant, peers: &mut Peers, key: Handle, id: u64) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let source = &mut peers.get_mut(&key).expect("only peers answer").source;
        let is_particular = |&index: &usize| source.requests()[index].target.is_some();
        let Some(index) = source.position(id).filter(is_particular) else { return false };
        let request = source.take(index);
        reader.declined.extend(request.target.iter().map(|target| (target.piece, now)));
        self.release(&request);
        true
    }
}
