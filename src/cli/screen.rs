//! The terminal, shared by results, hints, logs and a bar: each writes without tearing the others.
//!
//! What is said is decided elsewhere. Results go to stdout, or events where a program reads (`--json`), everything else to stderr. A reader that has gone away
//! (`swarmcast share FILE | head -1`) ends nothing: who shares goes on sharing.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU16, Ordering};

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, TermLike};

use super::failure::Failure;
use super::json::Event;

/// How often bars are drawn at most, a second.
const DRAWN: u8 = 20;

/// Where the program speaks.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    /// Knows all bars, so that they can step aside while something else is written.
    bars: MultiProgress,
    quiet: bool,
    json: bool,
    is_watched: bool,
}

impl Screen {
    /// A screen; with `quiet`, one that shows neither hints nor progress; with `json`, one that tells events instead of results.
    pub(super) fn new(quiet: bool, json: bool) -> Screen {
        let terminal = Term::buffered_stderr();
        // A dumb terminal has no cursor to move: there, lines have to do.
        let is_watched = !quiet && terminal.is_term() && !console::is_dumb();
        let target = match is_watched {
            true => ProgressDrawTarget::term_like_with_hz(Box::new(Homing::new(terminal)), DRAWN),
            false => ProgressDrawTarget::hidden(),
        };
        Screen { bars: MultiProgress::with_draw_target(target), quiet, json, is_watched }
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
        self.is_watched
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

/// A terminal whose cursor rests at the beginning of a line. The bar's last line is filled to the edge: the `^C` that the system shows
/// there would begin another one, and the bar would be looked for one line too low.
#[derive(Debug)]
struct Homing {
    terminal: Term,
    /// How wide it was when something was last drawn, in columns.
    drawn_at: AtomicU16,
}

impl Homing {
    fn new(terminal: Term) -> Homing {
        let drawn_at = AtomicU16::new(TermLike::width(&terminal));
        Homing { terminal, drawn_at }
    }
}

impl TermLike for Homing {
    fn width(&self) -> u16 {
        TermLike::width(&self.terminal)
    }

    fn height(&self) -> u16 {
        TermLike::height(&self.terminal)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_up(n)?;
        // A terminal that was resized may have broken the bar's lines anew.
        let is_resized = self.drawn_at.load(Ordering::Relaxed) != self.width();
        if is_resized { self.terminal.clear_to_end_of_screen() } else { Ok(()) }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_left(n)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.terminal.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.terminal.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.terminal.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.drawn_at.store(self.width(), Ordering::Relaxed);
        self.terminal.write_str("\r")?;
        self.terminal.flush()
    }
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
