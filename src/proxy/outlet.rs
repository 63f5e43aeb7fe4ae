//! The sending end of the socket: a train a call where the system can, a datagram where it can't.
//!
//! No thread and no queue here; it never blocks.

#![expect(clippy::disallowed_types, reason = "this is where the network is sealed")]

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;

use quinn_udp::{Transmit, UdpSocketState};
use socket2::Socket;

use super::uplink::Wire;

pub(super) struct Outlet {
    socket: Socket,
    /// `None`: no offload.
    offload: Option<Arc<UdpSocketState>>,
    /// A dual-stack socket reaches IPv4 hosts by their mapped addresses.
    maps_v4: bool,
}

impl Outlet {
    pub(super) fn new(socket: Socket, offload: Option<Arc<UdpSocketState>>, maps_v4: bool) -> Outlet {
        Outlet { socket, offload, maps_v4 }
    }

    fn mapped(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.maps_v4 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            other => other,
        }
    }
}

impl Wire for Outlet {
    fn segments(&self) -> usize {
        self.offload.as_ref().map_or(1, |offload| offload.max_gso_segments())
    }

    fn transmit(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        // Not by way of quinn-udp, which takes any invalid argument, an impossible address even, for a lack of offload.
        self.socket.send_to(datagram, &self.mapped(to).into()).map(|_| ())
    }

    fn transmit_train(&self, train: &[u8], segment: usize, to: SocketAddr) -> io::Result<()> {
        let Some(offload) = &self.offload else { return Err(io::ErrorKind::Unsupported.into()) };
        let transmit = Transmit {
            destination: self.mapped(to),
            ecn: None,
            contents: train,
            segment_size: Some(segment),
            src_ip: None,
        };
        offload.try_send((&self.socket).into(), &transmit)
    }
}
