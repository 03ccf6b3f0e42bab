// SPDX-License-Identifier: GPL-2.0-or-later

//! The attacks, and the addresses that they come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::attacker::Manner;
use crate::plan::Plan;

/// The number of honest sources. Each comes again every few seconds.
const HONEST: u16 = 2_000;

/// The number of connections that each slow source tries beyond its limit.
pub(crate) const TOO_MANY: usize = 10;

/// The first of the sources that open one connection each.
const PASSING: Ipv4Addr = Ipv4Addr::new(127, 128, 0, 0);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    Calm,
    OneSource,
    Passing,
    Chosen,
    OneNetwork,
    ManyNetworks,
    Slow,
}

impl Scenario {
    pub(crate) const ALL: [Scenario; 7] = [
        Scenario::Calm,
        Scenario::OneSource,
        Scenario::Passing,
        Scenario::Chosen,
        Scenario::OneNetwork,
        Scenario::ManyNetworks,
        Scenario::Slow,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Calm => "no attack",
            Scenario::OneSource => "one source",
            Scenario::Passing => "many sources",
            Scenario::Chosen => "chosen to collide",
            Scenario::OneNetwork => "one IPv6 /64",
            Scenario::ManyNetworks => "many IPv6 /64",
            Scenario::Slow => "slow loris",
        }
    }

    /// Returns whether attackers and honest sources use IPv6. Both use the same socket,
    /// because a full queue affects every client of its socket.
    pub(crate) fn is_ipv6(self) -> bool {
        matches!(self, Scenario::OneNetwork | Scenario::ManyNetworks)
    }

    /// Returns whether a source is over the module's limit.
    pub(crate) fn is_over_the_limit(self) -> bool {
        matches!(
            self,
            Scenario::OneSource | Scenario::OneNetwork | Scenario::Slow
        )
    }

    /// Returns whether a source is over the core's own limit, which counts single
    /// addresses.
    pub(crate) fn is_over_the_cores_limit(self) -> bool {
        self.is_over_the_limit() && self != Scenario::OneNetwork
    }

    pub(crate) fn manner(self, plan: &Plan) -> Manner {
        match self {
            Scenario::Slow => Manner::Sit {
                each: plan.limit as usize + TOO_MANY,
            },
            _ => Manner::Pass {
                per_second: plan.per_second,
                life: plan.life,
            },
        }
    }

    /// The sources of the next connections of the attack, after `before` earlier ones.
    /// Empty if there is no attack.
    pub(crate) fn sources(self, plan: &Plan, before: usize, chosen: &[Ipv4Addr]) -> Vec<IpAddr> {
        let numbers = before..before + plan.max_opened();
        match self {
            Scenario::Calm => Vec::new(),
            Scenario::OneSource => vec![Ipv4Addr::new(127, 32, 0, 1).into()],
            Scenario::Passing => numbers
                .map(|n| Ipv4Addr::from(u32::from(PASSING) + n as u32).into())
                .collect(),
            Scenario::Chosen => chosen.iter().copied().map(IpAddr::from).collect(),
            Scenario::OneNetwork => {
                let mut random = SmallRng::seed_from_u64(before as u64);
                numbers.map(|_| network(1, 0, random.random())).collect()
            }
            Scenario::ManyNetworks => numbers
                .map(|n| network(2 + (n >> 16) as u16, n as u16, [0, 0, 0, 1]))
                .collect(),
            Scenario::Slow => (0..plan.slow)
                .map(|n| Ipv4Addr::new(127, 33, 0, n as u8).into())
                .collect(),
        }
    }

    pub(crate) fn honest_sources(self) -> Vec<IpAddr> {
        (0..HONEST)
            .map(|n| match self.is_ipv6() {
                false => {
                    let [high, low] = n.to_be_bytes();
                    Ipv4Addr::new(127, 16, high, low).into()
                }
                true => network(0, n, [0, 0, 0, 1]),
            })
            .collect()
    }
}

/// Returns a host of one of the networks on the loopback interface.
fn network(part: u16, net: u16, [a, b, c, d]: [u16; 4]) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, part, net, a, b, c, d).into()
}
