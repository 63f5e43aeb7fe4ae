//! The relay's blocking surface: its machines on real proxies. No protocol here.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;

use parking_lot::Mutex;

use super::receiver_node::ReceiverNode;
use super::source_node::SourceNode;
use crate::driver::Driver;
use crate::proxy::Proxy;
use crate::rand::Rng;
use crate::sc_model::client::local_ip;
use crate::sc_model::{Failure, PATIENCE};
use crate::{Error, Result};

/// Has a file, serves it, and sends receivers to each other. Dropping it closes.
pub struct Source {
    addr: SocketAddr,
    driver: Driver<SourceNode>,
}

impl Source {
    /// A source of `content` on 127.0.0.1 and `port` (any free one if `None`), at work at once, for `spread` receivers at
    /// a time (at least one) at each producer; shaped to `upload_rate` and `download_rate` B/s (0: no limit).
    ///
    /// # Errors
    /// [`Error::Io`] if the port can't be had, or the system gives no thread.
    pub fn new(
        content: Arc<Vec<u8>>,
        spread: usize,
        upload_rate: u64,
        download_rate: u64,
        port: Option<u16>,
    ) -> Result<Source> {
        let proxy = Proxy::new(upload_rate, download_rate, port)?;
        let addr = proxy.local_addr();
        let node = SourceNode::new(content, spread, Rng::from_os());
        Ok(Source { addr, driver: Driver::spawn("relay-source", proxy, node, |_, _| {})? })
    }

    /// Where receivers find it.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends all that goes out from here. When it returns no datagram leaves or arrives any more and the port is free.
    /// Harmless when repeated.
    pub fn close(&self) {
        self.driver.stop();
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// Fetches a source's file, and serves it from when it has all of it until it is closed. Dropping it closes.
pub struct Receiver {
    source: SocketAddr,
    driver: Driver<ReceiverNode>,
    /// Held by whoever's turn it is.
    results: Mutex<mpsc::Receiver<std::result::Result<Arc<Vec<u8>>, Failure>>>,
}

impl Receiver {
    /// A receiver of what the source at `source` (the first address that this resolves to) has, shaped to `upload_rate`
    /// and `download_rate` B/s (0: no limit). Nothing is sent before [`fetch`](Receiver::fetch).
    ///
    /// # Errors
    /// [`Error::BadAddress`] if `source` doesn't resolve; [`Error::Io`] if the system gives no socket or no thread.
    pub fn new(source: impl ToSocketAddrs, upload_rate: u64, download_rate: u64) -> Result<Receiver> {
        let mut addrs = source.to_socket_addrs().map_err(|error| Error::BadAddress(error.to_string()))?;
        let source = addrs.next().ok_or_else(|| Error::BadAddress("a name without an address".to_owned()))?;
        let proxy = Proxy::bind((local_ip(source.ip()), 0), upload_rate, download_rate)?;
        let (sender, results) = mpsc::channel();
        let node = ReceiverNode::new(source, Rng::from_os());
        let driver = Driver::spawn("relay-recv", proxy, node, move |node, _| {
            if let Some(result) = node.poll_result() {
                // Nobody to take it: the receiver is being dropped.
                let _ = sender.send(result);
            }
        })?;
        Ok(Receiver { source, driver, results: Mutex::new(results) })
    }

    /// The verified content, which is served to others from then on.
    ///
    /// # Errors
    /// [`Error::ServerUnreachable`] after [`PATIENCE`] without the source, or if nobody it named was of any use;
    /// [`Error::Integrity`] and [`Error::TooLarge`] as they say; [`Error::Closed`] if this receiver was closed, also if
    /// that happens meanwhile.
    pub fn fetch(&self) -> Result<Arc<Vec<u8>>> {
        let results = self.results.lock();
        self.driver.call(ReceiverNode::start).ok_or(Error::Closed)?;
        // The sender lives on the machine's thread, and no longer than that.
        results.recv().map_err(|_| Error::Closed)?.map_err(|failure| match failure {
            Failure::Integrity(fid) => Error::Integrity(fid),
            Failure::TooLarge(size) => Error::TooLarge { size },
            Failure::Unreachable | Failure::NotFound | Failure::ServerFailed => {
                Error::ServerUnreachable { addr: self.source, seconds: PATIENCE.as_secs() }
            }
        })
    }

    /// Ends what is under way, with [`Error::Closed`], and serves nobody any more. When it returns no datagram leaves or
    /// arrives any more and the port is free. Harmless when repeated.
    pub fn close(&self) {
        // So that the source needn't find out by itself; `None` if this has been done.
        let _ = self.driver.call(|node, _| node.close());
        self.driver.stop();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("source", &self.source).finish_non_exhaustive()
    }
}
