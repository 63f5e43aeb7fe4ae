//! The `swarmcast` program: parse, run, exit code. What it does lies in [`cli`].

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse().and_then(cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::complain(&failure);
            failure.code.into()
        }
    }
}
