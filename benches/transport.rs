//! The transport alone: rudp from memory to memory beside plain UDP, each in two processes over unshaped proxies.
//!
//! `cargo bench --bench transport` prints a table; SECONDS (1) is the time of each run and ROUNDS (3) how many there are, and
//! OFFLOAD=0 has both do without segmentation offload.
//! In each round, plain UDP takes turns with rudp and sends datagrams of the size that rudp has just reached: what counts
//! is the share, which says what reliability costs. No disk, no piece and no hash take part. Plain UDP sends as fast as its
//! proxy takes it, and what counts of it is what arrives.

// The two ends are those of `swarmcast bench`, which has more to do with them.
#[path = "../src/cli/bench/message.rs"]
mod message;
#[expect(dead_code, reason = "what only an interactive program asks for")]
#[path = "../src/cli/bench/probe.rs"]
mod probe;

use std::env;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use swarmcast::Proxy;
use swarmcast::driver::Driver;
use swarmcast::rand::Rng;
use swarmcast::rudp::Config;
use swarmcast::time::{Clock, Duration, Instant};

use self::probe::{Note, PathProbe};

/// The largest datagrams that rudp may send, B: the base, Ethernet's, and whatever the search finds.
const LIMITS: [usize; 3] = [1_200, 1_472, 65_507];
/// How much plain UDP may leave waiting in its proxy, B: the queue has no end, and would only take up memory.
const BACKLOG: u64 = 1 << 20;
/// So many datagrams of plain UDP are sent before the next look at clock and queue.
const BURST: u64 = 16;
/// A plain stream that is silent for so long is over.
const SILENCE: Duration = Duration::from_millis(300);

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["receive", "rudp", limit] => receive_rudp(number(limit)),
        ["receive", "plain", _] => receive_plain(),
        ["send", "rudp", limit, seconds, to] => send_rudp(number(limit), number(seconds), address(to)),
        ["send", "plain", size, seconds, to] => send_plain(number(size), number(seconds), address(to)),
        // `cargo test` runs it without `--bench`, only to see that it starts.
        _ if !args.contains(&"--bench") => {}
        _ => compare(),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no address"))
}

fn option(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| number(&text))
}

/// What a run found: bytes per second that arrived, and the size of its datagrams or the share of them that was lost.
#[derive(Clone, Copy, Debug)]
struct Found {
    rate: f64,
    extra: f64,
}

/// Runs all, in turns, and prints the table.
fn compare() {
    let (seconds, rounds) = (option("SECONDS", 1), option("ROUNDS", 3).max(1));
    println!(
        "one flow over loopback, MB/s that arrive, {rounds} rounds of {seconds} s each, median and range"
    );
    println!(
        "{:>9} {:>24} {:>24} {:>10} {:>14}",
        "datagram", "rudp", "plain UDP", "its loss", "rudp ÷ plain"
    );
    for limit in LIMITS {
        let (mut rudp, mut plain, mut lost, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut sizes = Vec::new();
        for _ in 0..rounds {
            let ours = transfer("rudp", limit, seconds);
            let theirs = transfer("plain", ours.extra as usize, seconds);
            sizes.push(ours.extra);
            rudp.push(ours.rate / 1e6);
            plain.push(theirs.rate / 1e6);
            lost.push(theirs.extra * 100.0);
            shares.push(ours.rate / theirs.rate);
        }
        println!(
            "{:>20} {:>20} {:>20} {:>8.1} % {:>17}",
            spread(&mut sizes, 0),
            spread(&mut rudp, 0),
            spread(&mut plain, 0),
            median(&mut lost),
            spread(&mut shares, 2)
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spread(values: &mut [f64], digits: usize) -> String {
    let middle = median(values);
    let (first, last) = (values[0], values[values.len() - 1]);
    if first == last {
        return format!("{middle:.digits$}");
    }
    format!("{middle:.digits$} ({first:.digits$}–{last:.digits$})")
}

/// One run in two processes.
fn transfer(kind: &str, size: usize, seconds: u64) -> Found {
    let (size, seconds) = (size.to_string(), seconds.to_string());
    let mut receiver = Process::start(&["receive", kind, &size]);
    let to = receiver.line();
    let mut sender = Process::start(&["send", kind, &size, &seconds, &to]);
    // The receiver of plain UDP knows what arrived, the sender of rudp has been told; both know what was sent.
    let sent = sender.line();
    let (rate, extra) = sent.split_once(' ').expect("two numbers");
    let (rate, extra): (f64, f64) = (number(rate), number(extra));
    if kind == "rudp" {
        return Found { rate, extra };
    }
    let arrived = receiver.line();
    let (bytes, time) = arrived.split_once(' ').expect("two numbers");
    let (bytes, time): (f64, f64) = (number(bytes), number(time));
    Found { rate: bytes / time, extra: 1.0 - bytes / extra }
}

/// A process of this program. It ends when its input does; dropped, it is killed.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(args: &[&str]) -> Process {
        let program = env::current_exe().expect("a program knows where it is");
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it started once already");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Process { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().and_then(Result::ok).expect("the process says what it found")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn proxy() -> Proxy {
    let addr = "127.0.0.1:0";
    let bound = match option("OFFLOAD", 1) {
        0 => Proxy::bind_without_offload(addr, 0, 0),
        _ => Proxy::bind(addr, 0, 0),
    };
    bound.expect("loopback has free ports")
}

/// A probe at work, and its notes.
fn probe(limit: usize) -> (Driver<PathProbe>, SocketAddr, mpsc::Receiver<Note>) {
    let (proxy, (sender, notes)) = (proxy(), mpsc::channel());
    let local = proxy.local_addr();
    let config = Config { max_datagram_size: limit, ..Config::default() };
    let driver = Driver::spawn("probe", proxy, PathProbe::new(config, Rng::from_os()), move |probe, _| {
        while let Some(note) = probe.poll_note() {
            // Nobody listens at the receiver.
            let _ = sender.send(note);
        }
    });
    (driver.expect("there are threads"), local, notes)
}

/// Prints its address, then receives until its input ends.
fn receive_rudp(limit: usize) {
    let (_driver, local, _notes) = probe(limit);
    println!("{local}");
    wait_for_end();
}

fn wait_for_end() {
    let mut nothing = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut nothing);
}

/// Prints the payload that arrived, B/s, and the size of the datagrams.
fn send_rudp(limit: usize, seconds: u64, to: SocketAddr) {
    let (driver, _, notes) = probe(limit);
    driver.call(move |probe, now| probe.measure(now, to, Duration::from_secs(seconds)));
    loop {
        match notes.recv() {
            Ok(Note::Measured(found)) => {
                let rate = found.received.bytes as f64 / found.received.time.as_secs_f64();
                println!("{rate} {}", found.stats.datagram_size);
                return;
            }
            Ok(Note::Begun(_) | Note::Served { .. }) => {}
            other => panic!("the measurement failed: {other:?}"),
        }
    }
}

/// Prints its address, then, after the first silence, how many bytes arrived and in what time, s.
fn receive_plain() {
    let (proxy, clock) = (proxy(), Clock::new());
    println!("{}", proxy.local_addr());
    let (mut bytes, mut first, mut last) = (0, None::<Instant>, Instant::ORIGIN);
    loop {
        let timeout = first.map(|_| SILENCE);
        let Ok((datagram, _)) = proxy.recv(timeout) else { break };
        last = clock.now();
        first.get_or_insert(last);
        bytes += datagram.len();
    }
    let time = last.since(first.unwrap_or(last)).as_secs_f64();
    println!("{bytes} {time}");
    wait_for_end();
}

/// Prints the rate, B/s, and how many bytes it sent.
fn send_plain(size: usize, seconds: u64, to: SocketAddr) {
    let (proxy, clock) = (proxy(), Clock::new());
    let (datagram, until) = (vec![7; size], Instant::ORIGIN + Duration::from_secs(seconds));
    let mut handed: u64 = 0;
    while clock.now() < until {
        // Looked at now and then only: counters cost a lock.
        if handed - proxy.stats().bytes_sent > BACKLOG {
            thread::yield_now();
            continue;
        }
        for _ in 0..BURST {
            proxy.send(&datagram, to).expect("the proxy is open");
        }
        handed += BURST * size as u64;
    }
    while proxy.stats().bytes_sent < handed && proxy.stats().refused == 0 {
        thread::yield_now();
    }
    let sent = proxy.stats().bytes_sent;
    println!("{} {sent}", sent as f64 / clock.now().as_secs_f64());
}
