//! The sealed network: send and receive of one datagram, bandwidth-shaped.
//!
//! Nothing else in this crate opens a socket. No protocol here: a datagram is bytes and an address, it may be lost, and
//! nobody is told. [`shaper`] holds the bandwidth law, `uplink` and `downlink` apply it to what leaves and what
//! arrives, `socket` is the thread that meets the operating system.

mod downlink;
mod inlet;
pub mod lan;
mod outlet;
mod pool;
pub mod shaper;
mod socket;
#[cfg(test)]
mod tests;
mod train;
mod uplink;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;

use self::socket::Shared;
pub use self::uplink::MAX_DATAGRAM;
use crate::time::Duration;
use crate::units::Rate;

/// A handle to one UDP socket whose two directions are shaped to a rate each.
///
/// Uplink: datagrams leave in the order of the calls; one of n bytes occupies the link for n ÷ rate and leaves at the end
/// of that; the queue has no end. Downlink: the same between arrival and [`recv`](Proxy::recv); the queue holds 64 MiB
/// and drops at its tail. Idle time is not banked. Rate 0 means no limit and no delay.
///
/// Clones are handles to the same socket; all calls may run at once on many threads. Dropping the last handle closes.
///
/// ```
/// use std::time::Duration;
/// let a = swarmcast::Proxy::new(10_000, 0, None)?; // 10 kB/s up
/// let b = swarmcast::Proxy::new(0, 0, None)?;
/// a.send(b"hello", b.local_addr())?;
/// let (datagram, from) = b.recv(Some(Duration::from_secs(5)))?;
/// assert_eq!((&datagram[..], from), (&b"hello"[..], a.local_addr()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Proxy {
    handle: Arc<Handle>,
}

/// Counters of one [`Proxy`] since it was made. Bytes are payload, without IP and UDP headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams handed to the operating system.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams that the operating system would not send (no route, too long for the path, forbidden, no memory).
    pub refused: u64,
    /// Datagrams that arrived and were queued for `recv`.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams dropped on arrival because the downlink's queue was full.
    pub dropped: u64,
}

/// What all clones share. The I/O thread has no part in it, so the last clone's drop is seen.
struct Handle {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    /// Taken by whoever closes first; held while joining, so that every closer returns after the end.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// A socket on 127.0.0.1 and `port` (any free one if `None`), shaped to `upload_rate` and `download_rate` B/s (0: no
    /// limit).
    ///
    /// # Errors
    /// `AddrInUse` if the port is taken; whatever else the operating system objects to.
    pub fn new(upload_rate: u64, download_rate: u64, port: Option<u16>) -> io::Result<Proxy> {
        Proxy::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)), upload_rate, download_rate)
    }

    /// A socket on `addr` (port 0: any free one), shaped to `upload_rate` and `download_rate` B/s (0: no limit).
    ///
    /// If `addr` resolves to several addresses, the first that can be bound is taken.
    ///
    /// # Errors
    /// The last address's error if none can be bound; `InvalidInput` if `addr` resolves to nothing.
    pub fn bind(addr: impl ToSocketAddrs, upload_rate: u64, download_rate: u64) -> io::Result<Proxy> {
        Proxy::bind_with(addr, upload_rate, download_rate, true)
    }

    /// As [`Proxy::bind`], but every datagram takes a system call of its own, as on a system that knows no segmentation
    /// offload: to see what that is worth, or where a driver has it wrong.
    ///
    /// # Errors
    /// As [`Proxy::bind`].
    pub fn bind_without_offload(
        addr: impl ToSocketAddrs,
        upload_rate: u64,
        download_rate: u64,
    ) -> io::Result<Proxy> {
        Proxy::bind_with(addr, upload_rate, download_rate, false)
    }

    fn bind_with(
        addr: impl ToSocketAddrs,
        upload_rate: u64,
        download_rate: u64,
        offload: bool,
    ) -> io::Result<Proxy> {
        let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address to bind");
        for addr in addr.to_socket_addrs()? {
            match Proxy::open(addr, Rate::new(upload_rate), Rate::new(download_rate), offload) {
                Ok(proxy) => return Ok(proxy),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn open(addr: SocketAddr, upload: Rate, download: Rate, offload: bool) -> io::Result<Proxy> {
        let (local_addr, shared, io) = socket::open(addr, upload, download, offload)?;
        let thread =
            std::thread::Builder::new().name(format!("proxy-{}", local_addr.port())).spawn(|| io.run())?;
        Ok(Proxy { handle: Arc::new(Handle { local_addr, shared, thread: Mutex::new(Some(thread)) }) })
    }

    /// Queues `datagram` for `to` and returns at once.
    ///
    /// What the operating system then refuses to send is dropped and counted, as a network would.
    ///
    /// # Errors
    /// `InvalidInput` if it is longer than [`MAX_DATAGRAM`]; `NotConnected` once closed.
    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let shared = &self.handle.shared;
        let mut uplink = shared.uplink.lock();
        let is_due_earlier = uplink.send(shared.clock.now(), datagram, to)?;
        drop(uplink);
        if is_due_earlier {
            shared.wake();
        }
        Ok(())
    }

    /// Waits for the next datagram, at most `timeout` (`None`: as long as it takes), and gives it with its sender.
    ///
    /// # Errors
    /// `TimedOut`; `NotConnected` once closed, also if that happens while waiting.
    pub fn recv(&self, timeout: Option<Duration>) -> io::Result<(Bytes, SocketAddr)> {
        self.handle.shared.downlink.recv(&self.handle.shared.clock, timeout)
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr
    }

    /// The port that the socket is bound to.
    pub fn port(&self) -> u16 {
        self.handle.local_addr.port()
    }

    /// Sets the uplink's rate, B/s (0: no limit), from now on and for what is queued.
    pub fn set_upload_rate(&self, rate: u64) {
        let shared = &self.handle.shared;
        shared.uplink.lock().set_rate(shared.clock.now(), Rate::new(rate));
        shared.wake();
    }

    /// Sets the downlink's rate, B/s (0: no limit), from now on and for what is queued.
    pub fn set_download_rate(&self, rate: u64) {
        let shared = &self.handle.shared;
        shared.downlink.set_rate(shared.clock.now(), Rate::new(rate));
    }

    /// What has gone through so far.
    pub fn stats(&self) -> Stats {
        let sent = self.handle.shared.uplink.lock().sent();
        let received = self.handle.shared.downlink.received();
        Stats {
            datagrams_sent: sent.datagrams,
            bytes_sent: sent.bytes,
            refused: sent.refused,
            datagrams_received: received.datagrams,
            bytes_received: received.bytes,
            dropped: received.dropped,
        }
    }

    /// Closes the socket. What is queued is dropped, whoever waits in `recv` is woken.
    ///
    /// After it returns, no datagram leaves or arrives, the I/O thread has ended, and the port is free. Harmless when
    /// repeated; may be called from several threads at once.
    pub fn close(&self) {
        self.handle.close();
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("local_addr", &self.handle.local_addr).finish_non_exhaustive()
    }
}

impl Handle {
    fn close(&self) {
        let mut thread = self.thread.lock();
        if let Some(thread) = thread.take() {
            self.shared.shut();
            if thread.join().is_err() {
                log::error!("the I/O thread of port {} panicked", self.local_addr.port());
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// The error of every call after `close`.
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the proxy is closed")
}
