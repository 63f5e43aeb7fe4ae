//! Messages on their way in: put together from fragments, handed up whole, once, in the order of completion.
//!
//! The accounting of flow control: a message costs its length and [`MESSAGE_OVERHEAD`], charged by the sender when it
//! is begun and returned as fresh credit when it has been handed up or abandoned. What a sender can make this side
//! hold is thus bounded by the window, however the fragments are cut and ordered.

use super::frame::Fragment;
use super::ranges::RangeSet;
use crate::small::SmallMap;

/// What a message costs beside its bytes, so that a flood of tiny ones is bounded too.
pub const MESSAGE_OVERHEAD: u64 = 128;

/// How far the newest message may be ahead of the oldest unsettled one.
pub const MESSAGE_WINDOW: u64 = 16_384;

/// The unit in which an ack tells the credit, B, where the window is `window` B. All that may be meant lies within one window
/// of what the other side knows, so that a byte says it all.
pub const fn credit_unit(window: u64) -> u64 {
    if window < 64 { 1 } else { window / 64 }
}

/// A message may have arrived in this many separate parts, and in one more for each [`BYTES_PER_GAP`] of it: each part
/// takes room of its own that nobody is charged for. Fragments are some hundred bytes long, so that losses alone leave
/// far fewer.
const FREE_GAPS: u64 = 16;
const BYTES_PER_GAP: u64 = 128;

/// The sender broke a rule that no loss or reordering can explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// More was begun than was granted.
    #[error("the peer sent beyond its credit")]
    Credit,
    /// A message beyond the stated maximum.
    #[error("the peer sent a message beyond the maximum length")]
    Length,
    /// A message number too far ahead.
    #[error("the peer skipped too many messages")]
    Number,
    /// Two fragments that disagree about where the message ends.
    #[error("the peer contradicted itself about a message's end")]
    End,
    /// A message in crumbs, with more gaps between them than loss can tear.
    #[error("the peer tore a message into too many parts")]
    Gaps,
}

#[derive(Debug, Default)]
struct Partial {
    data: Vec<u8>,
    got: RangeSet,
    end: Option<u64>,
}

/// The receiver's side of all messages of a connection.
#[derive(Debug)]
pub struct RecvWindow {
    window: u64,
    max_message: u64,
    partial: SmallMap<u64, Partial>,
    /// Bytes and overheads of `partial`, by the highest offset seen.
    charged: u64,
    /// Settled messages: handed up or abandoned.
    settled: RangeSet,
    /// What all settled messages cost.
    returned: u64,
}

impl RecvWindow {
    /// Grants `window` B at a time, for messages of up to `max_message` B.
    pub fn new(window: u64, max_message: u64) -> RecvWindow {
        RecvWindow {
            window,
            max_message,
            partial: SmallMap::new(),
            charged: 0,
            settled: RangeSet::new(),
            returned: 0,
        }
    }

    /// How much the sender may have begun in all, in [units](credit_unit) modulo 256: rounded up, else a window that has room
    /// for one message only would never have it again.
    pub fn credit(&self) -> u8 {
        (self.returned + self.window).div_ceil(credit_unit(self.window)) as u8
    }

    /// Bytes held for messages that aren't whole yet, overheads included.
    pub fn held(&self) -> u64 {
        self.charged
    }

    /// Takes in a fragment, and gives the message if that completes it.
    pub fn on_fragment(&mut self, fragment: Fragment<'_>) -> Result<Option<Vec<u8>>, Violation> {
        let Fragment { message, offset, fin, data } = fragment;
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|&end| end <= self.max_message)
            .ok_or(Violation::Length)?;
        if !self.is_open(message)? {
            return Ok(None);
        }
        if offset == 0 && fin && !self.partial.contains_key(&message) {
            self.check_credit(end + MESSAGE_OVERHEAD)?;
            self.settle(message, end);
            return Ok(Some(data.to_vec()));
        }
        let known = self.partial.get(&message);
        let held = known.map_or(0, |partial| partial.data.len() as u64 + MESSAGE_OVERHEAD);
        let growth = (end + MESSAGE_OVERHEAD).saturating_sub(held);
        self.check_credit(growth)?;
        if known
            .and_then(|partial| partial.end)
            .is_some_and(|known_end| end > known_end || fin && end != known_end)
            || (fin && known.is_some_and(|partial| partial.data.len() as u64 > end))
        {
            return Err(Violation::End);
        }
        self.charged += growth;
        let partial = self.partial.get_or_insert_with(message, Partial::default);
        if partial.data.len() == offset as usize {
            partial.data.extend_from_slice(data);
        } else {
            if partial.data.len() < end as usize {
                partial.data.resize(end as usize, 0);
            }
            partial.data[offset as usize..end as usize].copy_from_slice(data);
        }
        partial.got.insert(offset..end);
        if partial.got.range_count() as u64 > FREE_GAPS + partial.data.len() as u64 / BYTES_PER_GAP {
            return Err(Violation::Gaps);
        }
        if fin {
            partial.end = Some(end);
        }
        let Some(len) = partial.end.filter(|&len| partial.got.contains(0..len)) else { return Ok(None) };
        let whole = self.forget_partial(message);
        self.settle(message, len);
        Ok(whole)
    }

    /// Takes in that the sender will not complete a message of `len` B. A lie about the length buys nothing: what is
    /// held is bounded by the window, not by the credit.
    pub fn on_abandon(&mut self, message: u64, len: u64) -> Result<(), Violation> {
        if len > self.max_message {
            return Err(Violation::Length);
        }
        if self.is_open(message)? {
            self.forget_partial(message);
            self.settle(message, len);
        }
        Ok(())
    }

    /// Whether parts of `message` are still wanted.
    fn is_open(&self, message: u64) -> Result<bool, Violation> {
        let floor = self.settled.contiguous_end(0);
        if message >= floor + MESSAGE_WINDOW {
            return Err(Violation::Number);
        }
        Ok(message >= floor && !self.settled.contains(message..message + 1))
    }

    fn check_credit(&self, growth: u64) -> Result<(), Violation> {
        // What the rounding of the credit may give away.
        let most = self.window + credit_unit(self.window);
        if self.charged + growth <= most { Ok(()) } else { Err(Violation::Credit) }
    }

    fn forget_partial(&mut self, message: u64) -> Option<Vec<u8>> {
        let partial = self.partial.remove(&message)?;
        self.charged -= partial.data.len() as u64 + MESSAGE_OVERHEAD;
        Some(partial.data)
    }

    fn settle(&mut self, message: u64, len: u64) {
        self.settled.insert(message..message + 1);
        self.returned += len + MESSAGE_OVERHEAD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    fn part(message: u64, offset: u64, fin: bool, data: &[u8]) -> Fragment<'_> {
        Fragment { message, offset, fin, data }
    }

    #[test]
    fn a_message_is_handed_up_when_whole_and_only_once() {
        let mut window = RecvWindow::new(1 << 16, 1_000);
        assert_eq!(window.on_fragment(part(0, 2, true, b"cd")), Ok(None));
        assert_eq!(
            window.on_fragment(part(1, 0, true, b"later, yet first")).unwrap().unwrap(),
            b"later, yet first"
        );
        assert_eq!(window.on_fragment(part(0, 0, false, b"ab")).unwrap().unwrap(), b"abcd");
        assert_eq!(window.on_fragment(part(0, 0, false, b"ab")), Ok(None));
        assert_eq!(window.on_fragment(part(2, 0, true, b"")).unwrap().unwrap(), b"");
        assert_eq!(window.on_fragment(part(2, 0, true, b"")), Ok(None));
        assert_eq!(window.held(), 0);
        assert_eq!(window.credit(), 65, "not a whole unit has come back, but it counts as one");
    }

    #[test]
    fn fragments_in_any_order_and_overlap_make_the_same_message() {
        let mut rng = Rng::from_seed(3);
        for _ in 0..200 {
            let content: Vec<u8> = (0..rng.index(200) + 1).map(|n| n as u8).collect();
            let mut window = RecvWindow::new(1 << 16, 1_000);
            let mut whole = None;
            while whole.is_none() {
                let start = rng.index(content.len());
                let end = start + rng.index(content.len() - start) + 1;
                whole = window
                    .on_fragment(part(0, start as u64, end == content.len(), &content[start..end]))
                    .unwrap();
            }
            assert_eq!(whole.unwrap(), content);
        }
    }

    #[test]
    fn rules_that_no_network_breaks() {
        let mut window = RecvWindow::new(600, 500);
        assert_eq!(window.on_fragment(part(0, 490, true, &[0; 11])), Err(Violation::Length));
        assert_eq!(window.on_fragment(part(0, u64::MAX, true, &[0; 11])), Err(Violation::Length));
        assert_eq!(window.on_fragment(part(MESSAGE_WINDOW, 0, true, b"")), Err(Violation::Number));
        assert_eq!(window.on_fragment(part(0, 400, false, &[0; 50])), Ok(None));
        assert_eq!(window.on_fragment(part(1, 0, false, &[0; 10])), Err(Violation::Credit));
        assert_eq!(window.on_fragment(part(0, 0, true, &[0; 10])), Err(Violation::End));
        assert_eq!(window.on_fragment(part(0, 450, true, &[0; 10])), Ok(None));
        assert_eq!(window.on_fragment(part(0, 460, false, &[0; 1])), Err(Violation::End));
    }

    #[test]
    fn a_message_in_crumbs_is_refused_before_its_gaps_outweigh_it() {
        let mut window = RecvWindow::new(1 << 20, 1 << 17);
        let crumbs = (0..).map(|n| window.on_fragment(part(0, 1 + 2 * n, false, b"x")));
        let taken = crumbs.take_while(|taken| *taken == Ok(None)).count() as u64;
        assert!((FREE_GAPS..2 * FREE_GAPS).contains(&taken), "{taken} crumbs");
        // Every other fragment of the smallest datagrams lost is no more than a bad network.
        let mut window = RecvWindow::new(1 << 20, 1 << 17);
        for n in 0..128 {
            assert_eq!(window.on_fragment(part(0, 512 + 1_024 * n, false, &[0; 480])), Ok(None));
        }
    }

    #[test]
    fn an_abandoned_message_gives_its_credit_back() {
        let mut window = RecvWindow::new(1_000, 500);
        window.on_fragment(part(0, 100, false, &[0; 50])).unwrap();
        assert_eq!(window.held(), 150 + MESSAGE_OVERHEAD);
        window.on_abandon(0, 400).unwrap();
        window.on_abandon(0, 400).unwrap();
        assert_eq!(
            (window.held(), window.credit()),
            (0, (1_000u64 + 400 + MESSAGE_OVERHEAD).div_ceil(15) as u8)
        );
        assert_eq!(window.on_abandon(1, 501), Err(Violation::Length));
        assert_eq!(window.on_fragment(part(0, 0, true, b"late")), Ok(None));
    }
}
