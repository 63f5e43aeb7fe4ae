//! Whom to connect to, and when: addresses that may have what is still missing.
//!
//! Which addresses there are and when each may be tried again is [`book`](crate::pclient::book)'s affair.

use super::{Connection, Membership, Node, Role, say};
use crate::time::{Duration, Instant};

/// Who was told that a file is open, and has said nothing since, has not understood it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// An address that hasn't answered for this long keeps no other from being tried; but so many dials may be under way at most.
const DIAL_WAIT: Duration = Duration::from_secs(1);
const MAX_HALF_OPEN: usize = 50;

/// So many are dialled at once where many begin together, and the others after this long: a second after its announcement a node may
/// ask the tracker again, and unless that is slow the answer is here by then.
const FEW_DIALS: usize = 4;
const MIX: Duration = Duration::from_millis(1_250);
/// However many have dialled it and give something, a receiver sees to it that so many of its neighbours are of its own choice. If it dialled
/// ten all the same, those who came first would have thirty, hear and say more than others, and be done last.
const CHOSEN: usize = 4;

/// Whom many that begin together dial: few at once, and the others when all are known.
///
/// The tracker tells each of those that came before it. If all dialled as many of them as they want, the first would soon be
/// full, the next would find none but those just before them, and the swarm would be a chain, along which content spreads
/// slowly, instead of a random graph.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mixing {
    /// Until then few are dialled; `None` while no crowd was named.
    end: Option<Instant>,
    has_asked_again: bool,
}

impl Mixing {
    /// The tracker names a crowd: if it is the first, few are dialled for a while.
    pub(super) fn begin(&mut self, now: Instant) {
        self.end.get_or_insert(now + MIX);
    }

    /// Whether to ask the tracker again, now that it has listed this node; says so once.
    pub(super) fn asks_again(&mut self, now: Instant) -> bool {
        self.end(now).is_some() && !std::mem::replace(&mut self.has_asked_again, true)
    }

    /// Until when few are dialled, if they are.
    fn end(&self, now: Instant) -> Option<Instant> {
        self.end.filter(|&end| now < end)
    }
}

/// When to look for addresses to dial.
#[derive(Debug, Default)]
pub(super) struct Dials {
    /// Something has happened that may have made one due.
    is_stirred: bool,
    /// When one will be anyway.
    next: Option<Instant>,
}

impl Dials {
    /// Something has happened that may have made an address due.
    pub(super) fn stir(&mut self) {
        self.is_stirred = true;
    }

    /// Whether to look now; says so once.
    fn take_due(&mut self, now: Instant) -> bool {
        std::mem::take(&mut self.is_stirred) || self.next.is_some_and(|due| due <= now)
    }
}

impl Node {
    /// Connects to addresses that may have what is still missing.
    pub(super) fn dial(&mut self, now: Instant) {
        if self.leaving.is_some() || !self.dials.take_due(now) {
            return;
        }
        for member in self.members.values_mut().filter(|member| member.role == Role::Downloading) {
            // Who hasn't answered by now most likely never will: the next one is tried meanwhile.
            let is_young = |c: &&Connection| !c.established && now.since(c.heard) < DIAL_WAIT;
            let half_open = self.connections.values().filter(|c| !c.established).count();
            if half_open >= MAX_HALF_OPEN {
                break;
            }
            let under_way = self.connections.values().filter(is_young).count();
            let is_dialled = |key| self.connections.get(key).is_some_and(|connection| !connection.inbound);
            let dialled = member.swarm.peers().keys().filter(|key| is_dialled(key)).count();
            let least = self.config.least_peers(member.exchange.known());
            let inbound = member.swarm.peers().len().saturating_sub(dialled);
            let mut most = self.config.dials().max(least.saturating_sub(inbound));
            if member.mixing.end(now).is_some() {
                most = most.min(FEW_DIALS);
            }
            let lacking = self.config.neighbours.saturating_sub(member.swarm.givers(now));
            most = most.min((dialled + lacking).max(CHOSEN));
            let mut room = most.saturating_sub(dialled + under_way);
            if room == 0 {
                continue;
            }
            for addr in member.book.due(now) {
                if room == 0 {
                    break;
                }
                let known = self.connections.iter_mut().find(|(_, connection)| connection.remote == addr);
                if let Some((&key, connection)) = known {
                    // Connected for another file: open this one too. What isn't established yet will do so itself.
                    if connection.established && connection.opened.insert(member.swarm.fid()) {
                        say(&mut self.endpoint, key, &member.swarm.open_message());
                    } else if connection.established
                        && !member.swarm.peers().contains_key(&key)
                        && connection.heard + ANSWER_TIMEOUT <= now
                    {
                        // An open is answered: this one, or its answer, was damaged on the way. Begin anew.
                        self.endpoint.close(key, 0);
                    }
                    continue;
                }
                let key = self.endpoint.connect(now, addr);
                self.connections.insert(key, Connection::new(now, addr, false));
                room -= 1;
            }
        }
        let fetching = self.members.values().filter(|member| member.role == Role::Downloading);
        let next =
            |member: &Membership| member.book.next_due(now).into_iter().chain(member.mixing.end(now)).min();
        let retry = fetching.filter_map(next).min();
        let dialled = self.connections.values().filter(|c| !c.established).map(|c| c.heard + DIAL_WAIT);
        self.dials.next = retry.into_iter().chain(dialled.filter(|&due| due > now)).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_first_crowd_few_are_dialled_for_a_while_and_the_tracker_is_asked_once_more() {
        let (now, mut mixing) = (Instant::ORIGIN, Mixing::default());
        assert!(mixing.end(now).is_none() && !mixing.asks_again(now), "nobody has named a crowd");
        mixing.begin(now);
        mixing.begin(now + MIX / 2);
        assert_eq!(mixing.end(now), Some(now + MIX));
        assert_eq!([mixing.asks_again(now), mixing.asks_again(now)], [true, false]);
        mixing.begin(now + MIX);
        assert!(mixing.end(now + MIX).is_none());
    }
}
