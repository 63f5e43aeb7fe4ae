//! Echoes, timers, commands and panics of machines on real proxies.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::machine::Job;

const LONG: Duration = Duration::from_secs(20);

/// Sends back what it gets, unless it sent it itself; keeps what it was told, and ticks if asked to.
#[derive(Default)]
struct Echo {
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    heard: Vec<Vec<u8>>,
    tick: Option<(Instant, Duration)>,
    ticks: Vec<Instant>,
    is_silent: bool,
    log: Vec<(usize, usize)>,
    jobs: VecDeque<Job<Echo>>,
}

impl Machine for Echo {
    fn handle_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8]) {
        assert_ne!(datagram, b"poison", "this machine was told to panic");
        self.heard.push(datagram.to_vec());
        if !self.is_silent {
            self.outbox.push_back((from, datagram.to_vec()));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some((at, every)) = &mut self.tick
            && *at <= now
        {
            *at += *every;
            self.ticks.push(now);
        }
    }

    fn poll_transmit(&mut self, _: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, datagram) = self.outbox.pop_front()?;
        *buf = datagram;
        Some(to)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.tick.map(|(at, _)| (at, "tick"))
    }

    fn poll_job(&mut self) -> Option<Job<Echo>> {
        self.jobs.pop_front()
    }
}

fn proxy() -> Proxy {
    Proxy::new(0, 0, None).unwrap()
}

fn quiet(machine: Echo) -> Driver<Echo> {
    Driver::spawn("test", proxy(), machine, |_, _| {}).unwrap()
}

/// A driver that reports all that its machine hears.
fn reporting(machine: Echo) -> (Driver<Echo>, Receiver<Vec<u8>>) {
    let (sender, reports) = channel();
    let observe = move |machine: &mut Echo, _: Instant| {
        for heard in machine.heard.drain(..) {
            sender.send(heard).unwrap();
        }
    };
    (Driver::spawn("test", proxy(), machine, observe).unwrap(), reports)
}

#[test]
fn datagrams_go_from_machine_to_machine_and_back_in_order() {
    let echo = quiet(Echo::default());
    let (caller, reports) = reporting(Echo { is_silent: true, ..Echo::default() });
    let to = echo.proxy.local_addr();
    for id in 0..100u8 {
        caller.call(move |machine, _| machine.outbox.push_back((to, vec![id; 100]))).unwrap();
    }
    for id in 0..100u8 {
        assert_eq!(reports.recv_timeout(LONG).unwrap(), [id; 100]);
    }
    assert_eq!(echo.call(|machine, _| machine.heard.len()), Some(100));
}

#[test]
fn what_a_command_makes_the_machine_send_is_with_the_proxy_when_call_returns() {
    let driver = quiet(Echo::default());
    let to = proxy();
    let addr = to.local_addr();
    for sent in 1..=50 {
        driver.call(move |machine, _| machine.outbox.push_back((addr, vec![1]))).unwrap();
        assert_eq!(driver.proxy.stats().datagrams_sent, sent);
    }
}

#[test]
fn what_the_observer_makes_the_machine_send_is_sent() {
    let to = proxy();
    let addr = to.local_addr();
    let mut greeted = false;
    let greet = move |machine: &mut Echo, _: Instant| {
        if !std::mem::replace(&mut greeted, true) {
            machine.outbox.push_back((addr, b"hello".to_vec()));
        }
    };
    let driver = Driver::spawn("test", proxy(), Echo::default(), greet).unwrap();
    let (datagram, from) = to.recv(Some(LONG)).unwrap();
    assert_eq!((&*datagram, from), (&b"hello"[..], driver.proxy.local_addr()));
}

#[test]
fn time_outs_come_when_they_are_due() {
    let every = Duration::from_millis(20);
    let machine = Echo { tick: Some((Instant::ORIGIN + every, every)), ..Echo::default() };
    let (sender, done) = channel();
    let observe = move |machine: &mut Echo, _: Instant| {
        if machine.ticks.len() == 5 {
            machine.tick = None;
            sender.send(machine.ticks.clone()).ok();
        }
    };
    let driver = Driver::spawn("test", proxy(), machine, observe).unwrap();
    let ticks = done.recv_timeout(LONG).unwrap();
    for (count, tick) in (1..).zip(ticks) {
        let due = Instant::ORIGIN + every * count;
        assert!(tick >= due && tick.since(due) < Duration::from_secs(2), "tick {count} at {tick:?}");
    }
    drop(driver);
}

#[test]
fn calls_from_many_threads_are_answered_each_in_its_order() {
    let driver = quiet(Echo::default());
    thread::scope(|scope| {
        for caller in 0..4 {
            let driver = &driver;
            scope.spawn(move || {
                for number in 0..200 {
                    let answer = driver.call(move |machine, _| {
                        machine.log.push((caller, number));
                        (caller, number)
                    });
                    assert_eq!(answer, Some((caller, number)));
                }
            });
        }
    });
    let log = driver.call(|machine, _| machine.log.clone()).unwrap();
    assert_eq!(log.len(), 800);
    for caller in 0..4 {
        let numbers = log.iter().filter(|entry| entry.0 == caller).map(|entry| entry.1);
        assert!(numbers.eq(0..200), "caller {caller}");
    }
}

#[test]
fn a_machine_that_spins_still_hears_commands_and_stops() {
    let machine = Echo { tick: Some((Instant::ORIGIN, Duration::ZERO)), ..Echo::default() };
    let driver = quiet(machine);
    assert_eq!(driver.call(|machine, _| machine.log.len()), Some(0));
    let before = driver.clock().now();
    driver.stop();
    assert!(driver.clock().now().since(before) < Duration::from_secs(1));
}

#[test]
fn stop_ends_a_pending_call_and_is_harmless_when_repeated() {
    let driver = quiet(Echo::default());
    let port = driver.proxy.port();
    let (occupied, is_occupied) = channel();
    let (release, released) = channel::<()>();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            driver.call(move |_, _| {
                occupied.send(()).unwrap();
                released.recv_timeout(LONG).unwrap();
            })
        });
        is_occupied.recv_timeout(LONG).unwrap();
        // The machine's thread is busy, so this call stays in the inbox and is never run.
        let pending = scope.spawn(|| driver.call(|machine, _| machine.log.push((0, 0))));
        while driver.shared.inbox.lock().inputs.is_empty() {
            thread::yield_now();
        }
        let before = driver.clock().now();
        let stoppers: Vec<_> = (0..3).map(|_| scope.spawn(|| driver.stop())).collect();
        while !driver.shared.is_stopped() {
            thread::yield_now();
        }
        release.send(()).unwrap();
        for stopper in stoppers {
            stopper.join().unwrap();
        }
        assert!(driver.clock().now().since(before) < Duration::from_secs(1));
        assert_eq!(pending.join().unwrap(), None);
        running.join().unwrap();
    });
    driver.stop();
    assert_eq!(driver.call(|_, _| ()), None);
    Proxy::new(0, 0, Some(port)).unwrap();
}

#[test]
fn drop_stops() {
    let driver = quiet(Echo::default());
    let port = driver.proxy.port();
    let shared = Arc::downgrade(&driver.shared);
    drop(driver);
    assert!(shared.upgrade().is_none(), "both threads have let go");
    Proxy::new(0, 0, Some(port)).unwrap();
}

#[test]
fn a_panic_of_the_machine_gives_none_to_callers() {
    let driver = quiet(Echo::default());
    assert_eq!(driver.call(|_, _| -> u32 { panic!("this command was told to panic") }), None);
    assert_eq!(driver.call(|_, _| 1), None);
    driver.stop();

    let driver = quiet(Echo::default());
    proxy().send(b"poison", driver.proxy.local_addr()).unwrap();
    while driver.call(|_, _| 1).is_some() {
        thread::yield_now();
    }
    driver.stop();
}

#[test]
fn stop_on_the_machines_own_thread_does_not_wait_for_itself() {
    let driver = Arc::new(quiet(Echo::default()));
    let itself = Arc::clone(&driver);
    driver.call(move |_, _| itself.stop());
    assert_eq!(driver.call(|_, _| ()), None);
    driver.stop();
}

#[test]
fn a_proxy_closed_by_someone_else_leaves_the_machine_at_work() {
    let driver = quiet(Echo::default());
    driver.proxy.close();
    let to = driver.proxy.local_addr();
    let echoed = driver.call(move |machine, _| machine.outbox.push_back((to, vec![1])));
    assert_eq!(echoed, Some(()));
    assert_eq!(driver.call(|machine, _| machine.outbox.len()), Some(0));
}

#[test]
fn an_inbox_that_is_full_drops_at_its_tail_and_goes_on_when_it_is_not() {
    let mut inbox = Inbox::<Echo> { inputs: VecDeque::new(), charged: 0, dropped: 0 };
    let from = SocketAddr::from(([127, 0, 0, 1], 9));
    let datagram = Bytes::from(vec![0; (1 << 20) - BOOKKEEPING]);
    for _ in 0..65 {
        inbox.push_datagram(datagram.clone(), from);
    }
    inbox.push_datagram(Bytes::new(), from);
    assert_eq!((inbox.inputs.len(), inbox.dropped), (64, 2));
    let mut round = Vec::new();
    inbox.take_round(&mut round);
    assert_eq!(round.len(), ROUND);
    inbox.push_datagram(Bytes::new(), from);
    assert_eq!((inbox.inputs.len(), inbox.dropped), (64 - ROUND + 1, 2));
}

#[test]
fn jobs_are_done_in_order_beside_the_machine() {
    let (driver, reports) = reporting(Echo::default());
    let (go, gate) = channel::<()>();
    let machine_thread = driver.call(|_, _| thread::current().id()).unwrap();
    driver.call(move |machine, _| {
        machine.jobs.push_back(Box::new(move || {
            assert_ne!(thread::current().id(), machine_thread);
            gate.recv().unwrap();
            Box::new(|machine: &mut Echo, _| machine.heard.push(b"first".to_vec()))
        }));
        machine.jobs.push_back(Box::new(|| Box::new(|machine, _| machine.heard.push(b"second".to_vec()))));
    });
    // The first one lasts, and the machine goes on.
    assert_eq!(driver.call(|machine, _| machine.heard.len()), Some(0));
    go.send(()).unwrap();
    assert_eq!(reports.recv_timeout(LONG).unwrap(), b"first");
    assert_eq!(reports.recv_timeout(LONG).unwrap(), b"second");
}

#[test]
fn a_job_that_panics_ends_the_machine() {
    let driver = quiet(Echo::default());
    driver.call(|machine, _| machine.jobs.push_back(Box::new(|| panic!("a job was told to panic"))));
    let begin = driver.clock().now();
    while driver.call(|_, _| ()).is_some() {
        assert!(driver.clock().now().since(begin) < LONG, "it goes on");
        thread::yield_now();
    }
}

#[test]
fn stopping_waits_for_the_job_at_hand() {
    let driver = quiet(Echo::default());
    let (sender, done) = channel();
    let (begun, has_begun) = channel();
    driver.call(move |machine, _| {
        let first = sender.clone();
        machine.jobs.push_back(Box::new(move || {
            begun.send(()).unwrap();
            first.send("first").unwrap();
            Box::new(|_, _| {})
        }));
    });
    has_begun.recv_timeout(LONG).unwrap();
    driver.stop();
    assert_eq!(done.iter().collect::<Vec<_>>(), ["first"], "nobody holds the sender any more");
}
