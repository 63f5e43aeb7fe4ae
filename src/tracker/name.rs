//! The names under which files can be found: hostile input until checked.
//!
//! A [`FileName`] is one component of a path, never a path. It is not an identity (two files may share a name), and
//! it has not been made safe to print: an unusual letter is allowed, only control characters are not.

use std::fmt;
use std::sync::Arc;

/// The name of a file: 1 to 255 B of UTF-8 without separators or control characters, neither `.` nor `..`.
///
/// ```
/// use swarmcast::tracker::FileName;
/// assert_eq!(FileName::new("notes.txt").unwrap().as_str(), "notes.txt");
/// assert!(FileName::new("../notes.txt").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

/// Text that can't be the name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a file name: it has to be 1 to 255 bytes, without separators or control characters, and not `.` or `..`"
)]
pub struct InvalidName;

impl FileName {
    /// The most bytes that a name has: what common file systems allow, and what one length byte can say.
    pub const MAX_LEN: usize = 255;

    /// Checks `name`.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, too long, `.` or `..`, or holds `/`, `\` or a control character.
    pub fn new(name: &str) -> Result<FileName, InvalidName> {
        // Bidirectional overrides are no control characters to Unicode, but make `exe.fdp` read as `pdf.exe`.
        let forbidden = |c: char| {
            c.is_control() || matches!(c, '/' | '\\' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        let fits = (1..=FileName::MAX_LEN).contains(&name.len());
        if fits && name != "." && name != ".." && !name.chars().any(forbidden) {
            Ok(FileName(name.into()))
        } else {
            Err(InvalidName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_people_write_them_are_taken() {
        for name in ["a", "notes.txt", "..hidden", "a..b", "Über uns 文.pdf", &"x".repeat(255)] {
            assert_eq!(FileName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_could_lead_elsewhere_or_deceive_are_not() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/etc/passwd",
            "..\\b",
            "nul\0",
            "line\nbreak",
            "\x1b[2Jcleared",
            "c1\u{9b}2J",
            "\u{202e}exe.fdp",
            &"x".repeat(256),
            &"é".repeat(128),
        ] {
            assert_eq!(FileName::new(name), Err(InvalidName), "{name:?}");
        }
    }
}
