//! The receiving end of the socket: many datagrams a call where the system can, one where it can't.
//!
//! No thread and no queue here; it never blocks.

#![expect(clippy::disallowed_types, reason = "this is where the network is sealed")]

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};

use super::downlink::Incoming;
use super::pool::{BUFFER, Pool};

pub(super) struct Inlet {
    pub(super) socket: UdpSocket,
    /// `None`: no offload.
    offload: Option<Arc<UdpSocketState>>,
    pool: Pool,
    buffers: Vec<Box<[u8]>>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Inlet {
    pub(super) fn new(socket: UdpSocket, offload: Option<Arc<UdpSocketState>>) -> Inlet {
        let pool = Pool::default();
        let count = if offload.is_some() { BATCH_SIZE } else { 1 };
        let buffers = (0..count).map(|_| pool.take()).collect();
        Inlet { socket, offload, pool, buffers, metas: [RecvMeta::default(); BATCH_SIZE] }
    }

    /// Adds what one call gives to `arrivals`, in order.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; whatever else the operating system says.
    pub(super) fn receive(&mut self, arrivals: &mut Vec<Incoming>) -> io::Result<()> {
        let Some(offload) = &self.offload else {
            let (len, from) = self.socket.recv_from(&mut self.buffers[0])?;
            arrivals.push((self.pool.lend(&mut self.buffers[0], len), unmapped(from)));
            return Ok(());
        };
        let count = {
            let mut rest = self.buffers.iter_mut();
            // As many slices as buffers: that's how many were made.
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
                IoSliceMut::new(rest.next().map_or(&mut [][..], |buffer| &mut buffer[..BUFFER]))
            });
            let (socket, metas) = (&self.socket, &mut self.metas);
            // By way of mio, which on some systems must know that a call found nothing.
            socket.try_io(|| offload.recv(socket.into(), &mut slices, metas))?
        };
        for (buffer, meta) in self.buffers.iter_mut().zip(&self.metas[..count]) {
            let from = unmapped(meta.addr);
            let train = self.pool.lend(buffer, meta.len);
            arrivals.extend(split(train, meta.stride).map(|datagram| (datagram, from)));
        }
        Ok(())
    }
}

/// The datagrams of a received train: `stride` B each, the last one the rest. An empty train is one empty datagram.
fn split(mut train: Bytes, stride: usize) -> impl Iterator<Item = Bytes> {
    let mut is_first = true;
    std::iter::from_fn(move || {
        let is_over = train.is_empty() && !is_first;
        is_first = false;
        (!is_over).then(|| train.split_to(if stride == 0 { train.len() } else { stride.min(train.len()) }))
    })
}

/// The IPv4 address of a host that a dual-stack socket shows by its mapped address; any other as it is.
fn unmapped(from: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = from else { return from };
    v6.ip().to_ipv4_mapped().map_or(from, |v4| SocketAddr::new(v4.into(), v6.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_is_split_at_its_stride() {
        let lens =
            |len, stride| split(Bytes::from(vec![0; len]), stride).map(|d| d.len()).collect::<Vec<_>>();
        assert_eq!(lens(10, 4), [4, 4, 2]);
        assert_eq!(lens(8, 4), [4, 4]);
        assert_eq!(lens(3, 4), [3]);
        assert_eq!(lens(3, 3), [3]);
        assert_eq!(lens(0, 0), [0]);
        assert_eq!(lens(5, 0), [5], "no stride is no train");
    }
}
