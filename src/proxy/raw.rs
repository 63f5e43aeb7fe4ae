//! Bare sockets, one call a datagram: what `benches/proxy.rs` holds the proxy against.
//!
//! No part of the library. The bench includes this file by its path; it lies here because nothing outside this folder
//! opens a socket.

#![expect(clippy::disallowed_types, reason = "this is where the network is sealed")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A blocking socket on loopback.
pub(crate) struct Raw {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl Raw {
    /// On any free port. `timeout` is for each [`recv`](Raw::recv).
    pub(crate) fn new(timeout: Duration) -> Raw {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        // As the proxy does, so that both lose as little.
        socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).expect("a size it allows");
        socket.set_read_timeout(Some(timeout)).expect("a time-out that is not zero");
        Raw { socket, buffer: vec![0; 1 << 16] }
    }

    /// Its address.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) {
        self.socket.send_to(datagram, to).expect("loopback takes what it is given");
    }

    /// The length of the next datagram; `None` if it does not come in time.
    pub(crate) fn recv(&mut self) -> Option<usize> {
        self.socket.recv_from(&mut self.buffer).ok().map(|(len, _)| len)
    }
}
