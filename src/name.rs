//! File names from strangers: what may become a file here, and how any text is shown on a terminal.
//!
//! No path is built and no file is touched here. A name that passes is one component of a path, never a path.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The longest file name that common file systems take, B.
pub const MAX_LEN: usize = 255;

/// A file name that is safe to join to a directory: one component that stays in it.
///
/// Displays escaped (see [`display_name`]); [`as_str`](FileName::as_str) is the name itself. A leading dot is allowed:
/// who saves under a name that a stranger chose has to decide about hidden files.
///
/// ```
/// use swarmcast::name::FileName;
/// assert!("lecture 3.mp4".parse::<FileName>().is_ok());
/// assert!("../.ssh/authorized_keys".parse::<FileName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

impl FileName {
    /// Checks `name`.
    ///
    /// # Errors
    /// What is wrong with it: empty, longer than [`MAX_LEN`] B, `.` or `..`, a `/` or a `\`, a control character.
    pub fn new(name: &str) -> Result<FileName, NameError> {
        match name {
            "" => return Err(NameError::Empty),
            "." | ".." => return Err(NameError::Directory),
            _ if name.len() > MAX_LEN => return Err(NameError::TooLong(name.len())),
            _ => {}
        }
        for c in name.chars() {
            match c {
                '/' | '\\' => return Err(NameError::Separator),
                c if c.is_control() => return Err(NameError::Control),
                _ => {}
            }
        }
        Ok(FileName(name.to_owned()))
    }

    /// Checks a name as it arrived.
    ///
    /// # Errors
    /// As [`FileName::new`], and for bytes that are not UTF-8.
    pub fn from_bytes(name: &[u8]) -> Result<FileName, NameError> {
        FileName::new(str::from_utf8(name).map_err(|_| NameError::Encoding)?)
    }

    /// The last component of `path`, if it has one and others could take it as a name.
    ///
    /// # Errors
    /// As [`FileName::from_bytes`]; a path that ends in `..` has no name.
    pub fn of_path(path: &Path) -> Result<FileName, NameError> {
        let name = path.file_name().ok_or(NameError::Directory)?;
        FileName::new(name.to_str().ok_or(NameError::Encoding)?)
    }

    /// The name itself: for the file system and the wire, not for the terminal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&display_name(&self.0))
    }
}

impl FromStr for FileName {
    type Err = NameError;
    fn from_str(s: &str) -> Result<FileName, NameError> {
        FileName::new(s)
    }
}

/// Why a text is not a file name. The text itself is left out: it is not fit to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No byte at all.
    #[error("a file name has at least one character")]
    Empty,
    /// `.` or `..`, or a path that ends in one.
    #[error("`.` and `..` are directories, not file names")]
    Directory,
    /// More than [`MAX_LEN`] bytes.
    #[error("a file name has at most {MAX_LEN} bytes, this one has {0}")]
    TooLong(usize),
    /// A `/` or a `\`.
    #[error("a file name contains no `/` and no `\\`: it is one component, not a path")]
    Separator,
    /// NUL, a line break, an escape sequence.
    #[error("a file name contains no control character")]
    Control,
    /// Bytes that are not UTF-8.
    #[error("a file name is UTF-8 text")]
    Encoding,
}

/// `text` with all that could steer a terminal or mislead a reader made visible: control characters, escape sequences,
/// marks that turn the direction of writing or have no width. Letters of any script stay as they are.
///
/// A backslash is doubled, so that no two texts look alike.
pub fn display_name(text: &str) -> String {
    // The standard library also escapes quotes, which do no harm here.
    text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_of_any_script_pass() {
        let longest = "x".repeat(MAX_LEN);
        for name in ["a", "lecture 3.mp4", "..a", "a..", "...", ".hidden", "Übung №5 — 実験.tar.gz", &longest]
        {
            assert_eq!(FileName::from_bytes(name.as_bytes()).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_that_is_not_one_component_is_refused() {
        for (name, error) in [
            (&b""[..], NameError::Empty),
            (b".", NameError::Directory),
            (b"..", NameError::Directory),
            (b"../x", NameError::Separator),
            (b"/etc/passwd", NameError::Separator),
            (b"a/", NameError::Separator),
            (b"..\\x", NameError::Separator),
            (b"a\0b", NameError::Control),
            (b"a\nb", NameError::Control),
            (b"\x1b[2J", NameError::Control),
            (b"\x7f", NameError::Control),
            ("\u{9b}2J".as_bytes(), NameError::Control),
            (b"\xff\xfe", NameError::Encoding),
            // An overlong encoding of `/`.
            (b"\xc0\xaf", NameError::Encoding),
            (&[b'x'; MAX_LEN + 1], NameError::TooLong(MAX_LEN + 1)),
        ] {
            assert_eq!(FileName::from_bytes(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn the_name_of_a_path_is_its_last_component() {
        let name = |path: &str| FileName::of_path(Path::new(path)).map(|name| name.as_str().to_owned());
        assert_eq!(name("/var/data/film.mkv"), Ok("film.mkv".to_owned()));
        assert_eq!(name("film.mkv/"), Ok("film.mkv".to_owned()));
        assert_eq!(name("data/.."), Err(NameError::Directory));
        assert_eq!(name("/"), Err(NameError::Directory));
        assert_eq!(name("a\nb"), Err(NameError::Control));
    }

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_done() {
        assert_eq!(display_name("it's \"Übung\" 実験.txt"), "it's \"Übung\" 実験.txt");
        assert_eq!(display_name("\x1b[31mred"), "\\u{1b}[31mred");
        assert_eq!(display_name("a\r\nb\0"), "a\\r\\nb\\0");
        // Right-to-left override: shows "exe.txt" for a name that ends in ".exe".
        assert_eq!(display_name("\u{202e}txt.exe"), "\\u{202e}txt.exe");
        assert_eq!(display_name("a\u{200b}b\u{feff}"), "a\\u{200b}b\\u{feff}");
        assert_eq!(display_name("\\'"), "\\\\'");
        assert_ne!(display_name("\\n"), display_name("\n"));
        assert_eq!(
            format!("{:>4}|{:<4}|", FileName::new("ab").unwrap(), FileName::new("c").unwrap()),
            "  ab|c   |"
        );
    }
}
