//! The four blocking calls: a [`Node`] on a real [`Proxy`], and callers that wait for its events.
//!
//! No protocol here. Each call gives the node a command on the node's own thread and waits for the event that answers
//! it; calls from many threads may wait at once.

mod builder;
mod folder;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;

pub use self::builder::ClientBuilder;
pub use self::folder::SharedFolder;
use super::account::Account;
use super::manifest::Manifest;
use super::node::{Config, Event, Node};
use super::status::PeerStatus;
use super::storage::{FileStorage, MemoryStorage, Storage};
use super::swarm::{MakeStorage, Progress, Swarm};
use crate::driver::Driver;
use crate::name::FileName;
use crate::rand::Rng;
use crate::time::Instant;
use crate::units::Rate;
use crate::{Error, Fid, Proxy, Result};

/// A chunk of content that is copied in one go, B.
const COPY_LEN: u64 = 4 << 20;

/// A peer: shares files, and fetches those of others while it serves them on.
///
/// All calls block, take `&self`, and may run at once on many threads. Dropping a client closes it.
///
/// ```
/// use swarmcast::{Error, PClient, Tracker};
/// let tracker = Tracker::new(0, 0, None)?;
/// let addr = tracker.local_addr();
/// std::thread::scope(|scope| {
///     scope.spawn(|| tracker.start());
///     let (a, b) = (PClient::new(addr, None, None, 0, 0)?, PClient::new(addr, None, None, 0, 0)?);
///     let fid = a.register("Cargo.toml")?;
///     assert_eq!(b.download(fid)?, std::fs::read("Cargo.toml").unwrap());
///     tracker.close();
///     Ok::<(), Error>(())
/// })?;
/// # Ok::<(), Error>(())
/// ```
pub struct PClient {
    driver: Driver<Node>,
    waiting: Arc<Mutex<Waiting>>,
    local_addr: SocketAddr,
    /// Held while closing, so that a second `close` returns when all is closed. True once it is.
    closed: Mutex<bool>,
}

/// What a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Register(Fid),
    Download(Fid),
    Cancel(Fid),
    Close,
}

/// The callers that wait, by what they wait for. One that is dropped learns that the client was closed.
#[derive(Default)]
struct Waiting {
    calls: BTreeMap<Call, Vec<mpsc::Sender<Result<()>>>>,
    /// Why files were given up, by themselves, since a call last concerned them.
    failures: BTreeMap<Fid, Error>,
}

impl Waiting {
    fn enter(&mut self, call: Call) -> mpsc::Receiver<Result<()>> {
        if let Call::Register(fid) | Call::Download(fid) | Call::Cancel(fid) = call {
            self.failures.remove(&fid);
        }
        let (sender, receiver) = mpsc::channel();
        self.calls.entry(call).or_default().push(sender);
        receiver
    }

    fn answer(&mut self, call: Call, result: &Result<()>) {
        for sender in self.calls.remove(&call).unwrap_or_default() {
            // A caller that no longer listens has given up.
            let _ = sender.send(result.clone());
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Registered(fid) => self.answer(Call::Register(fid), &Ok(())),
            Event::Downloaded(fid) => self.answer(Call::Download(fid), &Ok(())),
            Event::Failed(fid, error) => {
                log::debug!("{}: {error}", fid.short());
                self.failures.insert(fid, error.clone());
                let failed = Err(error);
                self.answer(Call::Register(fid), &failed);
                self.answer(Call::Download(fid), &failed);
            }
            Event::Cancelled(fid) => self.answer(Call::Cancel(fid), &Ok(())),
            Event::Left => self.answer(Call::Close, &Ok(())),
        }
    }
}

/// Owned by the node's thread: when that ends, be it by a panic, nobody waits any longer.
struct Answers(Arc<Mutex<Waiting>>);

impl Drop for Answers {
    fn drop(&mut self) {
        self.0.lock().calls.clear();
    }
}

impl PClient {
    /// A client of the tracker at `tracker`, on `proxy` if one is given (then `port` and the rates are the proxy's
    /// own), else on a proxy of its own at 127.0.0.1: rates in B/s, 0 = unlimited; `None` = any free port.
    ///
    /// Nothing is sent yet, so the tracker need not be there.
    ///
    /// # Errors
    /// [`Error::BadAddress`] if `tracker` doesn't resolve; [`Error::Io`] if the port can't be had.
    pub fn new(
        tracker: impl ToSocketAddrs,
        proxy: Option<Proxy>,
        port: Option<u16>,
        upload_rate: u64,
        download_rate: u64,
    ) -> Result<PClient> {
        let (proxy, limit) = match proxy {
            // Its rates are its own, and not known here.
            Some(proxy) => (proxy, Rate::UNLIMITED),
            None => (Proxy::new(upload_rate, download_rate, port)?, Rate::new(download_rate)),
        };
        PClient::with_config(tracker, proxy, Config { download_limit: limit, ..Config::default() })
    }

    /// A client whose trackers, address, rates and parameters are named one by one.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client on `proxy`, with every parameter chosen.
    ///
    /// # Errors
    /// As [`PClient::new`].
    pub fn with_config(tracker: impl ToSocketAddrs, proxy: Proxy, config: Config) -> Result<PClient> {
        let tracker = resolve(tracker, proxy.local_addr())?;
        PClient::with_trackers(&[tracker], proxy, config)
    }

    /// As [`with_config`](PClient::with_config), with several trackers, of which one that answers is enough: this client
    /// is listed by all, and asks all. At most
    /// [`Trackers::MAX`](crate::tracker::Trackers::MAX) are used.
    ///
    /// # Errors
    /// As [`PClient::new`]; [`Error::BadAddress`] if there is none.
    pub fn with_trackers(trackers: &[SocketAddr], proxy: Proxy, config: Config) -> Result<PClient> {
        if trackers.is_empty() {
            return Err(Error::BadAddress("no tracker".into()));
        }
        let local_addr = proxy.local_addr();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let answers = Answers(Arc::clone(&waiting));
        let node = Node::with_trackers(config, trackers, Rng::from_os());
        let driver = Driver::spawn("swarmcast-peer", proxy, node, move |node, _| {
            while let Some(event) = node.poll_event() {
                answers.0.lock().on_event(event);
            }
        })?;
        Ok(PClient { driver, waiting, local_addr, closed: Mutex::new(false) })
    }

    /// Shares a file and returns its id when the tracker has confirmed. The same content has the same id, whatever
    /// its name.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be read or is no regular file; [`Error::TrackerUnreachable`] after 10 s without an
    /// answer; [`Error::Closed`].
    pub fn register(&self, file_path: impl AsRef<Path>) -> Result<Fid> {
        let path = file_path.as_ref();
        self.check_open()?;
        let storage = FileStorage::open(path).map_err(|source| Error::file(path, source))?;
        let manifest = Manifest::from_reader(storage.reader(), storage.size())
            .map_err(|source| Error::file(path, source))?;
        let (fid, name) = (manifest.fid(), FileName::of_path(path).ok());
        self.ask(Call::Register(fid), move |node, now| {
            node.share(now, name, manifest, Box::new(storage));
            Ok(())
        })?;
        Ok(fid)
    }

    /// Fetches a file and returns its verified content. This client serves it on from the first piece, and goes on
    /// until [`cancel`](PClient::cancel) or [`close`](PClient::close).
    ///
    /// Two copies are in memory when it returns: the one that is returned and the one that is served. For large files
    /// take [`download_to`](PClient::download_to).
    ///
    /// # Errors
    /// [`Error::UnknownFile`] if the tracker knows nobody who has it; [`Error::NoHolder`] after 30 s without anything
    /// new from those who have; [`Error::TrackerUnreachable`] after 10 s without an answer; [`Error::Cancelled`];
    /// [`Error::Storage`] if memory doesn't suffice; [`Error::Closed`].
    pub fn download(&self, fid: Fid) -> Result<Vec<u8>> {
        let make: MakeStorage = Box::new(move |size| {
            let storage = MemoryStorage::with_size(size)
                .map_err(|source| Error::Storage { fid, source: Arc::new(source) })?;
            Ok(Box::new(storage))
        });
        self.fetch(fid, make)?;
        let (storage, size) = self.stored(fid)?;
        let failed = |source: io::Error| Error::Storage { fid, source: Arc::new(source) };
        let mut content = Vec::new();
        usize::try_from(size)
            .ok()
            .and_then(|size| content.try_reserve_exact(size).ok())
            .ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
        content.resize(size as usize, 0);
        storage.read_at(0, &mut content).map_err(failed)?;
        Ok(content)
    }

    /// The content of a file that is here.
    fn stored(&self, fid: Fid) -> Result<(Arc<dyn Storage>, u64)> {
        let stored = self.on_node(move |node, _| node.swarm(fid).and_then(Swarm::stored))?;
        // Cancelled between its end and now.
        stored.ok_or(Error::Cancelled(fid))
    }

    /// Fetches a file to `path`: written beside it under a temporary name, and renamed when all is verified. Memory
    /// stays small whatever the size.
    ///
    /// However it ends before that, by an error, by [`close`](PClient::close) or with the process, what was verified stays there
    /// (`.NAME.swarmcast-….part`, with a record that ends in `.have`), and the same call goes on, in this client or another: at most
    /// 4 MiB of what had been written are fetched again. [`cancel`](PClient::cancel) gives it up and removes it. Of two that fetch the
    /// same file to the same path at once, one is resumable; the other begins anew, and leaves nothing.
    ///
    /// # Errors
    /// As [`PClient::download`]; [`Error::File`] if `path` exists or can't be written.
    pub fn download_to(&self, fid: Fid, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref().to_owned();
        if path.symlink_metadata().is_ok() {
            return Err(Error::file(path, io::ErrorKind::AlreadyExists.into()));
        }
        let (made, target) = (Arc::new(Mutex::new(false)), path.clone());
        let was_made = Arc::clone(&made);
        let make: MakeStorage = Box::new(move |size| {
            let storage = FileStorage::resume(&target, fid, size, &mut Rng::from_os())
                .map_err(|source| Error::file(&target, source))?;
            *was_made.lock() = true;
            Ok(Box::new(storage))
        });
        self.fetch(fid, make)?;
        // Registered meanwhile, it is complete, but the file under way was given up.
        if *made.lock() && path.symlink_metadata().is_ok() {
            return Ok(());
        }
        // It is here, but in another place.
        self.copy_to(fid, &path)
    }

    /// Fetches a file into a storage of the caller's own, which `make` gives once the size, B, is proved. What is written there
    /// is verified. If the file is here already, `make` isn't called.
    ///
    /// # Errors
    /// As [`PClient::download`], and that of `make`.
    pub fn download_with(
        &self,
        fid: Fid,
        make: impl FnOnce(u64) -> Result<Box<dyn Storage>> + Send + 'static,
    ) -> Result<()> {
        self.fetch(fid, Box::new(make))
    }

    fn copy_to(&self, fid: Fid, path: &Path) -> Result<()> {
        let (content, size) = self.stored(fid)?;
        let as_file = |source| Error::file(path, source);
        let copy = FileStorage::create(path, size, &mut Rng::from_os()).map_err(as_file)?;
        let mut chunk = vec![0; COPY_LEN.min(size) as usize];
        let mut offset = 0;
        while offset < size {
            chunk.truncate((size - offset) as usize);
            content
                .read_at(offset, &mut chunk)
                .map_err(|source| Error::Storage { fid, source: Arc::new(source) })?;
            copy.write_at(offset, &chunk).map_err(as_file)?;
            offset += chunk.len() as u64;
        }
        copy.finish().map_err(as_file)
    }

    fn fetch(&self, fid: Fid, make: MakeStorage) -> Result<()> {
        self.ask(Call::Download(fid), move |node, now| {
            node.fetch(now, fid, make);
            Ok(())
        })
    }

    /// Stops sharing or fetching a file. When it returns, nobody gets another byte of it from this client; a call that
    /// was fetching it returns [`Error::Cancelled`].
    ///
    /// # Errors
    /// [`Error::NotShared`] if this client has nothing to do with the file; [`Error::Closed`].
    pub fn cancel(&self, fid: Fid) -> Result<()> {
        let waiting = Arc::clone(&self.waiting);
        self.ask(Call::Cancel(fid), move |node, now| {
            if !node.cancel(now, fid) {
                return Err(Error::NotShared(fid));
            }
            let mut waiting = waiting.lock();
            waiting.answer(Call::Download(fid), &Err(Error::Cancelled(fid)));
            waiting.answer(Call::Register(fid), &Err(Error::Cancelled(fid)));
            Ok(())
        })
    }

    /// Leaves all swarms, tells everybody, and gives the port back. When it returns no datagram leaves or arrives any
    /// more; calls under way return [`Error::Closed`]. Closing again is harmless.
    ///
    /// # Errors
    /// None at present.
    pub fn close(&self) -> Result<()> {
        let mut closed = self.closed.lock();
        if *closed {
            return Ok(());
        }
        *closed = true;
        // Everybody has been told, or the time for that is over; or the node is gone already. All is well.
        let _ = self.ask(Call::Close, |node, now| {
            node.leave(now);
            Ok(())
        });
        self.driver.stop();
        Ok(())
    }

    /// The address at which others reach this client.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How far a file is; `None` if this client has nothing to do with it.
    pub fn progress(&self, fid: Fid) -> Option<Progress> {
        self.driver.call(move |node, _| node.progress(fid)).flatten()
    }

    /// Why this client gave up a file by itself, if it did, after the call that began it had returned: it can't be read any
    /// more ([`Error::Storage`]), or has changed on the disk ([`Error::Changed`]). It is shared no longer then. `None` again
    /// once the file is registered, downloaded or cancelled anew.
    pub fn failure(&self, fid: Fid) -> Option<Error> {
        let failure = self.waiting.lock().failures.get(&fid).cloned();
        failure.filter(|_| self.progress(fid).is_none())
    }

    /// What has held back the download of a file so far, or from its beginning to its end: the tracker, the own downlink,
    /// the source, other peers, or the disk; and how long it had to take at least, as far as this client can know. `None`
    /// if this client doesn't download it and never did.
    pub fn account(&self, fid: Fid) -> Option<Account> {
        self.driver.call(move |node, now| node.account(now, fid)).flatten()
    }

    /// How this client stands with each peer of each file: what flows both ways, who has a place at whose uplink, why, and since
    /// when. Empty once the client is closed.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.driver.call(|node, now| node.peers(now).collect()).unwrap_or_default()
    }

    fn check_open(&self) -> Result<()> {
        self.on_node(|_, _| ())
    }

    fn on_node<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Node, Instant) -> R + Send + 'static,
    ) -> Result<R> {
        self.driver.call(command).ok_or(Error::Closed)
    }

    /// Gives the node a command and waits for the event that answers `call`; an error of the command itself is the
    /// answer.
    fn ask(
        &self,
        call: Call,
        command: impl FnOnce(&mut Node, Instant) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let waiting = Arc::clone(&self.waiting);
        // Entered on the node's own thread: no event can come between the command and the entry.
        let answer = self.on_node(move |node, now| {
            command(node, now)?;
            Ok::<_, Error>(waiting.lock().enter(call))
        })??;
        answer.recv().map_err(|_| Error::Closed)?
    }
}

impl Drop for PClient {
    fn drop(&mut self) {
        // Nothing to report to anybody.
        let _ = self.close();
    }
}

impl std::fmt::Debug for PClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PClient").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

/// The first address of the family that a socket at `local` can reach.
fn resolve(addr: impl ToSocketAddrs, local: SocketAddr) -> Result<SocketAddr> {
    let bad = |why: String| Error::BadAddress(why);
    let resolved: Vec<SocketAddr> = addr.to_socket_addrs().map_err(|error| bad(error.to_string()))?.collect();
    let same_family = resolved.iter().find(|addr| addr.is_ipv4() == local.is_ipv4());
    same_family.or(resolved.first()).copied().ok_or_else(|| bad("no address".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock, Duration};

    #[test]
    fn whoever_waits_when_the_node_dies_is_told() {
        let silent = Proxy::new(0, 0, None).unwrap();
        let client = PClient::new(silent.local_addr(), None, None, 0, 0).unwrap();
        let (clock, fid) = (Clock::new(), Fid::of(b"a"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| client.download(fid));
            while client.progress(fid).is_none() {
                assert!(clock.now().as_secs_f64() < 5.0, "the download isn't begun");
                std::thread::yield_now();
            }
            let died = client.driver.call(|_, _| -> () { panic!("as a bug would") });
            assert_eq!(died, None);
            assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
        });
        assert!(matches!(client.cancel(fid), Err(Error::Closed)));
        client.close().unwrap();
        assert!(clock.now().as_secs_f64() < 5.0, "that is the tracker's time-out");
        Proxy::new(0, 0, Some(client.local_addr().port())).expect("the port is free").close();
        assert!(silent.recv(Some(Duration::ZERO)).is_ok(), "the tracker was asked");
    }
}
