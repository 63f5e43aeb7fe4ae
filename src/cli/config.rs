//! Where a flag's value comes from: the command line, else a variable of the environment, else a file, else its default.
//!
//! That holds for the flags of what takes part in a swarm ([`CONFIGURED`]), and for those of all commands. Of flags that exclude each
//! other, too, the nearer source decides. Here names and texts are matched; what a value means is the flag's own business.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Id};
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

/// The whole command line, with variables but without any file.
pub(super) fn command() -> Command {
    with_variables(bare(), &Overruled::new())
}

/// The command line as it can be typed.
fn bare() -> Command {
    let file = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .env("SWARMCAST_CONFIG")
        .hide_env_values(true)
        .global(true)
        .display_order(100)
        .value_parser(clap::value_parser!(PathBuf))
        .help("Take values of flags from this file, else from ~/.config/swarmcast/config.toml");
    CONFIGURED.into_iter().fold(Args::command().arg(file), |command, name| {
        command.mut_subcommand(name, |subcommand| subcommand.after_help(SOURCES))
    })
}

/// `command` with variables for its flags.
fn with_variables(command: Command, overruled: &Overruled) -> Command {
    map_flags(command, overruled, |arg| {
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
    let parse = |command: Command| command.try_get_matches().unwrap_or_else(|error| end_with(&error));
    let typed = parse(bare());
    let command = with_variables(bare(), &overruled(&typed));
    let given = parse(command.clone());
    let matches = match find(&given)? {
        Some(path) => with_file(command, &path, &overruled(&given))?,
        None => given,
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

/// Flags that take no value from a farther source, as a nearer one gives what they exclude.
type Overruled = BTreeSet<Id>;

/// What `given` overrules.
fn overruled(given: &ArgMatches) -> Overruled {
    let mut command = bare();
    command.build();
    let Some((name, given)) = given.subcommand() else { return Overruled::new() };
    let command = command.find_subcommand(name).expect("what was given is there");
    let is_given = |arg: &Arg| {
        let source = given.value_source(arg.get_id().as_str());
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let excludes = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|excluded| excluded.get_id() == other.get_id())
    };
    let (given, others): (Vec<&Arg>, Vec<&Arg>) = command.get_arguments().partition(|arg| is_given(arg));
    let is_overruled = |arg: &&Arg| given.iter().any(|given| excludes(given, arg) || excludes(arg, given));
    others.into_iter().filter(is_overruled).map(|arg| arg.get_id().clone()).collect()
}

/// Changes all long flags that can be configured, but for those that are overruled.
fn map_flags(command: Command, overruled: &Overruled, change: impl Fn(Arg) -> Arg) -> Command {
    let change = |arg: Arg| if is_key(&arg) && !overruled.contains(arg.get_id()) { change(arg) } else { arg };
    CONFIGURED.into_iter().fold(command.mut_args(&change), |command, name| {
        command.mut_subcommand(name, |subcommand| subcommand.mut_args(&change))
    })
}

/// Whether it may stand in the file.
fn is_key(arg: &Arg) -> bool {
    arg.get_long().is_some_and(|long| long != CONFIG)
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
fn with_file(command: Command, path: &Path, overruled: &Overruled) -> Result<ArgMatches, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}: {what}", show_path(path)));
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => wrong("this is no text".to_owned()),
        _ => Failure::usage(Failure::file(path, &error).message),
    })?;
    let table = read(&text).map_err(wrong)?;
    let command = with_defaults(command, &table, overruled).map_err(wrong)?;
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
fn with_defaults(command: Command, table: &Table, overruled: &Overruled) -> Result<Command, String> {
    let subcommands = CONFIGURED.iter().filter_map(|name| command.find_subcommand(name));
    let all = command.get_arguments().chain(subcommands.flat_map(Command::get_arguments));
    let flags: Vec<Arg> = all.filter(|arg| is_key(arg)).cloned().collect();
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
    Ok(map_flags(command, overruled, |arg| {
        match arg.get_long().and_then(|long| table.get(long)).and_then(texts) {
            Some(values) => arg.default_values(values),
            None => arg,
        }
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
        let command = with_defaults(command(), &read(text).unwrap(), &Overruled::new()).unwrap();
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
        let error =
            |text: &str| with_defaults(command(), &read(text).unwrap(), &Overruled::new()).unwrap_err();
        let known = "advertise, bind, json, lan, limit-down, limit-up, list, no-choking, only, output, peers, quiet, seed, seed-for, seed-ratio, tracker, verbose";
        assert_eq!(error("limt-up = 1"), format!("`limt-up`: there is no such key: give one of {known}"));
        assert_eq!(error("[get]\nbind = 1"), format!("`get`: there is no such key: give one of {known}"));
        assert_eq!(error("[bind]"), "`bind`: write a text, a number or a list of texts");
        assert_eq!(error("bind = [\"a\", \"b\"]"), "`bind`: write one value, not a list");
        assert!(read("a = 1\nb").unwrap_err().starts_with("line 2: "), "{:?}", read("a = 1\nb"));
    }
}
