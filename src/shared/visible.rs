// SPDX-License-Identifier: GPL-2.0-or-later
//! Text from outside, made fit for a log line: [`Visible`] shows all of it, [`Excerpt`] its
//! beginning.

#![forbid(unsafe_code)]

use core::fmt;

/// The largest length of an [`Excerpt`] in bytes, without the dots that mark a cut.
const MAX_EXCERPT: usize = 60;

/// A text with all characters visible.
pub(crate) struct Visible<'a>(pub(crate) &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| write_visible(f, c))
    }
}

/// The beginning of a text, with all characters visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt(String);

impl Excerpt {
    /// Bytes that are not UTF-8 are replaced.
    pub(crate) fn of(text: &[u8]) -> Excerpt {
        // The text may be as long as memory. A byte beyond the largest excerpt shows that
        // it must be cut.
        let start = &text[..text.len().min(MAX_EXCERPT + 1)];
        let mut shown = String::new();
        for c in String::from_utf8_lossy(start).chars() {
            let before = shown.len();
            // Writing to a String does not fail.
            let _ = write_visible(&mut shown, c);
            if shown.len() > MAX_EXCERPT {
                shown.truncate(before);
                shown.push_str("...");
                break;
            }
        }
        Excerpt(shown)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Escapes a character that would break a log line or that is invisible, such as a byte
/// order mark.
fn write_visible(to: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        ' '..='~' => to.write_char(c),
        _ => write!(to, "{}", c.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_cut_and_visible() {
        let shown = |text: &str| Excerpt::of(text.as_bytes()).to_string();
        assert_eq!(shown("a\tb\0c\x1b"), "a\\tb\\0c\\u{1b}");
        assert_eq!(shown("\u{feff}é`\\"), "\\u{feff}é`\\");
        assert_eq!(shown(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(shown(&"x".repeat(61)), "x".repeat(60) + "...");
        assert_eq!(shown(&"é".repeat(30)), "é".repeat(30));
        assert_eq!(shown(&"é".repeat(31)), "é".repeat(30) + "...");
        // Each escape is shown whole or not at all.
        assert_eq!(shown(&"\x1b".repeat(11)), "\\u{1b}".repeat(10) + "...");
    }

    #[test]
    fn excerpt_of_invalid_utf_8_replaces_it() {
        assert_eq!(Excerpt::of(b"a=\xff").to_string(), "a=\u{fffd}");
        // This cut lies within a character.
        let text = [&[b'x'; 60][..], "é\u{fffd}".as_bytes(), &[0xff]].concat();
        assert_eq!(Excerpt::of(&text).to_string(), "x".repeat(60) + "...");
    }

    #[test]
    fn visible_text_is_whole() {
        assert_eq!(Visible("a\nb").to_string(), "a\\nb");
        assert_eq!(Visible(&"x".repeat(99)).to_string(), "x".repeat(99));
    }
}
