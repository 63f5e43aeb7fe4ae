//! Why a connection ended.

use super::recv_window::Violation;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// This side closed it.
    #[error("closed here")]
    Local,
    /// The other side closed it, with this code.
    #[error("closed by the peer (code {0})")]
    Remote(u64),
    /// The other side doesn't know the connection: it was restarted.
    #[error("unknown to the peer")]
    Unknown,
    /// The hello was not answered in time.
    #[error("no answer to the handshake")]
    HandshakeTimeout,
    /// The peer fell silent.
    #[error("the peer fell silent")]
    Silent,
    /// The peer broke the protocol in a way that no fault of the network explains.
    #[error("protocol violation: {0}")]
    Violation(#[from] ProtocolViolation),
}

/// What no fault of the network explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolViolation {
    /// An ack of a packet that was never sent.
    #[error("acked what was never sent")]
    ImpossibleAck,
    /// Flow control.
    #[error(transparent)]
    Message(#[from] Violation),
}
