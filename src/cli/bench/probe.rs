//! Both ends of a measurement: one fills the path from memory for a while, the other counts and reports.
//!
//! A machine like any other: no socket, no clock, no thread here. Nothing is stored, and no content is looked at: the
//! crc of each datagram is what tells a good one from a damaged one.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use swarmcast::machine::Machine;
use swarmcast::rand::Rng;
use swarmcast::rudp::stats::Stats;
use swarmcast::rudp::{Class, CloseReason, Config, Endpoint, Event, Handle};
use swarmcast::time::{Duration, Instant};

use super::message::{BULK, Message, Received};

/// A bulk message is what the path takes in this time,
const MESSAGE_TIME: Duration = Duration::from_millis(20);
/// within these bounds, B: of a slow path, little is under way at the end; on a fast one, each message costs little.
const MESSAGE_SIZE: (usize, usize) = (1_000, 65_536);
/// How often the queue is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long the last messages and the report may take together.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a close says when all is well, and when what came was no message of ours.
const CODE_DONE: u64 = 0;
/// See [`CODE_DONE`].
const CODE_MALFORMED: u64 = 2;

/// What there is to tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Note {
    /// Somebody measures to here, or can be measured to from here.
    Begun(SocketAddr),
    /// Somebody was done, or went away before.
    Served {
        /// Who.
        remote: SocketAddr,
        /// What came.
        received: Received,
        /// Whether it was all.
        is_whole: bool,
    },
    /// The measurement is over.
    Measured(Box<Measured>),
    /// The measurement came to nothing.
    Failed(CloseReason),
}

/// What a measurement found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// To whom.
    pub(crate) remote: SocketAddr,
    /// What the other side says that it got.
    pub(crate) received: Received,
    /// The connection at the end, with the last of it acked.
    pub(crate) stats: Stats,
    /// What it was while it was sending: the smoothed round-trip time, and the queue on the way out.
    pub(crate) srtt: Duration,
    /// The middle one of all samples.
    pub(crate) queue_median: Duration,
    /// The longest of all samples.
    pub(crate) queue_max: Duration,
}

/// One that measures paths, and that paths are measured to.
#[derive(Debug)]
pub(crate) struct PathProbe {
    endpoint: Endpoint,
    inbound: BTreeMap<Handle, Inbound>,
    outbound: Option<Outbound>,
    filler: Bytes,
    notes: VecDeque<Note>,
}

/// Somebody who measures to here.
#[derive(Debug)]
struct Inbound {
    remote: SocketAddr,
    since: Instant,
    messages: u64,
    received: Received,
    /// How many messages there will have been.
    announced: Option<u64>,
}

/// The measurement that is made from here.
#[derive(Debug)]
struct Outbound {
    handle: Handle,
    remote: SocketAddr,
    /// For how long to send.
    duration: Duration,
    phase: Phase,
    messages: u64,
    queues: Vec<Duration>,
    srtt: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Dialling,
    Sending { until: Instant, next_tick: Instant },
    Waiting { until: Instant },
}

impl PathProbe {
    /// A probe that neither measures nor is measured to.
    pub(crate) fn new(config: Config, rng: Rng) -> PathProbe {
        let filler = Bytes::from(vec![BULK; MESSAGE_SIZE.1]);
        PathProbe {
            endpoint: Endpoint::new(config, rng),
            inbound: BTreeMap::new(),
            outbound: None,
            filler,
            notes: VecDeque::new(),
        }
    }

    /// Measures the path to `remote` for `duration` from the connection on; to be called once.
    pub(crate) fn measure(&mut self, now: Instant, remote: SocketAddr, duration: Duration) {
        let handle = self.endpoint.connect(now, remote);
        self.outbound = Some(Outbound {
            handle,
            remote,
            duration,
            phase: Phase::Dialling,
            messages: 0,
            queues: Vec::new(),
            srtt: Duration::ZERO,
        });
        self.pump(now);
    }

    /// Sends no more, and asks what has arrived. `false` if nothing had been begun.
    pub(crate) fn finish_early(&mut self, now: Instant) -> bool {
        match &mut self.outbound {
            Some(Outbound { phase: Phase::Sending { until, .. }, .. }) => *until = now,
            Some(Outbound { phase: Phase::Waiting { .. }, .. }) => {}
            Some(Outbound { phase: Phase::Dialling, .. }) | None => return false,
        }
        self.pump(now);
        true
    }

    /// Ends all that is going on.
    pub(crate) fn leave(&mut self, now: Instant) {
        let inbound = self.inbound.keys().copied();
        let all: Vec<Handle> = inbound.chain(self.outbound.iter().map(|outbound| outbound.handle)).collect();
        for handle in all {
            self.endpoint.close(handle, CODE_DONE);
        }
        self.pump(now);
    }

    /// The connection that is measured, as it is now.
    pub(crate) fn stats(&self, now: Instant) -> Option<Stats> {
        self.endpoint.stats(now, self.outbound.as_ref()?.handle)
    }

    /// The next thing to tell.
    pub(crate) fn poll_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// Reads events, then sends what the windows take.
    fn pump(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connected { handle, remote, inbound: true } => {
                    let received = Received::default();
                    let inbound = Inbound { remote, since: now, messages: 0, received, announced: None };
                    self.inbound.insert(handle, inbound);
                    self.notes.push_back(Note::Begun(remote));
                    self.endpoint.set_keep_alive(handle, true);
                }
                Event::Connected { handle, remote, .. } => {
                    self.notes.push_back(Note::Begun(remote));
                    if let Some(outbound) = &mut self.outbound {
                        let until = now + outbound.duration;
                        outbound.phase = Phase::Sending { until, next_tick: now + TICK };
                        self.endpoint.set_keep_alive(handle, true);
                    }
                }
                Event::Message { handle, data } => self.take(now, handle, &data),
                Event::Answered { .. } => {}
                Event::Moved { handle, remote } => {
                    if let Some(inbound) = self.inbound.get_mut(&handle) {
                        inbound.remote = remote;
                    }
                }
                Event::Closed { handle, reason, .. } => self.handle_closed(handle, reason),
            }
        }
        self.send(now);
    }

    fn take(&mut self, now: Instant, handle: Handle, data: &[u8]) {
        let message = Message::decode(data);
        if let (Some(inbound), Ok(Message::Bulk | Message::End { .. })) =
            (self.inbound.get_mut(&handle), message)
        {
            match message {
                Ok(Message::End { messages }) => inbound.announced = Some(messages),
                _ => {
                    inbound.messages += 1;
                    inbound.received.bytes += data.len() as u64;
                    inbound.received.time = now.since(inbound.since);
                }
            }
            if inbound.announced == Some(inbound.messages) {
                let report = Message::Report(inbound.received).encode();
                self.endpoint.send(handle, Class::Control, 0, report);
            }
        } else if let (Some(outbound), Ok(Message::Report(received))) = (&self.outbound, message)
            && matches!(outbound.phase, Phase::Waiting { .. })
            && outbound.handle == handle
        {
            let stats = self.endpoint.stats(now, handle).unwrap_or_default();
            let measured = Box::new(outbound.measured(received, stats));
            self.outbound = None;
            self.notes.push_back(Note::Measured(measured));
            self.endpoint.close(handle, CODE_DONE);
        } else {
            self.endpoint.close(handle, CODE_MALFORMED);
        }
    }

    fn handle_closed(&mut self, handle: Handle, reason: CloseReason) {
        if let Some(Inbound { remote, messages, received, announced, .. }) = self.inbound.remove(&handle) {
            let is_whole = announced == Some(messages);
            self.notes.push_back(Note::Served { remote, received, is_whole });
        }
        if self.outbound.take_if(|outbound| outbound.handle == handle).is_some() {
            self.notes.push_back(Note::Failed(reason));
        }
    }

    /// Sends as much as the windows take, or the end once the time is over.
    fn send(&mut self, now: Instant) {
        let Some(outbound) = &mut self.outbound else { return };
        let Phase::Sending { until, next_tick } = outbound.phase else { return };
        let Some(stats) = self.endpoint.stats(now, outbound.handle) else { return };
        if now >= until || now >= next_tick {
            outbound.queues.push(stats.queue);
            outbound.srtt = stats.srtt;
            outbound.phase = Phase::Sending { until, next_tick: now + TICK };
        }
        if now >= until {
            outbound.phase = Phase::Waiting { until: now + PATIENCE };
            let end = Message::End { messages: outbound.messages }.encode();
            self.endpoint.send(outbound.handle, Class::Control, 0, end);
            return;
        }
        let size = (stats.rate as f64 * MESSAGE_TIME.as_secs_f64()) as usize;
        let size = size.clamp(MESSAGE_SIZE.0, MESSAGE_SIZE.1);
        while self.endpoint.wants_bulk(outbound.handle, size) {
            outbound.messages += 1;
            self.endpoint.send(outbound.handle, Class::Bulk, 0, self.filler.slice(..size));
        }
    }

    /// When the measurement goes on even if nothing happens.
    fn own_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.outbound.as_ref()?.phase {
            Phase::Dialling => None,
            Phase::Sending { until, next_tick } => Some((until.min(next_tick), "sample")),
            Phase::Waiting { until } => Some((until, "report")),
        }
    }
}

impl Outbound {
    fn measured(&self, received: Received, stats: Stats) -> Measured {
        let mut queues = self.queues.clone();
        queues.sort_unstable();
        Measured {
            remote: self.remote,
            received,
            stats,
            srtt: self.srtt,
            queue_median: queues.get(queues.len() / 2).copied().unwrap_or_default(),
            queue_max: queues.last().copied().unwrap_or_default(),
        }
    }
}

impl Machine for PathProbe {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        // Whatever belongs to no connection is none of ours.
        self.endpoint.handle_datagram(now, from, datagram);
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        if let Some(outbound) = &self.outbound
            && matches!(outbound.phase, Phase::Waiting { until } if until <= now)
        {
            let handle = outbound.handle;
            self.endpoint.close(handle, CODE_DONE);
        }
        self.pump(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.endpoint.poll_transmit(now, buf);
        // What has left made room.
        self.pump(now);
        to.or_else(|| self.endpoint.poll_transmit(now, buf))
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        [self.own_timeout(), self.endpoint.poll_timeout()].into_iter().flatten().min()
    }
}
