//! The ticket, which lives in the binary: its source is compiled here once more, next to the address that it needs.

#[path = "../../src/cli/address.rs"]
#[allow(dead_code, reason = "a target needs only what a ticket needs")]
mod address;
#[path = "../../src/cli/ticket.rs"]
#[allow(dead_code, reason = "a target only reads and writes")]
#[expect(clippy::module_inception, reason = "the module under test has that name")]
mod ticket;

use data_encoding::BASE32_NOPAD;
use ticket::{Ticket, TicketError};

use crate::notes::reached;

/// The input as a ticket's text, and as what a ticket's text holds, with a checksum that fits.
pub(crate) fn ticket(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        reads_as_written(text);
    }
    reads_as_written(&sealed(data));
}

fn sealed(payload: &[u8]) -> String {
    let bytes = [payload, &crc32fast::hash(payload).to_be_bytes()].concat();
    format!("swarmcast1:{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

fn reads_as_written(text: &str) {
    match text.parse::<Ticket>() {
        Ok(ticket) => {
            let again = ticket.to_string();
            assert!(again.len() <= ticket::MAX_LEN, "{again}");
            assert_eq!(again.parse(), Ok(ticket.clone()), "{again}");
            reached(0, u64::from(ticket.name.is_some()));
            reached(1, text.len() as u64 / 8);
        }
        Err(TicketError::NotATicket) => reached(2, 0),
        Err(TicketError::OtherVersion(_)) => reached(2, 1),
        Err(TicketError::Damaged) => reached(2, 2),
        Err(TicketError::Invalid) => reached(2, 3),
    }
}

/// Tickets of each kind of tracker, as text and as payload.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let fid = [7; 32];
    let payloads: [Vec<u8>; 6] = [
        [&fid[..], &[5, 4, 127, 0, 0, 1, 39, 102], b"a.bin"].concat(),
        [&fid[..], &[0x80, 1, 0, 0, 6], &[1; 16], &[39, 102]].concat(),
        [&fid[..], &[5, 4, 127, 0, 0, 1, 39, 102, 2, 1, 1], b"h", &[0, 80], b"a"].concat(),
        [&fid[..], &[0x40, 80, 1, 7], b"host-7.", &[0, 80], "\u{dc}bung 5.pdf".as_bytes()].concat(),
        [&fid[..], &[5, 4, 127, 0, 0, 1, 39, 102, 3], b"folder"].concat(),
        [&fid[..], &[5, 0], b"a.bin"].concat(),
    ];
    payloads.iter().flat_map(|payload| [payload.clone(), sealed(payload).into_bytes()]).collect()
}
