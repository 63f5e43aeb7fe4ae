//! The tracker on a real socket: blocking calls for whoever runs one. What it does is the [`Server`]'s affair.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::registry::Limits;
use super::server::{Counters, Server};
use crate::driver::Driver;
use crate::rand::Rng;
use crate::units::Rate;
use crate::{Error, Proxy, Result};

/// A tracker: tells those who want a file who holds it. It holds no file itself.
///
/// Its port is bound from the beginning; it answers once [`start`](Tracker::start) is called, and until
/// [`close`](Tracker::close). Dropping it closes it.
///
/// ```
/// # fn main() -> swarmcast::Result<()> {
/// let tracker = swarmcast::Tracker::new(10_000, 10_000, None)?;
/// println!("at {}", tracker.local_addr());
/// std::thread::scope(|scope| {
///     let serving = scope.spawn(|| tracker.start());
///     // … share and download …
///     tracker.close();
///     let _ = serving.join();
/// });
/// # Ok(())
/// # }
/// ```
pub struct Tracker {
    local_addr: SocketAddr,
    upload_rate: Rate,
    /// Held while closing, so that every closer, and every `start`, returns after the end.
    state: Mutex<State>,
    ended: Arc<Ended>,
}

enum State {
    Bound(Proxy),
    Serving(Arc<Driver<Server>>),
    Closed,
}

/// Becomes true once nothing serves any more, for whatever reason.
#[derive(Default)]
struct Ended {
    flag: Mutex<bool>,
    changed: Condvar,
}

/// Owned by the serving thread, so that its end is noticed even if it is a panic.
struct EndedOnDrop(Arc<Ended>);

impl Tracker {
    /// A tracker on 127.0.0.1 and `port` (any free one if `None`), its link shaped to `upload_rate` and
    /// `download_rate` B/s (0: no limit).
    ///
    /// # Errors
    /// [`Error::Io`] if the port can't be had.
    pub fn new(upload_rate: u64, download_rate: u64, port: Option<u16>) -> Result<Tracker> {
        Tracker::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)), upload_rate, download_rate)
    }

    /// A tracker on `addr` (port 0: any free one); otherwise as [`new`](Tracker::new).
    ///
    /// # Errors
    /// [`Error::Io`] if the address doesn't resolve or can't be had.
    pub fn bind(addr: impl ToSocketAddrs, upload_rate: u64, download_rate: u64) -> Result<Tracker> {
        let proxy = Proxy::bind(addr, upload_rate, download_rate)?;
        Ok(Tracker {
            local_addr: proxy.local_addr(),
            upload_rate: Rate::new(upload_rate),
            state: Mutex::new(State::Bound(proxy)),
            ended: Arc::default(),
        })
    }

    /// The address that it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves; blocks until another thread calls [`close`](Tracker::close). A second call while it serves waits for
    /// the end as well.
    ///
    /// # Errors
    /// [`Error::Closed`] if it is closed already; [`Error::Io`] if the system gives no thread, or if serving ended by
    /// itself, which is a bug.
    pub fn start(&self) -> Result<()> {
        {
            let mut state = self.state.lock();
            match &*state {
                State::Bound(proxy) => {
                    let proxy = proxy.clone();
                    let server = Server::new(Rng::from_os(), self.upload_rate, Limits::default());
                    let guard = EndedOnDrop(Arc::clone(&self.ended));
                    let observe = move |_: &mut Server, _| _ = &guard;
                    match Driver::spawn("tracker", proxy.clone(), server, observe) {
                        Ok(driver) => *state = State::Serving(Arc::new(driver)),
                        Err(error) => {
                            *state = State::Closed;
                            proxy.close();
                            return Err(error.into());
                        }
                    }
                }
                State::Serving(_) => {}
                State::Closed => return Err(Error::Closed),
            }
        }
        self.ended.wait();
        let closed = matches!(*self.state.lock(), State::Closed);
        if closed {
            return Ok(());
        }
        self.close();
        Err(io::Error::other("the tracker's thread ended by itself: see the log").into())
    }

    /// Stops serving. When it returns, `start` is returning, no datagram leaves or arrives, and the port is free.
    /// Harmless when repeated, from any thread.
    pub fn close(&self) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Bound(proxy) => proxy.close(),
            State::Serving(driver) => driver.stop(),
            State::Closed => {}
        }
    }

    /// What it has seen and done; `None` unless it serves.
    pub fn counters(&self) -> Option<Counters> {
        let driver = match &*self.state.lock() {
            State::Serving(driver) => Arc::clone(driver),
            State::Bound(_) | State::Closed => return None,
        };
        driver.call(|server, _| server.counters())
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.close();
    }
}

impl Ended {
    fn wait(&self) {
        let mut flag = self.flag.lock();
        while !*flag {
            self.changed.wait(&mut flag);
        }
    }
}

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        *self.0.flag.lock() = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fid;
    use crate::rudp::packet;
    use crate::time::{Clock, Duration};
    use crate::tracker::{Announcer, Event};

    /// Announces a file through a socket of its own and waits until that is confirmed.
    fn announce(tracker: SocketAddr) {
        let proxy = Proxy::new(0, 0, None).unwrap();
        let clock = Clock::new();
        let mut announcer = Announcer::new(tracker, Rng::from_os());
        announcer.announce(clock.now(), Fid::of(b"a"), None, 1, 0, 30);
        let mut buf = Vec::new();
        while announcer.poll_event() != Some(Event::Confirmed { fid: Fid::of(b"a") }) {
            assert!(clock.now().as_secs_f64() < 20.0, "no answer for 20 s");
            while let Some(to) = announcer.poll_transmit(clock.now(), &mut buf) {
                proxy.send(&buf, to).unwrap();
            }
            if let Ok((datagram, from)) = proxy.recv(Some(Duration::from_millis(100))) {
                let (header, body) = packet::open(&datagram).unwrap();
                announcer.handle_oneshot(clock.now(), from, header, body);
            }
        }
        proxy.close();
    }

    #[test]
    fn it_serves_from_start_to_close_and_leaves_its_port_free() {
        let tracker = Tracker::new(10_000, 10_000, None).unwrap();
        let addr = tracker.local_addr();
        assert_eq!(tracker.counters(), None);
        std::thread::scope(|scope| {
            let starts = [scope.spawn(|| tracker.start()), scope.spawn(|| tracker.start())];
            announce(addr);
            assert_eq!(tracker.counters().map(|counters| counters.granted), Some(1));
            tracker.close();
            for start in starts {
                start.join().unwrap().unwrap();
            }
        });
        Proxy::bind(addr, 0, 0).expect("the port is free").close();
        tracker.close();
        assert!(matches!(tracker.start(), Err(Error::Closed)));
        assert_eq!(tracker.counters(), None);
    }

    #[test]
    fn closed_before_it_was_started_it_never_serves() {
        let tracker = Tracker::new(0, 0, None).unwrap();
        tracker.close();
        assert!(matches!(tracker.start(), Err(Error::Closed)));
        Proxy::bind(tracker.local_addr(), 0, 0).expect("the port is free").close();
    }

    #[test]
    fn a_busy_port_is_an_error_at_once() {
        let first = Tracker::new(0, 0, None).unwrap();
        let second = Tracker::new(0, 0, Some(first.local_addr().port()));
        assert!(matches!(second, Err(Error::Io(error)) if error.kind() == io::ErrorKind::AddrInUse));
    }

    #[test]
    fn dropping_it_frees_its_port() {
        let addr = Tracker::new(0, 0, None).unwrap().local_addr();
        Proxy::bind(addr, 0, 0).expect("the port is free").close();
    }
}
