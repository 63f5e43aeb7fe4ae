//! The socket and the one thread that waits on it.
//!
//! The socket has two descriptors: the uplink sends on one ([`Outlet`]), under its lock, and the thread waits and
//! receives on the other ([`Inlet`]), without any. No queue and no law here.

#![expect(clippy::disallowed_types, reason = "this is where the network is sealed")]

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::{Condvar, Mutex};
use quinn_udp::UdpSocketState;
use socket2::{Domain, Protocol, Socket, Type};

use super::downlink::{Downlink, Incoming};
use super::inlet::Inlet;
use super::outlet::Outlet;
use super::uplink::{Next, Trouble, Uplink};
use crate::time::{Clock, Duration, Instant};
use crate::units::Rate;

/// What is asked for as socket buffers, B; systems that refuse that much are asked for half, and so on.
const SOCKET_BUFFER: usize = 8 << 20;
/// Below this the system's own choice is better.
const SMALLEST_SOCKET_BUFFER: usize = 256 << 10;
/// After how many datagrams received the uplink gets its turn.
const RECEIVE_BATCH: usize = 64;
/// How many trains leave before senders can get at the queue, and arrivals their turn.
const SEND_BATCH: usize = 16;
/// How often the thread steps back before it sends a train that may still grow.
const GRACE: usize = 5;
/// The grain of the selector's time-out; what is left below it is waited for in naps.
const POLL_GRAIN: Duration = Duration::from_millis(1);
/// How long an arrival may wait at most because the thread waits for a departure more precisely than it can poll.
const NAP: Duration = Duration::from_micros(250);
/// How long the thread leaves a socket alone that can't be read for a reason of its own (out of memory, say).
const READ_PAUSE: Duration = Duration::from_millis(1);

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// What the handles and the thread share. Locks: the uplink's and the downlink's are never held together.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) uplink: Mutex<Uplink<Outlet>>,
    pub(super) downlink: Downlink,
    /// Ends a nap of the thread.
    stir: Condvar,
    waker: Waker,
}

impl Shared {
    /// Makes the thread look at the uplink again.
    pub(super) fn wake(&self) {
        self.stir.notify_one();
        if let Err(error) = self.waker.wake() {
            log::error!("the I/O thread can't be woken: {error}");
        }
    }

    /// Stops all traffic and tells the thread to end.
    pub(super) fn shut(&self) {
        self.uplink.lock().close();
        self.downlink.close();
        self.wake();
    }
}

/// The receiving end of the socket, and the thread's own state.
pub(super) struct Io {
    shared: Arc<Shared>,
    poll: Poll,
    inlet: Inlet,
    batch: Vec<Incoming>,
    /// Whether the selector reports writability: only while datagrams wait for it, for each sent one would wake us.
    awaits_writable: bool,
    /// The selector reports changes only; until a read has found nothing there may be more.
    readable: bool,
    read_again: Option<Instant>,
}

/// Binds a socket to `addr`, and gives its address, what is shared and what the thread is to [run](Io::run).
///
/// Without `offload` each datagram takes a call, as on a system that knows no better.
pub(super) fn open(
    addr: SocketAddr,
    upload: Rate,
    download: Rate,
    offload: bool,
) -> io::Result<(SocketAddr, Arc<Shared>, Io)> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    enlarge(|size| socket.set_recv_buffer_size(size));
    enlarge(|size| socket.set_send_buffer_size(size));
    if addr.ip() == Ipv6Addr::UNSPECIFIED {
        // All addresses are meant, whatever the system takes that for.
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    let offload = if offload { offload_of(&socket) } else { None };
    let mut inlet = mio::net::UdpSocket::from_std(socket.try_clone()?.into());
    let local_addr = inlet.local_addr()?;

    let poll = Poll::new()?;
    poll.registry().register(&mut inlet, SOCKET, Interest::READABLE)?;
    let inlet = Inlet::new(inlet, offload.clone());
    let outlet = Outlet::new(socket, offload, addr.is_ipv6());
    let shared = Arc::new(Shared {
        clock: Clock::new(),
        uplink: Mutex::new(Uplink::new(outlet, upload)),
        downlink: Downlink::new(download),
        stir: Condvar::new(),
        waker: Waker::new(poll.registry(), WAKE)?,
    });
    let io = Io {
        shared: Arc::clone(&shared),
        poll,
        inlet,
        batch: Vec::with_capacity(RECEIVE_BATCH),
        awaits_writable: false,
        readable: true,
        read_again: None,
    };
    Ok((local_addr, shared, io))
}

/// The system's means to send and receive many datagrams a call, which also forbid the IP layer to fragment; `None` if
/// it won't have that.
fn offload_of(socket: &Socket) -> Option<Arc<UdpSocketState>> {
    match UdpSocketState::new(socket.into()) {
        Ok(state) => Some(Arc::new(state)),
        Err(error) => {
            log::info!("one datagram a call: {error}");
            None
        }
    }
}

/// Sets a buffer size as large as the system allows.
fn enlarge(set: impl Fn(usize) -> io::Result<()>) {
    let mut size = SOCKET_BUFFER;
    while size >= SMALLEST_SOCKET_BUFFER && set(size).is_err() {
        size /= 2;
    }
}

impl Io {
    /// Sends and receives until the proxy is shut.
    pub(super) fn run(mut self) {
        // Whatever ends this thread, nobody must go on waiting for it.
        let _shut = ShutOnDrop(Arc::clone(&self.shared));
        let mut events = Events::with_capacity(8);
        loop {
            if self.shared.uplink.lock().is_collecting() {
                // Whoever sends the burst may well have more of it at hand; on an idle computer this takes 2 µs.
                for _ in 0..GRACE {
                    thread::yield_now();
                }
            }
            let next = {
                let mut uplink = self.shared.uplink.lock();
                if uplink.is_closed() {
                    return;
                }
                uplink.flush(self.shared.clock.now(), SEND_BATCH)
            };
            if self.readable {
                self.receive();
            }
            if let Err(error) = self.wait(next, &mut events) {
                log::error!("the I/O thread ends: {error}");
                return;
            }
        }
    }

    /// Takes what the socket has, about one batch at most, to the downlink.
    fn receive(&mut self) {
        while self.batch.len() < RECEIVE_BATCH {
            let Err(error) = self.inlet.receive(&mut self.batch) else { continue };
            match Trouble::of(&error) {
                Trouble::NotOurs => {}
                Trouble::NotReady => {
                    self.readable = false;
                    break;
                }
                Trouble::Refused => {
                    log::debug!("nothing received: {error}");
                    self.readable = false;
                    self.read_again = Some(self.shared.clock.now() + READ_PAUSE);
                    break;
                }
            }
        }
        if !self.batch.is_empty() {
            self.shared.downlink.admit(self.shared.clock.now(), self.batch.drain(..));
        }
    }

    /// Waits until the socket has something, the uplink is due, or somebody calls.
    fn wait(&mut self, next: Next, events: &mut Events) -> io::Result<()> {
        let awaits_writable = next == Next::Writable;
        if awaits_writable != self.awaits_writable {
            let interest =
                if awaits_writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            self.poll.registry().reregister(&mut self.inlet.socket, SOCKET, interest)?;
            self.awaits_writable = awaits_writable;
        }

        let departure = if let Next::At(departure) = next { Some(departure) } else { None };
        let left = if self.readable {
            Some(Duration::ZERO)
        } else {
            let now = self.shared.clock.now();
            [departure, self.read_again].into_iter().flatten().min().map(|wake| wake.since(now))
        };
        // The selector rounds up to its grain, so ask for whole grains only, and nap for the rest.
        let timeout = left.map(|left| if left < POLL_GRAIN { Duration::ZERO } else { whole_grains(left) });
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        if events.iter().any(|event| event.token() == SOCKET) {
            self.readable = true;
        }
        if self.read_again.is_some_and(|at| at <= self.shared.clock.now()) {
            self.readable = true;
            self.read_again = None;
        }
        if let Some(left) = left
            && events.is_empty()
            && !self.readable
            && timeout == Some(Duration::ZERO)
            && !left.is_zero()
        {
            self.nap(left.min(NAP));
        }
        Ok(())
    }

    /// Waits more precisely than the selector can.
    fn nap(&self, time: Duration) {
        let mut uplink = self.shared.uplink.lock();
        if !uplink.is_closed() {
            self.shared.stir.wait_for(&mut uplink, time);
        }
    }
}

/// `time` rounded down to the selector's grain.
fn whole_grains(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

struct ShutOnDrop(Arc<Shared>);

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        self.0.shut();
    }
}
