// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules that are set and removed while the server runs, next to those that are loaded.

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::engine::{load_rules, source};
use tcp_conn_limit::limiter::{Limiter, Worker};
use tcp_conn_limit::observe::notices::Notice;
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::listener::ListenerName;
use tcp_conn_limit::policy::origin::RuleOrigin;
use tcp_conn_limit::policy::rules::{MAX_RULES, Origin, RuleSet, UNLIMITED};
use tcp_conn_limit::policy::terms::Terms;
use tcp_conn_limit::policy::{ChangeError, MAX_RPC_RULES};
use tcp_conn_limit::source::{Prefix, PrefixLengths, Source};

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text, PrefixLengths::DEFAULT).unwrap()
}

fn limiter() -> Limiter {
    Limiter::new(100, 0, PrefixLengths::DEFAULT).unwrap()
}

fn limit_of(limiter: &Limiter, source: Source) -> i32 {
    Report::of(limiter).rule_of(source).1
}

/// The active rules as text, with the numbers of their rejections.
fn active(limiter: &Limiter) -> Vec<String> {
    let groups = Report::of(limiter).groups(usize::MAX).unwrap();
    let rules = groups.iter().filter_map(|group| group.rule);
    rules
        .map(|rule| {
            format!(
                "{}={} {} {}",
                rule.prefix, rule.terms.limit, rule.origin, rule.rejected
            )
        })
        .collect()
}

/// Loads rules of modparams and of the lines of a file.
fn load(limiter: &Limiter, modparams: &[String], file: &str) {
    let mut builder = RuleSet::builder(limiter.prefixes());
    for (text, number) in modparams.iter().zip(1..) {
        builder.add(Origin::Modparam(number), text).unwrap();
    }
    builder.add_file("rules", file.as_bytes()).unwrap();
    limiter.set_rules(&builder.build().unwrap()).unwrap();
}

/// The rules that end at a tick of the watch at this time.
fn tick(limiter: &Limiter, now: u32) -> Vec<String> {
    let mut ended = Vec::new();
    Watch::default().tick(limiter, now, 60, &mut |notice| {
        if let Notice::RuleEnded(rule) = notice {
            ended.push(rule.rule.prefix.to_string());
        }
    });
    ended
}

#[test]
fn set_rule_replaces_loaded_ones_until_it_is_removed() {
    let limiter = limiter();
    load(&limiter, &["10.0.0.0/8=2".to_owned()], "10.0.0.0/8=3");
    assert_eq!(active(&limiter), ["10.0.0.0/8=3 file:1 0"]);
    let before = limiter
        .set_rule(prefix("10.0.0.0/8"), Terms::of_limit(4), None)
        .unwrap();
    let before = before.map(|rule| (rule.terms.limit, rule.origin));
    assert_eq!(before, Some((3, RuleOrigin::Line(1))));
    assert_eq!(active(&limiter), ["10.0.0.0/8=4 rpc 0"]);
    assert_eq!((limiter.rules_len(), limiter.rules_set()), (1, 1));
    // A reload keeps it, and the rules below it change.
    load(&limiter, &[], "\n10.0.0.0/8=5");
    assert_eq!(active(&limiter), ["10.0.0.0/8=4 rpc 0"]);
    let before = limiter.set_rule(prefix("10.0.0.0/8"), Terms::of_limit(UNLIMITED), None);
    assert_eq!(before.unwrap().map(|rule| rule.terms.limit), Some(4));
    assert_eq!(
        limiter
            .remove_rule(prefix("10.0.0.0/8"), None)
            .unwrap()
            .terms
            .limit,
        0
    );
    assert_eq!(active(&limiter), ["10.0.0.0/8=5 file:2 0"]);
    // It was not set by a command, so a command cannot remove it.
    assert_eq!(
        limiter.remove_rule(prefix("10.0.0.0/8"), None).unwrap_err(),
        ChangeError::NotSet(Some(RuleOrigin::Line(2)))
    );
    assert_eq!(
        limiter.remove_rule(prefix("10.0.0.0/9"), None).unwrap_err(),
        ChangeError::NotSet(None)
    );
    assert_eq!((limiter.rules_len(), limiter.rules_set()), (1, 0));
}

#[test]
fn set_rule_takes_effect_at_once_in_both_directions() {
    let limiter = limiter();
    let wanted = source(1);
    for limit in [1, 2, UNLIMITED, 1] {
        limiter
            .set_rule(Prefix::from(wanted), Terms::of_limit(limit), None)
            .unwrap();
        assert_eq!(limit_of(&limiter, wanted), limit);
        let token = limiter.opened(Worker::ACCEPTOR, wanted, 0).unwrap();
        assert_eq!(limiter.check(wanted).is_err(), limit == 1, "{limit}");
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    limiter.remove_rule(Prefix::from(wanted), None).unwrap();
    let _token = limiter.opened(Worker::ACCEPTOR, wanted, 0).unwrap();
    assert!(limiter.check(wanted).is_ok());
}

#[test]
fn rules_end_after_their_second_even_if_the_clock_wraps_around() {
    for now in [0, 1000, u32::MAX - 1] {
        let limiter = limiter();
        let after = |seconds: u32| now.wrapping_add(seconds);
        load_rules(&limiter, &["10.0.0.0/8=7"]);
        limiter
            .set_rule(prefix("10.0.0.0/8"), Terms::of_limit(1), Some(after(2)))
            .unwrap();
        limiter
            .set_rule(prefix("10.1.0.0/16"), Terms::of_limit(2), Some(after(4)))
            .unwrap();
        limiter
            .set_rule(prefix("10.2.0.0/16"), Terms::of_limit(3), None)
            .unwrap();
        let none: [&str; 0] = [];
        for second in 0..=2 {
            assert_eq!(tick(&limiter, after(second)), none, "{now}");
        }
        // A reload does not change when they end.
        load_rules(&limiter, &["10.0.0.0/8=8"]);
        assert_eq!(tick(&limiter, after(3)), ["10.0.0.0/8"]);
        assert_eq!(
            active(&limiter),
            [
                "10.0.0.0/8=8 modparam 1 0",
                "10.1.0.0/16=2 rpc 0",
                "10.2.0.0/16=3 rpc 0"
            ]
        );
        // Setting it again starts its time again.
        limiter
            .set_rule(prefix("10.1.0.0/16"), Terms::of_limit(2), Some(after(9)))
            .unwrap();
        assert_eq!(tick(&limiter, after(9)), none);
        assert_eq!(tick(&limiter, after(20)), ["10.1.0.0/16"]);
        assert_eq!(tick(&limiter, after(2_000_000)), none);
        assert_eq!((limiter.rules_len(), limiter.rules_set()), (2, 1));
    }
}

/// The rejections of a prefix stay with it, whichever of its rules applies.
#[test]
fn rejections_stay_with_the_prefix() {
    let limiter = limiter();
    load_rules(&limiter, &["0.0.0.0/0=1"]);
    let wanted = source(1);
    let _token = limiter.opened(Worker::ACCEPTOR, wanted, 0).unwrap();
    let reject = || {
        let rejection = limiter.check(wanted).unwrap_err();
        limiter.rejected(Worker::ACCEPTOR, rejection);
    };
    reject();
    limiter
        .set_rule(prefix("0.0.0.0/0"), Terms::of_limit(1), Some(1))
        .unwrap();
    assert_eq!(active(&limiter), ["0.0.0.0/0=1 rpc 1"]);
    reject();
    assert_eq!(tick(&limiter, 2), ["0.0.0.0/0"]);
    assert_eq!(active(&limiter), ["0.0.0.0/0=1 modparam 1 2"]);
}

#[test]
fn one_set_rule_more_than_the_maximum_is_rejected() {
    let limiter = limiter();
    let nth = |n: usize| prefix(&format!("10.{}.{}.0/24", n >> 8, n & 255));
    for n in 0..MAX_RPC_RULES {
        limiter.set_rule(nth(n), Terms::of_limit(1), None).unwrap();
    }
    let more = nth(MAX_RPC_RULES);
    assert_eq!(
        limiter.set_rule(more, Terms::of_limit(1), None),
        Err(ChangeError::TooManySet)
    );
    // A rule that replaces another one takes no more room.
    limiter.set_rule(nth(3), Terms::of_limit(5), None).unwrap();
    limiter.remove_rule(nth(0), None).unwrap();
    limiter.set_rule(more, Terms::of_limit(1), None).unwrap();
    assert_eq!(limiter.rules_set(), MAX_RPC_RULES);
}

/// Rules that are set count together with those that are loaded.
#[test]
fn set_and_loaded_rules_share_the_memory() {
    let limiter = limiter();
    let texts: Vec<String> = (0..MAX_RULES)
        .map(|n| format!("20.{}.{}.0/24=1", n >> 8, n & 255))
        .collect();
    load_rules(&limiter, &texts[1..]);
    limiter
        .set_rule(prefix("10.0.0.0/8"), Terms::of_limit(1), None)
        .unwrap();
    let full = limiter.set_rule(prefix("11.0.0.0/8"), Terms::of_limit(1), None);
    assert_eq!(full, Err(ChangeError::TooMany));
    let mut builder = RuleSet::builder(limiter.prefixes());
    for (text, number) in texts.iter().zip(1..) {
        builder.add(Origin::Modparam(number), text).unwrap();
    }
    let all = builder.build().unwrap();
    assert_eq!(limiter.set_rules(&all), Err(ChangeError::TooMany));
    assert_eq!(limiter.rules_len(), MAX_RULES);
    limiter.remove_rule(prefix("10.0.0.0/8"), None).unwrap();
    limiter.set_rules(&all).unwrap();
}

/// Few prefixes, many of which contain others.
const NETS: [&str; 6] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.1",
    "10.1.0.0/16",
    "2001:db8::/32",
];

/// Listeners of rules; the first one stands for none. A number of a rule is its index in
/// [`NETS`] plus their number times its listener.
const LISTENERS: [&str; 3] = ["", "tcp:192.0.2.1:5060", "tls:192.0.2.1:5061"];

fn listener_of(n: usize) -> Option<ListenerName> {
    ListenerName::parse(LISTENERS[n / NETS.len()]).ok()
}

/// The rule with this number as text.
fn rule_text((n, limit): (&usize, &i32)) -> String {
    let listener = listener_of(*n);
    let word = listener.map_or(String::new(), |name| format!(" listener={name}"));
    format!("{}={limit}{word}", NETS[n % NETS.len()])
}

#[derive(Clone, Debug)]
enum Operation {
    /// Limits of the modparams and of the file, by prefix.
    Load(BTreeMap<usize, i32>, BTreeMap<usize, i32>),
    /// A prefix, its limit, and for how many seconds.
    Set(usize, i32, Option<u32>),
    Remove(usize),
    /// Seconds pass, and the watch looks.
    Pass(u32),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let net = || 0..NETS.len() * LISTENERS.len();
    let limits = || proptest::collection::btree_map(net(), 1..9i32, 0..=NETS.len());
    let seconds = proptest::option::of(1..20u32);
    let operation = prop_oneof![
        2 => (limits(), limits()).prop_map(|(modparams, file)| Operation::Load(modparams, file)),
        5 => (net(), 0..9i32, seconds).prop_map(|(n, limit, s)| Operation::Set(n, limit, s)),
        2 => net().prop_map(Operation::Remove),
        3 => (1..9u32).prop_map(Operation::Pass),
    ];
    proptest::collection::vec(operation, 0..60)
}

/// A plain map of all rules by prefix: modparam, file, and command with its end.
#[derive(Default)]
struct Plain {
    modparams: BTreeMap<usize, i32>,
    file: BTreeMap<usize, i32>,
    set: BTreeMap<usize, (i32, Option<u64>)>,
}

impl Plain {
    /// Limit and kind of origin of the rule that applies to a prefix itself.
    fn applies(&self, n: usize) -> Option<(i32, &'static str)> {
        let set = self.set.get(&n).map(|(limit, _)| (*limit, "rpc"));
        let file = || self.file.get(&n).map(|limit| (*limit, "file"));
        let modparam = || self.modparams.get(&n).map(|limit| (*limit, "modparam"));
        set.or_else(file).or_else(modparam)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_sequence_agrees_with_a_plain_map(operations in operations(), start in any::<u32>()) {
        let limiter = limiter();
        let sockets = [1, 2].map(|n| (n as i32, listener_of(n * NETS.len()).unwrap()));
        limiter.register_listeners(&sockets).unwrap();
        let mut plain = Plain::default();
        let mut passed = 0u64;
        for operation in operations {
            let now = start.wrapping_add(passed as u32);
            match operation {
                Operation::Load(modparams, file) => {
                    let texts: Vec<String> = modparams.iter().map(rule_text).collect();
                    let lines: Vec<String> = file.iter().map(rule_text).collect();
                    load(&limiter, &texts, &lines.join("\n"));
                    (plain.modparams, plain.file) = (modparams, file);
                }
                Operation::Set(n, limit, seconds) => {
                    let end = seconds.map(|seconds| now.wrapping_add(seconds));
                    let terms = Terms { listener: listener_of(n), ..Terms::of_limit(limit) };
                    let before = limiter.set_rule(prefix(NETS[n % NETS.len()]), terms, end).unwrap();
                    let expected = plain.applies(n).map(|(limit, _)| limit);
                    prop_assert_eq!(before.map(|rule| rule.terms.limit), expected);
                    let end = seconds.map(|seconds| passed + u64::from(seconds));
                    plain.set.insert(n, (limit, end));
                }
                Operation::Remove(n) => {
                    let net = prefix(NETS[n % NETS.len()]);
                    let removed = limiter.remove_rule(net, listener_of(n)).ok();
                    let expected = plain.set.remove(&n).map(|(limit, _)| limit);
                    prop_assert_eq!(removed.map(|rule| rule.terms.limit), expected);
                }
                Operation::Pass(seconds) => {
                    passed += u64::from(seconds);
                    let mut ended = tick(&limiter, start.wrapping_add(passed as u32));
                    ended.sort_unstable();
                    let has_ended = |end: Option<u64>| end.is_some_and(|end| end < passed);
                    let mut expected: Vec<&str> = (plain.set.iter())
                        .filter(|(_, (_, end))| has_ended(*end))
                        .map(|(n, _)| NETS[n % NETS.len()])
                        .collect();
                    expected.sort_unstable();
                    prop_assert_eq!(ended, expected);
                    plain.set.retain(|_, (_, end)| !has_ended(*end));
                }
            }
            let groups = Report::of(&limiter).groups(usize::MAX).unwrap();
            let mut found: Vec<_> = groups
                .iter()
                .filter_map(|group| group.rule)
                .map(|rule| {
                    let kind = match rule.origin {
                        RuleOrigin::Modparam(_) => "modparam",
                        RuleOrigin::Line(_) => "file",
                        RuleOrigin::Rpc { .. } => "rpc",
                        RuleOrigin::Ban { .. } => "ban",
                    };
                    let listener = rule.terms.listener;
                    (listener, rule.prefix.to_string(), (rule.terms.limit, kind))
                })
                .collect();
            let name = |n: usize| NETS[n % NETS.len()].to_owned();
            let mut expected: Vec<_> = (0..NETS.len() * LISTENERS.len())
                .filter_map(|n| Some((listener_of(n), name(n), plain.applies(n)?)))
                .collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(limiter.rules_len(), expected.len());
            prop_assert_eq!(limiter.rules_set(), plain.set.len());
            prop_assert_eq!(found, expected);
            // The longest prefix decides, whatever is below the rule that applies.
            for (address, nets) in [
                ([10, 0, 0, 1], &[3, 2, 1, 0][..]),
                ([10, 0, 9, 9], &[2, 1, 0]),
                ([10, 1, 9, 9], &[4, 1, 0]),
                ([10, 2, 0, 0], &[1, 0]),
                ([11, 0, 0, 0], &[0]),
            ] {
                let wanted = Source::new(&address, PrefixLengths::DEFAULT).unwrap();
                // The rules of a listener come first.
                for listener in 0..LISTENERS.len() {
                    let at = |l: usize| nets.iter().map(move |n| n + l * NETS.len());
                    let mut rules = at(listener).chain(at(0));
                    let limit = rules.find_map(|n| Some(plain.applies(n)?.0));
                    let wanted = limiter.on_listener(wanted, listener as i32);
                    prop_assert_eq!(limit_of(&limiter, wanted), limit.unwrap_or(0));
                }
            }
        }
    }
}
