//! What goes wrong on the command line: a message that names the thing and says what to do, and an exit code.
//!
//! All exit codes stand in [`TABLE`], which `--help` prints. Nothing is printed here.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use swarmcast::Error;
use swarmcast::name::display_name;

use super::ticket::TicketError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Ok = 0,
    Other = 1,
    Usage = 2,
    UnknownFile = 3,
    NoHolder = 4,
    TrackerUnreachable = 5,
    Integrity = 6,
    TargetExists = 7,
    DiskFull = 8,
    Interrupted = 130,
    /// As a shell tells of a program that SIGPIPE has ended.
    ReaderGone = 141,
}

/// Every exit code, and what it says.
const TABLE: [(Code, &str); 11] = [
    (Code::Ok, "all went well (Ctrl-C is how what serves others ends)"),
    (Code::Other, "another failure"),
    (Code::Usage, "wrong arguments, or a ticket that can't be read"),
    (Code::UnknownFile, "the tracker knows nobody who has the file"),
    (Code::NoHolder, "those who have the file don't answer"),
    (Code::TrackerUnreachable, "the tracker, or who is measured to, can't be found or doesn't answer"),
    (Code::Integrity, "the content isn't what the ticket says, or has changed since"),
    (Code::TargetExists, "the target exists already; it was left as it is"),
    (Code::DiskFull, "there is no room where the file is written"),
    (Code::Interrupted, "interrupted before the end (get goes on from there next time)"),
    (Code::ReaderGone, "who was reading the output has gone"),
];

/// The exit codes as `--help` shows them.
pub(super) fn table() -> String {
    let rows = TABLE.iter().map(|(code, meaning)| format!("  {:>3}  {meaning}", *code as u8));
    ["Exit codes:".to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

/// Why a subcommand ends before it is done.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: Code,
    /// One line for the user, fit for a terminal.
    pub(crate) message: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// Arguments that can't be meant.
    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, message)
    }

    /// Ended by Ctrl-C before it was done.
    pub(super) fn interrupted(what: impl Into<String>) -> Failure {
        Failure::new(Code::Interrupted, what)
    }

    /// Something is at `path` already.
    pub(super) fn exists(path: &Path) -> Failure {
        let shown = show_path(path);
        Failure::new(
            Code::TargetExists,
            format!(
                "{shown} exists already and was left as it is: move it away, or give another name with -o"
            ),
        )
    }

    /// `addr`, chosen by the option `option`, can't be bound.
    pub(super) fn bind(addr: SocketAddr, option: &str, error: &Error) -> Failure {
        let Error::Io(source) = error else { return Failure::from(error.clone()) };
        let what_to_do = match source.kind() {
            io::ErrorKind::AddrInUse => {
                format!("the port is in use: end the program that has it, or choose another with {option}")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("no address of this machine: give one that it has with {option}")
            }
            io::ErrorKind::PermissionDenied => {
                format!("not permitted (ports below 1024 need privileges): choose another with {option}")
            }
            _ => format!("{source}: choose another address with {option}"),
        };
        Failure::new(Code::Other, format!("{addr}: {what_to_do}"))
    }

    /// Stdout can't be written to.
    pub(super) fn stdout(source: &io::Error) -> Failure {
        match source.kind() {
            io::ErrorKind::BrokenPipe => {
                Failure::new(Code::ReaderGone, "who was reading the output has gone")
            }
            _ => Failure::file(Path::new("stdout"), source),
        }
    }

    /// `path` can't be read or written.
    pub(super) fn file(path: &Path, source: &io::Error) -> Failure {
        let shown = show_path(path);
        let message = match source.kind() {
            io::ErrorKind::AlreadyExists => return Failure::exists(path),
            io::ErrorKind::NotFound => format!("{shown}: there is no such file or directory: check the path"),
            io::ErrorKind::IsADirectory => {
                format!("{shown} is a directory: give a single file")
            }
            io::ErrorKind::PermissionDenied => {
                format!("{shown}: not permitted: check its permissions and those of its directory")
            }
            _ if is_full(source) => {
                let message = format!("{shown}: {source}: make room, or write elsewhere with -o");
                return Failure::new(Code::DiskFull, message);
            }
            _ => format!("{shown}: {source}"),
        };
        Failure::new(Code::Other, message)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// `path` as it may be shown on a terminal: part of it may be a stranger's choice.
pub(super) fn show_path(path: &Path) -> String {
    display_name(&path.to_string_lossy())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match &error {
            Error::File { path, source } => return Failure::file(path, source),
            Error::Folder { path, why } => {
                let message = format!("{} can't be shared: {why}", show_path(path));
                return Failure::new(Code::Other, message);
            }
            Error::Storage { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Code::TargetExists
            }
            Error::UnknownFile(_) => Code::UnknownFile,
            Error::NoHolder { .. } => Code::NoHolder,
            Error::TrackerUnreachable { .. } => Code::TrackerUnreachable,
            Error::Integrity(_) | Error::Changed(_) | Error::NotAFolder { .. } => Code::Integrity,
            Error::Storage { source, .. } if is_full(source) => Code::DiskFull,
            _ => Code::Other,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<TicketError> for Failure {
    fn from(error: TicketError) -> Failure {
        Failure::usage(error.to_string())
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use swarmcast::Fid;

    use super::*;

    #[test]
    fn errors_of_the_library_have_the_documented_codes() {
        let fid = Fid::of(b"");
        let exists = || io::Error::from(io::ErrorKind::AlreadyExists);
        let addr = "127.0.0.1:1".parse().unwrap();
        for (error, code) in [
            (Error::Closed, 1),
            (Error::UnknownFile(fid), 3),
            (Error::NoHolder { fid, tried: 1, seconds: 30 }, 4),
            (Error::TrackerUnreachable { addr, seconds: 10 }, 5),
            (Error::Integrity(fid), 6),
            (Error::Changed(fid), 6),
            (Error::NotAFolder { fid, why: String::new() }, 6),
            (Error::file("a", exists()), 7),
            (Error::file("a", io::ErrorKind::StorageFull.into()), 8),
            (Error::Storage { fid, source: Arc::new(io::ErrorKind::QuotaExceeded.into()) }, 8),
            (Error::Storage { fid, source: Arc::new(exists()) }, 7),
            (Error::file("a", io::ErrorKind::NotFound.into()), 1),
        ] {
            assert_eq!(Failure::from(error.clone()).code as u8, code, "{error}");
        }
    }

    #[test]
    fn the_table_has_each_code_once_and_in_order() {
        let codes: Vec<u8> = TABLE.iter().map(|(code, _)| *code as u8).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 141]);
        assert!(table().lines().all(|line| line.len() <= 80), "{}", table());
    }

    #[test]
    fn a_path_is_shown_and_not_obeyed() {
        let message = Failure::exists(Path::new("\x1b[2Jfilm")).message;
        assert!(message.starts_with("\\u{1b}[2Jfilm exists already"), "{message}");
    }
}
