//! The terminal, shared by results, hints, logs and a bar: each writes without tearing the others.
//!
//! What is said is decided elsewhere. Results go to stdout, or events where a program reads (`--json`), everything else to stderr. A reader that has gone away
//! (`swarmcast share FILE | head -1`) ends nothing: who shares goes on sharing.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};

use indicatif::{MultiProgress, ProgressBar};

use super::failure::Failure;
use super::json::Event;

/// Where the program speaks.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    /// Knows all bars, so that they can step aside while something else is written.
    bars: MultiProgress,
    quiet: bool,
    json: bool,
    is_terminal: bool,
}

impl Screen {
    /// A screen; with `quiet`, one that shows neither hints nor progress; with `json`, one that tells events instead of results.
    pub(super) fn new(quiet: bool, json: bool) -> Screen {
        Screen { bars: MultiProgress::new(), quiet, json, is_terminal: io::stderr().is_terminal() }
    }

    /// A line of the result, for people.
    pub(super) fn result(&self, line: impl Display) {
        if !self.json {
            self.line(line);
        }
    }

    /// A line for programs, if one reads.
    pub(super) fn event(&self, event: impl FnOnce() -> Event) {
        if self.json {
            self.line(event().line());
        }
    }

    /// All that a subcommand is for.
    ///
    /// # Errors
    /// If it can't be written: then it was in vain.
    pub(super) fn output(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
    }

    fn line(&self, line: impl Display) {
        self.bars.suspend(|| {
            let mut stdout = io::stdout().lock();
            // Nobody listens any more: no reason to stop.
            let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
        });
    }

    /// Something worth knowing.
    pub(super) fn hint(&self, line: impl Display) {
        if !self.quiet {
            self.bars.suspend(|| {
                // As above.
                let _ = writeln!(io::stderr(), "{line}");
            });
        }
    }

    /// Whether hints and progress are wanted.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether somebody watches who would like a bar.
    pub(super) fn is_watched(&self) -> bool {
        self.is_terminal && !self.quiet
    }

    /// Puts a bar on the screen.
    pub(super) fn add(&self, bar: ProgressBar) -> ProgressBar {
        self.bars.add(bar)
    }

    /// Where logs go.
    pub(super) fn log_pipe(&self) -> Box<dyn Write + Send> {
        Box::new(LogPipe(self.bars.clone()))
    }
}

/// Says on stderr what went wrong; the last thing that is said.
pub(super) fn complain(message: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "swarmcast: {message}");
}

/// Writes to stderr while the bars step aside.
struct LogPipe(MultiProgress);

impl Write for LogPipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
