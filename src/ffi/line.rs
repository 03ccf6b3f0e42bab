// SPDX-License-Identifier: GPL-2.0-or-later
//! A log line.

use core::fmt;

/// A log line. It is built without allocating, and truncated if it is too long.
pub(super) struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            bytes: [0; 256],
            length: 0,
        }
    }
}

impl Line {
    /// The bytes of the line, its NUL, and zeros.
    pub(super) fn bytes(&self) -> &[u8; 256] {
        &self.bytes
    }

    /// Replaces each line break with a space.
    pub(super) fn join(&mut self) {
        for byte in &mut self.bytes {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.length; // Keeps the NUL.
        let taken = text.len().min(room);
        self.bytes[self.length..self.length + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        if taken < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Write as _;

    use super::*;

    #[test]
    fn long_line_is_truncated_and_ends_with_nul() {
        let mut line = Line::default();
        assert!(write!(line, "{:300}", 'x').is_err());
        assert_eq!(line.bytes[254], b' ');
        assert_eq!(line.bytes[255], 0);
    }

    #[test]
    fn line_breaks_become_spaces() {
        let mut line = Line::default();
        write!(line, "a\nb").unwrap();
        line.join();
        assert_eq!(line.bytes()[..4], *b"a b\0");
    }
}
