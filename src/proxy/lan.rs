//! The machine in its local networks: the addresses that it has there, and datagrams to a multicast group in all of them.
//!
//! Beside the [`Proxy`](super::Proxy), not beneath it: nothing is shaped, and nothing leaves the link, as every datagram has a TTL
//! (hop limit) of 1. What the datagrams say is not known here.

#![expect(clippy::disallowed_types, reason = "this is where the network is sealed")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use if_addrs::Interface;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

use crate::time::Duration;

/// What is longer is no datagram of ours, B.
const MAX_LEN: usize = 1_500;
/// The sockets' tokens are their places.
const WAKE: Token = Token(usize::MAX);

/// A multicast group: one address a family, the same port for both.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, of link-local scope.
    pub v6: Ipv6Addr,
    /// Where its members listen.
    pub port: u16,
}

/// A socket for each family in use, with which to hear a [`Group`] or to speak to it.
#[derive(Debug)]
pub struct Multicast {
    group: Group,
    sockets: Vec<UdpSocket>,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    buffer: Vec<u8>,
}

impl Multicast {
    /// Hears what is said to `group` in the networks that the machine is in now.
    ///
    /// # Errors
    /// `AddrNotAvailable` if it is in none; what the system says if it lets none be joined.
    pub fn listen(group: Group) -> io::Result<Multicast> {
        Multicast::open(group, |is_v4, interfaces| {
            let socket = socket(is_v4, group.port)?;
            let joined = |index: u32| match is_v4 {
                true => socket.join_multicast_v4_n(&group.v4, &InterfaceIndexOrAddress::Index(index)),
                false => socket.join_multicast_v6(&group.v6, index),
            };
            let mut indices: Vec<u32> = interfaces.iter().filter_map(|interface| interface.index).collect();
            indices.dedup();
            let mut failures = indices.iter().filter_map(|&index| joined(index).err()).collect::<Vec<_>>();
            if failures.len() == indices.len() {
                return Err(failures.pop().unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
            }
            Ok(socket)
        })
    }

    /// Speaks to `group` and hears the answers, at a port of its own.
    ///
    /// # Errors
    /// `AddrNotAvailable` if the machine is in no network.
    pub fn speak(group: Group) -> io::Result<Multicast> {
        Multicast::open(group, |is_v4, _| socket(is_v4, 0))
    }

    fn open(
        group: Group,
        socket: impl Fn(bool, &[Interface]) -> io::Result<Socket>,
    ) -> io::Result<Multicast> {
        let poll = Poll::new()?;
        let (mut sockets, mut failure) = (Vec::new(), io::ErrorKind::AddrNotAvailable.into());
        for is_v4 in [true, false] {
            let interfaces: Vec<Interface> =
                interfaces()?.into_iter().filter(|interface| interface.ip().is_ipv4() == is_v4).collect();
            if interfaces.is_empty() {
                continue;
            }
            match socket(is_v4, &interfaces) {
                Ok(socket) => {
                    let mut socket = UdpSocket::from_std(socket.into());
                    poll.registry().register(&mut socket, Token(sockets.len()), Interest::READABLE)?;
                    sockets.push(socket);
                }
                Err(error) => failure = error,
            }
        }
        if sockets.is_empty() {
            return Err(failure);
        }
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let events = Events::with_capacity(8);
        Ok(Multicast { group, sockets, poll, events, waker, buffer: vec![0; MAX_LEN] })
    }

    /// Sends `datagram` to the group in each network that the machine is in now. Networks that don't take it are left out.
    ///
    /// # Errors
    /// If it isn't known which networks there are.
    pub fn say(&self, datagram: &[u8]) -> io::Result<()> {
        for interface in interfaces()? {
            let group: SocketAddr = match (interface.ip(), interface.index) {
                (IpAddr::V4(_), _) => (self.group.v4, self.group.port).into(),
                (IpAddr::V6(_), index) => {
                    SocketAddrV6::new(self.group.v6, self.group.port, 0, index.unwrap_or(0)).into()
                }
            };
            if let Some(socket) = self.of_family(group)
                && let Err(error) =
                    choose(socket, interface.ip()).and_then(|()| socket.send_to(datagram, group))
            {
                log::debug!("nothing said to {group} from {}: {error}", interface.ip());
            }
        }
        Ok(())
    }

    /// Sends `datagram` to one machine on the same link.
    ///
    /// # Errors
    /// The system's.
    pub fn answer(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let socket = self.of_family(to).ok_or(io::ErrorKind::AddrNotAvailable)?;
        socket.send_to(datagram, to).map(|_| ())
    }

    /// Waits at most `timeout` for a datagram, and gives it with its sender; `None` if none came, or if it was
    /// [woken](Multicast::waker).
    ///
    /// # Errors
    /// The system's.
    pub fn hear(&mut self, timeout: Option<Duration>) -> io::Result<Option<(&[u8], SocketAddr)>> {
        if let Some((len, from)) = self.receive()? {
            return Ok(Some((&self.buffer[..len], from)));
        }
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            other => other?,
        }
        Ok(self.receive()?.map(|(len, from)| (&self.buffer[..len], from)))
    }

    /// What ends the present or next call of [`hear`](Multicast::hear), from another thread.
    pub fn waker(&self) -> impl Fn() + Send + Sync + use<> {
        let waker = Arc::clone(&self.waker);
        move || {
            if let Err(error) = waker.wake() {
                log::error!("who hears a group can't be woken: {error}");
            }
        }
    }

    fn receive(&mut self) -> io::Result<Option<(usize, SocketAddr)>> {
        for socket in &self.sockets {
            match socket.recv_from(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received.map(Some),
            }
        }
        Ok(None)
    }

    fn of_family(&self, addr: SocketAddr) -> Option<&UdpSocket> {
        let is_of_family =
            |socket: &&UdpSocket| socket.local_addr().is_ok_and(|local| local.is_ipv4() == addr.is_ipv4());
        self.sockets.iter().find(is_of_family)
    }
}

/// The addresses of this machine in its networks, those first that most others can call: IPv4, then IPv6, and last what
/// counts on one link only, with its scope. Loopback is none of them.
///
/// # Errors
/// The system's.
pub fn addresses() -> io::Result<Vec<SocketAddr>> {
    let mut addrs: Vec<SocketAddr> = interfaces()?
        .into_iter()
        .map(|interface| match interface.ip() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, 0, 0, interface.index.unwrap_or(0)).into()
            }
            ip => SocketAddr::new(ip, 0),
        })
        .collect();
    let is_link_local = |addr: &SocketAddr| matches!(addr, SocketAddr::V6(v6) if v6.scope_id() != 0);
    addrs.sort_by_key(|addr| (addr.is_ipv6(), is_link_local(addr)));
    Ok(addrs)
}

fn interfaces() -> io::Result<Vec<Interface>> {
    let mut interfaces = if_addrs::get_if_addrs()?;
    interfaces.retain(|interface| interface.is_oper_up() && !interface.is_loopback());
    Ok(interfaces)
}

/// Has what `socket` sends to a group leave by the interface with the address `ip`; IPv6 says that with the scope.
fn choose(socket: &UdpSocket, ip: IpAddr) -> io::Result<()> {
    match ip {
        IpAddr::V4(ip) => SockRef::from(socket).set_multicast_if_v4(&ip),
        IpAddr::V6(_) => Ok(()),
    }
}

/// A socket at `port` (0: any) of all addresses, shared with others who listen there, whose datagrams stay on the link.
fn socket(is_v4: bool, port: u16) -> io::Result<Socket> {
    let ip: IpAddr = if is_v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let addr = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if is_v4 {
        socket.set_ttl_v4(1)?;
        socket.set_multicast_ttl_v4(1)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(1)?;
        socket.set_multicast_hops_v6(1)?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}
