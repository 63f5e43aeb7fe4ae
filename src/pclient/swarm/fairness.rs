//! The rounds of the choker: who takes part in them, and what follows.
//!
//! The policy stands in [`crate::pclient::choker`].

use super::Swarm;
use crate::pclient::choker::{self, Contender, Standing};
use crate::pclient::message::Message;
use crate::pclient::peer::Peer;
use crate::pclient::status::PeerStatus;
use crate::rudp::{Class, Handle};
use crate::time::{Duration, Instant};

/// Who has asked for nothing for this long wants no place.
const INTEREST: Duration = Duration::from_secs(10);
/// Whoever took so many pieces and gave none freeloads.
const FREELOAD_PIECES: u64 = 4;
/// What the uplink was seen to send is forgotten by so much a round: it may be idle, and still be fast.
const UPLINK_DECAY: f64 = 0.98;

/// What a swarm keeps for its choker.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Whether anybody is ever choked.
    pub(super) is_on: bool,
    due: Option<Instant>,
    /// The greatest rate at which content was sent of late, B/s.
    uplink: f64,
}

impl Rounds {
    pub(super) fn new() -> Rounds {
        Rounds { is_on: true, due: None, uplink: 0.0 }
    }

    /// When places are given anew.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Somebody takes part.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.is_on {
            self.due.get_or_insert(now + choker::ROUND);
        }
    }
}

impl Swarm {
    /// Gives the places at the uplink anew, if that is due.
    pub(super) fn choke(&mut self, now: Instant) {
        if self.rounds.due.is_none_or(|due| now < due) {
            return;
        }
        self.rounds.due = (!self.peers.is_empty()).then_some(now + choker::ROUND);
        self.rounds.uplink = (self.rounds.uplink * UPLINK_DECAY).max(self.sending.rate(now));
        let Some(content) = &self.content else { return };
        let lengths = content.manifest.lengths();
        let much = FREELOAD_PIECES * u64::from(lengths.full_piece_len());
        let is_interested = |peer: &Peer| {
            let wants = peer.queue.is_waiting() || now.since(peer.queue.asked) < INTEREST;
            !peer.began_complete && peer.piece_count() < lengths.piece_count() && wants
        };
        let contender = |(&key, peer): (&Handle, &Peer)| {
            let dealings = &peer.dealings;
            Contender {
                key,
                standing: dealings.standing,
                since: dealings.since,
                tried: dealings.tried,
                fell: dealings.fell,
                merit: if self.is_source() {
                    dealings.relaying(now)
                } else if self.is_complete() {
                    // It needs nothing any more: what it was given counts for good.
                    dealings.got as f64
                } else {
                    dealings.getting(now)
                },
                freeloads: dealings.is_freeloading(much),
            }
        };
        let interested = self.peers.iter().filter(|(_, peer)| is_interested(peer));
        let mut contenders: Vec<Contender> = interested.map(contender).collect();
        choker::assign(now, choker::places(self.rounds.uplink), &mut contenders, &mut self.rng);
        for contender in contenders {
            self.set_standing(now, &contender);
        }
    }

    /// How this node stands with each peer.
    pub fn statuses(&self, now: Instant) -> impl Iterator<Item = PeerStatus> + '_ {
        let all = self.content.as_ref().map(|content| content.manifest.lengths().piece_count());
        self.peers.values().map(move |peer| {
            let dealings = &peer.dealings;
            PeerStatus {
                fid: self.fid,
                addr: peer.remote,
                is_source: peer.began_complete,
                share: peer.piece_count() as f32 / all.unwrap_or_default().max(1) as f32,
                download_rate: dealings.getting(now),
                upload_rate: dealings.giving(now),
                downloaded: dealings.got,
                uploaded: dealings.given,
                relayed: dealings.relayed,
                standing: dealings.standing,
                standing_for: now.since(dealings.since),
                chokes_us: dealings.chokes_us,
                chokes_us_for: now.since(dealings.chokes_us_since),
            }
        })
    }

    fn set_standing(&mut self, now: Instant, contender: &Contender) {
        let Some(peer) = self.peers.get_mut(&contender.key) else { return };
        let dealings = &mut peer.dealings;
        let (before, standing) = (dealings.standing, contender.standing);
        if standing == Standing::Trial {
            dealings.tried = Some(now);
        }
        if before == standing {
            return;
        }
        if before == Standing::Merit && standing.is_choked() {
            dealings.fell = Some(now);
        }
        (dealings.standing, dealings.since) = (standing, now);
        log::debug!("{} of {} is {standing} ({:.0} B/s)", peer.remote, self.fid.short(), contender.merit);
        if before.is_choked() != standing.is_choked() {
            let channel = self.number.into();
            let message = match standing.is_choked() {
                true => Message::Choke { channel },
                false => Message::Unchoke { channel },
            };
            self.say_in(Class::Patient, contender.key, &message);
        }
    }

    /// A peer says that it chokes us, or that it no longer does.
    pub(super) fn on_choked(&mut self, now: Instant, key: Handle, is_choked: bool) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let dealings = &mut peer.dealings;
        if dealings.chokes_us != is_choked {
            (dealings.chokes_us, dealings.chokes_us_since) = (is_choked, now);
            log::debug!("{} {} us", peer.remote, if is_choked { "chokes" } else { "unchokes" });
        }
        if !is_choked {
            self.refill(now, key);
        }
    }
}
