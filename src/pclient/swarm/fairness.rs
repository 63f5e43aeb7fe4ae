//! The rounds of the choker: who takes part in them, and what follows.
//!
//! The policy stands in [`crate::pclient::choker`].

use super::Swarm;
use crate::pclient::choker::{self, Contender, Standing};
use crate::pclient::message::Message;
use crate::pclient::peer::Peer;
use crate::pclient::rate::RateMeter;
use crate::pclient::status::PeerStatus;
use crate::rudp::{Class, Handle};
use crate::time::{Duration, Instant};

/// Who has asked for nothing for this long wants no place.
const INTEREST: Duration = Duration::from_secs(10);
/// Whoever took so many pieces and gave none freeloads.
const FREELOAD_PIECES: u64 = 3;
/// Nobody is choked where a piece for each takes longer than this.
const LONGEST_TURNS: Duration = Duration::from_secs(2);
/// Over so much time it is averaged what the uplink sends: a few blocks in a row say nothing of a slow one.
const UPLINK_TIME: Duration = Duration::from_secs(5);

/// What a swarm keeps for its choker.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Whether anybody is ever choked.
    pub(super) is_on: bool,
    due: Option<Instant>,
    /// What is sent of the content.
    uplink: RateMeter,
}

impl Rounds {
    pub(super) fn new(now: Instant) -> Rounds {
        Rounds { is_on: true, due: None, uplink: RateMeter::with_time_constant(now, UPLINK_TIME) }
    }

    /// When places are given anew.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// `bytes` B of content were sent.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        self.uplink.add(now, bytes);
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
        let uplink = self.rounds.uplink.rate(now);
        let Some(content) = &self.content else { return };
        let lengths = content.manifest.lengths();
        let much = FREELOAD_PIECES * u64::from(lengths.full_piece_len());
        let is_interested = |peer: &Peer| peer.queue.is_waiting() || now.since(peer.queue.asked) < INTEREST;
        let contender = |(&key, peer): (&Handle, &Peer)| {
            let dealings = &peer.dealings;
            Contender {
                key,
                standing: dealings.standing,
                since: dealings.since,
                tried: dealings.tried,
                probation: dealings.probation,
                merit: if self.is_source() {
                    dealings.merit_of_relaying(now)
                } else if self.is_complete() {
                    // It needs nothing any more: what it was given counts for good.
                    dealings.got as f64
                } else {
                    dealings.merit(now)
                },
                freeloads: dealings.is_freeloading(much),
            }
        };
        let is_hungry = |peer: &Peer| !peer.began_complete && peer.piece_count() < lengths.piece_count();
        let hungry: Vec<_> = self.peers.iter().filter(|(_, peer)| is_hungry(peer)).collect();
        let count = hungry.len();
        let interested = hungry.into_iter().filter(|(_, peer)| is_interested(peer));
        let mut contenders: Vec<Contender> = interested.map(contender).collect();
        // Where all together wait for their turns for long, each has its own: nobody may starve.
        let turns = count as u64 * u64::from(lengths.full_piece_len());
        let places = match turns as f64 > LONGEST_TURNS.as_secs_f64() * uplink {
            true => count,
            false => choker::places(uplink),
        };
        choker::assign(now, places, &mut contenders, &mut self.rng);
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
            dealings.probation.begin(now, now.since(dealings.since));
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
