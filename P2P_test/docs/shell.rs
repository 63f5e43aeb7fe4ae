//! Commands of a page acted out: in a directory of their own, on addresses of this machine, with the ticket that was printed last.
//!
//! What they shall print is [`page`](super::page)'s affair.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use swarmcast::rand::Rng;

use super::page::{Step, Way, matches};
use super::processes::Sandbox;

/// How pages write a ticket.
const TICKET: &str = "swarmcast1:…";

/// The network that pages speak of. It is on this machine here, and no other test is there.
const NETWORK: &str = "192.168.1.";

/// Where a page is acted out.
pub(crate) struct Shell {
    sandbox: Sandbox,
    network: String,
    ticket: Option<String>,
    machines: usize,
    last_code: i32,
    background: Vec<Child>,
}

impl Shell {
    /// With the FILE and the FOLDER that pages speak of.
    pub(crate) fn new() -> Shell {
        let sandbox = Sandbox::new();
        let mut rng = Rng::from_os();
        let network = format!("127.{}.{}.", 1 + rng.u64() % 250, rng.u64() % 250);
        let shell =
            Shell { sandbox, network, ticket: None, machines: 0, last_code: 0, background: Vec::new() };
        shell.write("FILE", &(1..100_000).map(|line| format!("{line}\n")).collect::<String>());
        shell.write("FOLDER/docs/plan.txt", "First, then.\n");
        shell.write("FOLDER/photos/sea.jpg", &"blue".repeat(5_000));
        shell
    }

    /// Makes a file.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.sandbox.0.join(path);
        fs::create_dir_all(path.parent().expect("it is in the sandbox")).expect("it can be made");
        fs::write(path, content.replace(NETWORK, &self.network)).expect("it can be written");
    }

    /// Does what a block says.
    ///
    /// # Errors
    /// What is otherwise than it says.
    pub(crate) fn act(&mut self, steps: &[Step], way: Way) -> Result<(), String> {
        let directory = if way.elsewhere {
            self.machines += 1;
            self.sandbox.directory(&format!("machine {}", self.machines))
        } else {
            self.sandbox.0.clone()
        };
        steps.iter().try_for_each(|step| self.step(step, &directory, way))?;
        match self.last_code {
            0 => Ok(()),
            code => Err(format!("the last command ended with {code}, and nothing says so")),
        }
    }

    fn step(&mut self, step: &Step, directory: &Path, way: Way) -> Result<(), String> {
        let typed = step.command.replace(NETWORK, &self.network).replace("$?", &self.last_code.to_string());
        let command = match &self.ticket {
            Some(ticket) => typed.replace(TICKET, ticket),
            None => typed,
        };
        if self.last_code != 0 && !step.command.contains("$?") {
            return Err(format!("the command before `{command}` ended with {}", self.last_code));
        }
        let mut child = self.start(&command, directory);
        let stdout = child.stdout.take().expect("it is a pipe");
        let expected = step.output.as_deref();
        let output = if way.in_background {
            self.background.push(child);
            first_lines(stdout, expected.map(|expected| expected.lines().count()))
        } else {
            let output = std::io::read_to_string(stdout).expect("it prints text");
            // What was killed has no code.
            self.last_code = child.wait().expect("it was started").code().unwrap_or(-1);
            output
        };
        self.ticket = find_ticket(&output).or(self.ticket.take());
        let shown = self.as_shown(&output);
        if way.in_background && expected.is_none() && find_ticket(&output).is_none() {
            return Err(format!("`{command}` has no ticket, but this: {shown}"));
        }
        match expected {
            Some(expected) if !matches(expected, &shown, way.varies) => {
                Err(format!("`{command}` printed\n{shown}instead of\n{expected}"))
            }
            _ => Ok(()),
        }
    }

    /// A shell of its own, and a group of processes, so that all of it can be ended.
    fn start(&self, command: &str, directory: &Path) -> Child {
        let here = Path::new(env!("CARGO_BIN_EXE_swarmcast")).parent().expect("it is in a directory");
        let path = format!("{}:{}", here.display(), std::env::var("PATH").unwrap_or_default());
        Command::new("bash")
            // One stream, as a terminal shows it.
            .args(["-c", &format!("exec 2>&1; set -o pipefail; {command}")])
            .current_dir(directory)
            .env("PATH", path)
            .env_remove("RUST_LOG")
            .env("TMPDIR", &self.sandbox.0)
            .env("XDG_CONFIG_HOME", &self.sandbox.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("there is a bash")
    }

    /// What a page shows of this output.
    fn as_shown(&self, output: &str) -> String {
        let output = output.replace(&self.network, NETWORK);
        match &self.ticket {
            Some(ticket) => output.replace(ticket, TICKET),
            None => output,
        }
    }
}

/// So many lines of what goes on printing; without a number, all up to a ticket.
fn first_lines(stdout: ChildStdout, count: Option<usize>) -> String {
    let (mut lines, mut text) = (BufReader::new(stdout).lines(), String::new());
    while count.map_or(find_ticket(&text).is_none(), |count| text.lines().count() < count) {
        // Its end is told by what is missing.
        let Some(Ok(line)) = lines.next() else { break };
        text.push_str(&line);
        text.push('\n');
    }
    // Whoever prints into a closed pipe ends.
    std::thread::spawn(move || lines.for_each(drop));
    text
}

/// The first ticket in what was printed. Messages speak of tickets, too.
fn find_ticket(output: &str) -> Option<String> {
    let tickets = output.match_indices("swarmcast1:").map(|(at, scheme)| {
        let rest = &output[at + scheme.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        &output[at..at + scheme.len() + end]
    });
    tickets.map(str::to_owned).find(|ticket| ticket.len() > 60)
}

impl Drop for Shell {
    fn drop(&mut self) {
        for child in &mut self.background {
            let group = Pid::from_raw(i32::try_from(child.id()).expect("ids are small"));
            // It may have ended by itself.
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}
