//! What a file is called: the BLAKE3 hash of its content.

use std::fmt;
use std::str::FromStr;

/// The identity of a file's content: its BLAKE3 hash, 32 B. Prints and reads as 64 hex digits, as `b3sum` prints it.
///
/// ```
/// use swarmcast::Fid;
/// let fid = Fid::of(b"hello");
/// assert_eq!(fid.to_string().parse(), Ok(fid));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fid([u8; Fid::LEN]);

impl Fid {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The identity of `content`.
    pub fn of(content: &[u8]) -> Fid {
        Fid(*blake3::hash(content).as_bytes())
    }

    /// The identity with these bytes.
    pub const fn from_bytes(bytes: [u8; Fid::LEN]) -> Fid {
        Fid(bytes)
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; Fid::LEN] {
        &self.0
    }

    /// The first 8 hex digits: enough for a person to tell two files apart in a log.
    pub fn short(&self) -> String {
        self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fid({})", self.short())
    }
}

/// Text that is not 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a file id: it has to be 64 hex digits, as b3sum prints them")]
pub struct ParseFidError(String);

impl FromStr for Fid {
    type Err = ParseFidError;
    fn from_str(s: &str) -> Result<Fid, ParseFidError> {
        blake3::Hash::from_hex(s).map(|hash| Fid(*hash.as_bytes())).map_err(|_| ParseFidError(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints_and_nothing_else() {
        let fid = Fid::of(b"");
        // The hash of the empty input, from the BLAKE3 paper's test vectors.
        assert_eq!(fid.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(fid.to_string().parse(), Ok(fid));
        for bad in ["", "af13", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            assert!(bad.parse::<Fid>().is_err(), "{bad}");
        }
    }
}
