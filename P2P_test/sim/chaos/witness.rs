//! Looks at every datagram as a peer hands it to its uplink: nothing but the file's own bytes is ever served, nothing of it
//! after a cancel was answered, and nothing at all after a close was.

use std::collections::HashMap;
use std::sync::Arc;

use swarmcast::coding::Reader;
use swarmcast::pclient::message::Message;
use swarmcast::pclient::node::Event;
use swarmcast::pclient::pieces::Lengths;
use swarmcast::rudp::frame::{Fragment, Frame};
use swarmcast::rudp::packet::{self, ConnectionId, Kind};

/// Stands for the highest number that was sent, which a bystander doesn't know: acks that can't be are none of its business.
const ANY_NUMBER: u64 = 1 << 60;

/// What answers strangers and the tracker may leave until the owner has ended the process: it belongs to no connection.
const MAY_FOLLOW_CLOSE: [Kind; 3] = [Kind::Oneshot, Kind::Close, Kind::Retry];

/// One peer's.
pub(crate) struct Witness {
    content: Arc<Vec<u8>>,
    lengths: Lengths,
    /// Of each message with content: where in the file the message's first byte would lie if it were content too, which may
    /// be before its beginning.
    blocks: HashMap<(ConnectionId, u64), i64>,
    /// Whether a cancel was answered, and the file not taken up again since.
    has_cancelled: bool,
    has_left: bool,
}

impl Witness {
    pub(crate) fn new(content: Arc<Vec<u8>>) -> Witness {
        let lengths = Lengths::choose(content.len() as u64).expect("a size that can be shared");
        Witness { content, lengths, blocks: HashMap::new(), has_cancelled: false, has_left: false }
    }

    /// The peer takes the file up, maybe again.
    pub(crate) fn on_begin(&mut self) {
        self.has_cancelled = false;
    }

    /// The peer tells its owner something.
    pub(crate) fn on_event(&mut self, event: &Event) {
        self.has_cancelled |= matches!(event, Event::Cancelled(_));
        self.has_left |= matches!(event, Event::Left);
    }

    /// The peer sends a datagram.
    ///
    /// # Panics
    /// If it must not.
    pub(crate) fn on_transmit(&mut self, datagram: &[u8]) {
        if self.has_left {
            let kind = packet::open(datagram).map(|(header, _)| header.kind);
            assert!(MAY_FOLLOW_CLOSE.map(Ok).contains(&kind), "{kind:?} leaves after the close was answered");
        }
        for (connection, fragment) in fragments(datagram) {
            self.on_fragment(connection, &fragment);
        }
    }

    fn on_fragment(&mut self, connection: ConnectionId, fragment: &Fragment<'_>) {
        let name = (connection, fragment.message);
        if fragment.offset == 0 {
            // A hello that was long on its way brings a connection of the same name up again, with the same numbers.
            self.blocks.remove(&name);
            if let Ok(Message::Block { piece, block, data, .. }) = Message::decode(fragment.data) {
                let piece = self.lengths.piece(piece).expect("only pieces of the file are served");
                let start =
                    self.lengths.piece_range(piece).start + block * u64::from(self.lengths.block_len());
                self.blocks.insert(name, start as i64 - (fragment.data.len() - data.len()) as i64);
            }
        }
        let Some(&start) = self.blocks.get(&name) else { return };
        assert!(!self.has_cancelled, "content leaves after the cancel was answered");
        // The message's own header lies before the content.
        let from = start + fragment.offset as i64;
        let header = if fragment.offset == 0 { header_len(fragment.data) } else { 0 };
        let (at, served) = ((from + header as i64) as usize, &fragment.data[header..]);
        let is_right = self.content.get(at..at + served.len()).is_some_and(|right| right == served);
        assert!(is_right, "{} B are served that aren't those at {at} of the file", served.len());
    }
}

/// The length of a block message's header, B.
fn header_len(message: &[u8]) -> usize {
    match Message::decode(message) {
        Ok(Message::Block { data, .. }) => message.len() - data.len(),
        _ => message.len(),
    }
}

/// The parts of messages in a datagram, and over which connection they go.
pub(super) fn fragments(datagram: &[u8]) -> Vec<(ConnectionId, Fragment<'_>)> {
    let mut found = Vec::new();
    let Ok((header, body)) = packet::open(datagram) else { return found };
    let mut reader = Reader::new(body);
    while header.kind == Kind::Data
        && let Ok(Some(frame)) = Frame::decode(&mut reader, ANY_NUMBER)
    {
        if let Frame::Fragment(fragment) = frame {
            found.push((header.connection, fragment));
        }
    }
    found
}
