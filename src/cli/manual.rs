//! `swarmcast completions` and `swarmcast man`: what shells and man pages need to know of the command line, on stdout.

use std::io;

use clap::Command;
use clap_complete::Shell;

use super::failure::Failure;
use super::screen::Screen;
use super::{config, failure};

/// The program's name.
const PROGRAM: &str = "swarmcast";

/// Print what a shell needs to complete this program's arguments
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print a man page: `swarmcast man | man -l -`
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The page of this subcommand; without it, that of the program
    command: Option<String>,
}

/// Prints completions.
pub(super) fn completions(args: &CompletionsArgs, screen: &Screen) -> Result<(), Failure> {
    // What writes them panics where it can't write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut config::command(), PROGRAM, &mut script);
    screen.output(&script)
}

/// Prints a man page.
pub(super) fn man(args: &ManArgs, screen: &Screen) -> Result<(), Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(page_of(args.command.as_deref())?).render(&mut page);
    rendered.map_err(|error: io::Error| Failure::new(failure::Code::Other, format!("the page: {error}")))?;
    screen.output(&page)
}

/// What the page is about.
fn page_of(name: Option<&str>) -> Result<Command, Failure> {
    let mut program = config::command();
    // What all subcommands take is known to each only then.
    program.build();
    let Some(name) = name else { return Ok(program) };
    let found = program.find_subcommand(name).cloned();
    let command = found.ok_or_else(|| {
        Failure::usage(format!("{}: there is no such subcommand", swarmcast::name::display_name(name)))
    })?;
    Ok(command.name(format!("{PROGRAM}-{name}")))
}
