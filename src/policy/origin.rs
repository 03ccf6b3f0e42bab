// SPDX-License-Identifier: GPL-2.0-or-later
//! [`RuleOrigin`]: where an active rule comes from, and how long it is active.

#![forbid(unsafe_code)]

use core::fmt;

/// Where an active rule comes from.
///
/// Several rules may have the same prefix if their origins are of different kinds. The one
/// of the greatest kind applies: a rule set by RPC before one in the rules file, and that
/// before one in a modparam. The others stay in memory and apply again when it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleOrigin {
    /// The modparam `rule` with this number, from 1.
    Modparam(u32),
    /// The line with this number of the rules file, from 1.
    Line(u32),
    /// A command while the server runs.
    Rpc {
        /// The last second of the host clock in which the rule is active. `None`: it is
        /// active until it is removed.
        end: Option<u32>,
    },
}

/// The longest time for which a rule can be set, in seconds. The host clock wraps around,
/// so an end must be less than half of its range away.
pub const MAX_SECONDS: u32 = i32::MAX as u32;

impl RuleOrigin {
    /// Whether a command set the rule. A reload keeps such a rule.
    pub fn is_rpc(self) -> bool {
        matches!(self, RuleOrigin::Rpc { .. })
    }

    /// Whether the rule ends by itself.
    pub fn ends(self) -> bool {
        matches!(self, RuleOrigin::Rpc { end: Some(_) })
    }

    /// Whether the rule has ended at the time `now` of the host clock.
    pub fn has_ended(self, now: u32) -> bool {
        let RuleOrigin::Rpc { end: Some(end) } = self else {
            return false;
        };
        (end.wrapping_sub(now) as i32) < 0
    }

    /// The seconds from the time `now` of the host clock until the rule ends; `None` if it
    /// does not end by itself. 0 if the end has passed and the rule is about to be removed.
    pub fn seconds_left(self, now: u32) -> Option<u32> {
        let RuleOrigin::Rpc { end: Some(end) } = self else {
            return None;
        };
        Some((end.wrapping_sub(now) as i32).max(0).unsigned_abs())
    }
}

/// `modparam 3`, `file:12` or `rpc`. There is one rules file, so its name is left out.
impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleOrigin::Modparam(number) => write!(f, "modparam {number}"),
            RuleOrigin::Line(line) => write!(f, "file:{line}"),
            RuleOrigin::Rpc { .. } => f.write_str("rpc"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_lasts_its_seconds_even_if_the_clock_wraps_around() {
        for (now, seconds) in [(7, 1), (7, 60), (u32::MAX - 3, 60), (0, MAX_SECONDS)] {
            let end = now.wrapping_add(seconds);
            let origin = RuleOrigin::Rpc { end: Some(end) };
            assert_eq!(origin.seconds_left(now), Some(seconds));
            assert!(
                !origin.has_ended(now) && !origin.has_ended(end),
                "{origin:?}"
            );
            assert!(origin.has_ended(end.wrapping_add(1)), "{origin:?}");
            assert_eq!(origin.seconds_left(end.wrapping_add(1)), Some(0));
        }
    }

    #[test]
    fn only_a_rule_with_an_end_ends() {
        let origins = [
            RuleOrigin::Modparam(1),
            RuleOrigin::Line(1),
            RuleOrigin::Rpc { end: None },
        ];
        for origin in origins {
            for now in [0, 1, u32::MAX / 2, u32::MAX] {
                assert!(!origin.has_ended(now));
                assert_eq!(origin.seconds_left(now), None);
            }
        }
    }

    #[test]
    fn command_goes_before_file_and_file_before_modparam() {
        let rpc = |end| RuleOrigin::Rpc { end };
        let ascending = [
            RuleOrigin::Modparam(u32::MAX),
            RuleOrigin::Line(1),
            rpc(None),
            rpc(Some(0)),
        ];
        assert!(ascending.is_sorted());
        let names = ascending.map(|origin| origin.to_string());
        assert_eq!(names, ["modparam 4294967295", "file:1", "rpc", "rpc"]);
    }
}
