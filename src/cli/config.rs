//! Where a flag's value comes from: the command line, else a variable of the environment, else a file, else its default.
//!
//! That holds for the flags of what takes part in a swarm ([`CONFIGURED`]). Here names and texts are matched; what a value means is
//! the flag's own business.

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use toml::{Table, Value};

use super::failure::{Failure, show_path};
use super::{Args, screen};

/// The subcommands whose flags may stand in the file and in variables.
const CONFIGURED: [&str; 3] = ["tracker", "share", "get"];
/// The flag that names the file.
const CONFIG: &str = "config";

/// What help says of all this.
pub(super) const SOURCES: &str = concat!(
    "Each flag of tracker, share and get may also stand in a variable (SWARMCAST_LIMIT_UP for --limit-up) ",
    "or in a file (limit-up = \"5M\"; see --config). Flags come before variables, and those before the file."
);

/// The whole command line, as it is before any file is read.
pub(super) fn command() -> Command {
    let file = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .env("SWARMCAST_CONFIG")
        .hide_env_values(true)
        .global(true)
        .display_order(100)
        .value_parser(clap::value_parser!(PathBuf))
        .help("Take values of flags from this file, else from ~/.config/swarmcast/config.toml");
    let command = CONFIGURED.into_iter().fold(Args::command().arg(file), |command, name| {
        command.mut_subcommand(name, |subcommand| subcommand.after_help(SOURCES))
    });
    map_flags(command, |arg| {
        let variable = variable(arg.get_long().unwrap_or_default());
        let arg = match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        };
        arg.env(variable).hide_env(true)
    })
}

/// What was typed, with what the environment and the file say about flags that were not. Ends the program if that is help or
/// makes no sense.
///
/// # Errors
/// If the file can't be read, or says something that can't be meant.
pub(super) fn parse() -> Result<Args, Failure> {
    let command = command();
    let typed = command.clone().try_get_matches().unwrap_or_else(|error| end_with(&error));
    let matches = match find(&typed)? {
        Some(path) => with_file(command, &path)?,
        None => typed,
    };
    Args::from_arg_matches(&matches).or_else(|error| end_with(&error))
}

/// Prints help, or what makes no sense, and ends the program.
fn end_with(error: &clap::Error) -> ! {
    // Nobody is left to tell if this fails.
    let _ = error.print();
    let mut variables: Vec<String> = env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("SWARMCAST_"))
        .collect();
    if error.use_stderr() && !variables.is_empty() {
        variables.sort_unstable();
        screen::complain(&format!("these variables count as flags: {}", variables.join(", ")));
    }
    process::exit(error.exit_code())
}

/// `limit-up` is `SWARMCAST_LIMIT_UP`.
fn variable(flag: &str) -> String {
    format!("SWARMCAST_{}", flag.replace('-', "_").to_uppercase())
}

/// Changes all long flags of the subcommands that can be configured.
fn map_flags(command: Command, change: impl Fn(Arg) -> Arg) -> Command {
    CONFIGURED.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |subcommand| {
            subcommand.mut_args(|arg| if arg.get_long().is_some() { change(arg) } else { arg })
        })
    })
}

/// The file that holds for this command line, if there is one.
fn find(typed: &ArgMatches) -> Result<Option<PathBuf>, Failure> {
    if typed.subcommand_name().is_none_or(|name| !CONFIGURED.contains(&name)) {
        return Ok(None);
    }
    if let Some(path) = typed.get_one::<PathBuf>(CONFIG) {
        return Ok(Some(path.clone()));
    }
    // A relative one is to be ignored (XDG Base Directory Specification).
    let directory = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = directory.or_else(|| Some(env::home_dir()?.join(".config")));
    Ok(directory.map(|directory| directory.join("swarmcast/config.toml")).filter(|path| path.exists()))
}

/// The command line again, with the defaults from the file at `path`.
fn with_file(command: Command, path: &Path) -> Result<ArgMatches, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}: {what}", show_path(path)));
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => wrong("this is no text".to_owned()),
        _ => Failure::usage(Failure::file(path, &error).message),
    })?;
    let table = read(&text).map_err(wrong)?;
    let command = with_defaults(command, &table).map_err(wrong)?;
    command.try_get_matches().map_err(|error| {
        // Without the file all was well.
        let text = error.to_string();
        wrong(text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
    })
}

fn read(text: &str) -> Result<Table, String> {
    text.parse::<Table>().map_err(|error| {
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let place = error.span().map_or(String::new(), |span| format!("line {}: ", line(span.start)));
        format!("{place}{}", error.message().replace('\n', ", "))
    })
}

/// `command` with the values in `table` as defaults.
///
/// # Errors
/// What is wrong with which key.
fn with_defaults(command: Command, table: &Table) -> Result<Command, String> {
    let flags: Vec<Arg> = CONFIGURED
        .iter()
        .filter_map(|name| command.find_subcommand(name))
        .flat_map(Command::get_arguments)
        .filter(|arg| arg.get_long().is_some())
        .cloned()
        .collect();
    for (key, value) in table {
        let Some(flag) = flags.iter().find(|flag| flag.get_long() == Some(key)) else {
            return Err(format!("`{key}`: there is no such key: give one of {}", names(&flags)));
        };
        let values =
            texts(value).ok_or_else(|| format!("`{key}`: write a text, a number or a list of texts"))?;
        if values.len() != 1 && !matches!(flag.get_action(), ArgAction::Append) {
            return Err(format!("`{key}`: write one value, not a list"));
        }
    }
    Ok(map_flags(command, |arg| match arg.get_long().and_then(|long| table.get(long)).and_then(texts) {
        Some(values) => arg.default_values(values),
        None => arg,
    }))
}

/// The keys, each once.
fn names(flags: &[Arg]) -> String {
    let mut names: Vec<&str> = flags.iter().filter_map(Arg::get_long).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// What would be typed for `value`.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(is_set) => Some(vec![is_set.to_string()]),
        Value::Array(values) => {
            let texts: Option<Vec<_>> = values.iter().map(texts).collect();
            Some(texts?.concat())
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `get x` and `typed` come to under a file with `text`; `limit-up` and whether it seeds.
    fn get(text: &str, typed: &[&str]) -> (String, bool) {
        let command = with_defaults(command(), &read(text).unwrap()).unwrap();
        let matches = command.get_matches_from([&["swarmcast", "get", "x"], typed].concat());
        let get = matches.subcommand_matches("get").unwrap();
        let rate = get.get_one::<swarmcast::units::Rate>("limit_up").unwrap();
        (rate.to_string(), get.get_flag("seed"))
    }

    #[test]
    fn a_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn what_is_typed_comes_before_the_file_and_that_before_defaults() {
        assert_eq!(get("", &[]), ("unlimited".to_owned(), false));
        assert_eq!(get("limit-up = \"5k\"\nseed = true", &[]), ("5.00 kB/s".to_owned(), true));
        assert_eq!(get("limit-up = 5000", &["--limit-up", "7k"]), ("7.00 kB/s".to_owned(), false));
        // Another command's flags don't disturb.
        assert_eq!(get("tracker = [\"a:1\", \"b:2\"]", &[]), ("unlimited".to_owned(), false));
    }

    #[test]
    fn a_key_that_cant_be_meant_is_named() {
        let error = |text: &str| with_defaults(command(), &read(text).unwrap()).unwrap_err();
        let known = "advertise, bind, json, lan, limit-down, limit-up, list, no-choking, only, output, peers, seed, seed-for, seed-ratio, tracker";
        assert_eq!(error("limt-up = 1"), format!("`limt-up`: there is no such key: give one of {known}"));
        assert_eq!(error("[get]\nbind = 1"), format!("`get`: there is no such key: give one of {known}"));
        assert_eq!(error("[bind]"), "`bind`: write a text, a number or a list of texts");
        assert_eq!(error("bind = [\"a\", \"b\"]"), "`bind`: write one value, not a list");
        assert!(read("a = 1\nb").unwrap_err().starts_with("line 2: "), "{:?}", read("a = 1\nb"));
    }
}
