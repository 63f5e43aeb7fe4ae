//! What the parts of a node have to say: the transport, the tracker, the swarms.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::{Connection, Event, Node, Role, WANT, say};
use crate::pclient::message::Message;
use crate::pclient::swarm::Notice;
use crate::rudp::{self, Handle};
use crate::time::Instant;
use crate::tracker::{self, COMPLETE};
use crate::{Error, Fid};

impl Node {
    pub(super) fn on_rudp_event(&mut self, now: Instant, event: rudp::Event) {
        if !matches!(event, rudp::Event::Message { .. }) {
            self.dials.stir();
        }
        match event {
            rudp::Event::Answered { handle } if self.is_banned(now, handle) => self.endpoint.close(handle, 3),
            rudp::Event::Answered { handle } => self.introduce(now, handle),
            rudp::Event::Connected { handle, remote, inbound } => {
                self.on_connected(now, handle, remote, inbound);
            }
            rudp::Event::Message { handle, data } => match Message::decode(&data) {
                Ok(message) => self.on_message(now, handle, &message, &data),
                Err(_) => {
                    log::debug!("{:?} sent what can't be read", self.remote(handle));
                    self.endpoint.close(handle, 2);
                }
            },
            rudp::Event::Moved { handle, remote } => {
                if let Some(connection) = self.connections.get_mut(&handle) {
                    connection.remote = remote;
                }
                self.members.values_mut().for_each(|member| member.swarm.on_moved(handle, remote));
            }
            rudp::Event::Closed { handle, remote, reason } => {
                log::debug!("connection with {remote} is over: {reason}");
                self.connections.remove(&handle);
                for member in self.members.values_mut() {
                    let is_wanted = matches!(member.role, Role::Downloading | Role::LookingUp);
                    if is_wanted {
                        member.book.failed(remote, now);
                    }
                    member.swarm.remove_peer(now, handle);
                }
            }
        }
    }

    pub(super) fn remote(&self, key: Handle) -> Option<SocketAddr> {
        Some(self.connections.get(&key)?.remote)
    }

    pub(super) fn on_connected(&mut self, now: Instant, key: Handle, remote: SocketAddr, inbound: bool) {
        let connection = self.connections.get_or_insert_with(key, || Connection::new(now, remote, inbound));
        connection.established = true;
        self.newcomers.add(now, key);
        self.unwatched.push(key);
        if self.is_banned(now, key) {
            // What it has said with its hello is heard by nobody.
            self.connections.remove(&key);
            return self.endpoint.close(key, 3);
        }
        if inbound {
            return say(&mut self.endpoint, key, &Message::Hello { node: self.id });
        }
        self.members.values_mut().for_each(|member| member.book.succeeded(remote));
        self.introduce(now, key);
    }

    /// Tells somebody who was dialled who this is, and opens the files that it was dialled for: whoever dials knows why.
    fn introduce(&mut self, now: Instant, key: Handle) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if !std::mem::replace(&mut connection.introduced, true) {
            say(&mut self.endpoint, key, &Message::Hello { node: self.id });
        }
        for member in self.members.values_mut() {
            if member.book.contains(connection.remote) && connection.opened.insert(member.swarm.fid()) {
                say(&mut self.endpoint, key, &member.swarm.open_message());
                member.swarm.on_dialled(now, key);
            }
        }
    }

    pub(super) fn on_message(&mut self, now: Instant, key: Handle, message: &Message<'_>, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        connection.heard = now;
        log::trace!("{} says {message}", connection.remote);
        if matches!(
            message,
            Message::Hello { .. } | Message::Open { .. } | Message::Shut { .. } | Message::Refuse { .. }
        ) {
            self.dials.stir();
        }
        match *message {
            Message::Hello { node } => {
                connection.node = Some(node);
                self.drop_twin(key, node);
            }
            Message::Open { channel, fid, has_manifest, is_complete } => {
                self.on_open(now, key, channel, fid, has_manifest, is_complete);
            }
            Message::Shut { channel } => {
                let Some(fid) = connection.channels.remove(&channel) else { return };
                connection.take_early(channel);
                connection.opened.remove(&fid);
                if let Some(member) = self.members.get_mut(&fid) {
                    member.book.remove(connection.remote);
                    connection.note_debt(fid, member.swarm.remove_peer(now, key));
                    self.endpoint.abandon(key, member.swarm.number());
                }
            }
            Message::Refuse { fid } => {
                let remote = connection.remote;
                connection.opened.remove(&fid);
                let is_idle = connection.opened.is_empty() && connection.channels.is_empty();
                if let Some(member) = self.members.get_mut(&fid) {
                    member.book.refused(remote);
                    connection.note_debt(fid, member.swarm.remove_peer(now, key));
                }
                if is_idle {
                    self.endpoint.close(key, 0);
                }
            }
            Message::AskManifest { channel, .. }
            | Message::Outline { channel, .. }
            | Message::Hashes { channel, .. }
            | Message::Bitfield { channel, .. }
            | Message::Have { channel, .. }
            | Message::DontHave { channel, .. }
            | Message::Request { channel, .. }
            | Message::Any { channel, .. }
            | Message::None { channel, .. }
            | Message::Cancel { channel, .. }
            | Message::Reject { channel, .. }
            | Message::Choke { channel }
            | Message::Unchoke { channel }
            | Message::Block { channel, .. }
            | Message::AskPeers { channel }
            | Message::Peers { channel, .. } => {
                match connection.channels.get(&channel) {
                    // Of a file that was left meanwhile: whatever it is, it is refused by silence.
                    Some(&fid) => {
                        if let Some(member) = self.members.get_mut(&fid)
                            && member.swarm.peers().contains_key(&key)
                        {
                            match message {
                                Message::AskPeers { .. } => self.tell_peers(now, key, fid),
                                Message::Peers { peers, .. } => self.hear_of_peers(now, key, fid, peers),
                                _ => member.swarm.on_message(now, key, message),
                            }
                        }
                    }
                    // Messages have no order: this one overtook the open that it belongs to.
                    None => connection.keep_early(channel, bytes),
                }
            }
        }
    }

    pub(super) fn on_open(
        &mut self,
        now: Instant,
        key: Handle,
        channel: u64,
        fid: Fid,
        has_manifest: bool,
        is_complete: bool,
    ) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let Some(member) = self.members.get_mut(&fid) else { return self.refuse(now, key, fid) };
        let renames = connection.channels.iter().any(|(&known, &of)| of == fid && known != channel);
        // Whoever is banned has to ask again later; taken in silently, it would wait for ever.
        if renames || member.swarm.is_banned(now, connection.remote) {
            return self.endpoint.close(key, 3);
        }
        let is_new = !connection.opened.contains(&fid);
        if is_new && !self.admits(now, fid) {
            return self.refuse(now, key, fid);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let Some(member) = self.members.get_mut(&fid) else { return };
        connection.channels.insert(channel, fid);
        if connection.opened.insert(fid) {
            say(&mut self.endpoint, key, &member.swarm.open_message());
        }
        let early = connection.take_early(channel);
        member.swarm.on_open(now, key, connection.remote, channel, has_manifest, is_complete);
        if let Some(owed) = connection.debts.remove(&fid) {
            member.swarm.on_returned(key, owed);
        }
        member.book.proved(connection.remote);
        member.exchange.on_peers(member.swarm.peers().len());
        for message in early {
            if let Ok(message) = Message::decode(&message) {
                self.on_message(now, key, &message, &[]);
            }
        }
    }

    /// Two nodes that dialled each other at once keep one of the connections, and both keep the same: the one that the
    /// smaller id dialled, or the newer if one side dialled both.
    pub(super) fn drop_twin(&mut self, key: Handle, node: u64) {
        if node == self.id {
            // We have dialled ourselves.
            let remote = self.connections[&key].remote;
            self.members.values_mut().for_each(|member| member.book.remove(remote));
            self.endpoint.close(key, 0);
            return;
        }
        let dialler = |connection: &Connection| if connection.inbound { node } else { self.id };
        // The same address too: anybody can say anybody's id.
        let remote = self.connections[&key].remote;
        let is_twin = |c: &Connection| c.node == Some(node) && c.remote == remote;
        let twin = self.connections.iter().find(|(other, c)| **other != key && is_twin(c));
        let Some((&other, twin)) = twin else { return };
        let (mine, theirs) = (dialler(&self.connections[&key]), dialler(twin));
        let drop = if mine > theirs { key } else { other };
        self.endpoint.close(drop, 0);
    }

    pub(super) fn on_tracker_event(&mut self, now: Instant, event: tracker::Event) {
        log::trace!("the tracker says {event:?}");
        self.dials.stir();
        match event {
            tracker::Event::Confirmed { fid } => {
                let Some(member) = self.members.get_mut(&fid) else { return };
                member.is_listed = true;
                if member.role == Role::Registering {
                    member.role = Role::Sharing;
                    self.events.push_back(Event::Registered(fid));
                }
            }
            tracker::Event::Holders { fid, holders, total } => {
                let Some(member) = self.members.get_mut(&fid) else { return };
                if member.swarm.is_done() {
                    return;
                }
                member.exchange.on_total(total);
                if holders.iter().filter(|holder| holder.progress != COMPLETE).count() >= self.config.crowd()
                {
                    member.mixing.begin(now);
                }
                member.book.add(holders.into_iter().map(|holder| holder.addr), now);
                if member.role == Role::LookingUp {
                    member.role = Role::Downloading;
                    self.trackers.announce(now, fid, None, 0, 0, WANT);
                } else if member.is_listed && member.mixing.asks_again(now) {
                    self.trackers.request_holders(now, fid);
                }
            }
            tracker::Event::Unknown { fid } => {
                if self.members.get(&fid).is_some_and(|member| member.role == Role::LookingUp) {
                    self.fail(now, fid, Error::UnknownFile(fid));
                }
            }
            tracker::Event::Cancelled { fid } => {
                if let Some(farewell) = self.farewells.get_mut(&fid) {
                    farewell.tracker_knows = true;
                }
                self.settle_farewells(now);
            }
            tracker::Event::Left => {
                if self.leaving.take().is_some() {
                    self.events.push_back(Event::Left);
                }
            }
            tracker::Event::Refused { fid, refusal } => {
                log::warn!("the tracker doesn't list us for {}: {refusal}", fid.short());
                if self.members.get(&fid).is_some_and(|member| member.role == Role::Registering) {
                    self.fail(now, fid, Error::Refused { fid, refusal: refusal.to_string() });
                }
            }
            tracker::Event::Found { .. } => {}
        }
    }

    /// Sends on what the swarms want said. False if there was nothing.
    pub(super) fn collect_notices(&mut self, now: Instant) -> bool {
        if !self.members.values().any(|member| member.swarm.has_news()) {
            return false;
        }
        let mut any = false;
        let fids: SmallVec<[Fid; 2]> = self.members.keys().copied().collect();
        for fid in fids {
            let Some(member) = self.members.get_mut(&fid) else { continue };
            let tag = member.swarm.number();
            member.swarm.take_outbox(&mut self.outbox);
            for (to, class, message) in self.outbox.drain(..) {
                self.endpoint.send(to, class, tag, message);
                any = true;
            }
            for notice in member.swarm.take_notices() {
                any = true;
                self.on_notice(now, fid, notice);
            }
        }
        any
    }

    pub(super) fn on_notice(&mut self, now: Instant, fid: Fid, notice: Notice) {
        self.dials.stir();
        match notice {
            Notice::Complete => {
                if let Some(member) = self.members.get_mut(&fid) {
                    member.role = Role::Sharing;
                    member.swarm.close_account(now, &self.intake);
                    let size = member.swarm.size().unwrap_or(0);
                    let has_all = self.config.gives && member.swarm.is_complete();
                    self.trackers.announce(now, fid, None, size, if has_all { COMPLETE } else { 0 }, 0);
                }
                self.events.push_back(Event::Downloaded(fid));
            }
            Notice::Failed(error) => {
                self.withdraw(now, fid);
                self.events.push_back(Event::Failed(fid, error));
            }
            Notice::Ban(addr, until) => {
                let liars = self.connections.iter().filter(|(_, c)| c.remote == addr).map(|(&key, _)| key);
                for key in liars.collect::<Vec<_>>() {
                    self.endpoint.close(key, 3);
                }
                if let Some(member) = self.members.get_mut(&fid) {
                    member.book.wait(addr, until);
                }
            }
        }
    }
}
