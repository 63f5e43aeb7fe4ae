//! Receivers that split a file between channels by a fixed rule, and the servers at the channels' other ends.
//!
//! What a channel was given it keeps, however slow it becomes. The transport is the swarm's; there is no manifest and
//! no tracker to wait for. A question is the indices of pieces, 4 B each; an answer is an index and its piece.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use swarmcast::machine::Machine;
use swarmcast::pclient::pieces::Lengths;
use swarmcast::rand::Rng;
use swarmcast::rudp::{Class, Config, Endpoint, Event, Handle};
use swarmcast::time::Instant;

/// Who gets which piece.
#[derive(Clone, Copy, Debug)]
pub(super) enum Policy {
    /// Piece i comes from channel i mod n; each channel is told all of its own at once.
    Modulo,
    /// Whoever is free takes the next piece in order.
    Cursor {
        /// Pieces under way on each channel.
        ahead: usize,
    },
}

/// A machine of a split world.
pub(super) enum Split {
    Server(Server),
    Receiver(Receiver),
}

/// Has the file, and sends the pieces that are asked for in the order of the questions.
pub(super) struct Server {
    endpoint: Endpoint,
    content: Arc<Vec<u8>>,
    lengths: Lengths,
    wanted: VecDeque<(Handle, u32)>,
}

impl Server {
    pub(super) fn new(rng: Rng, content: Arc<Vec<u8>>, lengths: Lengths) -> Server {
        Server { endpoint: Endpoint::new(Config::default(), rng), content, lengths, wanted: VecDeque::new() }
    }

    fn pump(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Message { handle, data } = event {
                self.wanted.extend(indices(&data).map(|index| (handle, index)));
            }
        }
        while let Some(&(to, index)) = self.wanted.front()
            && self.endpoint.wants_bulk(to, 4 + self.lengths.full_piece_len() as usize)
        {
            self.wanted.pop_front();
            let piece = self.lengths.piece(index.into()).expect("receivers ask for what there is");
            let range = self.lengths.piece_range(piece);
            let data = &self.content[range.start as usize..range.end as usize];
            self.endpoint.send(to, Class::Bulk, 0, [&index.to_le_bytes(), data].concat());
        }
    }
}

/// A channel, as the receiver sees it.
struct Channel {
    handle: Handle,
    under_way: usize,
}

/// Wants the file.
pub(super) struct Receiver {
    endpoint: Endpoint,
    policy: Policy,
    channels: Vec<Channel>,
    /// The next piece for a channel that is free.
    next: u32,
    pieces: Vec<Option<Vec<u8>>>,
    missing: usize,
}

impl Receiver {
    pub(super) fn new(rng: Rng, policy: Policy, lengths: Lengths) -> Receiver {
        let count = lengths.piece_count() as usize;
        let endpoint = Endpoint::new(Config::default(), rng);
        Receiver {
            endpoint,
            policy,
            channels: Vec::new(),
            next: 0,
            pieces: vec![None; count],
            missing: count,
        }
    }

    fn pump(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connected { handle, .. } => self.on_connected(handle),
                Event::Message { handle, data } => self.on_piece(handle, &data),
                Event::Answered { .. } | Event::Moved { .. } => {}
                Event::Closed { reason, .. } => panic!("a channel broke: {reason}"),
            }
        }
    }

    fn on_connected(&mut self, handle: Handle) {
        let place = self.place(handle);
        match self.policy {
            Policy::Modulo => {
                let own = (place as u32..self.pieces.len() as u32).step_by(self.channels.len());
                self.ask(place, own);
            }
            Policy::Cursor { .. } => self.advance(place),
        }
    }

    fn on_piece(&mut self, handle: Handle, data: &[u8]) {
        let (index, data) = data.split_at(4);
        let index = indices(index).next().expect("an index") as usize;
        assert!(self.pieces[index].is_none(), "no piece is asked for twice");
        self.pieces[index] = Some(data.to_vec());
        self.missing -= 1;
        let place = self.place(handle);
        self.channels[place].under_way -= 1;
        self.advance(place);
    }

    /// Gives the next pieces in order to a channel that has room, if that is the policy.
    fn advance(&mut self, place: usize) {
        let Policy::Cursor { ahead } = self.policy else { return };
        let room = ahead.saturating_sub(self.channels[place].under_way) as u32;
        let end = (self.next + room).min(self.pieces.len() as u32);
        let given = self.next..end;
        self.next = end;
        self.ask(place, given);
    }

    fn ask(&mut self, place: usize, pieces: impl Iterator<Item = u32>) {
        let channel = &mut self.channels[place];
        let question: Vec<u8> = pieces.flat_map(u32::to_le_bytes).collect();
        channel.under_way += question.len() / 4;
        if !question.is_empty() {
            self.endpoint.send(channel.handle, Class::Control, 0, question);
        }
        self.endpoint.set_keep_alive(channel.handle, channel.under_way > 0);
    }

    fn place(&self, handle: Handle) -> usize {
        self.channels.iter().position(|channel| channel.handle == handle).expect("channels stay")
    }
}

fn indices(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks().0.iter().map(|&index| u32::from_le_bytes(index))
}

impl Split {
    /// Has a receiver begin.
    pub(super) fn dial(&mut self, now: Instant, remotes: &[SocketAddr]) {
        let Split::Receiver(receiver) = self else { panic!("servers dial nobody") };
        for &remote in remotes {
            let handle = receiver.endpoint.connect(now, remote);
            receiver.channels.push(Channel { handle, under_way: 0 });
        }
    }

    /// What a receiver has, once it has all.
    pub(super) fn whole(&self) -> Option<Vec<u8>> {
        match self {
            Split::Receiver(receiver) if receiver.missing == 0 => {
                Some(receiver.pieces.iter().flatten().flatten().copied().collect())
            }
            Split::Receiver(_) | Split::Server(_) => None,
        }
    }

    fn endpoint(&mut self) -> &mut Endpoint {
        match self {
            Split::Server(server) => &mut server.endpoint,
            Split::Receiver(receiver) => &mut receiver.endpoint,
        }
    }

    fn pump(&mut self) {
        match self {
            Split::Server(server) => server.pump(),
            Split::Receiver(receiver) => receiver.pump(),
        }
    }
}

impl Machine for Split {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint().handle_datagram(now, from, datagram);
        self.pump();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint().handle_timeout(now);
        self.pump();
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.endpoint().poll_transmit(now, buf);
        self.pump();
        to.or_else(|| self.endpoint().poll_transmit(now, buf))
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self {
            Split::Server(server) => server.endpoint.poll_timeout(),
            Split::Receiver(receiver) => receiver.endpoint.poll_timeout(),
        }
    }
}
