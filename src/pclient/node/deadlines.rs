//! What a node waits for, and for how long: calls, and the end of what was withdrawn.

use super::{Event, Farewell, LOOK_AROUND, Node, Role};
use crate::rudp::Handle;
use crate::time::Instant;
use crate::{Error, Fid};

impl Node {
    pub(super) fn settle_farewells(&mut self, now: Instant) {
        if self.farewells.is_empty() {
            return;
        }
        let handles: Vec<Handle> = self.connections.keys().copied().collect();
        let endpoint = &self.endpoint;
        let is_over = |farewell: &Farewell| {
            let in_flight = handles.iter().any(|&key| endpoint.is_in_flight(key, farewell.tag));
            farewell.deadline <= now || (farewell.tracker_knows && !in_flight)
        };
        let over: Vec<Fid> = self.farewells.iter().filter(|(_, f)| is_over(f)).map(|(&fid, _)| fid).collect();
        for fid in over {
            self.farewells.remove(&fid);
            self.events.push_back(Event::Cancelled(fid));
        }
    }

    /// Ends what has waited too long.
    pub(super) fn check_deadlines(&mut self, now: Instant) {
        if self.leaving.is_some_and(|deadline| deadline <= now) {
            self.leaving = None;
            self.events.push_back(Event::Left);
        }
        let mut failures = Vec::new();
        for (&fid, member) in self.members.iter_mut() {
            match member.role {
                // What is left to do is the disk's, and that takes the time it takes.
                Role::Downloading if member.swarm.is_done() => {}
                Role::Registering | Role::LookingUp if member.began + self.config.tracker_timeout <= now => {
                    failures.push((fid, self.trackers.silent(), None));
                }
                Role::Downloading if member.swarm.last_progress() + self.config.stall_timeout <= now => {
                    failures.push((fid, self.trackers.silent(), Some(member.book.len())));
                }
                Role::Downloading
                    if member.swarm.peers().len() < self.config.least_peers(member.exchange.known())
                        && member.asked_around + LOOK_AROUND <= now =>
                {
                    member.asked_around = now;
                    self.trackers.request_holders(now, fid);
                }
                Role::Registering | Role::LookingUp | Role::Downloading | Role::Sharing => {}
            }
        }
        for (fid, addr, tried) in failures {
            let error = match tried {
                Some(tried) => Error::NoHolder { fid, tried, seconds: self.config.stall_timeout.as_secs() },
                None => Error::TrackerUnreachable { addr, seconds: self.config.tracker_timeout.as_secs() },
            };
            self.fail(now, fid, error);
        }
        self.settle_farewells(now);
        self.ask_for_peers(now);
        self.close_idle_newcomers(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let members = self.members.values().filter_map(|member| match member.role {
            Role::Registering | Role::LookingUp => Some(member.began + self.config.tracker_timeout),
            Role::Downloading if member.swarm.is_done() => None,
            Role::Downloading => {
                let stall = member.swarm.last_progress() + self.config.stall_timeout;
                let (peers, wanted) =
                    (member.swarm.peers().len(), self.config.least_peers(member.exchange.known()));
                let around = (peers < wanted).then(|| member.asked_around + LOOK_AROUND);
                let exchange = member.exchange.due(peers, wanted);
                [Some(stall), around, exchange].into_iter().flatten().min()
            }
            Role::Sharing => None,
        });
        let farewells = self.farewells.values().map(|farewell| farewell.deadline);
        members.chain(farewells).chain(self.leaving).chain(self.newcomers.due()).min()
    }
}
