// SPDX-License-Identifier: GPL-2.0-or-later
//! The text of a limit: how an operator writes one, and how answers and log lines show it.
//!
//! ```text
//!   a number of connections, or none
//! ```
//!
//! `unlimited` is another word for `none`. The number 0 is neither: clients of the host
//! send 0 for an empty text, and for numbers that do not fit into 32 bits.

#![forbid(unsafe_code)]

use core::fmt;

use crate::shared::layout::Geometry;
use crate::shared::visible::Excerpt;

/// A limit as text: its number, or `none` if it is 0 or less.
#[derive(Clone, Copy, Debug)]
pub struct LimitName(pub i32);

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1.. => self.0.fmt(f),
            _ => f.write_str("none"),
        }
    }
}

/// The largest limit that [`parse`] accepts: a server has at most this many connections.
/// It is far below the numbers that result when a client cuts a larger number to 32 bits.
const MAX_LIMIT: u32 = Geometry::MAX_CONNECTIONS;

/// Whether the text means that there is no limit.
pub(super) fn is_none(text: &str) -> bool {
    matches!(text, "none" | "unlimited")
}

/// Reads a limit that an operator sets while the server runs. The result is 0 for no limit.
///
/// # Errors
///
/// Why the text is not such a limit.
pub fn parse(text: &[u8]) -> Result<i32, LimitError> {
    let trimmed = str::from_utf8(text).unwrap_or_default().trim_ascii();
    if is_none(trimmed) {
        return Ok(0);
    }
    // Only digits: `parse` also accepts a plus sign.
    let is_number = trimmed.bytes().all(|byte| byte.is_ascii_digit());
    match trimmed.parse() {
        Ok(limit @ 1..=MAX_LIMIT) if is_number => Ok(limit as i32),
        number => Err(LimitError {
            text: Excerpt::of(text),
            is_zero: number == Ok(0),
        }),
    }
}

/// A text that is not a limit. Its `Display` says the text and the remedy, in at most 127
/// bytes: some transports of the host cut a longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitError {
    text: Excerpt,
    is_zero: bool,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid limit `{}`: expected 1 to {MAX_LIMIT}, or none for no limit",
            self.text
        )?;
        match self.is_zero {
            true => f.write_str("; 0 may be a larger number that was cut"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn numbers_and_both_words_are_limits() {
        for (text, limit) in [
            ("1", 1),
            ("1024", 1024),
            (" 7 ", 7),
            ("007", 7),
            ("100000000", 100_000_000),
            ("none", 0),
            ("unlimited", 0),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(limit), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_value_and_remedy() {
        for text in [
            "",
            "-",
            "+5",
            "5 6",
            "1.5",
            "None",
            "-3",
            "-0",
            "-99999999999999999999",
            "100000001",
            // The lower 32 bits of 99999999999.
            "1215752191",
            "99999999999999999999",
        ] {
            let expected =
                format!("invalid limit `{text}`: expected 1 to 100000000, or none for no limit");
            assert_eq!(reason(text), expected);
        }
        for text in ["0", "000"] {
            let expected = format!(
                "invalid limit `{text}`: expected 1 to 100000000, or none for no limit; 0 may be \
                 a larger number that was cut"
            );
            assert_eq!(reason(text), expected);
        }
        let long = reason(&"x".repeat(1000));
        assert!(
            long.len() <= 127 && long.ends_with("none for no limit"),
            "{long}"
        );
        let not_utf8 = parse(b"5\xff").unwrap_err().to_string();
        assert!(not_utf8.contains("`5\u{fffd}`"), "{not_utf8}");
    }

    #[test]
    fn limits_are_shown_as_number_or_none() {
        for (limit, text) in [
            (1, "1"),
            (i32::MAX, "2147483647"),
            (0, "none"),
            (-5, "none"),
        ] {
            assert_eq!(LimitName(limit).to_string(), text);
        }
    }
}
