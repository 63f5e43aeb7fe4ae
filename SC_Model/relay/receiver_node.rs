//! A receiver as a machine: it waits, fetches from whom it is told to, verifies, and then serves in its turn.
//!
//! No socket, no clock, no thread and no disk here.

use std::net::SocketAddr;
use std::sync::Arc;

use super::protocol::Word;
use super::uplink::{CONTROL, Uplink};
use super::{CODE_DONE, CODE_MALFORMED};
use crate::Fid;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::rudp::{Class, Config, Endpoint, Event, Handle};
use crate::sc_model::assembly::{Assembly, Flaw};
use crate::sc_model::held::Held;
use crate::sc_model::protocol::Reply;
use crate::sc_model::{Failure, PATIENCE};
use crate::time::{Duration, Instant};

/// So many orders in a row that come to nothing, without a new byte, are enough.
const MAX_FRUITLESS: u32 = 8;
/// The pause before the source is connected to again; each one that follows in vain is twice as long.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The longest pause is this many times the first.
const MAX_RETRY_FACTOR: u32 = 64;

/// What is being done.
#[derive(Debug)]
enum Phase {
    /// Nothing was asked for, or it failed.
    Idle,
    /// In line, or on the way to it.
    Waiting,
    /// Told to fetch.
    Fetching(Fetch),
    /// Has all of it, and serves it.
    Producing(Arc<Vec<u8>>),
}

/// One order, being carried out.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    number: u64,
    /// The connection with the one who has it; that with the source if it is the source.
    from: Handle,
}

/// A receiver's machine.
#[derive(Debug)]
pub struct ReceiverNode {
    endpoint: Endpoint,
    source: SocketAddr,
    /// The connection with the source, being made or made.
    control: Option<Handle>,
    phase: Phase,
    assembly: Assembly,
    uplink: Uplink,
    /// What the file is known to be, if it isn't to be held a second time.
    shared: Option<Arc<Vec<u8>>>,
    /// When to connect to the source again.
    retry_at: Option<Instant>,
    /// Connections with the source in a row that weren't made.
    failed_dials: u32,
    /// Since when there is no connection with the source, though one is wanted.
    cut_off_since: Option<Instant>,
    /// Orders in a row that came to nothing, without a new byte.
    fruitless: u32,
    result: Option<Result<Arc<Vec<u8>>, Failure>>,
}

impl ReceiverNode {
    /// A receiver of what the source at `source` has.
    pub fn new(source: SocketAddr, rng: Rng) -> ReceiverNode {
        ReceiverNode::with_shared(source, None, rng)
    }

    /// As [`new`](ReceiverNode::new), for many receivers in one process that all fetch `content`: what arrives is
    /// compared with it and verified as ever, but not held again.
    pub fn comparing(source: SocketAddr, content: Arc<Vec<u8>>, rng: Rng) -> ReceiverNode {
        ReceiverNode::with_shared(source, Some(content), rng)
    }

    fn with_shared(source: SocketAddr, shared: Option<Arc<Vec<u8>>>, rng: Rng) -> ReceiverNode {
        ReceiverNode {
            endpoint: Endpoint::new(Config::default(), rng),
            source,
            control: None,
            phase: Phase::Idle,
            assembly: Assembly::new(Held::Memory(Vec::new())),
            uplink: Uplink::default(),
            shared,
            retry_at: None,
            failed_dials: 0,
            cut_off_since: None,
            fruitless: 0,
            result: None,
        }
    }

    /// Goes in line for the file. Harmless while it waits or fetches; with all of it, gives the result once more.
    pub fn start(&mut self, now: Instant) {
        match &self.phase {
            Phase::Idle => {
                self.result = None;
                self.fruitless = 0;
                self.begin_anew();
                self.phase = Phase::Waiting;
                self.cut_off_since = Some(now);
                self.connect(now);
            }
            Phase::Producing(content) => self.result = Some(Ok(Arc::clone(content))),
            Phase::Waiting | Phase::Fetching(_) => {}
        }
    }

    /// What came of it, once: the verified content, which is served from then on, or why there is none.
    pub fn poll_result(&mut self) -> Option<Result<Arc<Vec<u8>>, Failure>> {
        self.result.take()
    }

    /// How much has arrived without a gap, B.
    pub fn progress(&self) -> u64 {
        match &self.phase {
            Phase::Producing(content) => content.len() as u64,
            _ => self.assembly.len(),
        }
    }

    /// The most receivers that this one has served at the same time.
    pub fn peak(&self) -> usize {
        self.uplink.peak
    }

    /// Neither fetches nor serves any more, without a result, and tells the source.
    pub fn close(&mut self) {
        self.end_fetch(CODE_DONE);
        self.phase = Phase::Idle;
        self.leave();
    }

    /// Changes a byte of what is served, as a bad disk does.
    #[cfg(test)]
    pub(super) fn damage(&mut self) {
        let Phase::Producing(content) = &mut self.phase else { panic!("has nothing to damage") };
        Arc::make_mut(content)[0] ^= 1;
    }

    /// Forgets what has arrived.
    fn begin_anew(&mut self) {
        self.assembly = Assembly::new(match &self.shared {
            Some(content) => Held::Shared { content: Arc::clone(content), len: 0 },
            None => Held::Memory(Vec::new()),
        });
    }

    fn leave(&mut self) {
        (self.retry_at, self.cut_off_since) = (None, None);
        if let Some(handle) = self.control.take() {
            self.uplink.forget(handle);
            self.endpoint.close(handle, CODE_DONE);
        }
    }

    /// Connects to the source and says where this receiver stands.
    fn connect(&mut self, now: Instant) {
        self.retry_at = None;
        let handle = self.endpoint.connect(now, self.source);
        self.endpoint.set_keep_alive(handle, true);
        self.control = Some(handle);
        // Whoever is fetching goes on until the source's next order, which will be in its place.
        self.tell(if matches!(self.phase, Phase::Producing(_)) { Word::Have } else { Word::Want });
    }

    /// Says a word to the source. Without a connection nothing is lost: the next one begins with where this receiver stands.
    fn tell(&mut self, word: Word) {
        if let Some(handle) = self.control {
            self.endpoint.send(handle, Class::Control, CONTROL, word.encode());
        }
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connected { handle, .. } => {
                    if self.control == Some(handle) {
                        (self.failed_dials, self.cut_off_since) = (0, None);
                    }
                }
                Event::Message { handle, data } => self.on_message(now, handle, &data),
                Event::Closed { handle, reason, .. } => {
                    log::debug!("a connection is over: {reason}");
                    self.uplink.forget(handle);
                    self.on_closed(now, handle);
                }
                Event::Answered { .. } | Event::Moved { .. } => {}
            }
        }
    }

    fn on_message(&mut self, now: Instant, handle: Handle, data: &[u8]) {
        if matches!(self.phase, Phase::Fetching(fetch) if fetch.from == handle)
            && let Ok(Reply::Block { offset, data }) = Reply::decode(data)
        {
            let before = self.assembly.len();
            let taken = self.assembly.on_block(offset, data);
            if self.assembly.len() > before {
                self.fruitless = 0;
            }
            return self.on_taken(taken);
        }
        match Word::decode(data) {
            Ok(Word::Fetch { number, size, fid, from }) if self.control == Some(handle) => {
                self.on_order(now, handle, number, (size, fid), from);
            }
            Ok(Word::Get { offset }) => match &self.phase {
                Phase::Producing(content) => {
                    self.uplink.start(&mut self.endpoint, handle, offset, content.len());
                }
                // Sent here by a source that hasn't heard of our end: let them go elsewhere.
                _ => self.endpoint.close(handle, CODE_DONE),
            },
            _ => self.endpoint.close(handle, CODE_MALFORMED),
        }
    }

    fn on_order(
        &mut self,
        now: Instant,
        control: Handle,
        number: u64,
        (size, fid): (u64, Fid),
        from: Option<SocketAddr>,
    ) {
        if matches!(self.phase, Phase::Idle | Phase::Producing(_)) {
            return;
        }
        self.end_fetch(CODE_DONE);
        let from = match from {
            None => control,
            Some(addr) => {
                let handle = self.endpoint.connect(now, addr);
                self.endpoint.set_keep_alive(handle, true);
                handle
            }
        };
        self.phase = Phase::Fetching(Fetch { number, from });
        let offset = self.assembly.len();
        self.endpoint.send(from, Class::Control, CONTROL, Word::Get { offset }.encode());
        self.assembly.on_connection_lost();
        // Two calls, as two messages in the server-client model: where it begins, and what it has to hash to.
        let taken = match self.assembly.on_found(size, 0, offset) {
            Ok(None) => self.assembly.on_done(fid),
            other => other,
        };
        self.on_taken(taken);
    }

    /// What the assembly says to what it was given.
    fn on_taken(&mut self, taken: Result<Option<Held>, Flaw>) {
        match taken {
            Ok(None) => {}
            Ok(Some(whole)) => {
                self.end_fetch(CODE_DONE);
                let content = whole.into_shared();
                self.result = Some(Ok(Arc::clone(&content)));
                self.phase = Phase::Producing(content);
                self.tell(Word::Have);
            }
            Err(Flaw::TooLarge(size)) => self.fail(Failure::TooLarge(size)),
            Err(Flaw::Integrity(fid)) => {
                let from_source =
                    matches!(self.phase, Phase::Fetching(fetch) if Some(fetch.from) == self.control);
                self.begin_anew();
                if from_source {
                    // Nobody has better bytes than the one who named the hash.
                    self.fail(Failure::Integrity(fid));
                } else {
                    self.give_up_order(Failure::Integrity(fid));
                }
            }
            Err(Flaw::Nonsense) => {
                // The size may be another too: nothing of it is kept.
                self.begin_anew();
                self.give_up_order(Failure::Unreachable);
            }
        }
    }

    /// Ends the connection with a producer, or what the source itself sends.
    fn end_fetch(&mut self, code: u64) {
        if let Phase::Fetching(fetch) = self.phase {
            self.phase = Phase::Waiting;
            if self.control != Some(fetch.from) {
                self.endpoint.close(fetch.from, code);
            }
        }
    }

    /// Reports an order that came to nothing, and waits for the next one; `failure` is the result if that was one too many.
    fn give_up_order(&mut self, failure: Failure) {
        let Phase::Fetching(fetch) = self.phase else { return };
        self.end_fetch(CODE_MALFORMED);
        self.fruitless += 1;
        if self.fruitless >= MAX_FRUITLESS {
            self.fail(failure);
        } else if self.control == Some(fetch.from) {
            // Its blocks may still be on their way: the connection ends, and its end makes another.
            self.endpoint.close(fetch.from, CODE_MALFORMED);
        } else {
            self.tell(Word::Lost { number: fetch.number });
        }
    }

    fn on_closed(&mut self, now: Instant, handle: Handle) {
        let fetched_from = matches!(self.phase, Phase::Fetching(fetch) if fetch.from == handle);
        if self.control == Some(handle) {
            if fetched_from {
                self.phase = Phase::Waiting;
            }
            self.control = None;
            self.cut_off_since.get_or_insert(now);
            let factor = 1 << self.failed_dials.min(MAX_RETRY_FACTOR.ilog2());
            self.failed_dials += 1;
            self.retry_at = Some(now + RETRY_DELAY * factor);
        } else if fetched_from {
            self.give_up_order(Failure::Unreachable);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.close();
        self.result = Some(Err(failure));
    }

    /// When a source that can't be reached is given up: only while its word is waited for.
    fn patience_ends(&self) -> Option<Instant> {
        self.cut_off_since.filter(|_| matches!(self.phase, Phase::Waiting)).map(|since| since + PATIENCE)
    }
}

impl Machine for ReceiverNode {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.handle_events(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.handle_events(now);
        if self.patience_ends().is_some_and(|at| at <= now) {
            self.fail(Failure::Unreachable);
        } else if self.retry_at.is_some_and(|at| at <= now) {
            self.connect(now);
        }
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        loop {
            if let Some(to) = self.endpoint.poll_transmit(now, buf) {
                return Some(to);
            }
            // Blocks are chosen as late as can be: when there is nothing else to send.
            let Phase::Producing(content) = &self.phase else { return None };
            if !self.uplink.serve(&mut self.endpoint, content) {
                return None;
            }
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let patience = self.patience_ends().map(|at| (at, "patience"));
        let retry = self.retry_at.map(|at| (at, "retry"));
        self.endpoint.poll_timeout().into_iter().chain(patience).chain(retry).min()
    }
}
