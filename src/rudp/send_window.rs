//! Messages on their way out: cut into fragments, sent again where lost, dropped where abandoned.
//!
//! No clock and no packet number here. Three lanes: what is patient, control, bulk. A message gets its number when its first
//! fragment is written, so what was dropped before leaves no gap.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::frame::{Fragment, Frame};
use super::ranges::RangeSet;
use super::recv_window::{MESSAGE_OVERHEAD, MESSAGE_WINDOW, credit_unit};
use super::sent::Content;
use crate::coding::varint_len;

/// Which lane a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Small and urgent: before all bulk, not held back by the congestion window.
    Control,
    /// As control, but it waits a little for a datagram that goes to the peer anyway.
    Patient,
    /// The content.
    Bulk,
}

/// The user's label on messages, by which they can be abandoned together.
pub type Tag = u32;

/// A fragment shorter than this isn't worth starting at the end of a datagram.
const MIN_FRAGMENT: usize = 32;

#[derive(Debug)]
struct Queued {
    tag: Tag,
    data: Bytes,
}

#[derive(Debug)]
struct Outgoing {
    class: Class,
    tag: Tag,
    /// The whole length, B; outlives the data of an abandoned message.
    len: u64,
    data: Bytes,
    acked: RangeSet,
    /// Up to here it has been written at least once, B.
    written: u64,
    abandoned: bool,
}

#[derive(Debug, Default)]
struct Lane {
    queued: VecDeque<Queued>,
    /// The message of which only the first part, up to the offset, has been written.
    started: Option<(u64, usize)>,
    lost: VecDeque<(u64, Range<u64>)>,
    /// Bytes queued or begun that were never written.
    waiting: usize,
}

/// The sender's side of all messages of a connection.
///
/// Invariant: a message is queued in its lane, or under way in `messages`, or settled (acked whole, or abandoned with
/// the other side told).
#[derive(Debug)]
pub struct SendWindow {
    base: u64,
    messages: VecDeque<Option<Outgoing>>,
    control: Lane,
    patient: Lane,
    bulk: Lane,
    abandons: VecDeque<u64>,
    /// What has been started in all, by the receiver's accounting.
    used: u64,
    /// What may be: so many of the receiver's units, and how many B one is.
    credit: u64,
    credit_unit: u64,
    rewritten: u64,
}

impl SendWindow {
    /// No message yet; the receiver grants `window` B to begin with.
    pub fn new(window: u64) -> SendWindow {
        let credit_unit = credit_unit(window);
        SendWindow {
            base: 0,
            messages: VecDeque::new(),
            control: Lane::default(),
            patient: Lane::default(),
            bulk: Lane::default(),
            abandons: VecDeque::new(),
            used: 0,
            credit: window.div_ceil(credit_unit),
            credit_unit,
            rewritten: 0,
        }
    }

    /// Queues a message.
    pub fn push(&mut self, class: Class, tag: Tag, data: Bytes) {
        let lane = self.lane_mut(class);
        lane.waiting += data.len();
        lane.queued.push_back(Queued { tag, data });
    }

    /// The receiver grants `window` B to begin with.
    pub fn open(&mut self, window: u64) {
        self.credit_unit = credit_unit(window);
        self.credit = window.div_ceil(self.credit_unit);
    }

    /// The receiver's newest grant, as its acks tell it.
    pub fn grant(&mut self, credit: u8) {
        let more = credit.wrapping_sub(self.credit as u8) as i8;
        self.credit += u64::try_from(more).unwrap_or(0);
    }

    /// Whether something of this lane could be written now.
    pub fn has_pending(&self, class: Class) -> bool {
        let lane = self.lane(class);
        !lane.lost.is_empty()
            || lane.started.is_some()
            || lane.queued.front().is_some_and(|next| self.may_start(next.data.len()))
            || (class == Class::Control && !self.abandons.is_empty())
    }

    /// Whether less bulk waits than fills a datagram of `datagram` B, and another message of `len` B could be started.
    pub fn wants_bulk(&self, len: usize, datagram: usize) -> bool {
        self.bulk.lost.is_empty() && self.bulk.waiting < datagram && self.may_start(len)
    }

    /// The bulk with this tag that waits or has not been acked whole, B; without what was abandoned.
    pub fn unsettled(&self, tag: Tag) -> u64 {
        let queued = self.bulk.queued.iter().filter(|queued| queued.tag == tag);
        let under_way =
            self.messages.iter().flatten().filter(|outgoing| {
                outgoing.class == Class::Bulk && outgoing.tag == tag && !outgoing.abandoned
            });
        queued.map(|queued| queued.data.len() as u64).chain(under_way.map(|outgoing| outgoing.len)).sum()
    }

    /// Bytes that were written more than once.
    pub fn rewritten(&self) -> u64 {
        self.rewritten
    }

    /// Writes as much of one lane into `buf` as fits below `limit` B, and adds what it wrote to `contents`.
    pub fn write(
        &mut self,
        class: Class,
        buf: &mut Vec<u8>,
        limit: usize,
        contents: &mut SmallVec<[Content; 2]>,
    ) {
        if class == Class::Control {
            self.write_abandons(buf, limit, contents);
        }
        while buf.len() + MIN_FRAGMENT <= limit {
            let Some((message, range)) = self.next_range(class) else { return };
            let written = self.write_fragment(message, range.clone(), buf, limit);
            self.count_written(class, message, range.start..written);
            contents.push(Content::Fragment { message, range: range.start..written });
            if written < range.end {
                self.put_back(class, message, written..range.end);
            }
        }
    }

    fn write_abandons(&mut self, buf: &mut Vec<u8>, limit: usize, contents: &mut SmallVec<[Content; 2]>) {
        while buf.len() + MIN_FRAGMENT <= limit {
            let Some(message) = self.abandons.pop_front() else { return };
            let Some(len) = self.outgoing(message).map(|outgoing| outgoing.len) else { continue };
            Frame::Abandon { message, len }.encode(buf);
            contents.push(Content::Abandon { message });
        }
    }

    /// What to write next: lost parts, then the rest of what was begun, then the next message.
    fn next_range(&mut self, class: Class) -> Option<(u64, Range<u64>)> {
        while let Some((message, range)) = self.lane_mut(class).lost.pop_front() {
            let wanted = self
                .outgoing(message)
                .is_some_and(|outgoing| !outgoing.abandoned && !outgoing.acked.contains(range.clone()));
            if wanted
                || (range.is_empty() && self.outgoing(message).is_some_and(|outgoing| !outgoing.abandoned))
            {
                return Some((message, range));
            }
        }
        if let Some((message, offset)) = self.lane_mut(class).started.take() {
            let len = self.outgoing(message)?.data.len();
            return Some((message, offset as u64..len as u64));
        }
        let len = self.lane(class).queued.front()?.data.len();
        if !self.may_start(len) {
            return None;
        }
        let Queued { tag, data } = self.lane_mut(class).queued.pop_front()?;
        self.used += len as u64 + MESSAGE_OVERHEAD;
        let message = self.base + self.messages.len() as u64;
        let len = data.len() as u64;
        self.messages.push_back(Some(Outgoing {
            class,
            tag,
            len,
            data,
            acked: RangeSet::new(),
            written: 0,
            abandoned: false,
        }));
        Some((message, 0..len))
    }

    /// Writes what fits of `range` and gives where it stopped.
    fn write_fragment(&mut self, message: u64, range: Range<u64>, buf: &mut Vec<u8>, limit: usize) -> u64 {
        let data = &self.outgoing(message).expect("only messages under way are written").data;
        let room = limit - buf.len() - Fragment::header_len(message, range.start);
        let wanted = (range.end - range.start) as usize;
        // A fragment that doesn't reach the end of the datagram needs its length told.
        let fills = wanted >= room;
        let len = if fills { room } else { wanted.min(room - varint_len(room as u64)) };
        let end = range.start + len as u64;
        let fragment = Fragment {
            message,
            offset: range.start,
            fin: end == data.len() as u64,
            data: &data[range.start as usize..end as usize],
        };
        fragment.encode(buf, fills);
        end
    }

    /// Keeps the books of what has been written for the first time, and what again.
    fn count_written(&mut self, class: Class, message: u64, range: Range<u64>) {
        let Some(outgoing) = self.outgoing_mut(message) else { return };
        let fresh = range.end.saturating_sub(outgoing.written.max(range.start));
        outgoing.written = outgoing.written.max(range.end);
        self.rewritten += range.end - range.start - fresh;
        self.lane_mut(class).waiting -= fresh as usize;
    }

    fn put_back(&mut self, class: Class, message: u64, rest: Range<u64>) {
        let reaches_end =
            self.outgoing(message).is_some_and(|outgoing| rest.end == outgoing.data.len() as u64);
        let lane = self.lane_mut(class);
        if reaches_end && lane.started.is_none() {
            lane.started = Some((message, rest.start as usize));
        } else {
            lane.lost.push_front((message, rest));
        }
    }

    /// Takes in that `content` has arrived.
    pub fn on_acked(&mut self, content: &Content) {
        let message = match content {
            Content::Fragment { message, .. } | Content::Abandon { message } => *message,
            Content::MtuProbe { .. } => return,
        };
        let Some(slot) =
            message.checked_sub(self.base).and_then(|index| self.messages.get_mut(index as usize))
        else {
            return;
        };
        let Some(outgoing) = slot else { return };
        let settled = match content {
            Content::Abandon { .. } | Content::MtuProbe { .. } => true,
            Content::Fragment { range, .. } => {
                outgoing.acked.insert(range.clone());
                outgoing.acked.contains(0..outgoing.len)
            }
        };
        if settled {
            *slot = None;
            while let Some(None) = self.messages.front() {
                self.messages.pop_front();
                self.base += 1;
            }
        }
    }

    /// Takes in that `content` was lost: it will be written again, unless it was abandoned or has arrived meanwhile.
    pub fn on_lost(&mut self, content: Content) {
        match content {
            Content::Abandon { message } if self.outgoing(message).is_some() => {
                self.abandons.push_back(message);
            }
            Content::Abandon { .. } | Content::MtuProbe { .. } => {}
            Content::Fragment { message, range } => {
                if let Some(class) = self.outgoing(message).map(|outgoing| outgoing.class) {
                    self.lane_mut(class).lost.push_back((message, range));
                }
            }
        }
    }

    /// Drops all messages with this tag: what is queued silently, what is under way by telling the other side.
    pub fn abandon(&mut self, tag: Tag) {
        for lane in [&mut self.control, &mut self.patient, &mut self.bulk] {
            let waiting = &mut lane.waiting;
            lane.queued.retain(|queued| {
                *waiting -= if queued.tag == tag { queued.data.len() } else { 0 };
                queued.tag != tag
            });
        }
        for (index, slot) in self.messages.iter_mut().enumerate() {
            let Some(outgoing) = slot.as_mut().filter(|outgoing| outgoing.tag == tag && !outgoing.abandoned)
            else {
                continue;
            };
            outgoing.abandoned = true;
            outgoing.data = Bytes::new();
            let lane = match outgoing.class {
                Class::Control => &mut self.control,
                Class::Patient => &mut self.patient,
                Class::Bulk => &mut self.bulk,
            };
            lane.waiting -= (outgoing.len - outgoing.written) as usize;
            self.abandons.push_back(self.base + index as u64);
        }
        for class in [Class::Control, Class::Patient, Class::Bulk] {
            let started = self.lane(class).started;
            if started
                .is_some_and(|(message, _)| self.outgoing(message).is_none_or(|outgoing| outgoing.abandoned))
            {
                self.lane_mut(class).started = None;
            }
        }
    }

    /// The tag of a message that isn't settled.
    pub fn tag_of(&self, message: u64) -> Option<Tag> {
        self.outgoing(message).map(|outgoing| outgoing.tag)
    }

    fn outgoing(&self, message: u64) -> Option<&Outgoing> {
        self.messages.get(message.checked_sub(self.base)? as usize)?.as_ref()
    }

    fn outgoing_mut(&mut self, message: u64) -> Option<&mut Outgoing> {
        self.messages.get_mut(message.checked_sub(self.base)? as usize)?.as_mut()
    }

    fn may_start(&self, len: usize) -> bool {
        self.used + len as u64 + MESSAGE_OVERHEAD <= self.credit * self.credit_unit
            && (self.messages.len() as u64) < MESSAGE_WINDOW
    }

    fn lane(&self, class: Class) -> &Lane {
        match class {
            Class::Control => &self.control,
            Class::Patient => &self.patient,
            Class::Bulk => &self.bulk,
        }
    }

    fn lane_mut(&mut self, class: Class) -> &mut Lane {
        match class {
            Class::Control => &mut self.control,
            Class::Patient => &mut self.patient,
            Class::Bulk => &mut self.bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::Reader;

    fn write(window: &mut SendWindow, class: Class, limit: usize) -> (Vec<u8>, SmallVec<[Content; 2]>) {
        let (mut buf, mut contents) = (Vec::new(), SmallVec::new());
        window.write(class, &mut buf, limit, &mut contents);
        (buf, contents)
    }

    fn fragments(buf: &[u8]) -> Vec<(u64, u64, bool, usize)> {
        let mut reader = Reader::new(buf);
        let mut found = Vec::new();
        while let Some(frame) = Frame::decode(&mut reader, 0).unwrap() {
            match frame {
                Frame::Fragment(f) => found.push((f.message, f.offset, f.fin, f.data.len())),
                Frame::Abandon { message, len } => found.push((message, 0, false, len as usize)),
                other => panic!("unexpected {other:?}"),
            }
        }
        found
    }

    #[test]
    fn a_message_is_cut_to_size_and_settled_when_all_is_acked() {
        let mut window = SendWindow::new(1 << 20);
        window.push(Class::Bulk, 0, Bytes::from(vec![1; 250]));
        let (first, first_contents) = write(&mut window, Class::Bulk, 100);
        assert_eq!((first.len(), fragments(&first)), (100, vec![(0, 0, false, 98)]));
        let (second, second_contents) = write(&mut window, Class::Bulk, 100);
        assert_eq!((second.len(), fragments(&second)), (100, vec![(0, 98, false, 96)]));
        let (third, third_contents) = write(&mut window, Class::Bulk, 100);
        assert_eq!(fragments(&third), [(0, 194, true, 56)]);
        window.push(Class::Bulk, 1, Bytes::from(vec![1; 50]));
        assert_eq!((window.unsettled(0), window.unsettled(1)), (250, 50));
        window.abandon(1);
        assert!(!window.has_pending(Class::Bulk));
        for content in first_contents.iter().chain(&third_contents) {
            window.on_acked(content);
        }
        assert!(!window.messages.is_empty());
        window.on_lost(second_contents[0].clone());
        let (again, again_contents) = write(&mut window, Class::Bulk, 100);
        assert_eq!(fragments(&again), [(0, 98, false, 96)]);
        assert_eq!((window.unsettled(0), window.unsettled(1)), (250, 0));
        window.on_acked(&again_contents[0]);
        assert_eq!(window.unsettled(0), 0);
        assert!(window.messages.is_empty());
    }

    #[test]
    fn short_messages_share_a_datagram() {
        let mut window = SendWindow::new(1 << 20);
        for len in [0, 10, 20, 30] {
            window.push(Class::Control, 0, Bytes::from(vec![0; len]));
        }
        let (buf, contents) = write(&mut window, Class::Control, 200);
        assert_eq!(fragments(&buf), [(0, 0, true, 0), (1, 0, true, 10), (2, 0, true, 20), (3, 0, true, 30)]);
        contents.iter().for_each(|content| window.on_acked(content));
        assert!(window.messages.is_empty());
    }

    #[test]
    fn an_empty_message_that_is_lost_goes_out_again() {
        let mut window = SendWindow::new(1 << 20);
        window.push(Class::Control, 0, Bytes::new());
        let (_, contents) = write(&mut window, Class::Control, 100);
        window.on_lost(contents[0].clone());
        assert_eq!(fragments(&write(&mut window, Class::Control, 100).0), [(0, 0, true, 0)]);
    }

    #[test]
    fn nothing_is_started_beyond_the_credit() {
        let mut window = SendWindow::new(2 * (128 + MESSAGE_OVERHEAD));
        for _ in 0..3 {
            window.push(Class::Bulk, 0, Bytes::from(vec![0; 128]));
        }
        assert_eq!(fragments(&write(&mut window, Class::Bulk, 1_000).0).len(), 2);
        assert!(!window.has_pending(Class::Bulk));
        // What was told before that, and comes late, takes nothing back.
        [96, 80].into_iter().for_each(|credit| window.grant(credit));
        assert_eq!(fragments(&write(&mut window, Class::Bulk, 1_000).0).len(), 1);
    }

    #[test]
    fn what_is_abandoned_is_neither_sent_nor_repeated_and_the_other_side_is_told() {
        let mut window = SendWindow::new(1 << 20);
        window.push(Class::Bulk, 7, Bytes::from(vec![0; 300]));
        window.push(Class::Bulk, 7, Bytes::from(vec![0; 300]));
        window.push(Class::Bulk, 8, Bytes::from(vec![0; 10]));
        let (_, begun) = write(&mut window, Class::Bulk, 100);
        window.abandon(7);
        window.on_lost(begun[0].clone());
        assert_eq!(fragments(&write(&mut window, Class::Bulk, 100).0), [(1, 0, true, 10)]);
        let (told, contents) = write(&mut window, Class::Control, 100);
        assert_eq!(fragments(&told), [(0, 0, false, 300)]);
        window.on_lost(contents[0].clone());
        let (told, contents) = write(&mut window, Class::Control, 100);
        assert_eq!(fragments(&told), [(0, 0, false, 300)]);
        window.on_acked(&contents[0]);
        assert_eq!(window.base, 1);
    }

    #[test]
    fn a_spurious_loss_is_not_sent_again_once_acked() {
        let mut window = SendWindow::new(1 << 20);
        window.push(Class::Bulk, 0, Bytes::from(vec![0; 150]));
        let (_, first) = write(&mut window, Class::Bulk, 100);
        let _ = write(&mut window, Class::Bulk, 100);
        window.on_lost(first[0].clone());
        window.on_acked(&first[0]);
        assert_eq!(write(&mut window, Class::Bulk, 100).0, b"");
    }
}
