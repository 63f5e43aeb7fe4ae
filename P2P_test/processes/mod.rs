//! What tests with real processes share: a directory of their own, the program at work in it, and how it ended.
//!
//! No test here.

#![allow(dead_code, reason = "every target takes what it needs")]

pub(crate) mod lan;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use swarmcast::rand::Rng;
use swarmcast::time::{Clock, Duration, Instant};

/// Nothing here should take longer. A test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// A directory of its own for a test, removed afterwards; and the network namespace that it is worked from, if not the test's own.
pub(crate) struct Sandbox(pub(crate) PathBuf, Option<String>);

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        let name = format!("cli-{:016x}", Rng::from_os().u64());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Sandbox(path, None)
    }

    /// On a machine of a local network.
    pub(crate) fn on(machine: &lan::Machine) -> Sandbox {
        let mut sandbox = Sandbox::new();
        sandbox.1 = Some(machine.namespace.clone());
        sandbox
    }

    /// A file of `len` B that follow from `seed`.
    pub(crate) fn file(&self, name: &str, len: usize, seed: u64) -> Vec<u8> {
        let mut content = vec![0; len];
        Rng::from_seed(seed).fill(&mut content);
        fs::write(self.0.join(name), &content).unwrap();
        content
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        self.start_with(args, &[])
    }

    /// As [`start`](Sandbox::start), with these variables in its environment.
    pub(crate) fn start_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Running {
        Running::start_in(self.1.as_deref(), &self.0, args, variables)
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.start(args).end()
    }

    /// Shares a file, and gives the ticket.
    pub(crate) fn share(&self, args: &[&str]) -> (Running, String) {
        let mut share = self.start(&[&["share"], args].concat());
        let ticket = share.line(Stream::Stdout, "swarmcast1:");
        assert!(ticket.starts_with("swarmcast1:") && ticket.len() <= 200, "{ticket}");
        (share, ticket)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The names in a directory, hidden ones as well, in their order.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A process of the program. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    /// Its lines; `None` where a stream ends.
    lines: Receiver<(Stream, Option<String>)>,
    seen: BTreeMap<Stream, String>,
    open: usize,
    /// How long it may be silent.
    pub(crate) patience: Duration,
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) seconds: f64,
}

impl Running {
    pub(crate) fn start(directory: &Path, args: &[&str]) -> Running {
        Running::start_in(None, directory, args, &[])
    }

    fn start_in(
        namespace: Option<&str>,
        directory: &Path,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Running {
        let program = env!("CARGO_BIN_EXE_swarmcast");
        // `ip` becomes the program, so signals reach that.
        let mut command = namespace.map_or_else(|| Command::new(program), |name| lan::inside(name, program));
        let mut child = command
            .args(args)
            .current_dir(directory)
            .env_remove("RUST_LOG")
            .env("TMPDIR", directory)
            // Where the user's own configuration isn't.
            .env("XDG_CONFIG_HOME", directory)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        read(Stream::Stdout, child.stdout.take().unwrap(), sender.clone());
        read(Stream::Stderr, child.stderr.take().unwrap(), sender);
        Running { child, lines, seen: BTreeMap::new(), open: 2, patience: PATIENCE }
    }

    /// Takes in one line, or the end of a stream, for which it gives `None`.
    fn listen(&mut self) -> Option<(Stream, String)> {
        match self.lines.recv_timeout(self.patience) {
            Ok((stream, line)) => self.take_in(stream, line),
            Err(error) => panic!("{error} after {:?}; so far it said {:?}", self.patience, self.seen),
        }
    }

    fn take_in(&mut self, stream: Stream, line: Option<String>) -> Option<(Stream, String)> {
        let Some(line) = line else {
            self.open -= 1;
            return None;
        };
        self.seen.entry(stream).or_default().push_str(&format!("{line}\n"));
        Some((stream, line))
    }

    /// Lets it work for so long, or to its end.
    pub(crate) fn work_for(&mut self, time: Duration) {
        let clock = Clock::new();
        while self.open > 0 {
            let left = time.saturating_sub(clock.now().since(Instant::ORIGIN));
            match self.lines.recv_timeout(left) {
                Ok((stream, line)) => _ = self.take_in(stream, line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Kills it on the spot, and waits until it is dead. Whether it had been alive.
    pub(crate) fn kill(mut self) -> bool {
        let was_alive = self.child.try_wait().unwrap().is_none();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        was_alive
    }

    /// The first line from now on that comes by `stream` and has `part` in it.
    pub(crate) fn line(&mut self, stream: Stream, part: &str) -> String {
        while self.open > 0 {
            if let Some((from, line)) = self.listen()
                && from == stream
                && line.contains(part)
            {
                return line;
            }
        }
        panic!("it ended without a line with {part:?}: {:?}", self.seen);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let clock = Clock::new();
        while self.open > 0 {
            self.listen();
        }
        // Its streams are closed, so it has ended or is about to.
        let code = self.child.wait().unwrap().code();
        let mut said = |stream| self.seen.remove(&stream).unwrap_or_default();
        let (stdout, stderr) = (said(Stream::Stdout), said(Stream::Stderr));
        Ended { code, stdout, stderr, seconds: clock.now().as_secs_f64() }
    }

    /// Ctrl-C, and what it does.
    pub(crate) fn interrupt(self) -> Ended {
        self.signal(Signal::SIGINT);
        let ended = self.end();
        assert!(ended.seconds < 5.0, "it took its time to end: {ended:?}");
        ended
    }
}

impl Running {
    /// Ctrl-C again and again, and what it does.
    pub(crate) fn interrupt_until_it_ends(mut self) -> Ended {
        let clock = Clock::new();
        while self.child.try_wait().unwrap().is_none() {
            assert!(clock.now().since(Instant::ORIGIN) < self.patience, "it goes on: {:?}", self.seen);
            self.signal(Signal::SIGINT);
            thread::yield_now();
        }
        Ended { seconds: clock.now().as_secs_f64(), ..self.end() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(stream: Stream, from: impl Read + Send + 'static, to: Sender<(Stream, Option<String>)>) {
    thread::spawn(move || {
        let lines = BufReader::new(from).lines().map_while(Result::ok).map(Some);
        for line in lines.chain([None]) {
            if to.send((stream, line)).is_err() {
                break;
            }
        }
    });
}

impl Ended {
    /// It ended with `code`, and said on stderr everything in `parts`, as one line of the program.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let line = self.stderr.lines().find(|line| line.starts_with("swarmcast: "));
        let line = line.unwrap_or_else(|| panic!("no error of the program in {self:?}"));
        for part in parts {
            assert!(line.contains(part), "{part:?} isn't in {line:?}");
        }
    }

    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }
}
