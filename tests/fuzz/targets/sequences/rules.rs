// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules for sources and for networks: those of the configuration, those that commands
//! set, and the rejections of each.

use core::fmt;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::sync::atomic::Ordering;

use tcp_conn_limit::ffi::{TCL_EARG, TCL_ERULES, TCL_NEVER, TCL_OK};
use tcp_conn_limit_fuzz::engine::{self, CLOCK, rule_text, text};
use tcp_conn_limit_fuzz::naive::{self, Net};
use tcp_conn_limit_fuzz::restraints::{NETWORK_WORDS, Terms, WORDS};

use super::scopes::NETWORKS;
use super::{Bytes, Ledger, Rejections};

/// Prefixes of rules that match the addresses of the target.
pub(crate) const PREFIXES: [&str; 9] = [
    "10.0.0.0/8",
    "10.0.0.0/30",
    "10.0.0.1",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8:0:1::/64",
    "::/0",
    "10.0.0.0/31",
    "2001:db8:0:1::1",
];

/// The same for networks. The last one is smaller than a network.
const NETWORK_PREFIXES: [&str; 6] = [
    "network 10.0.0.0/8",
    "network 10.0.0.0/24",
    "network 10.1.0.0/16",
    "network 2001:db8::/48",
    "network ::/0",
    "network 10.0.0.0/25",
];

/// The prefix of a rule. It sorts like reports: first those for sources, then those for
/// networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    networks: bool,
    net: Net,
}

impl Key {
    pub(crate) fn of_source(net: Net) -> Key {
        let networks = false;
        Key { networks, net }
    }

    pub(crate) fn of_network(net: Net) -> Key {
        let networks = true;
        Key { networks, net }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.networks { "network " } else { "" };
        write!(f, "{word}{}", self.net)
    }
}

#[derive(Clone)]
struct Rule {
    limit: i32,
    terms: Terms,
    /// Its text after the `=`, as it is shown.
    shown: String,
    origin: String,
    /// The last second in which it is active.
    end: Option<u32>,
}

/// The active rules. One that a command set goes before one of the configuration.
#[derive(Default)]
pub(crate) struct Rules {
    loaded: BTreeMap<Key, Rule>,
    set: BTreeMap<Key, Rule>,
    /// All that are active, and the prefixes and limits of each kind.
    active: BTreeMap<Key, Rule>,
    of_sources: Vec<(Net, i32)>,
    of_networks: Vec<(Net, i32)>,
    /// The rejections of each rule, and of sources without one.
    pub(crate) rejections: HashMap<Option<Key>, Rejections>,
}

/// Reads a rule.
///
/// # Errors
///
/// The code of a command that sets it.
fn read(text: &str) -> Result<(Key, Rule), i32> {
    let rule = naive::whole_rule(text.trim_ascii()).filter(|rule| rule.fits(Some(NETWORKS)));
    let rule = rule.ok_or(TCL_EARG)?;
    let terms = Terms::of_shown(&rule.shown).expect("an interval of the oracle");
    // This is not a node of a cluster.
    if terms.cluster {
        return Err(TCL_ERULES);
    }
    let key = Key {
        networks: rule.networks,
        net: rule.net,
    };
    let rule = Rule {
        limit: rule.limit,
        terms,
        shown: rule.shown,
        origin: "rpc".to_owned(),
        end: None,
    };
    Ok((key, rule))
}

/// Whether the oracle covers the rule: it has no other rate than 1/h, and it is for
/// no listener. A process can name 64 listeners, so they would not depend on one input only.
fn is_of_oracle(text: &str) -> bool {
    naive::whole_rule(text.trim_ascii()).is_none_or(|rule| {
        let is_known = Terms::of_shown(&rule.shown).is_some();
        is_known && rule.listener.is_none()
    })
}

impl Rules {
    /// The rule of a source.
    pub(crate) fn of_source(&self, net: Net) -> Option<(Net, i32)> {
        naive::longest(&self.of_sources, net)
    }

    /// The rules for sources.
    pub(crate) fn all_of_sources(&self) -> &[(Net, i32)] {
        &self.of_sources
    }

    /// The rule of a network.
    pub(crate) fn of_network(&self, net: Net) -> Option<(Net, i32)> {
        naive::longest(&self.of_networks, net)
    }

    /// The number of rules for sources, or for networks.
    pub(crate) fn count(&self, networks: bool) -> usize {
        match networks {
            true => self.of_networks.len(),
            false => self.of_sources.len(),
        }
    }

    pub(crate) fn terms(&self, key: Key) -> Terms {
        self.active
            .get(&key)
            .map(|rule| rule.terms)
            .unwrap_or_default()
    }

    pub(crate) fn shown(&self, key: Key) -> &str {
        &self.active[&key].shown
    }

    /// The number of those that commands set.
    pub(crate) fn count_set(&self) -> usize {
        self.set.len()
    }

    fn refresh(&mut self) {
        self.active = self.loaded.clone();
        self.active.extend(self.set.clone());
        let of = |networks: bool| {
            let active = self.active.iter();
            let active = active.filter(move |(key, _)| key.networks == networks);
            active.map(|(key, rule)| (key.net, rule.limit)).collect()
        };
        (self.of_sources, self.of_networks) = (of(false), of(true));
        // The counters of a removed rule are lost.
        let active = &self.active;
        self.rejections
            .retain(|key, _| key.is_none_or(|key| active.contains_key(&key)));
    }

    /// Removes those that have ended at this time.
    pub(crate) fn end(&mut self, now: u32) {
        let has_ended = |end: u32| (end.wrapping_sub(now) as i32) < 0;
        self.set.retain(|_, rule| !rule.end.is_some_and(has_ended));
        self.refresh();
    }

    /// Removes all that commands have set: the next input begins without.
    pub(crate) fn remove_set(&mut self) {
        for key in core::mem::take(&mut self.set).into_keys() {
            let prefix = CString::new(key.to_string()).expect("no NUL");
            assert_eq!(engine::rule_remove(&prefix, None, 0).0, TCL_OK);
        }
    }
}

impl Bytes<'_> {
    /// A prefix, a limit, and the words of a rule.
    fn rule(&mut self) -> Option<(&'static str, String)> {
        let which = usize::from(self.byte()?);
        let (prefix, words) = match which {
            0..150 => (PREFIXES[which % PREFIXES.len()], &WORDS[..]),
            _ => (
                NETWORK_PREFIXES[which % NETWORK_PREFIXES.len()],
                &NETWORK_WORDS[..],
            ),
        };
        let limit = match self.limit()? {
            0 => "unlimited".to_owned(),
            limit => limit.to_string(),
        };
        let words = words[usize::from(self.byte()?) % words.len()];
        Some((prefix, format!("{limit}{words}")))
    }
}

impl Ledger {
    /// Loads `count` texts.
    pub(crate) fn load(&mut self, count: u8, bytes: &mut Bytes<'_>) -> Option<()> {
        let mut texts = Vec::new();
        for _ in 0..count {
            let which = *bytes.0.first()?;
            texts.push(match which {
                0..200 => {
                    let (prefix, terms) = bytes.rule()?;
                    Some(CString::new(format!("{prefix}={terms}")).ok()?)
                }
                200..250 => {
                    bytes.byte()?;
                    let raw = bytes.take(usize::from(which - 200))?;
                    let raw = raw.split(|byte| *byte == 0).next()?;
                    Some(CString::new(raw).ok()?)
                }
                _ => {
                    bytes.byte()?;
                    None
                }
            });
        }
        let error = usize::from(bytes.byte()?);
        let mut known = texts.iter().flatten();
        if !known.all(|text| is_of_oracle(&text.to_string_lossy())) {
            return Some(());
        }
        let pointers: Vec<Option<&CStr>> = texts.iter().map(Option::as_deref).collect();
        let (code, _) = engine::rules_load(&pointers, None, error);
        if texts.contains(&None) {
            assert_eq!(code, TCL_EARG);
            return Some(());
        }
        let mut loaded = BTreeMap::new();
        let mut valid = true;
        for (text, number) in texts.iter().flatten().zip(1..) {
            let rule = read(&text.to_string_lossy());
            let is_new = rule.map(|(key, rule)| {
                let origin = format!("modparam {number}");
                loaded.insert(key, Rule { origin, ..rule }).is_none()
            });
            valid &= is_new.unwrap_or(false);
        }
        assert_eq!(code, if valid { TCL_OK } else { TCL_ERULES });
        if valid {
            self.rules.loaded = loaded;
            self.rules.refresh();
            self.loaded += 1;
        }
        Some(())
    }

    /// Sets a rule by a command, or removes it.
    pub(crate) fn change_rule(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let (prefix, terms) = bytes.rule()?;
        let (seconds, error) = (bytes.byte()?, usize::from(bytes.byte()?));
        let prefix_text = CString::new(prefix).expect("no NUL");
        if seconds == 255 {
            self.remove_rule(&prefix_text, error);
            return Some(());
        }
        let terms_text = CString::new(terms.as_str()).expect("no NUL");
        let ends = (seconds > 0).then(|| CString::new(seconds.to_string()).expect("no NUL"));
        let (code, _, change) = engine::rule_set(&prefix_text, &terms_text, ends.as_deref(), error);
        let (key, rule) = match read(&format!("{prefix}={terms}")) {
            Ok(rule) => rule,
            Err(expected) => {
                assert_eq!(code, expected);
                return Some(());
            }
        };
        assert_eq!(code, TCL_OK);
        let change = change.expect("an answer");
        let left = ends.as_ref().map_or(TCL_NEVER, |_| seconds.into());
        assert_eq!((change.limit, change.seconds), (rule.limit, left));
        let texts = [text(&change.prefix), text(&change.rule)];
        assert_eq!(texts, [key.to_string(), key.to_string()]);
        assert_eq!(text(&change.terms), rule.shown);
        let was = self.rules.active.get(&key).map(Rule::as_it_was);
        assert_eq!(text(&change.was), was.unwrap_or("no rule".to_owned()));
        let now = CLOCK.load(Ordering::Relaxed);
        let end = ends.map(|_| now.wrapping_add(seconds.into()));
        self.rules.set.insert(key, Rule { end, ..rule });
        self.rules.refresh();
        Some(())
    }

    fn remove_rule(&mut self, prefix: &CStr, error: usize) {
        let (code, change) = engine::rule_remove(prefix, None, error);
        let parsed = naive::whole_rule(&format!("{}=1", prefix.to_string_lossy()));
        let parsed = parsed.expect("one of the prefixes above");
        let key = Key {
            networks: parsed.networks,
            net: parsed.net,
        };
        let Some(removed) = self.rules.set.remove(&key) else {
            return assert_eq!(code, TCL_ERULES);
        };
        assert_eq!(code, TCL_OK);
        self.rules.refresh();
        let change = change.expect("an answer");
        assert_eq!(text(&change.was), removed.as_it_was());
        let (now, default) = match key.networks {
            true => (self.rules.of_network(key.net), self.scopes.network_limit),
            false => (self.rules.of_source(key.net), self.limit),
        };
        let limit = now.map_or(default, |(_, limit)| limit);
        let now = now.map(|(net, _)| Key { net, ..key });
        assert_eq!(
            (text(&change.rule), change.limit, change.seconds),
            (rule_text(now), limit.max(0), TCL_NEVER)
        );
    }

    /// Compares the report of all rules.
    pub(crate) fn compare_rules(&self, room: usize) {
        let now = CLOCK.load(Ordering::Relaxed);
        let rules = engine::rules(room).expect("rules");
        let expected = self.reported_rules(room);
        assert_eq!(rules.len(), expected.len());
        for (found, key) in rules.iter().zip(expected) {
            assert_eq!(text(&found.prefix), rule_text(key));
            let rule = key.map(|key| &self.rules.active[&key]);
            let limit = rule.map_or(self.limit, |rule| rule.limit);
            assert_eq!(found.limit, limit.max(0));
            assert_eq!(
                text(&found.origin),
                rule.map_or("default", |rule| &rule.origin)
            );
            if let Some(rule) = rule {
                assert_eq!(text(&found.terms), rule.shown);
            }
            let end = rule.and_then(|rule| rule.end);
            let left = end.map(|end| (end.wrapping_sub(now) as i32).max(0).unsigned_abs());
            assert_eq!(found.seconds, left.unwrap_or(TCL_NEVER));
            assert_eq!(
                (found.rejected, found.would_reject),
                self.rejections_of(key)
            );
            assert_eq!((found.sources, found.connections), self.held_by(key));
        }
    }

    /// The rules of which a report has room for `room`, the default last.
    fn reported_rules(&self, room: usize) -> Vec<Option<Key>> {
        let keys = self.rules.active.keys().copied().map(Some);
        let mut reported: Vec<_> = keys.chain([None]).collect();
        let is_idle = |key| self.held_by(key) == (0, 0) && self.rejections_of(key) == (0, 0);
        // The last idle rule makes room first, then the last other rule, then the default.
        while reported.len() > room {
            let rules = reported.len() - 1;
            let idle = reported[..rules].iter().rposition(|key| is_idle(*key));
            reported.remove(idle.or(rules.checked_sub(1)).unwrap_or(0));
        }
        reported
    }

    fn rejections_of(&self, key: Option<Key>) -> (u64, u64) {
        self.rules.rejections.get(&key).copied().unwrap_or_default()
    }

    /// Returns the number of sources or networks that a rule has, and of their connections.
    fn held_by(&self, key: Option<Key>) -> (u64, u64) {
        let counts: Vec<u32> = match key {
            Some(Key {
                networks: true,
                net,
            }) => {
                let is_its = |network: &Net| {
                    let rule = self.rules.of_network(*network);
                    rule.is_some_and(|(rule, _)| rule == net)
                };
                let networks = self.networks().into_iter().filter(is_its);
                networks
                    .map(|network| self.count_of_network(network))
                    .collect()
            }
            _ => {
                let net = key.map(|key| key.net);
                let counts = self.counts().into_iter();
                let held = counts.filter(|(source, _)| self.rule_of(*source).0 == net);
                held.map(|(_, count)| count).collect()
            }
        };
        let connections = counts.iter().map(|count| u64::from(*count)).sum();
        (counts.len() as u64, connections)
    }

    /// Checks the suggestions, of sources or networks.
    pub(crate) fn suggest(&self, room: usize) {
        let found = engine::suggest_networks(room).expect("suggestions");
        self.check_suggestions(&found, room, true);
        let found = engine::suggest(room).expect("suggestions");
        self.check_suggestions(&found, room, false);
        let max = self.peaks.values().max().copied().unwrap_or_default();
        assert!(found.iter().all(|suggestion| suggestion.highest <= max));
    }

    fn check_suggestions(&self, found: &[engine::tcl_suggestion], room: usize, networks: bool) {
        assert_eq!(found.len(), room.min(self.rules.count(networks) + 1));
        if let Some(last) = found.last() {
            assert_eq!(text(&last.prefix), rule_text(None::<Net>));
            let default = match networks {
                true => self.scopes.network_limit,
                false => self.limit,
            };
            assert_eq!(last.limit, default.max(0));
        }
        for suggestion in found {
            assert!(suggestion.proposed >= 8 && suggestion.usual <= suggestion.highest);
            assert!(suggestion.above <= suggestion.sources);
        }
    }
}

impl Rule {
    /// As the answer of a command shows the rule that was there before.
    fn as_it_was(&self) -> String {
        format!("{} from {}", self.shown, self.origin)
    }
}
