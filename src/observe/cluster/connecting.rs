// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Connecting`]: the addresses from which other nodes connect by TCP or TLS, and whether
//! these connections are limited. They are those of the connections, not of the names of the
//! nodes: a name can have a host name, and the system chooses the address of a connection.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use crate::limiter::Limiter;
use crate::observe::notices::NodeLimited;
use crate::observe::report::Report;
use crate::source::{Prefix, Source};

/// The most addresses that are remembered. If there are more, some are looked at again.
const MAX: usize = 256;

/// The addresses that were looked at with the present rules.
#[derive(Default)]
pub(super) struct Connecting {
    generation: u32,
    limit: i32,
    seen: HashSet<Source>,
}

impl Connecting {
    /// A node that was accepted connects from this address. Returns whether that is limited, once
    /// for each address and set of rules.
    pub(super) fn seen(&mut self, limiter: &Limiter, address: &[u8]) -> Option<NodeLimited> {
        if address.is_empty() {
            return None;
        }
        let present = (limiter.rulebook().generation(), limiter.limit());
        if present != (self.generation, self.limit) || self.seen.len() >= MAX {
            self.seen.clear();
            (self.generation, self.limit) = present;
        }
        let (source, host) = (limiter.source(address)?, limiter.host(address));
        let whole = host.unwrap_or(source);
        if !self.seen.insert(whole) {
            return None;
        }
        let (_, terms) = Report::of(limiter).terms_of(source, host);
        let is_unlimited = terms.limit <= 0 && terms.cluster_limit(limiter.cluster_limit()) == 0;
        (!is_unlimited && !terms.trusted).then(|| NodeLimited {
            address: host.map_or_else(|| source.prefix(limiter.prefixes()), Prefix::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::RuleSet;
    use crate::source::PrefixLengths;

    #[test]
    fn limited_node_is_named_once_until_the_rules_change() {
        let limiter = Limiter::new(10, 5, PrefixLengths::DEFAULT).unwrap();
        let limiter = limiter.with_cluster().unwrap();
        let mut connecting = Connecting::default();
        let (v4, v6) = (
            [192, 0, 2, 1],
            [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        );
        let named = |connecting: &mut Connecting, address: &[u8]| {
            let limited = connecting.seen(&limiter, address);
            limited.map(|limited| limited.address.to_string())
        };
        assert_eq!(named(&mut connecting, &[]), None);
        for _ in 0..2 {
            assert_eq!(named(&mut connecting, &v4).as_deref(), Some("192.0.2.1"));
            assert_eq!(named(&mut connecting, &v4), None);
            assert_eq!(named(&mut connecting, &v6).as_deref(), Some("2001:db8::9"));
            assert_eq!(named(&mut connecting, &v6), None);
            limiter.set_rules(&RuleSet::default()).unwrap();
        }
    }
}
