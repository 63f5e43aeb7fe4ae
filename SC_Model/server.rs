//! The server's blocking surface: its machine on a real proxy. No protocol here.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::server_node::ServerNode;
use crate::driver::Driver;
use crate::proxy::Proxy;
use crate::rand::Rng;
use crate::{Error, Result};

/// Serves the files below a directory, and nothing outside it, to any number of clients.
///
/// All calls take `&self` and may run at once on many threads. Dropping it closes.
///
/// ```no_run
/// let server = std::sync::Arc::new(swarmcast::sc_model::Server::new("shared", 100_000, 0, Some(9000))?);
/// let serving = std::sync::Arc::clone(&server);
/// let thread = std::thread::spawn(move || serving.start());
/// // …
/// server.close();
/// # Ok::<(), swarmcast::Error>(())
/// ```
#[derive(Debug)]
pub struct Server {
    proxy: Proxy,
    gate: Arc<Gate>,
}

/// What `start` waits at until the server is closed.
#[derive(Debug)]
struct Gate {
    phase: Mutex<Phase>,
    changed: Condvar,
}

enum Phase {
    /// The port is taken; nobody is served yet.
    Ready(Box<ServerNode>),
    /// Served by this driver; `None` for the moment in which it is being made.
    Running(Option<Driver<ServerNode>>),
    Closed,
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Ready(_) => "Ready",
            Phase::Running(_) => "Running",
            Phase::Closed => "Closed",
        })
    }
}

impl Server {
    /// A server of the files below `root`, on 127.0.0.1 and `port` (any free one if `None`), shaped to `upload_rate` and
    /// `download_rate` B/s (0: no limit). The port is taken at once; [`start`](Server::start) serves.
    ///
    /// # Errors
    /// [`Error::File`] if `root` isn't a directory that can be found; [`Error::Io`] if the port can't be had.
    pub fn new(
        root: impl AsRef<Path>,
        upload_rate: u64,
        download_rate: u64,
        port: Option<u16>,
    ) -> Result<Server> {
        Server::serving(root.as_ref(), || Proxy::new(upload_rate, download_rate, port))
    }

    /// As [`new`](Server::new), on any address.
    ///
    /// # Errors
    /// As those of [`new`](Server::new).
    pub fn bind(
        root: impl AsRef<Path>,
        addr: impl ToSocketAddrs,
        upload_rate: u64,
        download_rate: u64,
    ) -> Result<Server> {
        Server::serving(root.as_ref(), || Proxy::bind(addr, upload_rate, download_rate))
    }

    fn serving(root: &Path, proxy: impl FnOnce() -> io::Result<Proxy>) -> Result<Server> {
        let node = ServerNode::new(root, Rng::from_os()).map_err(|source| Error::file(root, source))?;
        let gate = Gate { phase: Mutex::new(Phase::Ready(Box::new(node))), changed: Condvar::new() };
        Ok(Server { proxy: proxy()?, gate: Arc::new(gate) })
    }

    /// Where clients find it.
    pub fn local_addr(&self) -> SocketAddr {
        self.proxy.local_addr()
    }

    /// Serves until [`close`](Server::close) is called from another thread. Where it runs already, this waits too.
    ///
    /// # Errors
    /// [`Error::Closed`] if it was closed before; [`Error::Io`] if the system gives no thread.
    pub fn start(&self) -> Result<()> {
        let mut phase = self.gate.phase.lock();
        match std::mem::replace(&mut *phase, Phase::Running(None)) {
            Phase::Ready(node) => {
                drop(phase);
                self.run(*node)?;
                phase = self.gate.phase.lock();
            }
            running @ Phase::Running(_) => *phase = running,
            Phase::Closed => {
                *phase = Phase::Closed;
                return Err(Error::Closed);
            }
        }
        while !matches!(*phase, Phase::Closed) {
            self.gate.changed.wait(&mut phase);
        }
        Ok(())
    }

    fn run(&self, node: ServerNode) -> Result<()> {
        let open = OpenWhileAlive(Arc::clone(&self.gate));
        let observe = move |_: &mut ServerNode, _| {
            let _ = &open;
        };
        let driver = Driver::spawn("sc-server", self.proxy.clone(), node, observe)?;
        let mut phase = self.gate.phase.lock();
        if let Phase::Running(slot) = &mut *phase {
            *slot = Some(driver);
        } else {
            // Closed meanwhile, by someone who could not stop this driver yet.
            drop(phase);
            driver.stop();
        }
        Ok(())
    }

    /// Ends all transfers, and [`start`](Server::start) on its thread. When it returns no datagram leaves or arrives any
    /// more and the port is free. Harmless when repeated.
    pub fn close(&self) {
        // Stopped outside the lock, which the machine's thread takes when it ends.
        let before = self.gate.close();
        if let Phase::Running(Some(driver)) = before {
            driver.stop();
        }
        self.proxy.close();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

impl Gate {
    fn close(&self) -> Phase {
        let before = std::mem::replace(&mut *self.phase.lock(), Phase::Closed);
        self.changed.notify_all();
        before
    }
}

/// Lives on the machine's thread: whatever ends that, `start` must not go on waiting.
struct OpenWhileAlive(Arc<Gate>);

impl Drop for OpenWhileAlive {
    fn drop(&mut self) {
        // A driver that is dropped on its own thread doesn't wait for its end.
        drop(self.0.close());
    }
}
