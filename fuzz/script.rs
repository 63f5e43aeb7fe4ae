//! Fuzz input read as a script: it never ends early, it only says nothing more.

/// Reads choices off the front of the input; zeros when it is over.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Script<'a> {
        Script(data)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// Below 64 in one byte, else up to 2⁶² − 1 in as many as a varint takes.
    pub(crate) fn number(&mut self) -> u64 {
        let first = self.u8();
        let more = (1 << (first >> 6)) - 1;
        (0..more).fold(u64::from(first & 0x3f), |value, _| value << 8 | u64::from(self.u8()))
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::from(self.u8()) % len
    }

    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
