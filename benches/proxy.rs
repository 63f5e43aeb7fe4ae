//! How fast two unshaped proxies are on loopback, next to bare sockets in the same run.
//!
//! Both ends are in this process. A window keeps the sender from overrunning the receiving socket's buffer, so that
//! nothing is lost and both ways of sending wait alike. Run it with `cargo bench --bench proxy`; compare the ratios,
//! since absolute figures depend on what else the computer does. No statistics here: each figure is the median of five.

#[path = "../src/proxy/raw.rs"]
mod raw;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use raw::Raw;
use swarmcast::Proxy;
use swarmcast::time::{Clock, Duration};

/// Each measurement moves about so many bytes, and at most so many datagrams.
const BYTES: usize = 256 << 20;
const DATAGRAMS: usize = 200_000;
/// What may be on the way: a socket's buffer must hold that (on Linux, net.core.rmem_max of 2 MiB or more).
const WINDOW_BYTES: usize = 1 << 20;
const WINDOW_DATAGRAMS: usize = 1 << 10;
const ROUNDS: usize = 5;
const PINGS: usize = 5_000;
/// What has not come by then is lost.
const LOST: Duration = Duration::from_millis(500);

/// Moves `count` datagrams of `len` B and gives the datagrams per second.
fn stream(
    count: usize,
    len: usize,
    mut send: impl FnMut(&[u8]) + Send,
    mut recv: impl FnMut() -> Option<usize>,
) -> f64 {
    let received = AtomicU64::new(0);
    let window = (WINDOW_BYTES / len).clamp(1, WINDOW_DATAGRAMS) as u64;
    let clock = Clock::new();
    let start = clock.now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let datagram = vec![7; len];
            for number in 0..count as u64 {
                while number >= received.load(Ordering::Acquire) + window {
                    thread::yield_now();
                }
                send(&datagram);
            }
        });
        for _ in 0..count {
            assert_eq!(recv().expect("nothing is lost within the window"), len);
            received.fetch_add(1, Ordering::Release);
        }
    });
    count as f64 / clock.now().since(start).as_secs_f64()
}

/// The median time of one datagram there and one back, µs.
fn ping(mut there: impl FnMut(), mut back: impl FnMut()) -> f64 {
    let clock = Clock::new();
    let mut times: Vec<_> = (0..PINGS)
        .map(|_| {
            let start = clock.now();
            there();
            back();
            clock.now().since(start).as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[PINGS / 2]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    println!(
        "{:>7}  {:>10} {:>8}  {:>10} {:>8}  {:>6}  {:>10} {:>6}",
        "B", "raw 1/s", "MB/s", "proxy 1/s", "MB/s", "ratio", "no offload", "ratio"
    );
    let pair = |open: fn() -> std::io::Result<Proxy>| (open().expect("a port"), open().expect("a port"));
    let (from, to) = pair(|| Proxy::new(0, 0, None));
    let plain = pair(|| Proxy::bind_without_offload("127.0.0.1:0", 0, 0));
    let (raw_from, mut raw_to) = (Raw::new(LOST), Raw::new(LOST));
    for len in [64, 1_200, 1_472, 8_972, 65_507] {
        let count = (BYTES / len).min(DATAGRAMS);
        let through = |(from, to): (&Proxy, &Proxy)| {
            let addr = to.local_addr();
            let send = |datagram: &[u8]| from.send(datagram, addr).expect("it is open");
            stream(count, len, send, || Some(to.recv(Some(LOST)).ok()?.0.len()))
        };
        let (mut raws, mut proxies, mut plains) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let addr = raw_to.local_addr();
            raws.push(stream(count, len, |datagram| raw_from.send(datagram, addr), || raw_to.recv()));
            proxies.push(through((&from, &to)));
            plains.push(through((&plain.0, &plain.1)));
        }
        let (raw, proxy, plain) = (median(raws), median(proxies), median(plains));
        let rate = |datagrams: f64| datagrams * len as f64 / 1e6;
        println!(
            "{len:>7}  {raw:>10.0} {:>8.0}  {proxy:>10.0} {:>8.0}  {:>6.2}  {plain:>10.0} {:>6.2}",
            rate(raw),
            rate(proxy),
            proxy / raw,
            plain / raw
        );
    }
    let (raw_to_addr, to_addr) = (raw_to.local_addr(), to.local_addr());
    let raw =
        ping(|| raw_from.send(b"lone", raw_to_addr), || assert_eq!(raw_to.recv().expect("it arrives"), 4));
    let proxy = ping(
        || from.send(b"lone", to_addr).expect("it is open"),
        || drop(to.recv(Some(LOST)).expect("it arrives")),
    );
    println!("a lone datagram, one way, µs: raw {raw:.1} (same thread), proxy {proxy:.1}");
}
