//! A ticket: the one line that says which file it is and which trackers know who has it.
//!
//! ```text
//! swarmcast1:  base32 (RFC 4648, lower case, unpadded) of:
//!   fid       32 B    BLAKE3 of the content
//!   size      1–8 B   of the content, B; a variable-length integer
//!   tracker   4 or 6, address, port          7 or 19 B
//!         or  1, length, host name, port     4 B and the name
//!         or  0                              none: who is asked is found in the local network
//!   more      0–2 × (2, tracker)             other trackers, as good as the first
//!   folder    0 or 1 (3)                      the fid is that of a folder's list, the size that of its files
//!   name      all that is left before the checksum: the file's or folder's name, UTF-8; may be empty
//!   crc32     4 B     over all that stands before it
//! ```
//!
//! The digit before the colon is the version; whatever changes the format changes it. The checksum finds slips in copying,
//! and nothing else: a ticket is as trustworthy as whoever gave it. No file and no tracker is touched here.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use swarmcast::Fid;
use swarmcast::coding::{Malformed, Reader, Writer as _};
use swarmcast::name::{FileName, display_name};

use super::address::{Host, HostPort};

/// What every ticket begins with, before the version.
const MAGIC: &str = "swarmcast";
/// The version that is written and read here, as it is written.
const VERSION: &str = "1";
/// The longest ticket, in characters: it fits into a text message and three lines of a terminal.
pub(super) const MAX_LEN: usize = 200;
/// As many bytes fit after `swarmcast1:`, five characters being worth 25 bits.
const MAX_BYTES: usize = (MAX_LEN - MAGIC.len() - VERSION.len() - 1) * 5 / 8;
const CHECKSUM_LEN: usize = 4;
/// Marks a tracker that is given by its name, beside the families 4 and 6.
const BY_NAME: u8 = 1;
/// Stands in place of a tracker where there is none.
const NO_TRACKER: u8 = 0;
/// Stands before each tracker but the first. No file name begins so.
const ANOTHER: u8 = 2;
/// Stands before the name of a folder. No file name begins so.
const FOLDER: u8 = 3;
/// Most trackers of a ticket.
pub(super) const MAX_TRACKERS: usize = 3;
/// A file name's ending up to this length is kept when the name is shortened, B with its dot.
const MAX_ENDING: usize = 12;

/// What one needs to know to get a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) fid: Fid,
    /// Whether it is of a folder: then `fid` is that of the list of its files.
    pub(super) is_folder: bool,
    /// The file's size, or that of all files, B, as the one who wrote the ticket says.
    pub(super) size: u64,
    /// What the file is called there, if that can be a name elsewhere; shortened where it is long.
    pub(super) name: Option<FileName>,
    /// At most [`MAX_TRACKERS`]; none if the local network is to be asked.
    pub(super) trackers: Vec<HostPort>,
}

/// Why a text is not a ticket that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TicketError {
    /// It doesn't begin as one.
    #[error(
        "this is not a ticket: a ticket is the line beginning with `swarmcast1:` that `swarmcast share` prints"
    )]
    NotATicket,
    /// Another version's.
    #[error(
        "this ticket has version {0}, and this program reads version 1: use the same version of swarmcast at both ends"
    )]
    OtherVersion(String),
    /// Some characters are missing or wrong.
    #[error(
        "this ticket is damaged (its checksum doesn't match): copy it again, from `swarmcast1:` to its last character"
    )]
    Damaged,
    /// The checksum matches, but it wasn't written by this program.
    #[error("this ticket holds what no ticket may hold: ask for a new one")]
    Invalid,
}

impl From<Malformed> for TicketError {
    fn from(_: Malformed) -> TicketError {
        TicketError::Invalid
    }
}

impl Ticket {
    /// The version that is written and read here.
    pub(super) const VERSION: u32 = 1;

    /// What is known of a file of which only the identity is: neither a name nor a size, and no tracker.
    pub(super) fn of_fid(fid: Fid) -> Ticket {
        Ticket { fid, is_folder: false, size: 0, name: None, trackers: Vec::new() }
    }

    /// Its trackers, as people read them.
    pub(super) fn trackers(&self) -> String {
        let shown: Vec<String> = self.trackers.iter().map(HostPort::to_string).collect();
        shown.join(" and ")
    }

    /// All but the checksum.
    fn payload(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_BYTES);
        bytes.bytes(self.fid.as_bytes());
        bytes.varint(self.size);
        if self.trackers.is_empty() {
            bytes.u8(NO_TRACKER);
        }
        for (place, tracker) in self.trackers.iter().enumerate() {
            if place > 0 {
                bytes.u8(ANOTHER);
            }
            match &tracker.host {
                Host::Ip(ip) => bytes.socket_addr((*ip, tracker.port).into()),
                // Elsewhere the link has another name.
                Host::Scoped { ip, .. } => bytes.socket_addr((*ip, tracker.port).into()),
                Host::Name(name) => {
                    bytes.u8(BY_NAME);
                    bytes.u8(name.len() as u8);
                    bytes.bytes(name.as_bytes());
                    bytes.u16(tracker.port);
                }
            }
        }
        if self.is_folder {
            bytes.u8(FOLDER);
        }
        if let Some(name) = &self.name {
            let room = (MAX_BYTES - CHECKSUM_LEN).saturating_sub(bytes.len());
            bytes.bytes(shorten(name.as_str(), room).as_bytes());
        }
        bytes
    }

    /// Whether it has at most [`MAX_LEN`] characters: with several trackers that have names, it may have more.
    pub(super) fn fits(&self) -> bool {
        self.payload().len() + CHECKSUM_LEN <= MAX_BYTES
    }

    fn from_payload(payload: &[u8]) -> Result<Ticket, TicketError> {
        let mut reader = Reader::new(payload);
        let fid = Fid::from_bytes(reader.array()?);
        let size = reader.varint()?;
        let next = |reader: &Reader<'_>| payload.get(payload.len() - reader.len()).copied();
        let mut trackers = Vec::new();
        loop {
            if trackers.is_empty() && next(&reader) == Some(NO_TRACKER) {
                reader.u8()?;
                break;
            }
            trackers.push(match next(&reader) {
                Some(BY_NAME) => {
                    reader.u8()?;
                    let len = reader.u8()?;
                    let name = str::from_utf8(reader.bytes(len.into())?).map_err(|_| TicketError::Invalid)?;
                    let host = Host::name(name).map_err(|_| TicketError::Invalid)?;
                    HostPort { host, port: reader.u16()? }
                }
                _ => reader.socket_addr()?.into(),
            });
            if next(&reader) != Some(ANOTHER) || trackers.len() == MAX_TRACKERS {
                break;
            }
            reader.u8()?;
        }
        let is_folder = next(&reader) == Some(FOLDER);
        if is_folder {
            reader.u8()?;
        }
        let name = match reader.rest() {
            [] => None,
            name => Some(FileName::from_bytes(name).map_err(|_| TicketError::Invalid)?),
        };
        Ok(Ticket { fid, is_folder, size, name, trackers })
    }
}

/// `name` in at most `max` B: whole, or its beginning and its ending (`.tar.gz` loses its `.tar`), or its beginning.
fn shorten(name: &str, max: usize) -> String {
    if name.len() <= max {
        return name.to_owned();
    }
    let ending = name.rfind('.').map_or("", |dot| &name[dot..]);
    let ending = if ending.len() <= MAX_ENDING.min(max / 2) { ending } else { "" };
    let stem = &name[..name.floor_char_boundary(max - ending.len())];
    format!("{stem}{ending}")
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.payload();
        let checksum = crc32fast::hash(&bytes);
        bytes.u32(checksum);
        write!(f, "{MAGIC}{VERSION}:{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;
    fn from_str(text: &str) -> Result<Ticket, TicketError> {
        // Mail programs and shells add spaces; some keyboards begin with a capital.
        let text = text.trim().to_ascii_lowercase();
        let (version, body) =
            text.strip_prefix(MAGIC).and_then(|rest| rest.split_once(':')).ok_or(TicketError::NotATicket)?;
        if version != VERSION {
            let is_version = (1..=4).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit());
            return Err(if is_version {
                TicketError::OtherVersion(display_name(version))
            } else {
                TicketError::NotATicket
            });
        }
        if text.len() > MAX_LEN {
            return Err(TicketError::Damaged);
        }
        let bytes =
            BASE32_NOPAD.decode(body.to_ascii_uppercase().as_bytes()).map_err(|_| TicketError::Damaged)?;
        let (payload, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(TicketError::Damaged)?;
        if crc32fast::hash(payload) != u32::from_be_bytes(*checksum) {
            return Err(TicketError::Damaged);
        }
        Ticket::from_payload(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::MAX_NAME;
    use super::*;

    fn ticket(tracker: &str, name: &str) -> Ticket {
        let tracker = tracker.parse::<super::super::address::Address>().unwrap();
        Ticket {
            fid: Fid::of(b"content"),
            is_folder: false,
            size: 6_219_177,
            name: Some(FileName::new(name).unwrap()),
            trackers: vec![tracker.or(std::net::Ipv4Addr::LOCALHOST.into(), 10086)],
        }
    }

    fn with_trackers(addrs: &[&str], name: &str) -> Ticket {
        let trackers = addrs.iter().flat_map(|addr| ticket(addr, name).trackers).collect();
        Ticket { trackers, ..ticket("127.0.0.1", name) }
    }

    /// A ticket with a checksum that matches, whatever it holds.
    fn sealed(payload: &[u8]) -> String {
        let bytes = [payload, &crc32fast::hash(payload).to_be_bytes()].concat();
        format!("swarmcast1:{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    #[test]
    fn a_ticket_reads_as_it_was_written() {
        let unnamed = Ticket { name: None, size: 0, ..ticket("10.0.0.1:1", "x") };
        let huge =
            Ticket { size: swarmcast::coding::VARINT_MAX, ..ticket("[2001:db8::1]:65535", "Übung 5.pdf") };
        let several = with_trackers(&["10.0.0.1:1", "host-7.example", "[2001:db8::1]:2"], "a.bin");
        let without = with_trackers(&[], "a.bin");
        let plain = [ticket("127.0.0.1", "a.bin"), ticket("host-7.example:80", "-r .x")];
        let folders =
            [&unnamed, &huge, &several, &without].map(|ticket| Ticket { is_folder: true, ..ticket.clone() });
        for ticket in plain.into_iter().chain([unnamed, huge, several, without]).chain(folders) {
            let text = ticket.to_string();
            assert_eq!(text.parse(), Ok(ticket.clone()), "{text}");
            assert_eq!(format!("  {}\n", text.to_ascii_uppercase()).parse(), Ok(ticket), "{text}");
        }
    }

    #[test]
    fn a_ticket_is_one_word_of_at_most_200_characters_whatever_the_names() {
        let long_host = format!("{}:10086", "h".repeat(MAX_NAME));
        let long_name = format!("{}.tar.gz", "ü".repeat(124));
        let v6 = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
        for trackers in [&["127.0.0.1"][..], &[v6], &[&long_host], &["127.0.0.1", v6, v6]] {
            let ticket = Ticket { size: u64::MAX >> 2, ..with_trackers(trackers, &long_name) };
            assert!(ticket.fits());
            let text = ticket.to_string();
            assert!(text.len() <= MAX_LEN && text.len() > MAX_LEN - 6, "{} characters", text.len());
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':'), "{text}");
            let read: Ticket = text.parse().unwrap();
            assert_eq!((read.fid, read.size, read.trackers), (ticket.fid, ticket.size, ticket.trackers));
            assert!(long_name.starts_with(read.name.unwrap().as_str().trim_end_matches(".gz")));
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending_if_it_has_one() {
        assert_eq!(shorten("lecture.mp4", 11), "lecture.mp4");
        assert_eq!(shorten("lecture.mp4", 10), "lectur.mp4");
        assert_eq!(shorten("lecture.mp4", 7), "lecture");
        assert_eq!(shorten("a.not an ending", 10), "a.not an e");
        assert_eq!(shorten("üüüüüü", 5), "üü");
    }

    #[test]
    fn every_wrong_character_is_found() {
        let text = ticket("192.168.1.20:10086", "lecture 3.mp4").to_string();
        for at in 0..text.len() {
            for other in
                "abcdefghijklmnopqrstuvwxyz0123456789:-".chars().filter(|c| !text[at..].starts_with(*c))
            {
                let wrong = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert!(wrong.parse::<Ticket>().is_err(), "{at}: {wrong}");
            }
            assert!(format!("{}{}", &text[..at], &text[at + 1..]).parse::<Ticket>().is_err(), "without {at}");
            assert!(text[..at].parse::<Ticket>().is_err(), "cut at {at}");
        }
        for added in ["a", "7", "aaaaaaaa", "="] {
            assert_eq!(format!("{text}{added}").parse::<Ticket>(), Err(TicketError::Damaged));
        }
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        let text = ticket("127.0.0.1", "a").to_string();
        let error = |text: &str| text.parse::<Ticket>().unwrap_err();
        for other in
            ["", "swarmcast", "swarmcast:", "magnet:?xt=urn", "swarmcastx:aa", "swarmcast12345:aa", "ü"]
        {
            assert_eq!(error(other), TicketError::NotATicket, "{other}");
        }
        assert_eq!(error(&text.replace("t1:", "t2:")), TicketError::OtherVersion("2".to_owned()));
        assert_eq!(error("swarmcast1:"), TicketError::Damaged);
        assert_eq!(error(&format!("swarmcast1:{}", "a".repeat(100_000))), TicketError::Damaged);
    }

    #[test]
    fn what_no_ticket_may_hold_is_refused_although_the_checksum_matches() {
        let good = ticket("127.0.0.1", "a").payload();
        assert_eq!(sealed(&good).parse(), Ok(ticket("127.0.0.1", "a")));
        for end in 0..good.len() - 1 {
            assert_eq!(sealed(&good[..end]).parse::<Ticket>(), Err(TicketError::Invalid), "{end} B");
        }
        for name in [&b"../../.ssh/authorized_keys"[..], b"a/b", b"..", b"\x1b[2J", b"\xff"] {
            let payload = [&good[..good.len() - 1], name].concat();
            assert_eq!(sealed(&payload).parse::<Ticket>(), Err(TicketError::Invalid), "{name:?}");
        }
        for host in ["", "a b", "1.2.3", "\x1b[2J"] {
            let payload = [&good[..36], &[BY_NAME, host.len() as u8], host.as_bytes(), &[0, 80]].concat();
            assert_eq!(sealed(&payload).parse::<Ticket>(), Err(TicketError::Invalid), "{host:?}");
        }
    }
}
