// SPDX-License-Identifier: GPL-2.0-or-later
//! The oracle of settings as operators write them. Each function returns the setting as it is
//! shown, or `None` if the text is invalid.

use crate::naive::{self, Net, digits_of};

/// The highest number of connections of a host.
pub const MAX_CONNECTIONS: u128 = 100_000_000;

/// The bursts that a rate may have: those that it gives in three days, at most a million. The
/// interval is in microseconds; 0: no rate.
pub fn max_burst(interval: u128) -> u128 {
    let three_days = 3 * 24 * 3_600_000_000;
    (three_days / interval.max(1)).min(1_000_000)
}

/// The burst of a rate that has none of its own.
pub fn default_burst(interval: u128) -> u128 {
    1_000_000u128.div_ceil(interval).max(5)
}

fn is_none(text: &str) -> bool {
    text == "none" || text == "unlimited"
}

/// A rate: the interval in microseconds; 0: no rate.
pub fn rate(text: &str) -> Option<u128> {
    naive::interval(text.trim_ascii())
}

/// A number of seconds, from 1 to `max`.
pub fn seconds(text: &str, max: u128) -> Option<u32> {
    let seconds = digits_of(text.trim_ascii(), max)?;
    (seconds > 0).then_some(seconds as u32)
}

/// The cost of an offence: its kind, and a number of seconds with at most one decimal.
pub fn penalty(text: &str) -> Option<()> {
    let (kind, seconds) = text.split_once('=')?;
    let kinds = ["silent", "tls", "rejected", "rate", "script"];
    if !kinds.contains(&kind.trim_ascii()) {
        return None;
    }
    let seconds = seconds.trim_ascii();
    let (whole, tenth) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let is_one_digit = tenth.len() == 1;
    let tenths = digits_of(whole, 3600)? * 10 + digits_of(tenth, 9)?;
    (is_one_digit && tenths <= 36_000).then_some(())
}

/// The reserve of a host with `max` connections.
pub fn reserve(text: &str, max: u128) -> Option<String> {
    let text = text.trim_ascii();
    if text == "0" || is_none(text) {
        return Some("none".to_owned());
    }
    if let Some(share) = text.strip_suffix('%') {
        let share = digits_of(share, 99).filter(|share| *share > 0)?;
        return Some(format!("{share}%"));
    }
    let number = digits_of(text, max.min(MAX_CONNECTIONS + 1) - 1)?;
    (number > 0).then(|| number.to_string())
}

/// The levels of pressure: at most 4, each at a higher use and stricter than those before.
pub fn pressure(text: &str) -> Option<String> {
    let trimmed = text.trim_ascii();
    if ["", "0"].contains(&trimmed) || is_none(trimmed) {
        return Some("none".to_owned());
    }
    let (mut use_before, mut share, mut number) = (0, 100, u128::MAX);
    let mut shown = Vec::new();
    for level in trimmed.split_ascii_whitespace() {
        let (from, allowed) = level.split_once(':')?;
        let from = digits_of(from, 99).filter(|from| *from >= 10 && *from > use_before)?;
        use_before = from;
        let stricter = match allowed.strip_suffix('%') {
            Some(text) => (digits_of(text, 99)?, &mut share, "%"),
            None => (digits_of(allowed, (1 << 24) - 1)?, &mut number, ""),
        };
        let (allowed, before, unit) = stricter;
        if allowed == 0 || allowed >= *before {
            return None;
        }
        *before = allowed;
        shown.push(format!("{from}:{allowed}{unit}"));
    }
    (shown.len() <= 4).then(|| shown.join(" "))
}

/// The prefix of a translator, alone.
pub fn translator(text: &str) -> Option<()> {
    let net = Net::of_rule(text.trim_ascii())?;
    let lengths = [32, 40, 48, 56, 64, 96];
    (!net.address.is_v4() && lengths.contains(&net.length)).then_some(())
}

/// The name of a node of a cluster.
pub fn node_name(bytes: &[u8]) -> Option<()> {
    let is_visible = bytes.iter().all(|byte| (b'!'..=b'~').contains(byte));
    (is_visible && (1..=64).contains(&bytes.len())).then_some(())
}
