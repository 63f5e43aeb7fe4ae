//! What content is queued next: while the windows have room, a block of the file whose turn it is.
//!
//! Which block, and to whom, the swarm says; how the files share the uplink, [`turns`](super::turns).

use smallvec::SmallVec;

use super::Node;
use crate::Fid;
use crate::pclient::upload::MAX_BLOCK_MESSAGE;
use crate::rudp::Class;
use crate::time::Instant;

impl Node {
    /// Queues content while the windows have room, the files taking turns. False if there was nothing to send.
    pub(super) fn pump(&mut self, now: Instant) -> bool {
        for (key, arrivals) in self.endpoint.take_stirred() {
            self.members.values_mut().for_each(|member| member.swarm.stir(now, key, arrivals));
        }
        let (mut any, mut wanted) = (false, self.wanted_files());
        let may_queue_more = wanted.len() == 1 && !self.endpoint.has_wide_uplink();
        while let Some(&fid) = wanted.first() {
            let Some(member) = self.members.get_mut(&fid) else { break };
            let endpoint = &self.endpoint;
            let may_go = |key| endpoint.wants_bulk(key, MAX_BLOCK_MESSAGE);
            match member.swarm.next_block(now, endpoint.has_bulk_room(), may_go) {
                Some((to, block)) => {
                    self.turns.charge(fid, block.len());
                    self.endpoint.set_leading(to, member.swarm.leads(to));
                    self.endpoint.send(to, Class::Bulk, member.swarm.number(), block);
                    any = true;
                    // Only when it has left is it known whose turn it is, and whether there is room at all.
                    if !may_queue_more {
                        break;
                    }
                }
                // The windows have no room for it, however much or little others send.
                None => _ = wanted.remove(0),
            }
        }
        let has_said = self.collect_notices(now);
        self.is_pumped = !has_said && !any;
        has_said || any
    }

    /// The files that somebody wants something of, those that had least of the uplink first.
    pub(super) fn wanted_files(&self) -> SmallVec<[Fid; 2]> {
        // One file has its turn whether it is wanted or not.
        let is_alone = self.members.len() == 1;
        let wanted = self.members.iter().filter(|(_, member)| is_alone || member.swarm.is_wanted());
        self.turns.order(wanted.map(|(&fid, _)| fid))
    }
}
