// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Pressure`]: the levels of use of the host's connections that lower the limits of
//! sources, as an operator writes them.
//!
//! ```text
//!   PRESSURE   LEVEL [LEVEL ...], at most 4, or none
//!   LEVEL      PERCENT:N%   from this share of use on, N percent of the limit
//!              PERCENT:N    from this share of use on, at most N connections
//!   PERCENT    10 to 99, each higher than the one before
//! ```
//!
//! The levels that are reached apply together, so a higher one never allows more. Those of
//! one kind must become stricter, because another one would have no effect.

#![forbid(unsafe_code)]

use core::fmt;

use super::limit_text;
use super::reserve::digits;
use crate::shared::layout::PRESSURE_LEVELS;
use crate::shared::visible::Excerpt;

/// A level that is reached stays in effect until the use falls this many percentage points
/// below it, so that a server at the edge of a level does not change it with each
/// connection.
pub const HYSTERESIS: u32 = 5;

/// The lowest and the highest share of use of a level, in percent.
const LOWEST: u32 = 10;
const HIGHEST: u32 = 99;

/// The highest number of connections of a level: 24 bits.
const MAX_NUMBER: u32 = (1 << 24) - 1;

/// What a level allows each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This share of its limit, 1 to 99 percent, rounded up. A source without a limit stays
    /// without one.
    Percent(u8),
    /// At most this many connections, at least 1, also without a limit.
    Connections(u32),
}

/// A level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The share of use from which on it applies, in percent.
    pub from: u8,
    /// What it allows.
    pub allowed: Allowed,
}

/// What the levels that are reached allow each source together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// The share of its limit, in percent; 100: all of it.
    pub percent: u8,
    /// The most connections; `u32::MAX`: any number.
    pub connections: u32,
}

impl Cap {
    /// Nothing is lowered.
    pub const NONE: Cap = Cap {
        percent: 100,
        connections: u32::MAX,
    };

    fn and(self, allowed: Allowed) -> Cap {
        match allowed {
            Allowed::Percent(percent) => Cap {
                percent: self.percent.min(percent),
                ..self
            },
            Allowed::Connections(connections) => Cap {
                connections: self.connections.min(connections),
                ..self
            },
        }
    }

    /// Lowers `limit`, a number of connections; above `i32::MAX`: there is no limit. Never
    /// makes 0 of another number.
    #[inline]
    pub(crate) fn lower(self, limit: u32) -> u32 {
        let share = match limit {
            _ if self.percent == 100 => limit,
            // At most `limit`.
            0..=0x7fff_ffff => (u64::from(limit) * u64::from(self.percent)).div_ceil(100) as u32,
            _ => limit,
        };
        share.min(self.connections)
    }

    /// The effective limit of a source with `limit`, in connections; 0 or less: no limit.
    #[inline]
    pub fn effective(self, limit: i32) -> i32 {
        let unlimited = u32::MAX;
        let limit = if limit > 0 {
            limit.unsigned_abs()
        } else {
            unlimited
        };
        i32::try_from(self.lower(limit)).unwrap_or(0)
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.percent, self.connections) {
            (100, u32::MAX) => f.write_str("the limits apply in full"),
            (100, connections) => write!(f, "at most {connections} for each source"),
            (percent, u32::MAX) => write!(f, "{percent} % of its limit for each source"),
            (percent, connections) => write!(
                f,
                "{percent} % of its limit and at most {connections} for each source"
            ),
        }
    }
}

impl Level {
    /// In bits 0–23 the number, 24 says that it is a share, 25–31 the share of use.
    pub(crate) fn to_word(self) -> u32 {
        let allowed = match self.allowed {
            Allowed::Percent(percent) => 1 << 24 | u32::from(percent),
            Allowed::Connections(connections) => connections.min(MAX_NUMBER),
        };
        u32::from(self.from) << 25 | allowed
    }

    /// The level with this word; `None` for 0.
    #[inline]
    pub(crate) fn from_word(word: u32) -> Option<Level> {
        let allowed = match word & 1 << 24 {
            0 => Allowed::Connections(word & MAX_NUMBER),
            _ => Allowed::Percent(word as u8),
        };
        let from = (word >> 25) as u8;
        (word != 0).then_some(Level { from, allowed })
    }

    /// Whether the level applies with `in_use` of `max` connections, if it is `reached`
    /// already or not.
    #[inline]
    fn applies(self, in_use: u32, max: u32, reached: bool) -> bool {
        let from = u64::from(self.from);
        let from = match reached {
            true => from.saturating_sub(HYSTERESIS.into()),
            false => from,
        };
        u64::from(in_use) * 100 >= from * u64::from(max)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.allowed {
            Allowed::Percent(percent) => write!(f, "{}:{percent}%", self.from),
            Allowed::Connections(connections) => write!(f, "{}:{connections}", self.from),
        }
    }
}

/// The levels, lowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure([Option<Level>; PRESSURE_LEVELS]);

impl Pressure {
    /// There are no levels.
    pub const NONE: Pressure = Pressure([None; PRESSURE_LEVELS]);

    /// Reads what an operator writes.
    ///
    /// # Errors
    ///
    /// The first part that is invalid.
    pub fn parse(text: &str) -> Result<Pressure, PressureError> {
        let mut pressure = Pressure::NONE;
        if matches!(text.trim_ascii(), "" | "0") || limit_text::is_none(text.trim_ascii()) {
            return Ok(pressure);
        }
        for (index, part) in text.split_ascii_whitespace().enumerate() {
            let fault = |fault| PressureError {
                text: Excerpt::of(part.as_bytes()),
                fault,
            };
            let level = read_level(part).map_err(fault)?;
            let before = pressure.levels().last();
            if before.is_some_and(|before| before.from >= level.from) {
                return Err(fault(Fault::Order));
            }
            let useless = pressure.cap(index).and(level.allowed) == pressure.cap(index);
            if useless {
                return Err(fault(Fault::NotStricter));
            }
            let slot = pressure.0.get_mut(index).ok_or(fault(Fault::TooMany))?;
            *slot = Some(level);
        }
        Ok(pressure)
    }

    /// The levels with these words.
    #[inline]
    pub(crate) fn from_words(words: [u32; PRESSURE_LEVELS]) -> Pressure {
        Pressure(words.map(Level::from_word))
    }

    pub(crate) fn to_words(self) -> [u32; PRESSURE_LEVELS] {
        self.0.map(|level| level.map_or(0, Level::to_word))
    }

    /// The levels, lowest first.
    pub fn levels(&self) -> impl Iterator<Item = Level> {
        self.0.iter().map_while(|level| *level)
    }

    /// How many levels there are.
    pub fn len(&self) -> usize {
        self.levels().count()
    }

    /// Whether there are no levels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of levels that are reached with `in_use` of `max` connections, if
    /// `before` were reached before.
    #[inline]
    pub fn reached(&self, before: usize, in_use: u32, max: u32) -> usize {
        let applies = |(index, level): &(usize, Level)| level.applies(in_use, max, *index < before);
        let highest = self.levels().enumerate().filter(applies).last();
        highest.map_or(0, |(index, _)| index + 1)
    }

    /// What the first `reached` levels allow together.
    #[inline]
    pub fn cap(&self, reached: usize) -> Cap {
        let levels = self.levels().take(reached);
        levels.fold(Cap::NONE, |cap, level| cap.and(level.allowed))
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        self.levels().enumerate().try_for_each(|(index, level)| {
            let before = if index == 0 { "" } else { " " };
            write!(f, "{before}{level}")
        })
    }
}

fn read_level(part: &str) -> Result<Level, Fault> {
    let (from, allowed) = part.split_once(':').ok_or(Fault::Form)?;
    let from = digits(from).filter(|from| (LOWEST..=HIGHEST).contains(from));
    // It fits: it is below 100.
    let from = from.ok_or(Fault::From)? as u8;
    let allowed = match allowed.strip_suffix('%') {
        Some(percent) => {
            let percent = digits(percent).filter(|percent| (1..100).contains(percent));
            Allowed::Percent(percent.ok_or(Fault::Percent)? as u8)
        }
        None => {
            let number = digits(allowed).filter(|number| (1..=MAX_NUMBER).contains(number));
            Allowed::Connections(number.ok_or(Fault::Number)?)
        }
    };
    Ok(Level { from, allowed })
}

/// Why a text does not describe levels. Its `Display` says the part, the reason and the
/// remedy, in at most 127 bytes: some transports of the host cut a longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PressureError {
    text: Excerpt,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Form,
    From,
    Percent,
    Number,
    Order,
    NotStricter,
    TooMany,
}

impl fmt::Display for PressureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pressure `{}`: ", self.text)?;
        match self.fault {
            Fault::Form => f.write_str("write one such as 80:50% or 90:10"),
            Fault::From => write!(
                f,
                "it must begin with a share of use from {LOWEST} to {HIGHEST}"
            ),
            Fault::Percent => f.write_str("a share of the limit must be 1% to 99%"),
            Fault::Number => write!(f, "a number of connections must be 1 to {MAX_NUMBER}"),
            Fault::Order => f.write_str("write the levels with the lowest share of use first"),
            Fault::NotStricter => {
                f.write_str("a lower level allows no more; lower its limit, or remove it")
            }
            Fault::TooMany => write!(f, "there can be at most {PRESSURE_LEVELS} levels"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pressure(text: &str) -> Pressure {
        Pressure::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn levels_are_shown_as_they_are_written() {
        for (text, shown) in [
            ("none", "none"),
            ("0", "none"),
            ("", "none"),
            ("80:50%", "80:50%"),
            (" 80:50%\t90:10 ", "80:50% 90:10"),
            (
                "10:99% 20:16777215 30:1% 99:1",
                "10:99% 20:16777215 30:1% 99:1",
            ),
        ] {
            assert_eq!(pressure(text).to_string(), shown);
            let words = pressure(text).to_words();
            assert_eq!(Pressure::from_words(words), pressure(text));
        }
    }

    #[test]
    fn invalid_level_is_named_with_its_remedy() {
        for (text, part, expected) in [
            ("80", "80", "write one such as 80:50% or 90:10"),
            ("80 :50%", "80", "write one such as 80:50% or 90:10"),
            (
                "9:50%",
                "9:50%",
                "it must begin with a share of use from 10 to 99",
            ),
            (
                "100:50%",
                "100:50%",
                "it must begin with a share of use from 10 to 99",
            ),
            (
                "80%:50%",
                "80%:50%",
                "it must begin with a share of use from 10 to 99",
            ),
            ("80:0%", "80:0%", "a share of the limit must be 1% to 99%"),
            (
                "80:100%",
                "80:100%",
                "a share of the limit must be 1% to 99%",
            ),
            (
                "80:0",
                "80:0",
                "a number of connections must be 1 to 16777215",
            ),
            (
                "80:+1",
                "80:+1",
                "a number of connections must be 1 to 16777215",
            ),
            (
                "90:10 80:5",
                "80:5",
                "write the levels with the lowest share of use first",
            ),
            (
                "80:10 80:5",
                "80:5",
                "write the levels with the lowest share of use first",
            ),
            (
                "80:50% 90:50%",
                "90:50%",
                "a lower level allows no more; lower its limit, or remove it",
            ),
            (
                "80:5 85:50% 90:10",
                "90:10",
                "a lower level allows no more; lower its limit, or remove it",
            ),
            (
                "10:5 20:4 30:3 40:2 50:1",
                "50:1",
                "there can be at most 4 levels",
            ),
        ] {
            let error = Pressure::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("pressure `{part}`: {expected}"));
        }
        for end in ["", ":5", ":5%"] {
            let long = Pressure::parse(&("8".repeat(1_000) + end)).unwrap_err();
            assert!(long.to_string().len() <= 127, "{long}");
        }
    }

    #[test]
    fn level_is_left_five_points_below_it() {
        let pressure = pressure("80:50% 90:10");
        let mut reached = 0;
        for (in_use, expected) in [
            (799, 0),
            (800, 1),
            (750, 1),
            (749, 0),
            (799, 0),
            (900, 2),
            (850, 2),
            (849, 1),
            (899, 1),
            (1000, 2),
            (750, 1),
            (0, 0),
            (u32::MAX, 2),
        ] {
            reached = pressure.reached(reached, in_use, 1000);
            assert_eq!(reached, expected, "{in_use}");
        }
    }

    #[test]
    fn levels_apply_together() {
        let pressure = pressure("80:50% 90:10");
        for (limit, reached, effective) in [
            (100, 0, 100),
            (0, 0, 0),
            (101, 1, 51),
            (1, 1, 1),
            (0, 1, 0),
            (4, 2, 2),
            (1000, 2, 10),
            (0, 2, 10),
            (i32::MAX, 1, 1 << 30),
        ] {
            assert_eq!(pressure.cap(reached).effective(limit), effective, "{limit}");
        }
        assert_eq!(Cap::NONE.lower(u32::MAX), u32::MAX);
        assert_eq!(Cap::NONE.lower(0), 0);
    }

    proptest! {
        /// More use never makes fewer levels, and a level allows at least one connection.
        #[test]
        fn pressure_is_monotonic(
            before in 0..5usize,
            (low, high) in (0..2_000u32, 0..2_000u32),
            limit in 1..i32::MAX,
        ) {
            let pressure = pressure("10:99% 20:500 30:7% 99:1");
            let (low, high) = (low.min(high), low.max(high));
            let of = |in_use| pressure.reached(before, in_use, 1_000);
            prop_assert!(of(low) <= of(high));
            let effective = |in_use| pressure.cap(of(in_use)).effective(limit);
            prop_assert!(effective(high) >= 1);
            prop_assert!(effective(high) <= effective(low) && effective(low) <= limit);
        }

        #[test]
        fn any_text_is_read_or_rejected(text in "([0-9]{1,3}|:|%| |none){0,12}") {
            if let Ok(pressure) = Pressure::parse(&text) {
                prop_assert_eq!(Pressure::parse(&pressure.to_string()), Ok(pressure));
            }
        }
    }
}
