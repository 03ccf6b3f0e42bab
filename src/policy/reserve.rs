// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Reserve`]: the connections that are kept for the sources of trusted rules, as an
//! operator writes them.
//!
//! ```text
//!   RESERVE   a number of connections, N% of all connections (1 to 99), or 0 or none
//! ```

#![forbid(unsafe_code)]

use core::fmt;

use super::limit_text;
use crate::shared::layout::Geometry;
use crate::shared::visible::Excerpt;

/// The last connections of the host, which only the sources of trusted rules get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reserve {
    /// There is no reserve.
    #[default]
    None,
    /// This many connections, at least 1.
    Connections(u32),
    /// This share of the host's connections, 1 to 99 percent.
    Percent(u8),
}

impl Reserve {
    /// Reads what an operator writes. `max` is the number of connections that the host
    /// allows, if that is known.
    ///
    /// # Errors
    ///
    /// Why the text is not a reserve.
    pub fn parse(text: &str, max: Option<u32>) -> Result<Reserve, ReserveError> {
        let fault = |fault| ReserveError {
            text: Excerpt::of(text.as_bytes()),
            fault,
        };
        let trimmed = text.trim_ascii();
        if trimmed == "0" || limit_text::is_none(trimmed) {
            return Ok(Reserve::None);
        }
        if let Some(percent) = trimmed.strip_suffix('%') {
            return match digits(percent).and_then(|percent| u8::try_from(percent).ok()) {
                Some(percent @ 1..=99) => Ok(Reserve::Percent(percent)),
                _ => Err(fault(Fault::Percent)),
            };
        }
        match digits(trimmed) {
            Some(number @ 1..=Geometry::MAX_CONNECTIONS) => match max {
                Some(max) if number >= max => Err(fault(Fault::All(max))),
                _ => Ok(Reserve::Connections(number)),
            },
            _ => Err(fault(Fault::Form)),
        }
    }

    /// The connections of the reserve if the host allows `max`; a share is rounded up.
    #[inline]
    pub fn of(self, max: u32) -> u32 {
        match self {
            Reserve::None => 0,
            Reserve::Connections(number) => number,
            // At most `max`.
            Reserve::Percent(percent) => (u64::from(max) * u64::from(percent)).div_ceil(100) as u32,
        }
    }

    /// As one word: 0, a number, or a share with the highest bit set.
    pub(crate) fn to_word(self) -> u32 {
        match self {
            Reserve::None => 0,
            Reserve::Connections(number) => number,
            Reserve::Percent(percent) => PERCENT | u32::from(percent),
        }
    }

    /// The reserve with this word.
    #[inline]
    pub(crate) fn from_word(word: u32) -> Reserve {
        match word {
            0 => Reserve::None,
            _ if word & PERCENT != 0 => Reserve::Percent(word as u8),
            _ => Reserve::Connections(word),
        }
    }
}

const PERCENT: u32 = 1 << 31;

/// A number without a sign.
pub(super) fn digits(text: &str) -> Option<u32> {
    // Only digits: `parse` also accepts a plus sign.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reserve::None => f.write_str("none"),
            Reserve::Connections(number) => number.fmt(f),
            Reserve::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Why a text is not a reserve. Its `Display` says the text, the reason and the remedy, in
/// at most 127 bytes: some transports of the host cut a longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReserveError {
    text: Excerpt,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Form,
    Percent,
    /// All connections that the host allows.
    All(u32),
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reserve `{}`: ", self.text)?;
        match self.fault {
            Fault::Form => f.write_str("expected one such as 100 or 5%, or none"),
            Fault::Percent => f.write_str("expected a share from 1% to 99%"),
            Fault::All(max) => write!(f, "it must be below tcp_max_connections ({max})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_is_a_number_or_a_share() {
        for (text, reserve, of_1001) in [
            ("0", Reserve::None, 0),
            ("none", Reserve::None, 0),
            ("1", Reserve::Connections(1), 1),
            (" 1000 ", Reserve::Connections(1000), 1000),
            ("1%", Reserve::Percent(1), 11),
            ("99%", Reserve::Percent(99), 991),
        ] {
            assert_eq!(Reserve::parse(text, Some(1001)), Ok(reserve), "{text}");
            assert_eq!(reserve.of(1001), of_1001, "{text}");
            assert_eq!(Reserve::from_word(reserve.to_word()), reserve);
            let shown = reserve.to_string();
            assert_eq!(Reserve::parse(&shown, None), Ok(reserve), "{shown}");
        }
        assert_eq!(Reserve::Percent(99).of(u32::MAX), 4_252_017_623);
    }

    #[test]
    fn invalid_reserve_says_what_is_expected() {
        for (text, expected) in [
            ("", "expected one such as 100 or 5%, or none"),
            ("-1", "expected one such as 100 or 5%, or none"),
            ("+1", "expected one such as 100 or 5%, or none"),
            ("100000001", "expected one such as 100 or 5%, or none"),
            ("0%", "expected a share from 1% to 99%"),
            ("100%", "expected a share from 1% to 99%"),
            ("5.5%", "expected a share from 1% to 99%"),
            ("1000", "it must be below tcp_max_connections (1000)"),
        ] {
            let error = Reserve::parse(text, Some(1000)).unwrap_err().to_string();
            assert_eq!(error, format!("reserve `{text}`: {expected}"));
        }
        let long = Reserve::parse(&"9".repeat(1_000), None).unwrap_err();
        assert!(long.to_string().len() <= 127, "{long}");
    }
}
