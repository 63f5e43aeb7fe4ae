//! The peer as a state machine: connections, the tracker, and all swarms that it takes part in.
//!
//! No socket, thread or clock here. [`client`](super::client) runs it on a real proxy, the simulator on a shaped
//! link; both run this very type.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::book::AddressBook;
use super::manifest::Manifest;
use super::message::Message;
use super::storage::Storage;
use super::swarm::{MakeStorage, Notice, Progress, Swarm};
use super::upload::MAX_BLOCK_MESSAGE;
use crate::machine::Machine;
use crate::name::FileName;
use crate::rand::Rng;
use crate::rudp::{self, Class, Endpoint, Handle, Oneshot};
use crate::time::{Duration, Instant};
use crate::tracker::{self, Announcer, COMPLETE};
use crate::{Error, Fid};

/// Everything about a node that a user may want otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// The transport.
    pub rudp: rudp::Config,
    /// A receiver looks for more peers until it has this many.
    pub neighbours: usize,
    /// How long a tracker may be silent before a call that needs it gives up.
    pub tracker_timeout: Duration,
    /// How long a download waits for anything new before it gives up.
    pub stall_timeout: Duration,
    /// How long `cancel` and `close` wait for what has left already and for the tracker's answer.
    pub farewell_timeout: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            rudp: rudp::Config::default(),
            neighbours: 20,
            tracker_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            farewell_timeout: Duration::from_millis(800),
        }
    }
}

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
struct Connection {
    remote: SocketAddr,
    inbound: bool,
    established: bool,
    /// The node at the other end, once it has said so.
    node: Option<u64>,
    /// The other side's numbers for files.
    channels: BTreeMap<u64, Fid>,
    /// The files that this side has introduced.
    opened: BTreeSet<Fid>,
    keeps_alive: bool,
}

#[derive(Debug)]
struct Membership {
    swarm: Swarm,
    book: AddressBook,
    role: Role,
    /// When the tracker was last asked for holders.
    asked_around: Instant,
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
    announcer: Announcer,
    connections: BTreeMap<Handle, Connection>,
    members: BTreeMap<Fid, Membership>,
    next_number: u32,
    /// Files take turns at the uplink.
    turn: Option<Fid>,
    farewells: BTreeMap<Fid, Farewell>,
    /// Until when this node waits for the tracker to hear that it leaves.
    leaving: Option<Instant>,
    events: VecDeque<Event>,
}

impl Node {
    /// A node that takes part in nothing yet.
    pub fn new(config: Config, tracker: SocketAddr, mut rng: Rng) -> Node {
        Node {
            id: rng.u64(),
            endpoint: Endpoint::new(config.rudp.clone(), rng.fork()),
            announcer: Announcer::new(tracker, rng.fork()),
            rng,
            config,
            connections: BTreeMap::new(),
            members: BTreeMap::new(),
            next_number: 0,
            turn: None,
            farewells: BTreeMap::new(),
            leaving: None,
            events: VecDeque::new(),
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
        let (fid, size) = (manifest.fid(), manifest.lengths().size());
        if let Some(member) = self.members.get_mut(&fid)
            && member.swarm.is_complete()
        {
            // The same content, maybe under another name: it is shared already.
            member.role = Role::Registering;
            member.began = now;
        } else {
            self.withdraw(now, fid);
            let (number, rng) = (self.take_number(), self.rng.fork());
            let swarm = Swarm::share(number, name.clone(), manifest, storage, rng, now);
            self.join(now, swarm, Role::Registering);
        }
        self.farewells.remove(&fid);
        self.announcer.announce(now, fid, name, size, COMPLETE, 0);
    }

    /// Fetches a file. Answered with [`Event::Downloaded`] or [`Event::Failed`]. While it is under way already,
    /// nothing new is begun.
    pub fn fetch(&mut self, now: Instant, fid: Fid, make_storage: MakeStorage) {
        if let Some(member) = self.members.get(&fid) {
            if member.swarm.is_complete() {
                self.events.push_back(Event::Downloaded(fid));
            }
            return;
        }
        self.farewells.remove(&fid);
        let (number, rng) = (self.take_number(), self.rng.fork());
        self.join(now, Swarm::fetch(number, fid, make_storage, rng, now), Role::LookingUp);
        self.announcer.lookup(now, fid);
    }

    fn join(&mut self, now: Instant, swarm: Swarm, role: Role) {
        let fid = swarm.fid();
        let member = Membership { swarm, book: AddressBook::default(), role, asked_around: now, began: now };
        self.members.insert(fid, member);
    }

    fn take_number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    /// Stops taking part in a file: nothing more of it is sent from now on. False if this node has nothing to do with
    /// it; else answered with [`Event::Cancelled`] when nothing of it is under way any more.
    pub fn cancel(&mut self, now: Instant, fid: Fid) -> bool {
        if !self.withdraw(now, fid) {
            return false;
        }
        self.settle_farewells(now);
        true
    }

    /// Leaves a swarm, telling everybody.
    fn withdraw(&mut self, now: Instant, fid: Fid) -> bool {
        let Some(member) = self.members.remove(&fid) else { return false };
        let tag = member.swarm.number();
        self.connections.values_mut().for_each(|connection| {
            connection.opened.remove(&fid);
        });
        for &key in member.swarm.peers().keys() {
            self.endpoint.abandon(key, tag);
            let shut = Message::Shut { channel: tag.into() };
            self.endpoint.send(key, Class::Control, 0, shut.encode());
        }
        self.announcer.cancel(now, fid);
        let deadline = now + self.config.farewell_timeout;
        self.farewells.insert(fid, Farewell { tag, tracker_knows: false, deadline });
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
        self.announcer.leave(now);
        self.settle(now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How far a file is; `None` if this node takes no part in it.
    pub fn progress(&self, fid: Fid) -> Option<Progress> {
        Some(self.members.get(&fid)?.swarm.progress())
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
            } else if let Some(event) = self.announcer.poll_event() {
                self.on_tracker_event(now, event);
            } else if !self.collect_notices(now) {
                break;
            }
        }
        self.dial(now);
        self.pump(now);
        self.watch_expected();
    }

    fn on_rudp_event(&mut self, now: Instant, event: rudp::Event) {
        match event {
            rudp::Event::Connected { handle, remote, inbound } => self.on_connected(handle, remote, inbound),
            rudp::Event::Message { handle, data } => match Message::decode(&data) {
                Ok(message) => self.on_message(now, handle, &message),
                Err(_) => {
                    log::debug!("{:?} sent what can't be read", self.remote(handle));
                    self.endpoint.close(handle, 2);
                }
            },
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

    fn remote(&self, key: Handle) -> Option<SocketAddr> {
        Some(self.connections.get(&key)?.remote)
    }

    fn on_connected(&mut self, key: Handle, remote: SocketAddr, inbound: bool) {
        let connection = self.connections.entry(key).or_insert_with(|| Connection::new(remote, inbound));
        connection.established = true;
        self.endpoint.send(key, Class::Control, 0, Message::Hello { node: self.id }.encode());
        // Whoever dials knows why: it opens the files that it dialled for.
        for member in self.members.values_mut().filter(|_| !inbound) {
            if member.book.contains(remote) {
                member.book.succeeded(remote);
                connection.opened.insert(member.swarm.fid());
                self.endpoint.send(key, Class::Control, 0, member.swarm.open_message().encode());
            }
        }
    }

    fn on_message(&mut self, now: Instant, key: Handle, message: &Message<'_>) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
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
                connection.opened.remove(&fid);
                if let Some(member) = self.members.get_mut(&fid) {
                    member.book.remove(connection.remote);
                    member.swarm.remove_peer(now, key);
                }
            }
            Message::Refuse { fid } => {
                let remote = connection.remote;
                connection.opened.remove(&fid);
                if let Some(member) = self.members.get_mut(&fid) {
                    member.book.remove(remote);
                    member.swarm.remove_peer(now, key);
                }
            }
            Message::AskManifest { channel, .. }
            | Message::Manifest { channel, .. }
            | Message::Bitfield { channel, .. }
            | Message::Have { channel, .. }
            | Message::Request { channel, .. }
            | Message::Any { channel, .. }
            | Message::None { channel, .. }
            | Message::Cancel { channel, .. }
            | Message::Reject { channel, .. }
            | Message::Block { channel, .. } => {
                // Of a file that was left meanwhile: whatever it is, it is refused by silence.
                if let Some(fid) = connection.channels.get(&channel)
                    && let Some(member) = self.members.get_mut(fid)
                    && member.swarm.peers().contains_key(&key)
                {
                    member.swarm.on_message(now, key, message);
                }
            }
        }
    }

    fn on_open(
        &mut self,
        now: Instant,
        key: Handle,
        channel: u64,
        fid: Fid,
        has_manifest: bool,
        is_complete: bool,
    ) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let Some(member) = self.members.get_mut(&fid) else {
            return self.endpoint.send(key, Class::Control, 0, Message::Refuse { fid }.encode());
        };
        connection.channels.insert(channel, fid);
        if connection.opened.insert(fid) {
            self.endpoint.send(key, Class::Control, 0, member.swarm.open_message().encode());
        }
        member.swarm.on_open(now, key, connection.remote, channel, has_manifest, is_complete);
    }

    /// Two nodes that dialled each other at once keep one of the connections, and both keep the same: the one that the
    /// smaller id dialled, or the newer if one side dialled both.
    fn drop_twin(&mut self, key: Handle, node: u64) {
        if node == self.id {
            // We have dialled ourselves.
            let remote = self.connections[&key].remote;
            self.members.values_mut().for_each(|member| member.book.remove(remote));
            self.endpoint.close(key, 0);
            return;
        }
        let dialler = |connection: &Connection| if connection.inbound { node } else { self.id };
        let twin = self.connections.iter().find(|(other, c)| **other != key && c.node == Some(node));
        let Some((&other, twin)) = twin else { return };
        let (mine, theirs) = (dialler(&self.connections[&key]), dialler(twin));
        let drop = if mine > theirs { key } else { other };
        self.endpoint.close(drop, 0);
    }

    fn on_tracker_event(&mut self, now: Instant, event: tracker::Event) {
        match event {
            tracker::Event::Confirmed { fid } => {
                if let Some(member) = self.members.get_mut(&fid)
                    && member.role == Role::Registering
                {
                    member.role = Role::Sharing;
                    self.events.push_back(Event::Registered(fid));
                }
            }
            tracker::Event::Holders { fid, holders, .. } => {
                let Some(member) = self.members.get_mut(&fid) else { return };
                if member.swarm.is_complete() {
                    return;
                }
                for holder in holders {
                    member.book.add(holder.addr, now);
                }
                if member.role == Role::LookingUp {
                    member.role = Role::Downloading;
                    self.announcer.announce(now, fid, None, 0, 0, WANT);
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
    fn collect_notices(&mut self, now: Instant) -> bool {
        let mut any = false;
        let fids: Vec<Fid> = self.members.keys().copied().collect();
        for fid in fids {
            let Some(member) = self.members.get_mut(&fid) else { continue };
            let tag = member.swarm.number();
            for (to, class, message) in member.swarm.take_outbox() {
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

    fn on_notice(&mut self, now: Instant, fid: Fid, notice: Notice) {
        match notice {
            Notice::Complete => {
                if let Some(member) = self.members.get_mut(&fid) {
                    member.role = Role::Sharing;
                    self.announcer.announce(now, fid, None, member.swarm.size().unwrap_or(0), COMPLETE, 0);
                }
                self.events.push_back(Event::Downloaded(fid));
            }
            Notice::Failed(error) => self.fail(now, fid, error),
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

    fn fail(&mut self, now: Instant, fid: Fid, error: Error) {
        self.withdraw(now, fid);
        self.events.push_back(Event::Failed(fid, error));
    }

    /// Connects to addresses that may have what is still missing.
    fn dial(&mut self, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        for member in self.members.values_mut().filter(|member| member.role == Role::Downloading) {
            let under_way = self.connections.values().filter(|c| !c.established).count();
            let mut room = self.config.neighbours.saturating_sub(member.swarm.peers().len() + under_way);
            let due: Vec<SocketAddr> = member.book.due(now).collect();
            for addr in due {
                if room == 0 {
                    break;
                }
                let known = self.connections.iter_mut().find(|(_, connection)| connection.remote == addr);
                if let Some((&key, connection)) = known {
                    // Connected for another file: open this one too. What isn't established yet will do so itself.
                    if connection.established && connection.opened.insert(member.swarm.fid()) {
                        self.endpoint.send(key, Class::Control, 0, member.swarm.open_message().encode());
                    }
                    continue;
                }
                let key = self.endpoint.connect(now, addr);
                self.connections.insert(key, Connection::new(addr, false));
                room -= 1;
            }
        }
    }

    /// Sends content while the windows have room, the files taking turns.
    fn pump(&mut self, now: Instant) {
        let fids: Vec<Fid> = self.members.keys().copied().collect();
        let start = fids.iter().position(|&fid| Some(fid) > self.turn).unwrap_or(0);
        let mut idle = 0;
        for &fid in fids[start..].iter().chain(&fids[..start]).cycle() {
            if idle == fids.len() {
                break;
            }
            let Some(member) = self.members.get_mut(&fid) else { break };
            let endpoint = &self.endpoint;
            match member.swarm.next_block(now, |key| endpoint.wants_bulk(key, MAX_BLOCK_MESSAGE)) {
                Some((to, block)) => {
                    self.endpoint.send(to, Class::Bulk, member.swarm.number(), block);
                    self.turn = Some(fid);
                    idle = 0;
                }
                None => idle += 1,
            }
        }
        self.collect_notices(now);
    }

    /// Has connections watched whose peers owe us something.
    fn watch_expected(&mut self) {
        for (&key, connection) in &mut self.connections {
            let expected = self.members.values().any(|member| member.swarm.expects(key));
            if connection.established && connection.keeps_alive != expected {
                connection.keeps_alive = expected;
                self.endpoint.set_keep_alive(key, expected);
            }
        }
    }

    fn settle_farewells(&mut self, now: Instant) {
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
    fn check_deadlines(&mut self, now: Instant) {
        if self.leaving.is_some_and(|deadline| deadline <= now) {
            self.leaving = None;
            self.events.push_back(Event::Left);
        }
        let mut failures = Vec::new();
        for (&fid, member) in &mut self.members {
            match member.role {
                Role::Registering | Role::LookingUp if member.began + self.config.tracker_timeout <= now => {
                    failures.push((fid, self.announcer.tracker(), None));
                }
                Role::Downloading if member.swarm.last_progress() + self.config.stall_timeout <= now => {
                    failures.push((fid, self.announcer.tracker(), Some(member.book.len())));
                }
                Role::Downloading
                    if member.swarm.peers().len() < self.config.neighbours
                        && member.asked_around + LOOK_AROUND <= now =>
                {
                    member.asked_around = now;
                    self.announcer.request_holders(now, fid);
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
    }

    fn next_deadline(&self) -> Option<Instant> {
        let members = self.members.values().filter_map(|member| match member.role {
            Role::Registering | Role::LookingUp => Some(member.began + self.config.tracker_timeout),
            Role::Downloading => {
                let stall = member.swarm.last_progress() + self.config.stall_timeout;
                let is_short = member.swarm.peers().len() < self.config.neighbours;
                Some(if is_short { stall.min(member.asked_around + LOOK_AROUND) } else { stall })
            }
            Role::Sharing => None,
        });
        let farewells = self.farewells.values().map(|farewell| farewell.deadline);
        members.chain(farewells).chain(self.leaving).min()
    }
}

impl Connection {
    fn new(remote: SocketAddr, inbound: bool) -> Connection {
        Connection {
            remote,
            inbound,
            established: false,
            node: None,
            channels: BTreeMap::new(),
            opened: BTreeSet::new(),
            keeps_alive: false,
        }
    }
}

impl Machine for Node {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if let Some(Oneshot { header, body }) = self.endpoint.handle_datagram(now, from, datagram) {
            self.announcer.handle_oneshot(now, from, header, body);
        }
        if !self.farewells.is_empty() {
            self.settle_farewells(now);
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.announcer.handle_timeout(now);
        self.members.values_mut().for_each(|member| {
            if member.swarm.poll_timeout().is_some_and(|(due, _)| due <= now) {
                member.swarm.handle_timeout(now);
            }
        });
        self.check_deadlines(now);
        self.settle(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        if let Some(to) = self.announcer.poll_transmit(now, buf) {
            return Some(to);
        }
        loop {
            if let Some(to) = self.endpoint.poll_transmit(now, buf) {
                return Some(to);
            }
            // What was queued has left: choose what comes next only now.
            let before = self.turn;
            self.turn = None;
            self.pump(now);
            if self.turn.is_none() {
                self.turn = before;
                return None;
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let swarms = self.members.values().filter_map(|member| member.swarm.poll_timeout());
        let own = self.next_deadline().map(|due| (due, "a call's deadline"));
        let parts = [self.endpoint.poll_timeout(), self.announcer.poll_timeout(), own];
        swarms.chain(parts.into_iter().flatten()).min()
    }
}
