// SPDX-License-Identifier: GPL-2.0-or-later
//! The text of a rate and of a burst: how an operator writes them, in rules as in settings,
//! and how answers and log lines show them.
//!
//! ```text
//!   RATE    NUMBER/UNIT, from 1/h to 10000/s, or none, or unlimited, which is the same
//!   UNIT    s, m or h: a second, a minute, an hour
//!   BURST   a number from 1 to 1000000, at most what the rate gives in 3 days
//! ```

#![forbid(unsafe_code)]

use core::fmt;

use super::limit_text;
use super::terms::Rate;
use crate::shared::visible::Excerpt;

/// The units of a rate, and their length in seconds, in ascending order.
const UNITS: [(&str, u32); 3] = [("s", 1), ("m", 60), ("h", 3600)];

/// The microseconds of `seconds`. They fit 32 bits for each of [`UNITS`].
const fn micros(seconds: u32) -> u32 {
    seconds * 1_000_000
}

/// Reads a rate without its burst. The result is the interval of a [`Rate`] in microseconds;
/// 0: no rate.
///
/// # Errors
///
/// Why the text is not a rate.
pub fn parse(text: &str) -> Result<u32, RateError> {
    let text = text.trim_ascii();
    if limit_text::is_none(text) {
        return Ok(0);
    }
    let fault = |fault| RateError {
        text: Excerpt::of(text.as_bytes()),
        fault,
    };
    let (number, unit) = text.split_once('/').ok_or(fault(Fault::Form))?;
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, seconds) = *unit.ok_or(fault(Fault::Form))?;
    // Only digits: `parse` also accepts a plus sign.
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault(Fault::Form));
    }
    match number.parse::<u32>() {
        Ok(0) => Err(fault(Fault::Zero)),
        // The product fits 32 bits.
        Ok(number) if number <= Rate::MAX_PER_SECOND * seconds => {
            Ok(micros(seconds).div_ceil(number))
        }
        _ => Err(fault(Fault::TooHigh)),
    }
}

/// Reads a burst.
///
/// # Errors
///
/// Why the text is not a burst.
pub fn parse_burst(text: &str) -> Result<u32, BurstError> {
    let text = text.trim_ascii();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(burst @ 1..=Rate::MAX_BURST) if is_number => Ok(burst),
        _ => Err(BurstError(Burst::Number(Excerpt::of(text.as_bytes())))),
    }
}

/// The rate with this interval and this burst; `None`: the default burst.
///
/// # Errors
///
/// If the burst is too large for the rate.
pub fn rate(interval_us: u32, burst: Option<u32>) -> Result<Rate, BurstError> {
    let Some(burst) = burst else {
        return Ok(Rate::with_default_burst(interval_us));
    };
    let most = Rate::max_burst(interval_us);
    if burst > most {
        return Err(BurstError(Burst::ForRate {
            burst,
            interval_us,
            most,
        }));
    }
    Ok(Rate { interval_us, burst })
}

/// The interval of a rate as text, without the burst: `10/s` or `none`. The unit is the
/// shortest in which the rate is exact. An interval is a whole number of
/// microseconds, and several numbers may give the same one; the lowest is shown: `9999/s` is
/// enforced, and shown, as `9901/s`.
#[derive(Clone, Copy, Debug)]
pub struct RateName(pub u32);

impl fmt::Display for RateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = self.0;
        if interval == 0 {
            return f.write_str("none");
        }
        let number = |seconds| micros(seconds).div_ceil(interval);
        let is_exact = |seconds| micros(seconds).div_ceil(number(seconds)) == interval;
        // The hour is not exact only in damaged memory.
        let exact = UNITS.into_iter().find(|(_, seconds)| is_exact(*seconds));
        let (unit, seconds) = exact.unwrap_or(UNITS[UNITS.len() - 1]);
        write!(f, "{}/{unit}", number(seconds))
    }
}

/// A text that is not a rate. Its `Display` says the text and the remedy, in at most 127
/// bytes: some transports of the host cut a longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateError {
    text: Excerpt,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Form,
    Zero,
    TooHigh,
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid rate `{}`: ", self.text)?;
        match self.fault {
            Fault::Form => f.write_str("expected one like 10/s, 100/m or 2/h, or none"),
            Fault::Zero => f.write_str("expected 1/h or more, or none for no rate"),
            Fault::TooHigh => {
                let most = Rate::MAX_PER_SECOND;
                write!(f, "expected at most {most}/s, or none for no rate")
            }
        }
    }
}

impl std::error::Error for RateError {}

/// A text that is not a burst, or a burst that is too large for its rate. Its `Display` says
/// the value and the remedy, in at most 127 bytes, as that of [`RateError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurstError(Burst);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Burst {
    /// The text is not a number in the range.
    Number(Excerpt),
    /// The rate does not give that many connections in three days.
    ForRate {
        burst: u32,
        interval_us: u32,
        most: u32,
    },
}

impl fmt::Display for BurstError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Burst::Number(text) => {
                write!(
                    f,
                    "invalid burst `{text}`: expected 1 to {}",
                    Rate::MAX_BURST
                )
            }
            Burst::ForRate {
                burst,
                interval_us,
                most,
            } => {
                let rate = RateName(*interval_us);
                write!(
                    f,
                    "burst {burst} is more than {rate} gives in 3 days: expected at most {most}"
                )
            }
        }
    }
}

impl std::error::Error for BurstError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        RateName(parse(text).unwrap()).to_string()
    }

    fn reason(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn rate_has_the_interval_that_was_written() {
        for (text, interval) in [
            ("10000/s", 100),
            ("600000/m", 100),
            ("36000000/h", 100),
            ("10/s", 100_000),
            (" 10/s ", 100_000),
            ("010/s", 100_000),
            // Rounded up, so that no source is faster.
            ("3/s", 333_334),
            ("9999/s", 101),
            ("1/s", 1_000_000),
            ("100/m", 600_000),
            ("2/h", 1_800_000_000),
            ("1/h", 3_600_000_000),
            ("none", 0),
            ("unlimited", 0),
        ] {
            assert_eq!(parse(text), Ok(interval), "{text}");
        }
    }

    #[test]
    fn rate_is_shown_in_the_shortest_unit() {
        for (text, expected) in [
            ("10/s", "10/s"),
            ("100/m", "100/m"),
            ("2/h", "2/h"),
            ("7/h", "7/h"),
            ("60/m", "1/s"),
            ("3600/h", "1/s"),
            ("120/h", "2/m"),
            ("9999/s", "9901/s"),
            ("unlimited", "none"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(RateName(u32::MAX).to_string(), "1/h");
    }

    #[test]
    fn invalid_rate_has_a_value_and_a_remedy() {
        for text in [
            "", "10", "10/", "/s", "10/d", "10/S", "10 /s", "+1/s", "-1/s", "1.5/s", "s/10",
            "10/s/s", "10/sec", "None",
        ] {
            assert_eq!(
                reason(text),
                format!("invalid rate `{text}`: expected one like 10/s, 100/m or 2/h, or none")
            );
        }
        for text in ["0/s", "0/h", "000/m"] {
            assert_eq!(
                reason(text),
                format!("invalid rate `{text}`: expected 1/h or more, or none for no rate")
            );
        }
        for text in ["10001/s", "600001/m", "36000001/h", "99999999999/h"] {
            assert_eq!(
                reason(text),
                format!("invalid rate `{text}`: expected at most 10000/s, or none for no rate")
            );
        }
        assert!(reason(&"x".repeat(1000)).len() <= 127);
    }

    #[test]
    fn burst_is_a_number_in_its_range() {
        for (text, burst) in [("1", 1), (" 20 ", 20), ("1000000", 1_000_000)] {
            assert_eq!(parse_burst(text), Ok(burst));
        }
        for text in ["", "0", "-1", "+1", "1.5", "1000001", "99999999999", "many"] {
            assert_eq!(
                parse_burst(text).unwrap_err().to_string(),
                format!("invalid burst `{text}`: expected 1 to 1000000")
            );
        }
        assert_eq!(rate(3_600_000_000, Some(72)).map(|rate| rate.burst), Ok(72));
        assert_eq!(
            rate(3_600_000_000, Some(73)).unwrap_err().to_string(),
            "burst 73 is more than 1/h gives in 3 days: expected at most 72"
        );
        assert_eq!(rate(100_000, None).map(|rate| rate.burst), Ok(10));
    }

    proptest! {
        #[test]
        fn shown_rate_reads_as_the_same_rate(
            (unit, number) in (0..3usize).prop_flat_map(|unit| {
                (Just(unit), 1..=Rate::MAX_PER_SECOND * UNITS[unit].1)
            }),
        ) {
            let written = format!("{number}/{}", UNITS[unit].0);
            let interval = parse(&written).unwrap();
            // Never faster than written, and slower by less than a microsecond.
            let unit = u64::from(micros(UNITS[unit].1));
            let exact = |n: u64| n * u64::from(number);
            prop_assert!(exact(interval.into()) >= unit);
            prop_assert!(exact(u64::from(interval) - 1) < unit);
            let shown = RateName(interval).to_string();
            prop_assert_eq!(parse(&shown), Ok(interval), "{} {}", written, shown);
        }
    }
}
