//! The bytes of a file as they come in, in order. No verification here, no network and no disk.

use std::sync::Arc;

use super::assembly::Flaw;

/// Memory is asked for in steps of at least this, B; larger ones as the file grows.
pub(super) const STEP: usize = 1 << 20;

/// What has come of a file, without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// In memory of its own.
    Memory(Vec<u8>),
    /// The first `len` bytes of what the whole process has once: a simulation of ten receivers of 1 GB holds 1 GB, not 10.
    /// Other bytes than these are not taken.
    Shared {
        /// The whole file.
        content: Arc<Vec<u8>>,
        /// How much of it has come, B.
        len: usize,
    },
}

impl Held {
    /// How much there is, B.
    pub(super) fn len(&self) -> usize {
        match self {
            Held::Memory(bytes) => bytes.len(),
            Held::Shared { len, .. } => *len,
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        match self {
            Held::Memory(bytes) => bytes.clear(),
            Held::Shared { len, .. } => *len = 0,
        }
    }

    /// Takes in what follows, of a file that is said to be `size` B long.
    ///
    /// # Errors
    /// [`Flaw::TooLarge`] if memory doesn't suffice; [`Flaw::Nonsense`] for other bytes than the shared ones.
    pub(super) fn append(&mut self, size: u64, data: &[u8]) -> Result<(), Flaw> {
        match self {
            Held::Memory(bytes) => {
                reserve(bytes, size, data.len())?;
                bytes.extend_from_slice(data);
            }
            Held::Shared { content, len } => {
                let end = *len + data.len();
                if content.get(*len..end) != Some(data) {
                    return Err(Flaw::Nonsense);
                }
                *len = end;
            }
        }
        Ok(())
    }

    /// The bytes, for others to read as well. To be called once the file is whole.
    pub(super) fn into_shared(self) -> Arc<Vec<u8>> {
        match self {
            Held::Memory(bytes) => Arc::new(bytes),
            Held::Shared { content, .. } => content,
        }
    }

    /// The bytes; none where they are shared, as whoever shares them has them.
    pub(super) fn into_vec(self) -> Vec<u8> {
        match self {
            Held::Memory(bytes) => bytes,
            Held::Shared { .. } => Vec::new(),
        }
    }
}

/// Makes room for `len` B more. The announced size is not believed: memory is taken as data comes, twice what there is at
/// most, so that what is copied in growing stays in proportion.
fn reserve(bytes: &mut Vec<u8>, size: u64, len: usize) -> Result<(), Flaw> {
    let have = bytes.len();
    if bytes.capacity() - have >= len {
        return Ok(());
    }
    let missing = usize::try_from(size - have as u64).map_err(|_| Flaw::TooLarge(size))?;
    let step = missing.min(have.max(STEP)).max(len);
    bytes.try_reserve_exact(step).map_err(|_| Flaw::TooLarge(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_bytes_are_compared_and_not_copied() {
        let content = Arc::new(b"hello world".to_vec());
        let mut held = Held::Shared { content: Arc::clone(&content), len: 0 };
        held.append(11, b"hello").unwrap();
        assert_eq!(held.append(11, b"_world"), Err(Flaw::Nonsense), "other bytes");
        assert_eq!(held.append(11, b" world!"), Err(Flaw::Nonsense), "beyond the end");
        assert_eq!(held.len(), 5, "what was refused isn't there");
        held.append(11, b" world").unwrap();
        assert!(Arc::ptr_eq(&held.into_shared(), &content));
    }
}
