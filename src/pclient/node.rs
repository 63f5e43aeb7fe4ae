//! The peer as a state machine: connections, the tracker, and all swarms that it takes part in.
//!
//! No socket, thread or clock here. [`client`](super::client) runs it on a real proxy, the simulator on a shaped
//! link; both run this very type.

mod admission;
mod config;
mod connection;
mod deadlines;
mod dial;
mod events;
mod exchange;
mod pump;
mod turns;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use self::admission::Newcomers;
pub use self::config::Config;
use self::connection::Connection;
use self::dial::{Dials, Mixing};
use self::exchange::Exchange;
use self::turns::Turns;
use super::account::Account;
use super::account::ledger::Intake;
use super::book::AddressBook;
use super::manifest::Manifest;
use super::message::Message;
use super::status::PeerStatus;
use super::storage::Storage;
use super::swarm::{MakeStorage, Progress, Swarm};
use crate::machine::{Job, Machine};
use crate::name::FileName;
use crate::rand::Rng;
use crate::rudp::{Class, Endpoint, Handle, Oneshot};
use crate::small::SmallMap;
use crate::time::{Duration, Instant};
use crate::tracker::{COMPLETE, Trackers};
use crate::units::Rate;
use crate::{Error, Fid};

/// Holders that one answer of the tracker shall name.
const WANT: u8 = 30;
/// While a download has too few peers, the tracker is asked again this often.
const LOOK_AROUND: Duration = Duration::from_secs(3);

/// What a node has to tell its owner.
#[derive(Debug)]
pub enum Event {
    /// The tracker lists this node as a holder.
    Registered(Fid),
    /// All is there, verified and stored.
    Downloaded(Fid),
    /// Registering or downloading failed; the file is no longer taken part in.
    Failed(Fid, Error),
    /// The file is no longer taken part in, and nothing of it is under way.
    Cancelled(Fid),
    /// Everybody has been told that this node leaves.
    Left,
}

#[derive(Debug)]
struct Membership {
    swarm: Swarm,
    book: AddressBook,
    mixing: Mixing,
    role: Role,
    /// Whether the tracker has ever confirmed that we hold the file.
    is_listed: bool,
    /// When the tracker was last asked for holders.
    asked_around: Instant,
    exchange: Exchange,
    began: Instant,
}

/// What the owner waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The tracker's word that we are listed.
    Registering,
    /// The tracker's word on who has the file.
    LookingUp,
    /// The content.
    Downloading,
    /// Nothing: the file is shared.
    Sharing,
}

/// A withdrawal under way.
#[derive(Clone, Copy, Debug)]
struct Farewell {
    tag: u32,
    tracker_knows: bool,
    deadline: Instant,
}

/// A peer.
#[derive(Debug)]
pub struct Node {
    config: Config,
    /// Drawn at random: recognises this node whatever its address looks like from outside.
    id: u64,
    rng: Rng,
    endpoint: Endpoint,
    intake: Intake,
    trackers: Trackers,
    connections: SmallMap<Handle, Connection>,
    newcomers: Newcomers,
    members: SmallMap<Fid, Membership>,
    next_number: u32,
    /// Files take turns at the uplink.
    turns: Turns,
    dials: Dials,
    /// Whether content was looked for in vain, and nothing has been sent or has happened since.
    is_pumped: bool,
    /// Connections whose peers may have begun to owe us something, or ceased to.
    unwatched: Vec<Handle>,
    farewells: BTreeMap<Fid, Farewell>,
    /// Until when this node waits for the tracker to hear that it leaves.
    leaving: Option<Instant>,
    /// Leaving or gone: nothing is begun any more that nobody would end.
    has_left: bool,
    events: VecDeque<Event>,
    /// Files that were left. What is to be kept of them is recorded when they are dropped, and that takes a disk.
    left: VecDeque<Swarm>,
    /// Messages of a swarm on their way to the transport; empty in between.
    outbox: Vec<(Handle, Class, Vec<u8>)>,
}

impl Node {
    /// A node that takes part in nothing yet.
    pub fn new(config: Config, tracker: SocketAddr, rng: Rng) -> Node {
        Node::with_trackers(config, &[tracker], rng)
    }

    /// As [`new`](Node::new), with several trackers; one that answers is enough.
    ///
    /// # Panics
    /// If there is none.
    pub fn with_trackers(config: Config, trackers: &[SocketAddr], mut rng: Rng) -> Node {
        Node {
            id: rng.u64(),
            endpoint: Endpoint::new(config.rudp.clone(), rng.fork()),
            intake: Intake::new(config.download_limit),
            trackers: Trackers::new(trackers, &mut rng),
            rng,
            config,
            connections: SmallMap::new(),
            newcomers: Newcomers::default(),
            members: SmallMap::new(),
            next_number: 0,
            turns: Turns::default(),
            dials: Dials::default(),
            is_pumped: false,
            unwatched: Vec::new(),
            farewells: BTreeMap::new(),
            leaving: None,
            has_left: false,
            events: VecDeque::new(),
            left: VecDeque::new(),
            outbox: Vec::new(),
        }
    }

    /// Shares a file. Answered with [`Event::Registered`] or [`Event::Failed`].
    pub fn share(
        &mut self,
        now: Instant,
        name: Option<FileName>,
        manifest: Manifest,
        storage: Box<dyn Storage>,
    ) {
        let (fid, size, announced) = (manifest.fid(), manifest.lengths().size(), name.clone());
        if self.has_left {
            return self.events.push_back(Event::Failed(fid, Error::Closed));
        }
        self.come_back(fid);
        if let Some(member) = self.members.get_mut(&fid)
            && member.swarm.is_finished()
        {
            // The same content, maybe under another name: it is shared already.
            member.role = Role::Registering;
            member.began = now;
        } else {
            // What was being fetched is here: whoever waits for it has it.
            let was_wanted = self.give_up(now, fid);
            self.farewells.remove(&fid);
            let (number, rng) = (self.take_number(), self.rng.fork());
            let swarm = Swarm::share(number, name, manifest, storage, rng, now);
            self.join(now, swarm, Role::Registering);
            if was_wanted {
                self.events.push_back(Event::Downloaded(fid));
            }
        }
        self.trackers.announce(now, fid, announced.as_ref(), size, COMPLETE, 0);
    }

    /// Fetches a file. Answered with [`Event::Downloaded`] or [`Event::Failed`]. While it is under way already,
    /// nothing new is begun.
    pub fn fetch(&mut self, now: Instant, fid: Fid, make_storage: MakeStorage) {
        if self.has_left {
            return self.events.push_back(Event::Failed(fid, Error::Closed));
        }
        if let Some(member) = self.members.get(&fid) {
            if member.swarm.is_finished() {
                self.events.push_back(Event::Downloaded(fid));
            }
            return;
        }
        self.come_back(fid);
        let (number, rng) = (self.take_number(), self.rng.fork());
        let mut swarm = Swarm::fetch(number, fid, make_storage, rng, now);
        swarm.open_account(now, &self.intake);
        self.join(now, swarm, Role::LookingUp);
        self.trackers.lookup(now, fid);
    }

    /// Ends a farewell early, as the file is taken part in again. What was cancelled stays so.
    fn come_back(&mut self, fid: Fid) {
        if self.farewells.remove(&fid).is_some() {
            self.events.push_back(Event::Cancelled(fid));
        }
    }

    fn join(&mut self, now: Instant, mut swarm: Swarm, role: Role) {
        let fid = swarm.fid();
        swarm.set_manners(self.config.choking, self.config.gives);
        let member = Membership {
            swarm,
            book: AddressBook::default(),
            mixing: Mixing::default(),
            role,
            is_listed: false,
            asked_around: now,
            exchange: Exchange::new(now),
            began: now,
        };
        self.members.insert(fid, member);
        self.dials.stir();
        self.is_pumped = false;
    }

    fn take_number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    /// Stops taking part in a file: nothing more of it is sent from now on. False if this node has nothing to do with
    /// it; else answered with [`Event::Cancelled`] when nothing of it is under way any more.
    pub fn cancel(&mut self, now: Instant, fid: Fid) -> bool {
        if !self.give_up(now, fid) {
            return false;
        }
        self.settle(now);
        self.settle_farewells(now);
        true
    }

    /// As [`withdraw`](Node::withdraw), but nothing is left of an unfinished file.
    fn give_up(&mut self, now: Instant, fid: Fid) -> bool {
        if let Some(member) = self.members.get(&fid) {
            member.swarm.abandon();
        }
        self.withdraw(now, fid)
    }

    /// Leaves a swarm, telling everybody. What there is of an unfinished file is kept where it outlasts the process.
    fn withdraw(&mut self, now: Instant, fid: Fid) -> bool {
        let Some(member) = self.members.remove(&fid) else { return false };
        self.unwatched.extend(member.swarm.peers().keys());
        self.dials.stir();
        self.is_pumped = false;
        self.turns.forget(&fid);
        let tag = member.swarm.number();
        for (&key, connection) in self.connections.iter_mut() {
            // Also where the two have parted already: something may still wait there.
            self.endpoint.abandon(key, tag);
            let (was_opened, peer) = (connection.opened.remove(&fid), member.swarm.peers().get(&key));
            if let Some(peer) = peer {
                connection.note_debt(fid, peer.source.owed());
            }
            // Who has not answered the opening yet will learn of both.
            if was_opened || peer.is_some() {
                say(&mut self.endpoint, key, &Message::Shut { channel: tag.into() });
            }
        }
        self.trackers.cancel(now, fid);
        let deadline = now + self.config.farewell_timeout;
        self.farewells.insert(fid, Farewell { tag, tracker_knows: false, deadline });
        self.left.push_back(member.swarm);
        true
    }

    /// Leaves all swarms and closes all connections. Answered with [`Event::Left`].
    pub fn leave(&mut self, now: Instant) {
        let fids: Vec<Fid> = self.members.keys().copied().collect();
        for fid in fids {
            self.withdraw(now, fid);
        }
        let handles: Vec<Handle> = self.connections.keys().copied().collect();
        for key in handles {
            self.endpoint.close(key, 0);
        }
        self.leaving = Some(now + self.config.farewell_timeout);
        self.has_left = true;
        // Who dials now would be left alone with its connection.
        self.endpoint.refuse_strangers();
        self.trackers.leave(now);
        self.settle(now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How far a file is; `None` if this node takes no part in it.
    pub fn progress(&self, fid: Fid) -> Option<Progress> {
        let swarm = self.swarm(fid)?;
        Some(Progress { on_its_way: self.endpoint.unsettled(swarm.number()), ..swarm.progress() })
    }

    /// What has held back the download of a file up to `now`; `None` if this node doesn't download it and never did.
    pub fn account(&self, now: Instant, fid: Fid) -> Option<Account> {
        self.members.get(&fid)?.swarm.account(now, &self.intake)
    }

    /// The downlink has another rate from now on; see [`Config::download_limit`].
    pub fn set_download_limit(&mut self, limit: Rate) {
        self.intake.set_limit(limit);
    }

    /// How this node stands with each peer, file by file.
    pub fn peers(&self, now: Instant) -> impl Iterator<Item = PeerStatus> + '_ {
        self.members.values().flat_map(move |member| member.swarm.statuses(now))
    }

    /// The swarm of a file.
    pub fn swarm(&self, fid: Fid) -> Option<&Swarm> {
        Some(&self.members.get(&fid)?.swarm)
    }

    /// The transport.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Takes in what the parts have to say, until none has more.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(event) = self.endpoint.poll_event() {
                self.on_rudp_event(now, event);
            } else if let Some(event) = self.trackers.poll_event() {
                self.on_tracker_event(now, event);
            } else if !self.collect_notices(now) {
                break;
            }
        }
        self.dial(now);
        // Of several files, the connections that got a block early would share the uplink, instead of the files; of one file, all
        // who wait would get their pieces at the same time, instead of one after the other.
        if !self.endpoint.has_wide_uplink() && (self.members.len() == 1 || self.wanted_files().len() == 1) {
            self.pump(now);
        } else {
            self.is_pumped = false;
        }
        self.watch_expected();
        for member in self.members.values_mut() {
            member.swarm.keep_account(now, &self.intake, member.role == Role::LookingUp);
        }
    }

    fn fail(&mut self, now: Instant, fid: Fid, error: Error) {
        match self.members.get_mut(&fid) {
            // Registering it once more has failed; that is no reason to stop sharing it.
            Some(member) if member.role == Role::Registering && member.is_listed => {
                member.role = Role::Sharing;
            }
            _ => {
                self.withdraw(now, fid);
            }
        }
        self.events.push_back(Event::Failed(fid, error));
    }

    /// Has connections watched whose peers owe us something.
    fn watch_expected(&mut self) {
        for member in self.members.values_mut() {
            member.swarm.take_unwatched(&mut self.unwatched);
        }
        for key in self.unwatched.drain(..) {
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            let expected = self.members.values().any(|member| member.swarm.expects(key));
            if connection.established && connection.keeps_alive != expected {
                connection.keeps_alive = expected;
                self.endpoint.set_keep_alive(key, expected);
            }
        }
        debug_assert!(
            self.connections.iter().filter(|(_, connection)| connection.established).all(|(&key, c)| {
                c.keeps_alive == self.members.values().any(|member| member.swarm.expects(key))
            }),
            "a peer owes us something, or nothing any more, and nobody has noticed"
        );
    }
}

/// Sends a message of the node's own, which no cancel of a file takes back.
fn say(endpoint: &mut Endpoint, to: Handle, message: &Message<'_>) {
    log::trace!("to {to:?}: {message}");
    endpoint.send(to, Class::Control, 0, message.encode());
}

impl Machine for Node {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.intake.on_datagram(datagram.len());
        if let Some(Oneshot { header, body }) = self.endpoint.handle_datagram(now, from, datagram) {
            self.trackers.handle_oneshot(now, from, header, body);
        }
        self.settle_farewells(now);
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.trackers.handle_timeout(now);
        let queue = self.endpoint.downlink_queue(now);
        self.members.values_mut().for_each(|member| {
            if member.swarm.poll_timeout().is_some_and(|(due, _)| due <= now) {
                let was_starved = member.swarm.is_starved();
                member.swarm.handle_timeout(now, queue);
                // Who begins to starve may dial more.
                if member.swarm.is_starved() && !was_starved {
                    self.dials.stir();
                }
            }
        });
        self.check_deadlines(now);
        self.settle(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        if let Some(to) = self.trackers.poll_transmit(now, buf) {
            return Some(to);
        }
        loop {
            if let Some(to) = self.endpoint.poll_transmit(now, buf) {
                self.is_pumped = false;
                return Some(to);
            }
            // What was queued has left: choose what comes next only now.
            if self.is_pumped || !self.pump(now) {
                return None;
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let mut next = self.endpoint.poll_timeout();
        let mut note = |other: Option<(Instant, &'static str)>| {
            if let Some(other) = other
                && next.is_none_or(|next| other.0 < next.0)
            {
                next = Some(other);
            }
        };
        note(self.trackers.poll_timeout());
        note(self.next_deadline().map(|due| (due, "a call's deadline")));
        self.members.values().for_each(|member| note(member.swarm.poll_timeout()));
        next
    }

    fn poll_job(&mut self) -> Option<Job<Node>> {
        if let Some(left) = self.left.pop_front() {
            return Some(Box::new(move || {
                drop(left);
                Box::new(|_, _| {})
            }));
        }
        let (fid, number, job) = self.members.values_mut().find_map(|member| {
            let job = member.swarm.poll_job()?;
            Some((member.swarm.fid(), member.swarm.number(), job))
        })?;
        Some(Box::new(move || {
            let outcome = job();
            Box::new(move |node, now| {
                // It may have been left, and even taken part in anew, meanwhile.
                let member = node.members.get_mut(&fid).filter(|member| member.swarm.number() == number);
                if let Some(member) = member {
                    outcome(&mut member.swarm, now);
                    node.settle(now);
                }
            })
        }))
    }
}

#[cfg(test)]
mod tests;
