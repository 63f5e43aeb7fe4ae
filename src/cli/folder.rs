//! Folders on the command line: what `share` says of one, and what `get` fetches of one.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::{fs, thread};

use glob::{MatchOptions, Pattern, PatternError};
use swarmcast::name::FileName;
use swarmcast::pclient::collection::{Collection, Kind, Selection};
use swarmcast::units::ByteSize;
use swarmcast::{Error, Fid, PClient};

use super::failure::{Failure, show_path};
use super::get::{Errand, Event};
use super::peer::Peer;
use super::screen::Screen;
use super::target::Target;
use super::ticket::Ticket;

/// Of what was left out, so many are named.
const MAX_NAMED: usize = 5;

/// What is wanted of a folder.
#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    /// Of a folder: only what matches, such as 'photos/*.jpg', '**/*.jpg' or a directory; may be given several times
    #[arg(long, value_name = "GLOB", value_parser = pattern)]
    only: Vec<Pattern>,

    /// Of a folder: print its files with their sizes, and fetch nothing
    #[arg(long)]
    list: bool,
}

fn pattern(text: &str) -> Result<Pattern, PatternError> {
    Pattern::new(text.trim_end_matches('/'))
}

impl Choice {
    /// Whether the files are only to be listed.
    ///
    /// # Errors
    /// If a choice was made, but `ticket` is of a single file.
    pub(super) fn is_list(&self, ticket: &Ticket) -> Result<bool, Failure> {
        let given = if self.list { Some("--list") } else { self.only.first().map(|_| "--only") };
        match given {
            Some(option) if !ticket.is_folder => {
                Err(Failure::usage(format!("{option}: this ticket is of a single file, not of a folder")))
            }
            _ => Ok(self.list),
        }
    }

    fn select(&self, collection: Collection) -> Result<Selection, Failure> {
        let is_in = |name: &str, pattern: &Pattern| with_parents(name).any(|name| matches(pattern, name));
        let entries = collection.listing().entries();
        let is_idle = |pattern: &&Pattern| !entries.iter().any(|entry| is_in(entry.path.as_str(), pattern));
        if let Some(idle) = self.only.iter().find(is_idle) {
            return Err(Failure::usage(format!("--only '{idle}': nothing matches it: see --list")));
        }
        let is_wanted = |name: &str| self.only.iter().any(|pattern| is_in(name, pattern));
        Ok(Selection::new(collection, |name| self.only.is_empty() || is_wanted(name)))
    }
}

fn matches(pattern: &Pattern, name: &str) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    pattern.matches_with(name, options)
}

/// `name` and each directory that it lies in.
fn with_parents(name: &str) -> impl Iterator<Item = &str> {
    let parents = name.match_indices('/').map(|(at, _)| &name[..at]);
    parents.chain([name])
}

/// A file or a folder that is shared.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// What the ticket names.
    pub(super) fid: Fid,
    /// What holds the content, and is served.
    pub(super) content: Fid,
    /// How much it is, B; `None` for a file, which needn't be asked.
    pub(super) size: Option<u64>,
    /// How many files; `None` for a single one.
    pub(super) files: Option<usize>,
    /// Links and special files in it, which are left out.
    skipped: Vec<PathBuf>,
}

impl Shared {
    /// Registers what lies at `path`.
    ///
    /// # Errors
    /// The client's.
    pub(super) fn register(client: &PClient, path: &Path) -> Result<Shared, Error> {
        if !path.is_dir() {
            let fid = client.register(path)?;
            return Ok(Shared { fid, content: fid, size: None, files: None, skipped: Vec::new() });
        }
        let shared = client.register_folder(path)?;
        let listing = shared.collection.listing();
        Ok(Shared {
            fid: shared.fid,
            content: shared.collection.stream(),
            size: Some(listing.size()),
            files: Some(listing.file_count()),
            skipped: shared.skipped,
        })
    }

    /// Names what isn't shared.
    pub(super) fn warn(&self) {
        for path in self.skipped.iter().take(MAX_NAMED) {
            log::warn!("{} is a link or a special file: it is left out", show_path(path));
        }
        if let Some(more @ 1..) = self.skipped.len().checked_sub(MAX_NAMED) {
            log::warn!("{more} more links and special files are left out");
        }
    }

    /// `12 files, 3.00 MB`, or the size alone.
    pub(super) fn extent(&self, size: u64) -> String {
        self.files.map_or_else(|| ByteSize(size).to_string(), |count| extent(count, size))
    }
}

fn extent(files: usize, size: u64) -> String {
    format!("{files} file{}, {}", if files == 1 { "" } else { "s" }, ByteSize(size))
}

/// What the folder or file at `path` is called, be it `.`.
pub(super) fn name(path: &Path) -> Option<FileName> {
    let path = if path.file_name().is_some() { path.to_owned() } else { fs::canonicalize(path).ok()? };
    FileName::of_path(&path).ok()
}

/// Fetches the list of the folder's files.
///
/// # Errors
/// Why it can't be had, or that it was interrupted.
fn fetch_list(
    peer: &Peer,
    ticket: &Ticket,
    sender: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
) -> Result<Collection, Failure> {
    let (client, fid, place) = (Arc::clone(&peer.client), ticket.fid, Arc::new(OnceLock::new()));
    let found = Arc::clone(&place);
    thread::spawn(move || {
        let done = client.folder(fid).map(|collection| _ = found.set(collection));
        sender.send(Event::Done(done))
    });
    match events.recv() {
        Ok(Event::Done(Ok(()))) => Ok(place.get().expect("it was set before").clone()),
        Ok(Event::Done(Err(error))) => Err(super::get::explain(error, ticket, &Target::File(called(ticket)))),
        Ok(Event::Interrupted) | Err(mpsc::RecvError) => {
            peer.close();
            Err(Failure::interrupted("interrupted: nothing was written"))
        }
    }
}

/// What to call the folder before it has a place.
fn called(ticket: &Ticket) -> PathBuf {
    ticket.name.as_ref().map_or_else(|| "the folder".into(), |name| name.as_str().into())
}

/// Prints the names and sizes of the folder's files, as far as they are wanted.
///
/// # Errors
/// Why they can't be had.
pub(super) fn list(
    choice: &Choice,
    screen: &Screen,
    peer: &Peer,
    ticket: &Ticket,
    sender: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
) -> Result<(), Failure> {
    let selection = choice.select(fetch_list(peer, ticket, sender, events)?)?;
    let lines = selection.entries().map(|(_, entry)| match entry.kind {
        Kind::File { size, .. } => format!("{:>10}  {}", ByteSize(size).to_string(), entry.path),
        Kind::EmptyDirectory => format!("{:>10}  {}/", "-", entry.path),
    });
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        screen.result(lines.join("\n"));
    }
    screen.hint(extent(selection.file_count(), selection.size()));
    Ok(())
}

/// What is to be done to get what is wanted of the folder to `target`.
///
/// # Errors
/// Why its list can't be had, or that nothing in it is wanted.
pub(super) fn errand(
    choice: &Choice,
    peer: &Peer,
    ticket: &Ticket,
    target: PathBuf,
    sender: mpsc::Sender<Event>,
    events: &mpsc::Receiver<Event>,
) -> Result<Errand, Failure> {
    let selection = choice.select(fetch_list(peer, ticket, sender, events)?)?;
    let path = target.clone();
    Ok(Errand {
        // The content has a fid of its own.
        ticket: Ticket { fid: selection.collection().stream(), size: selection.size(), ..ticket.clone() },
        size: Some(selection.size()),
        target: Target::File(target),
        extent: extent(selection.file_count(), selection.size()),
        kept_as: selection.fid(),
        begin: Arc::new(move |client| client.download_folder(&selection, &path)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_files_and_whole_directories() {
        let name = "a/b.d/c.jpg";
        for (text, is_match) in [
            ("a/b.d/c.jpg", true),
            ("**/*.jpg", true),
            ("**/c.*", true),
            ("a/*/c.jpg", true),
            ("a", true),
            ("a/", true),
            ("a/b.d", true),
            ("*/b.d/", true),
            ("*.jpg", false),
            ("b.d", false),
            ("a/b", false),
            ("A", false),
        ] {
            let pattern = pattern(text).unwrap();
            let is_in = with_parents(name).any(|name| matches(&pattern, name));
            assert_eq!(is_in, is_match, "{text}");
        }
    }
}
