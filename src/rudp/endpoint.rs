//! All connections of one address: finds the connection of a datagram, lets strangers in, and shares the links.
//!
//! No socket and no clock here, and no knowledge of what the messages mean. The polling contract is
//! [`Machine`](crate::machine::Machine)'s; after each call, [`poll_event`](Endpoint::poll_event) until it gives `None`.
//!
//! - `handle_…`: [`handle_datagram`](Endpoint::handle_datagram), [`handle_timeout`](Endpoint::handle_timeout)
//! - `poll_…`: [`poll_transmit`](Endpoint::poll_transmit), [`poll_timeout`](Endpoint::poll_timeout),
//!   [`poll_event`](Endpoint::poll_event)
//! - commands: [`connect`](Endpoint::connect), [`send`](Endpoint::send), [`abandon`](Endpoint::abandon),
//!   [`set_keep_alive`](Endpoint::set_keep_alive), [`close`](Endpoint::close),
//!   [`refuse_strangers`](Endpoint::refuse_strangers)

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::config::Config;
use super::congestion::links::Links;
use super::connection::{Connection, Elsewhere};
use super::cookie::{Cookie, CookieJar};
use super::deadlines::Deadlines;
use super::error::CloseReason;
use super::handshake::{Hello, MIN_RECEIVE_WINDOW, Welcome};
use super::mtu;
use super::packet::{self, ConnectionId, Header, Kind};
use super::path;
use super::send_window::{Class, Tag};
use super::sent::SentPackets;
use super::seq;
use super::stateless::Stateless;
use super::stats::{Arrivals, Stats};
use super::turns::Turns;
use crate::coding::{Reader, Writer};
use crate::rand::Rng;
use crate::small::{SmallMap, SmallSet};
use crate::time::{Duration, Instant};

/// The code of a close that says "I don't know this connection".
const CODE_UNKNOWN: u64 = 1;

/// Names a connection of this endpoint; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(u64);

#[cfg(test)]
impl Handle {
    /// A handle of no endpoint, to test books that are kept by handle.
    pub(crate) const fn for_test(key: u64) -> Handle {
        Handle(key)
    }
}

/// What the user of an endpoint learns.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody who was asked for a connection is there, though it may still refuse: what is queued now goes with the hello that it is
    /// waiting for, and is there as soon as the connection is. Bulk isn't, nor what doesn't fit beside the hello.
    Answered {
        /// Of this connection.
        handle: Handle,
    },
    /// The handshake is over.
    Connected {
        /// Of this connection.
        handle: Handle,
        /// With this address.
        remote: SocketAddr,
        /// Whether the other side had asked.
        inbound: bool,
    },
    /// A whole message arrived.
    Message {
        /// Over this connection.
        handle: Handle,
        /// The message.
        data: Vec<u8>,
    },
    /// The peer's address has changed, and the new one is proved. Nothing else about the connection has.
    Moved {
        /// Which connection.
        handle: Handle,
        /// To this address.
        remote: SocketAddr,
    },
    /// The connection is over; its handle means nothing any more.
    Closed {
        /// Which connection.
        handle: Handle,
        /// With whom.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
}

/// A datagram outside any connection, for the user to interpret.
#[derive(Debug, PartialEq, Eq)]
pub struct Oneshot<'a> {
    /// The header, whose connection id is the transaction's.
    pub header: Header,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Datagrams that went no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Damaged, foreign, or of an unknown version or kind.
    pub undecodable: u64,
    /// Of no connection that is known here, or from an address that its peer has not proved to be at.
    pub stray: u64,
    /// Hellos and changes of address beyond the limits on connections, and hellos without a good cookie that could not be answered.
    pub refused: u64,
}

/// The connections of one address.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    rng: Rng,
    cookies: CookieJar,
    next_key: u64,
    connections: SmallMap<u64, Box<Connection>>,
    /// By the name on the wire alone, for a peer may move. What comes from another address than the connection's remote
    /// is treated as a stranger's all the same.
    by_id: HashMap<ConnectionId, u64>,
    links: Links,
    turns: Turns,
    deadlines: Deadlines,
    /// Connections to which something has happened that `wants_bulk` depends on.
    stirred: SmallSet<u64>,
    stateless: Stateless,
    refuses_strangers: bool,
    events: VecDeque<Event>,
    dropped: Dropped,
}

impl Endpoint {
    /// An endpoint without connections, which draws its ids, numbers and keys from `rng`.
    ///
    /// # Panics
    /// If the receive window is smaller than what peers may send before they know it.
    pub fn new(config: Config, mut rng: Rng) -> Endpoint {
        assert!(
            config.receive_window >= MIN_RECEIVE_WINDOW,
            "{} B are too small a window",
            config.receive_window
        );
        Endpoint {
            cookies: CookieJar::new(&mut rng),
            links: Links::new(mtu::BASE.min(config.max_datagram_size) as u64),
            config,
            rng,
            next_key: 0,
            connections: SmallMap::new(),
            by_id: HashMap::new(),
            turns: Turns::default(),
            deadlines: Deadlines::default(),
            stirred: SmallSet::default(),
            stateless: Stateless::new(),
            refuses_strangers: false,
            events: VecDeque::new(),
            dropped: Dropped::default(),
        }
    }

    /// Asks `remote` for a connection.
    pub fn connect(&mut self, now: Instant, remote: SocketAddr) -> Handle {
        let (key, sent) = (self.take_key(), self.first_packet());
        let id = self.take_id();
        log::trace!("{id}: {remote} is dialled");
        self.insert(Connection::connect(key, id, remote, sent, &self.config, now), key);
        Handle(key)
    }

    /// Queues a message; before the handshake is over it waits, unless it goes with the hello. Dropped if the connection is gone: its closing has
    /// been, or will be, told by an event.
    ///
    /// # Panics
    /// If `data` is longer than [`Config::max_message`].
    pub fn send(&mut self, handle: Handle, class: Class, tag: Tag, data: impl Into<Bytes>) {
        let data = data.into();
        assert!(data.len() as u64 <= self.config.max_message, "a message of {} B is too long", data.len());
        if let Some(connection) = self.connections.get_mut(&handle.0) {
            connection.send(class, tag, data);
            self.turns.mark(handle.0);
        }
    }

    /// Whether a bulk message of `len` B would be on its way at once. Ask before each, and choose what to send only
    /// then: what is queued early can't be chosen better later.
    pub fn wants_bulk(&self, handle: Handle, len: usize) -> bool {
        self.connections.get(&handle.0).is_some_and(|connection| connection.wants_bulk(len, &self.links))
    }

    /// Whether bulk of any connection may go at once. While it may not, [`wants_bulk`](Endpoint::wants_bulk) is false for all.
    pub fn has_bulk_room(&self) -> bool {
        self.links.uplink.has_room()
    }

    /// Whether so many datagrams may be under way that each peer is best served by itself for a while. Where it is but a few, the
    /// end of one message and the beginning of the next share a datagram, and several should be queued.
    pub fn has_wide_uplink(&self) -> bool {
        self.links.uplink.is_wide()
    }

    /// The queue on this node's downlink, as far as all who send to it share it; `None` while less than two do.
    pub fn downlink_queue(&self, now: Instant) -> Option<Duration> {
        self.links.downlink.crowding(now)
    }

    /// The connections of which [`wants_bulk`](Endpoint::wants_bulk) may have become true since this was last asked, other
    /// than by [room for all](Endpoint::has_bulk_room).
    pub fn take_stirred(&mut self) -> impl Iterator<Item = (Handle, Arrivals)> + '_ {
        let connections = &self.connections;
        let arrivals = |key: &u64| connections.get(key).map(|c| c.arrivals()).unwrap_or_default();
        self.stirred.drain().map(move |key| (Handle(key), arrivals(&key)))
    }

    /// Drops all messages with this tag; see [`is_in_flight`](Endpoint::is_in_flight) for what has left already.
    pub fn abandon(&mut self, handle: Handle, tag: Tag) {
        if let Some(connection) = self.connections.get_mut(&handle.0) {
            connection.abandon(tag);
            self.stirred.insert(handle.0);
            self.turns.mark(handle.0);
        }
    }

    /// Whether a packet with bytes of this tag is on its way.
    pub fn is_in_flight(&self, handle: Handle, tag: Tag) -> bool {
        self.connections.get(&handle.0).is_some_and(|connection| connection.is_in_flight(tag))
    }

    /// The bulk with this tag that waits or has not been acked whole, on all connections, B.
    pub fn unsettled(&self, tag: Tag) -> u64 {
        self.connections.values().map(|connection| connection.unsettled(tag)).sum()
    }

    /// Whether the bulk for this peer is to come before what others send to it. Then a part of the uplink's window may be under way
    /// to it, however narrow a share of its downlink it gets beside others, as long as the queue there is short.
    pub fn set_leading(&mut self, handle: Handle, on: bool) {
        if let Some(connection) = self.connections.get_mut(&handle.0) {
            connection.set_leading(on);
        }
    }

    /// Whether the peer is expected to send, so that its silence is worth a question.
    pub fn set_keep_alive(&mut self, handle: Handle, on: bool) {
        if let Some(connection) = self.connections.get_mut(&handle.0) {
            connection.set_keep_alive(on);
            self.rearm(handle.0);
        }
    }

    /// Ends a connection: the other side is told once, with `code`, and what is queued is dropped.
    pub fn close(&mut self, handle: Handle, code: u64) {
        if let Some(connection) = self.connections.get(&handle.0) {
            let (id, remote) = (connection.id(), connection.remote());
            self.stateless.push_close(remote, close_datagram(id, connection.next_number(), code));
            self.remove(handle.0, CloseReason::Local);
        }
    }

    /// Lets nobody in any more: who asks is told that there is nothing here for it, and goes elsewhere at once.
    pub fn refuse_strangers(&mut self) {
        self.refuses_strangers = true;
    }

    /// What a connection can tell about itself.
    pub fn stats(&self, now: Instant, handle: Handle) -> Option<Stats> {
        Some(self.connections.get(&handle.0)?.stats(now))
    }

    /// The same, summed over all connections that are open.
    pub fn total_stats(&self, now: Instant) -> Stats {
        let mut total = Stats::default();
        self.connections.values().for_each(|connection| total.add(&connection.stats(now)));
        total
    }

    /// Datagrams that went no further.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// How many connections there are.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Takes in a datagram. What belongs to no connection by its kind is given back.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Option<Oneshot<'a>> {
        self.links.downlink.on_datagram(now, datagram.len());
        let Ok((header, body)) = packet::open(datagram) else {
            self.dropped.undecodable += 1;
            return None;
        };
        if header.kind == Kind::Oneshot {
            return Some(Oneshot { header, body });
        }
        let named = self.by_id.get(&header.connection).copied();
        let known = named.filter(|key| self.connections.get(key).is_some_and(|c| c.remote() == from));
        match (known, named, header.kind) {
            (Some(key), _, kind) => self.handle_known(now, key, kind, header.number, body),
            (None, None, Kind::Hello) if self.refuses_strangers => {
                self.handle_stray(now, from, header, datagram.len());
            }
            (None, _, Kind::Hello) => self.handle_stranger(now, from, header, body),
            (None, Some(key), Kind::Data) => {
                self.handle_elsewhere(now, key, from, header.number, body, datagram.len());
            }
            (None, None, Kind::Data) => self.handle_stray(now, from, header, datagram.len()),
            (None, _, _) => self.dropped.stray += 1,
        }
        None
    }

    /// Data of a known connection from another address: its peer has moved, or somebody repeats what was overheard.
    fn handle_elsewhere(
        &mut self,
        now: Instant,
        key: u64,
        from: SocketAddr,
        number: u32,
        body: &[u8],
        len: usize,
    ) {
        let connection = self.connections.get_mut(&key).expect("known connections exist");
        let before = connection.remote();
        match connection.handle_elsewhere(now, from, number, body, len, self.rng.bytes()) {
            Elsewhere::Ignored => self.dropped.stray += 1,
            Elsewhere::Challenge => {
                self.dropped.stray += 1;
                if self.stateless.grant(now, path::CHALLENGE_DATAGRAM) {
                    connection.order_challenge(now);
                    self.turns.mark(key);
                }
            }
            Elsewhere::Proved(_) if before.ip() != from.ip() && !self.has_room_at(from.ip()) => {
                self.dropped.refused += 1;
            }
            Elsewhere::Proved(rtt) => {
                let connection = self.connections.get_mut(&key).expect("known connections exist");
                log::trace!("{}: {before} has moved to {from}", connection.id());
                // Before the datagram itself is heard: its delay must not be measured against the old path.
                connection.move_to(now, from, rtt, &mut self.links);
                self.events.push_back(Event::Moved { handle: Handle(key), remote: from });
                self.handle_known(now, key, Kind::Data, number, body);
            }
        }
    }

    fn handle_known(&mut self, now: Instant, key: u64, kind: Kind, number: u32, body: &[u8]) {
        let connection = self.connections.get_mut(&key).expect("known connections exist");
        let (handle, remote) = (Handle(key), connection.remote());
        self.stirred.insert(key);
        match kind {
            Kind::Retry => {
                if let Ok(cookie) = Cookie::decode(&mut Reader::new(body))
                    && connection.handle_retry(cookie)
                {
                    self.events.push_back(Event::Answered { handle });
                }
            }
            Kind::Hello => {
                // The welcome was lost: it is due again, to whoever proves the address again.
                if let Ok((hello, _)) = Hello::decode(body)
                    && hello.cookie.is_some_and(|cookie| self.cookies.accepts(now, remote, &cookie))
                {
                    connection.handle_hello(now, &hello);
                }
            }
            Kind::Welcome => {
                if let Ok(welcome) = Welcome::decode(body)
                    && connection.handle_welcome(now, number, &welcome, &self.links)
                {
                    log::trace!("{}: established, {remote} was dialled", connection.id());
                    self.events.push_back(Event::Connected { handle, remote, inbound: false });
                }
            }
            Kind::Data => {
                let events = &mut self.events;
                let taken = connection.handle_data(now, number, body, &mut self.links, |data| {
                    events.push_back(Event::Message { handle, data });
                });
                if let Err(violation) = taken {
                    log::debug!("closing the connection with {remote}: {violation}");
                    self.remove(key, CloseReason::Violation(violation));
                    return;
                }
            }
            Kind::Close if !connection.accepts_close(number) => self.dropped.stray += 1,
            Kind::Close => {
                let code = Reader::new(body).varint().unwrap_or(0);
                let reason =
                    if code == CODE_UNKNOWN { CloseReason::Unknown } else { CloseReason::Remote(code) };
                self.remove(key, reason);
                return;
            }
            Kind::Oneshot => unreachable!("given back before"),
        }
        // Those that wait for room go first: the acks come to whoever was served last.
        self.wake_blocked();
        self.turns.mark(key);
    }

    /// A hello of an unknown connection: without a good cookie it gets one and leaves no trace (RFC 9000 §8.1).
    fn handle_stranger(&mut self, now: Instant, from: SocketAddr, header: Header, body: &[u8]) {
        let Ok((hello, early)) = Hello::decode(body) else {
            self.dropped.undecodable += 1;
            return;
        };
        if !hello.cookie.is_some_and(|cookie| self.cookies.accepts(now, from, &cookie)) {
            let mut retry = Vec::new();
            packet::begin(&mut retry, Header { kind: Kind::Retry, number: 0, ..header });
            self.cookies.make(now, from).encode(&mut retry);
            packet::seal(&mut retry);
            if !self.stateless.push_retry(now, from, retry) {
                self.dropped.refused += 1;
            }
            return;
        }
        if self.by_id.contains_key(&header.connection) || !self.admits(from.ip()) {
            self.dropped.refused += 1;
            return;
        }
        let (key, sent) = (self.take_key(), self.first_packet());
        let connection = Connection::accept(
            key,
            header.connection,
            from,
            sent,
            &hello,
            header.number,
            self.links.downlink.queue(now),
            &self.config,
            now,
        );
        log::trace!("{}: established, {from} has dialled", connection.id());
        let handle = Handle(key);
        self.insert(connection, key);
        self.events.push_back(Event::Connected { handle, remote: from, inbound: true });
        let connection = self.connections.get_mut(&key).expect("it has just been inserted");
        let events = &mut self.events;
        let taken = connection.handle_early(now, header.number, early, &mut self.links, |data| {
            events.push_back(Event::Message { handle, data });
        });
        if let Err(violation) = taken {
            log::debug!("closing the connection with {from}: {violation}");
            self.remove(key, CloseReason::Violation(violation));
        }
    }

    fn admits(&self, ip: IpAddr) -> bool {
        self.connections.len() < self.config.max_connections && self.has_room_at(ip)
    }

    fn has_room_at(&self, ip: IpAddr) -> bool {
        let there = self.connections.values().filter(|connection| connection.remote().ip() == ip).count();
        there < self.config.max_connections_per_ip
    }

    /// Word of a connection that isn't known: this side was restarted, or gave it up. Telling the other side saves it
    /// a time-out; never with more bytes than came in.
    fn handle_stray(&mut self, now: Instant, from: SocketAddr, header: Header, len: usize) {
        self.dropped.stray += 1;
        let close = close_datagram(header.connection, header.number, CODE_UNKNOWN);
        if close.len() <= len {
            self.stateless.push_stray(now, from, close);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, key)) = self.deadlines.first()
            && deadline <= now
        {
            let connection = self.connections.get_mut(&key).expect("only live connections have deadlines");
            self.stirred.insert(key);
            match connection.handle_timeout(now, &mut self.links) {
                Some(reason) => self.remove(key, reason),
                None => {
                    self.rearm(key);
                    self.turns.mark(key);
                }
            }
        }
        self.wake_blocked();
    }

    /// Writes the next datagram over `buf` and says for whom it is.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        if let Some((to, datagram)) = self.stateless.pop() {
            buf.clear();
            buf.bytes(&datagram);
            return Some(to);
        }
        while let Some(key) = self.turns.next(self.links.uplink.has_room()) {
            let connection = self.connections.get_mut(&key).expect("only live connections have turns");
            if let Some(to) = connection.poll_transmit(now, buf, &mut self.links) {
                if to == connection.remote() {
                    self.stateless.on_sent(buf.len());
                }
                self.stirred.insert(key);
                self.turns.again(key, buf.len());
                return Some(to);
            }
            if connection.is_blocked_by_uplink() {
                self.turns.wait(key);
            } else {
                self.turns.rest(key);
            }
            self.deadlines.set(key, connection.poll_timeout().map(|(deadline, _)| deadline));
        }
        None
    }

    /// The next deadline, and what it is for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (deadline, key) = self.deadlines.first()?;
        let reason = self.connections.get(&key).and_then(|connection| connection.poll_timeout());
        Some((deadline, reason.map_or("connection", |(_, timer)| timer.name())))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The packets of a new connection, before the first one.
    fn first_packet(&mut self) -> SentPackets {
        SentPackets::new(seq::first(&mut self.rng), self.rng.fork())
    }

    /// An id that no other connection here has.
    fn take_id(&mut self) -> ConnectionId {
        loop {
            let id = ConnectionId(self.rng.u32());
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    fn take_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    fn insert(&mut self, connection: Connection, key: u64) {
        self.by_id.insert(connection.id(), key);
        self.connections.insert(key, Box::new(connection));
        self.turns.add(key);
        self.turns.mark(key);
    }

    fn remove(&mut self, key: u64, reason: CloseReason) {
        let Some(connection) = self.connections.remove(&key) else { return };
        log::trace!("{}: over with {}: {reason}", connection.id(), connection.remote());
        self.by_id.remove(&connection.id());
        self.links.forget(key, connection.uplink_charge());
        self.turns.remove(key);
        self.stirred.remove(&key);
        self.deadlines.set(key, None);
        self.events.push_back(Event::Closed { handle: Handle(key), remote: connection.remote(), reason });
        self.wake_blocked();
    }

    /// Lets connections that were held back by the shared window try again.
    fn wake_blocked(&mut self) {
        if self.links.uplink.has_room() {
            self.turns.wake();
        }
    }

    fn rearm(&mut self, key: u64) {
        let Some(connection) = self.connections.get(&key) else { return };
        self.deadlines.set(key, connection.poll_timeout().map(|(deadline, _)| deadline));
    }
}

fn close_datagram(id: ConnectionId, number: u32, code: u64) -> Vec<u8> {
    let mut datagram = Vec::new();
    packet::begin(&mut datagram, Header { kind: Kind::Close, connection: id, number });
    datagram.varint(code);
    packet::seal(&mut datagram);
    datagram
}
