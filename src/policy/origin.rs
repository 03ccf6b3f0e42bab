// SPDX-License-Identifier: GPL-2.0-or-later
//! [`RuleOrigin`]: where an active rule comes from, and how long it is active.

#![forbid(unsafe_code)]

use core::fmt;

/// Where an active rule comes from.
///
/// Several rules may have the same prefix if their origins are of different kinds. The one
/// of the greatest kind applies: a ban before a rule set by RPC, that before one in the
/// rules file, and that before one in a modparam. The others stay in memory and apply again
/// when it is removed.
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
    /// A command that banned the prefix. Such a rule has no terms of its own: while the ban
    /// lasts, its sources have those that they would have without it, and are banned unless
    /// these exempt them.
    Ban {
        /// The last second of the host clock in which the ban is active.
        end: u32,
        /// Why the prefix is banned.
        reason: BanReason,
    },
}

/// Why a prefix is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BanReason {
    /// An operator banned it.
    Rpc,
    /// The script of the server banned it.
    Script,
    /// Another node of the cluster banned it.
    Cluster {
        /// Its index, at most 61.
        node: u8,
    },
}

impl BanReason {
    /// The reason with this number. Other numbers, from damaged memory, read as the first
    /// one.
    pub(super) fn from_number(number: u32) -> BanReason {
        match number {
            1 => BanReason::Script,
            2..=63 => BanReason::Cluster {
                // Below 64.
                node: (number - 2) as u8,
            },
            _ => BanReason::Rpc,
        }
    }

    /// Its number, of 6 bits.
    pub(super) fn number(self) -> u32 {
        match self {
            BanReason::Rpc => 0,
            BanReason::Script => 1,
            BanReason::Cluster { node } => (u32::from(node) + 2).min(63),
        }
    }
}

/// `rpc`, `script` or `cluster`.
impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BanReason::Rpc => "rpc",
            BanReason::Script => "script",
            BanReason::Cluster { .. } => "cluster",
        })
    }
}

/// The longest time for which a rule can be set, in seconds. The host clock wraps around,
/// so an end must be less than half of its range away.
pub const MAX_SECONDS: u32 = i32::MAX as u32;

impl RuleOrigin {
    /// Whether a command set the rule, and it is not a ban.
    pub fn is_rpc(self) -> bool {
        matches!(self, RuleOrigin::Rpc { .. })
    }

    /// Whether the rule is a ban.
    pub fn is_ban(self) -> bool {
        matches!(self, RuleOrigin::Ban { .. })
    }

    /// Whether a reload keeps the rule: a command set it, or it is a ban.
    pub fn is_kept(self) -> bool {
        self.is_rpc() || self.is_ban()
    }

    /// The last second of the host clock in which the rule is active, if it ends by itself.
    fn end(self) -> Option<u32> {
        match self {
            RuleOrigin::Rpc { end } => end,
            RuleOrigin::Ban { end, .. } => Some(end),
            RuleOrigin::Modparam(_) | RuleOrigin::Line(_) => None,
        }
    }

    /// Whether the rule ends by itself.
    pub fn ends(self) -> bool {
        self.end().is_some()
    }

    /// Whether the rule has ended at the time `now` of the host clock.
    pub fn has_ended(self, now: u32) -> bool {
        let end = self.end();
        end.is_some_and(|end| (end.wrapping_sub(now) as i32) < 0)
    }

    /// The seconds from the time `now` of the host clock until the rule ends; `None` if it
    /// does not end by itself. 0 if the end has passed and the rule is about to be removed.
    pub fn seconds_left(self, now: u32) -> Option<u32> {
        let end = self.end()?;
        Some((end.wrapping_sub(now) as i32).max(0).unsigned_abs())
    }
}

/// `modparam 3`, `file:12`, `rpc` or `ban`. There is one rules file, so its name is left out.
impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleOrigin::Modparam(number) => write!(f, "modparam {number}"),
            RuleOrigin::Line(line) => write!(f, "file:{line}"),
            RuleOrigin::Rpc { .. } => f.write_str("rpc"),
            RuleOrigin::Ban { .. } => f.write_str("ban"),
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
            let reason = BanReason::Rpc;
            for origin in [
                RuleOrigin::Rpc { end: Some(end) },
                RuleOrigin::Ban { end, reason },
            ] {
                assert_eq!(origin.seconds_left(now), Some(seconds));
                assert!(
                    !origin.has_ended(now) && !origin.has_ended(end),
                    "{origin:?}"
                );
                assert!(origin.has_ended(end.wrapping_add(1)), "{origin:?}");
                assert_eq!(origin.seconds_left(end.wrapping_add(1)), Some(0));
                assert!(origin.ends() && origin.is_kept());
            }
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
    fn ban_goes_before_command_and_command_before_file() {
        let rpc = |end| RuleOrigin::Rpc { end };
        let ascending = [
            RuleOrigin::Modparam(u32::MAX),
            RuleOrigin::Line(1),
            rpc(None),
            rpc(Some(u32::MAX)),
            RuleOrigin::Ban {
                end: 0,
                reason: BanReason::Script,
            },
        ];
        assert!(ascending.is_sorted());
        let names = ascending.map(|origin| origin.to_string());
        assert_eq!(
            names,
            ["modparam 4294967295", "file:1", "rpc", "rpc", "ban"]
        );
    }
}
