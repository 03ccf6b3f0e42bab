// SPDX-License-Identifier: GPL-2.0-or-later
//! The oracle of rates, penalties and bans.
//!
//! The limiter's clock cannot be set through the C ABI, so the oracle has no clock. All rates
//! give back one connection in an hour, and all times of penalties and bans are multiples of
//! [`STEP`] seconds that differ by more than an input takes. So no time that passes changes
//! an answer.

use core::ffi::{CStr, c_char};
use std::collections::HashMap;

use crate::naive::Net;

/// The interval of all rates, in microseconds: the longest one.
pub const HOUR: u32 = 3_600_000_000;

/// All penalties and bans are multiples of this many seconds. An input takes less time,
/// because otherwise it is a finding (`-timeout`).
pub const STEP: u32 = 10;

/// A ban begins from this sum of penalties on, between two sums that are possible.
pub const BAN_MIN: u32 = 105;
/// The longest ban by offences, in seconds.
pub const BAN_MAX: u32 = 1000;

/// The kinds of offences, with what each costs in seconds.
pub const PENALTIES: [(&str, u32); 5] = [
    ("silent", 30),
    ("tls", 60),
    ("rejected", 30),
    ("rate", 30),
    ("script", 120),
];

const TEXTS: [&CStr; 5] = [
    c"silent=30",
    c"tls=60",
    c"rejected=30",
    c"rate=30",
    c"script=120",
];

/// The parameters of the C ABI for these penalties.
pub fn parameters() -> [*const c_char; 5] {
    TEXTS.map(CStr::as_ptr)
}

/// Words of rules. Each rate has the interval [`HOUR`].
pub const WORDS: [&str; 16] = [
    "",
    "",
    " rate=none",
    " rate=1/h",
    " rate=1/h burst=2",
    " burst=3",
    " exempt",
    " exempt rate=1/h burst=1",
    " proxy",
    " proxy untrusted=2",
    " untrusted=3",
    " untrusted=none",
    " trusted",
    " no_network",
    " cluster=2",
    " untrusted=2 trusted",
];

/// Words of rules for networks. Only those of the rate are valid.
pub const NETWORK_WORDS: [&str; 8] = [
    "",
    "",
    " rate=none",
    " rate=1/h",
    " rate=1/h burst=2",
    " burst=3",
    " rate=1/h burst=1",
    " exempt",
];

/// What a rule says besides its limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// `Some(0)`: no rate.
    rate: Option<u32>,
    /// The default rate has this burst.
    burst: Option<u32>,
    /// Its sources commit no offence and are not banned.
    pub exempt: bool,
    /// Its sources have no limit.
    unlimited: bool,
    /// `Some(0)`: no limit.
    untrusted: Option<u32>,
    /// Its sources are trusted.
    pub trusted: bool,
    no_network: bool,
    /// Its sources are proxies.
    pub proxy: bool,
    /// It has a limit over all nodes of a cluster.
    pub cluster: bool,
}

impl Terms {
    /// Reads the words of a valid rule, as they are shown. `None` if its rate has another
    /// interval.
    pub fn of_shown(shown: &str) -> Option<Terms> {
        let mut words = shown.split(' ');
        let unlimited = words.next() == Some("none");
        let mut terms = Terms {
            exempt: unlimited,
            unlimited,
            ..Terms::default()
        };
        for word in words {
            match word {
                "rate=none" => terms.rate = Some(0),
                // Without a burst of its own.
                "rate=1/h" => terms.rate = Some(5),
                "exempt" => terms.exempt = true,
                "trusted" => terms.trusted = true,
                "no_network" => terms.no_network = true,
                "proxy" => terms.proxy = true,
                _ if word.starts_with("cluster=") => terms.cluster = true,
                "untrusted=none" => terms.untrusted = Some(0),
                _ if word.starts_with("untrusted=") => {
                    terms.untrusted = Some(word.strip_prefix("untrusted=")?.parse().ok()?);
                }
                _ => {
                    let burst = word.strip_prefix("burst=")?.parse().ok()?;
                    match &mut terms.rate {
                        Some(rate) => *rate = burst,
                        None => terms.burst = Some(burst),
                    }
                }
            }
        }
        Some(terms)
    }

    /// The limit of untrusted connections, if this is the default one; 0: no limit.
    pub fn untrusted_limit(&self, default: u32) -> u32 {
        match self.untrusted {
            _ if self.trusted => 0,
            Some(own) => own,
            None if self.unlimited => 0,
            None => default,
        }
    }

    /// Whether connections of its sources count in their networks.
    pub fn count_in_network(&self) -> bool {
        !self.trusted && !self.no_network
    }

    /// The burst, if this is the default one of sources or networks; 0: no rate.
    pub fn burst(&self, default: u32) -> u32 {
        match (self.rate, self.burst) {
            (Some(own), _) => own,
            // The largest burst at this interval is that of three days.
            (None, Some(burst)) if default > 0 => burst.min(72),
            _ => default,
        }
    }
}

/// The connections that sources, or networks, have not paid for.
#[derive(Default)]
pub struct Debts(HashMap<Net, u32>);

impl Debts {
    /// The connections that one has not paid for.
    pub fn owed(&self, net: Net) -> u32 {
        self.0.get(&net).copied().unwrap_or_default()
    }

    /// Charges a connection, if one may owe one more of this burst.
    pub fn charge(&mut self, net: Net, burst: u32) {
        let owed = self.owed(net);
        if owed < burst {
            self.set(net, owed + 1);
        }
    }

    /// Corrects what one owes.
    pub fn set(&mut self, net: Net, owed: u32) {
        match owed {
            0 => self.0.remove(&net),
            _ => self.0.insert(net, owed),
        };
    }

    /// Those that owe something.
    pub fn nets(&self) -> Vec<Net> {
        self.0.keys().copied().collect()
    }
}

/// The offences of a source, or its ban.
#[derive(Clone, Copy, Debug)]
pub struct Sentence {
    /// Seconds, without those that pass.
    pub left: u32,
    /// The source is banned. Otherwise these are offences that do not suffice.
    pub banned: bool,
    /// The reason of the ban.
    pub reason: &'static str,
    /// Rejections since the ban began.
    pub rejected: u32,
}

/// What sources owe, and the counters since the last reset.
#[derive(Default)]
pub struct Restraints {
    /// The burst of the default rate; 0: no rate.
    pub burst: u32,
    /// Connections that sources have not paid for.
    pub debts: Debts,
    /// The offences and bans of sources.
    pub sentences: HashMap<Net, Sentence>,
    /// Bans that began, and those that monitor mode only counted.
    pub bans: (u64, u64),
    /// Offences by kind.
    pub offences: [u64; 5],
    /// Rejections for the rate.
    pub rate: (u64, u64),
    /// Rejections for a ban.
    pub ban: (u64, u64),
}

impl Restraints {
    /// The ban of a source that is not exempt.
    pub fn ban_of(&self, net: Net) -> Option<Sentence> {
        let sentence = self.sentences.get(&net).copied();
        sentence.filter(|sentence| sentence.banned)
    }

    /// Charges an offence.
    pub fn offend(&mut self, net: Net, kind: usize, monitor: bool) {
        let (reason, weight) = PENALTIES[kind];
        self.offences[kind] += 1;
        let before = self.sentences.get(&net).copied();
        let owed = before.map_or(0, |before| before.left);
        let left = owed.max((owed + weight).min(BAN_MAX));
        let sentence = match before {
            Some(before) if before.banned => Sentence { left, ..before },
            _ => Sentence {
                left,
                banned: left >= BAN_MIN,
                reason,
                rejected: 0,
            },
        };
        self.pass(net, sentence, monitor);
    }

    /// Bans a source for `left` seconds. The script keeps a longer ban.
    pub fn ban(&mut self, net: Net, left: u32, reason: &'static str, monitor: bool) {
        let before = self.ban_of(net);
        let sentence = match before {
            Some(before) if reason == "script" && before.left > left => before,
            _ => Sentence {
                left,
                banned: true,
                reason,
                rejected: before.map_or(0, |before| before.rejected),
            },
        };
        self.pass(net, sentence, monitor);
    }

    fn pass(&mut self, net: Net, sentence: Sentence, monitor: bool) {
        if sentence.banned && self.ban_of(net).is_none() {
            match monitor {
                true => self.bans.1 += 1,
                false => self.bans.0 += 1,
            }
        }
        self.sentences.insert(net, sentence);
    }

    /// Sets all counters to 0, as `tcl_reset_stats()` does.
    pub fn reset_counters(&mut self) {
        (self.bans, self.rate, self.ban) = ((0, 0), (0, 0), (0, 0));
        self.offences = [0; 5];
    }
}

/// Whether `seconds`, which were read, are those of `expected` some time later.
pub fn is_left(seconds: u32, expected: u32) -> bool {
    seconds <= expected && seconds + STEP > expected
}
