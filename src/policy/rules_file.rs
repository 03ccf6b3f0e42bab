// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads a rules file, and splits it into the texts of its rules.

#![forbid(unsafe_code)]

use core::fmt;
use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::shared::visible::Visible;

/// Upper bound of a rules file, in bytes: enough for 65,535 rules with a long comment on
/// each.
const MAX_BYTES: u64 = 16 << 20;

/// A rules file that was read.
#[derive(Debug)]
pub struct RulesFile {
    /// Its path. Bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Its bytes, at most 16 MiB.
    pub content: Vec<u8>,
}

impl RulesFile {
    /// Reads the file. A FIFO or a device does not block it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a regular file, or is too large.
    pub fn read(path: &Path) -> Result<RulesFile, ReadError> {
        let name = path.to_string_lossy().into_owned();
        match read(path) {
            Ok(content) => Ok(RulesFile { name, content }),
            Err(reason) => Err(ReadError { name, reason }),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Reason> {
    // Without O_NONBLOCK, opening a FIFO would wait for its other end.
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Reason::NotRegular);
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(Reason::TooLarge);
    }
    Ok(content)
}

/// A rules file that cannot be used. Its `Display` says its name, the reason and the
/// remedy.
#[derive(Debug)]
pub struct ReadError {
    name: String,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    System(io::Error),
    NotRegular,
    TooLarge,
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Reason {
        Reason::System(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Visible(&self.name);
        match &self.reason {
            Reason::System(error) => {
                write!(f, "cannot read {name}")?;
                if Path::new(&self.name).is_relative()
                    && let Ok(folder) = env::current_dir()
                {
                    write!(f, " in {}", Visible(&folder.to_string_lossy()))?;
                }
                write!(
                    f,
                    ": {error}; check that it exists and that Kamailio's user can read it"
                )
            }
            Reason::NotRegular => {
                write!(f, "{name} is not a regular file; give the path of one")
            }
            Reason::TooLarge => write!(
                f,
                "{name} is larger than {} MiB; remove everything that is not a rule",
                MAX_BYTES >> 20
            ),
        }
    }
}

impl std::error::Error for ReadError {}

/// The texts of the rules in a file, each with the number of its line, from 1. A line has
/// one rule or only blanks; `#` begins a comment. The texts have no blanks at their ends.
pub(super) fn texts(content: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    // Comments may be in any encoding, so they are removed before a text is read as UTF-8.
    lines(content)
        .map(|(number, line)| {
            let text = line.split(|byte| *byte == b'#').next().unwrap_or(line);
            (number, text.trim_ascii())
        })
        .filter(|(_, text)| !text.is_empty())
}

/// The lines of a file, each with its number, from 1, and without blanks at its ends. A
/// byte order mark is skipped: some editors write one.
pub(super) fn lines(content: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let lines = content.split(|byte| *byte == b'\n');
    (1..).zip(lines.map(<[u8]>::trim_ascii))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn error(path: &Path) -> String {
        RulesFile::read(path).unwrap_err().to_string()
    }

    #[test]
    fn comments_blanks_and_empty_lines_are_skipped() {
        let content = b"# head\n\n \t\na# no blank\r\n\tb \t=\t2 # caf\xe9\nc";
        let texts: Vec<_> = texts(content).collect();
        assert_eq!(texts, [(4, &b"a"[..]), (5, b"b \t=\t2"), (6, b"c")]);
    }

    #[test]
    fn byte_order_mark_is_skipped_at_the_start_only() {
        let collected: Vec<_> = texts(b"\xef\xbb\xbfa\n\xef\xbb\xbfb").collect();
        assert_eq!(collected, [(1, &b"a"[..]), (2, b"\xef\xbb\xbfb")]);
    }

    #[test]
    fn file_up_to_the_largest_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules");
        fs::write(&path, "10.0.0.0/8=1\n").unwrap();
        let read = RulesFile::read(&path).unwrap();
        assert_eq!(
            (&*read.name, &*read.content),
            (path.to_str().unwrap(), &b"10.0.0.0/8=1\n"[..])
        );

        let file = File::create(&path).unwrap();
        file.set_len(MAX_BYTES).unwrap();
        assert_eq!(RulesFile::read(&path).unwrap().content.len(), 16 << 20);
        file.set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(
            error(&path),
            format!(
                "{} is larger than 16 MiB; remove everything that is not a rule",
                path.display()
            ),
        );
    }

    #[test]
    fn path_that_is_not_a_regular_file_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(
            error(path),
            format!(
                "{} is not a regular file; give the path of one",
                path.display()
            ),
        );
        assert_eq!(
            error(&path.join("no\nfile")),
            format!(
                "cannot read {}/no\\nfile: No such file or directory (os error 2); check that it \
                 exists and that Kamailio's user can read it",
                path.display()
            ),
        );
        let folder = std::env::current_dir().unwrap();
        assert_eq!(
            error(Path::new("nowhere/rules")),
            format!(
                "cannot read nowhere/rules in {}: No such file or directory (os error 2); check \
                 that it exists and that Kamailio's user can read it",
                folder.display()
            ),
        );
        // Opening it for reading would block until it is opened for writing.
        let fifo = path.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        assert!(error(&fifo).ends_with("is not a regular file; give the path of one"));
    }
}
