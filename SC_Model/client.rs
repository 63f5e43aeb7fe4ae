//! The client's blocking surface: its machine on a real proxy. No protocol here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, channel};

use parking_lot::Mutex;

use super::client_node::{ClientNode, Failure, PATIENCE};
use crate::driver::Driver;
use crate::proxy::Proxy;
use crate::rand::Rng;
use crate::time::Instant;
use crate::{Error, Result};

/// Downloads files from a [`Server`](super::Server).
///
/// All calls take `&self` and may run at once on many threads; downloads take turns. Dropping it closes.
pub struct Client {
    server: SocketAddr,
    driver: Driver<ClientNode>,
    /// Held by whoever's turn it is.
    results: Mutex<Receiver<std::result::Result<Vec<u8>, Failure>>>,
}

impl Client {
    /// A client of the server at `server` (the first address that this resolves to), whose downlink is shaped to
    /// `download_rate` B/s (0: no limit) and whose uplink isn't. Nothing is sent before the first download.
    ///
    /// # Errors
    /// [`Error::BadAddress`] if `server` doesn't resolve; [`Error::Io`] if the system gives no socket or no thread.
    pub fn new(server: impl ToSocketAddrs, download_rate: u64) -> Result<Client> {
        Client::with_rates(server, 0, download_rate)
    }

    /// As [`new`](Client::new), with the uplink shaped to `upload_rate` B/s (0: no limit).
    ///
    /// # Errors
    /// As those of [`new`](Client::new).
    pub fn with_rates(server: impl ToSocketAddrs, upload_rate: u64, download_rate: u64) -> Result<Client> {
        let mut addrs = server.to_socket_addrs().map_err(|error| Error::BadAddress(error.to_string()))?;
        let server = addrs.next().ok_or_else(|| Error::BadAddress("a name without an address".to_owned()))?;
        let proxy = Proxy::bind((local_ip(server.ip()), 0), upload_rate, download_rate)?;
        let (sender, results) = channel();
        let observe = move |node: &mut ClientNode, _: Instant| {
            if let Some(result) = node.poll_result() {
                // Nobody to take it: the client is being dropped.
                let _ = sender.send(result);
            }
        };
        let node = ClientNode::new(server, Rng::from_os());
        let driver = Driver::spawn("sc-client", proxy, node, observe)?;
        Ok(Client { server, driver, results: Mutex::new(results) })
    }

    /// The verified content of the file that the server calls `name`, a path below its root. Waits for downloads that
    /// other threads have begun.
    ///
    /// # Errors
    /// [`Error::NoSuchName`]; [`Error::ServerUnreachable`] after [`PATIENCE`] without a sign of the server;
    /// [`Error::ServerFailed`], [`Error::Integrity`] and [`Error::TooLarge`] as they say; [`Error::Closed`] if this
    /// client was closed, also if that happens meanwhile.
    pub fn download(&self, name: &str) -> Result<Vec<u8>> {
        let results = self.results.lock();
        let wanted = name.to_owned();
        self.driver.call(move |node, now| node.start(now, &wanted)).ok_or(Error::Closed)?;
        // The sender lives on the machine's thread, and no longer than that.
        let result = results.recv().map_err(|_| Error::Closed)?;
        result.map_err(|failure| match failure {
            Failure::Unreachable => {
                Error::ServerUnreachable { addr: self.server, seconds: PATIENCE.as_secs() }
            }
            Failure::NotFound => Error::NoSuchName(name.to_owned()),
            Failure::ServerFailed => Error::ServerFailed(name.to_owned()),
            Failure::Integrity(fid) => Error::Integrity(fid),
            Failure::TooLarge(size) => Error::TooLarge { size },
        })
    }

    /// Ends what is under way, with [`Error::Closed`]. When it returns no datagram leaves or arrives any more and the port
    /// is free. Harmless when repeated.
    pub fn close(&self) {
        // So that the server needn't find out by itself; `None` if this has been done.
        let _ = self.driver.call(|node, _| node.close());
        self.driver.stop();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The address to bind to reach `server`: a server on this machine needs no port that others can reach.
pub(super) fn local_ip(server: IpAddr) -> IpAddr {
    match server {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
