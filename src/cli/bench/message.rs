//! What the two ends of a measurement say to each other. A codec, no state.
//!
//! ```text
//! b0  filler …                                       bulk: only its length matters
//! b1  messages varint                                end: so many bulk messages were sent
//! b2  bytes varint | ns varint                       report: what arrived, from the connection to the last of it
//! ```

use swarmcast::coding::{Malformed, Reader, Writer as _};
use swarmcast::time::Duration;

/// The first byte of filler; no message of the swarm or its tracker begins so.
pub(crate) const BULK: u8 = 0xb0;
const END: u8 = 0xb1;
const REPORT: u8 = 0xb2;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Something to be carried.
    Bulk,
    /// Nothing comes after so many bulk messages.
    End { messages: u64 },
    /// All of them arrived.
    Report(Received),
}

/// What one side got from the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes of bulk messages.
    pub(crate) bytes: u64,
    /// From the connection to the last of them.
    pub(crate) time: Duration,
}

impl Message {
    /// The message as it is sent; a bulk message without filler.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut buf = Vec::new();
        match self {
            Message::Bulk => buf.u8(BULK),
            Message::End { messages } => {
                buf.u8(END);
                buf.varint(messages);
            }
            Message::Report(Received { bytes, time }) => {
                buf.u8(REPORT);
                buf.varint(bytes);
                buf.varint(time.as_nanos() as u64);
            }
        }
        buf
    }

    /// # Errors
    /// For what no end of a measurement says.
    pub(crate) fn decode(data: &[u8]) -> Result<Message, Malformed> {
        let mut reader = Reader::new(data);
        let message = match reader.u8()? {
            BULK => return Ok(Message::Bulk),
            END => Message::End { messages: reader.varint()? },
            REPORT => Message::Report(Received {
                bytes: reader.varint()?,
                time: Duration::from_nanos(reader.varint()?),
            }),
            _ => return Err(Malformed),
        };
        if reader.is_empty() { Ok(message) } else { Err(Malformed) }
    }
}
