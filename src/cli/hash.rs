//! `swarmcast hash PATH`: prints what files are called in a swarm, in the lines that `b3sum` prints. No swarm is needed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use swarmcast::Fid;

use super::failure::{Code, Failure};
use super::screen::Screen;

/// What is read in one go, B: enough for all cores to have a part in its hash.
const CHUNK_LEN: u64 = 16 << 20;

/// Print the BLAKE3 hash of files, as b3sum does: a ticket's fid is the hash of its file
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files; - is what comes on stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the subcommand: one file that can't be read keeps none of the others from being hashed.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for path in &args.paths {
        let fid = if path == Path::new("-") { of(io::stdin().lock()) } else { of_file(path) };
        match fid {
            Ok(fid) => screen.output(format!("{}\n", line(fid, path)).as_bytes())?,
            Err(error) => failures.push(Failure::file(path, &error).message),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::new(Code::Other, failures.join("; "))) }
}

/// The hash of the file at `path`, with all cores.
///
/// # Errors
/// As the system reports them.
pub(super) fn of_file(path: &Path) -> io::Result<Fid> {
    of(File::open(path)?)
}

fn of(mut content: impl Read) -> io::Result<Fid> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = Vec::new();
    while content.by_ref().take(CHUNK_LEN).read_to_end(&mut chunk)? > 0 {
        hasher.update_rayon(&chunk);
        chunk.clear();
    }
    Ok(Fid::from_bytes(*hasher.finalize().as_bytes()))
}

/// A name that would break the line is escaped, and a backslash before the line says so.
fn line(fid: Fid, path: &Path) -> String {
    let name = path.to_string_lossy();
    let escaped = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    let mark = if escaped == name { "" } else { "\\" };
    format!("{mark}{fid}  {escaped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_in_whatever_parts_it_is_read() {
        let content: Vec<u8> = (0..=250).cycle().take(CHUNK_LEN as usize + 4_097).collect();
        assert_eq!(of(&content[..]).unwrap(), Fid::of(&content));
        assert_eq!(of(&b""[..]).unwrap(), Fid::of(b""));
    }

    #[test]
    fn a_name_stays_in_its_line() {
        let fid = Fid::of(b"");
        assert_eq!(line(fid, Path::new("a b")), format!("{fid}  a b"));
        assert_eq!(line(fid, Path::new("a\n\\b")), format!("\\{fid}  a\\n\\\\b"));
    }
}
