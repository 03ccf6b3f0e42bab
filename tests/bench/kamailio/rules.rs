// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules for the series with rules. Some match sources of the load, whose
//! connections stay below the limits, and every prefix length occurs.

use std::fmt::Write;
use std::net::Ipv4Addr;

pub(crate) const RULES: usize = 10_000;

/// The longest IPv4 and IPv6 prefixes that rules may have with the module's default
/// parameters.
const LONGEST: (u32, u32) = (32, 64);

/// Words of the rules, if they have any: one after the other. No source of the load gets near
/// these limits.
const WORDS: [&str; 4] = [" untrusted=50000", " proxy", " trusted", " no_network"];

/// Returns the text of a rules file with [`RULES`] rules, with or without words.
pub(crate) fn file(words: bool) -> String {
    let mut rules = vec!["127.0.0.0/8".to_owned(), "127.128.0.0/16".to_owned()];
    // These match the held sources, half of the churned ones, and single churned ones.
    rules.extend((0..75).map(|net| format!("127.64.{net}.0/24")));
    rules.extend((0..256).step_by(2).map(|net| format!("127.128.{net}.0/24")));
    rules.extend((0..1_024).map(|n| address([127, 128, 0, 0], n * 64)));
    // These match no source: each length once, then networks and single addresses.
    rules.extend((8..=LONGEST.0).map(|length| format!("11.0.0.0/{length}")));
    rules.extend((32..=LONGEST.1).map(|length| format!("2001:db9::/{length}")));
    rules.extend((0..1_500).map(|n| format!("2001:db8:{n:x}::/48")));
    rules.extend((0..1_500).map(|n| format!("2001:db8:ffff:{n:x}::/64")));
    rules.extend((0..1_500).map(|n| format!("{}/24", address([100, 0, 0, 0], n * 256))));
    let left = (RULES - rules.len()) as u32;
    rules.extend((0..left).map(|n| address([10, 0, 0, 0], n)));

    let mut text = "# PREFIX = LIMIT\n".to_owned();
    for (n, rule) in rules.iter().enumerate() {
        let words = if words { WORDS[n % WORDS.len()] } else { "" };
        writeln!(text, "{rule} = 100000{words}").expect("writing to a string cannot fail");
    }
    text
}

/// Returns the `n`th address from `first`.
fn address(first: [u8; 4], n: u32) -> String {
    Ipv4Addr::from_bits(Ipv4Addr::from(first).to_bits() + n).to_string()
}
