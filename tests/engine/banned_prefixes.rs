// SPDX-License-Identifier: GPL-2.0-or-later
//! Bans of prefixes among rules with words: what each source may do, and what a ban changes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::engine::load_rules;
use tcp_conn_limit::limiter::cluster_bans::FromNode;
use tcp_conn_limit::limiter::{Limiter, Worker};
use tcp_conn_limit::observe::notices::Notice;
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::origin::{BanReason, RuleOrigin};
use tcp_conn_limit::policy::penalties::Cause;
use tcp_conn_limit::policy::rule_command::SetRule;
use tcp_conn_limit::policy::rule_words::TermsText;
use tcp_conn_limit::policy::rules::Rule;
use tcp_conn_limit::policy::terms::Terms;
use tcp_conn_limit::policy::{ChangeError, MAX_RPC_RULES};
use tcp_conn_limit::source::{Prefix, PrefixLengths, Source};

const REASON: BanReason = BanReason::Rpc;

fn prefix(text: &str) -> Prefix {
    Prefix::parse_any(text).unwrap()
}

fn limiter() -> Limiter {
    Limiter::new(100, 7, PrefixLengths::DEFAULT).unwrap()
}

fn source(octets: [u8; 4]) -> Source {
    Source::new(&octets, PrefixLengths::DEFAULT).unwrap()
}

fn terms(limiter: &Limiter, octets: [u8; 4]) -> Terms {
    Report::of(limiter).terms_of(source(octets), None).1
}

/// The limit and the words of a source's rule, and whether the source is banned.
fn granted(limiter: &Limiter, octets: [u8; 4]) -> (String, bool) {
    let terms = terms(limiter, octets);
    (TermsText(terms).to_string(), terms.banned)
}

fn text(text: &str, banned: bool) -> (String, bool) {
    (text.to_owned(), banned)
}

/// The banned prefixes, and the seconds that are left.
fn bans(limiter: &Limiter, now: u32) -> Vec<(String, u32)> {
    let bans = Report::of(limiter).banned_prefixes().unwrap();
    let bans = bans.iter().map(|ban| {
        let left = ban.origin.seconds_left(now).unwrap();
        (ban.prefix.to_string(), left)
    });
    bans.collect()
}

/// The bans that end at a tick of the watch at this time.
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
fn source_without_a_rule_is_banned_and_keeps_the_default_limit() {
    let limiter = limiter();
    limiter
        .ban_prefix(prefix("10.0.0.0/8"), 60, REASON)
        .unwrap();
    assert_eq!(granted(&limiter, [10, 0, 0, 1]), text("7", true));
    assert_eq!(granted(&limiter, [11, 0, 0, 1]), text("7", false));
    limiter.set_limit(9);
    assert_eq!(granted(&limiter, [10, 0, 0, 1]), text("9", true));
    limiter.set_limit(0);
    assert_eq!(granted(&limiter, [10, 0, 0, 1]), text("none", true));
    assert!(!terms(&limiter, [10, 0, 0, 1]).exempt);
}

#[test]
fn ban_changes_nothing_else_and_its_end_restores_nothing() {
    let limiter = limiter();
    load_rules(
        &limiter,
        &["10.0.0.0/8=5 rate=10/s burst=20", "10.1.0.0/16=3"],
    );
    limiter
        .ban_prefix(prefix("10.0.0.0/8"), 60, REASON)
        .unwrap();
    assert_eq!(
        granted(&limiter, [10, 0, 0, 1]),
        text("5 rate=10/s burst=20", true)
    );
    // A rule within the prefix has its own terms, and is banned as well.
    assert_eq!(granted(&limiter, [10, 1, 0, 1]), text("3", true));
    // A command sets a rule meanwhile, and a reload changes another one.
    limiter
        .set_rule(prefix("10.0.0.0/8"), Terms::of_limit(4), None)
        .unwrap();
    load_rules(&limiter, &["10.1.0.0/16=2 burst=9"]);
    assert_eq!(granted(&limiter, [10, 0, 0, 1]), text("4", true));
    assert_eq!(granted(&limiter, [10, 1, 0, 1]), text("2 burst=9", true));
    assert_eq!(bans(&limiter, 50), [("10.0.0.0/8".to_owned(), 10)]);
    assert_eq!((limiter.rules_len(), limiter.rules_set()), (2, 1));
    assert_eq!(tick(&limiter, 60), [""; 0]);
    assert_eq!(tick(&limiter, 61), ["10.0.0.0/8"]);
    assert_eq!(granted(&limiter, [10, 0, 0, 1]), text("4", false));
    assert_eq!(granted(&limiter, [10, 1, 0, 1]), text("2 burst=9", false));
    assert_eq!(bans(&limiter, 61), []);
}

#[test]
fn exempt_rules_always_win() {
    let limiter = limiter();
    load_rules(
        &limiter,
        &[
            "10.0.0.0/8=5",
            "10.1.0.0/16=5 exempt",
            "10.1.2.0/24=5",
            "10.2.0.0/16=unlimited",
        ],
    );
    limiter.ban_prefix(prefix("0.0.0.0/0"), 60, REASON).unwrap();
    assert_eq!(granted(&limiter, [10, 0, 0, 1]), text("5", true));
    assert_eq!(granted(&limiter, [10, 1, 0, 1]), text("5 exempt", false));
    assert_eq!(granted(&limiter, [10, 2, 0, 1]), text("none", false));
    // A rule within an exempt one is not exempt itself.
    assert_eq!(granted(&limiter, [10, 1, 2, 1]), text("5", true));
    // A ban that would do nothing is refused, and says why.
    for (banned, exempt) in [
        ("10.1.0.0/16", "10.1.0.0/16 from modparam 2"),
        ("10.1.3.0/24", "10.1.0.0/16 from modparam 2"),
        ("10.2.0.1", "10.2.0.0/16 from modparam 4"),
    ] {
        let error = limiter.ban_prefix(prefix(banned), 60, REASON).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the rule {exempt} exempts its sources from bans; change that rule first")
        );
    }
    limiter
        .ban_prefix(prefix("10.1.2.0/25"), 60, REASON)
        .unwrap();
    // A reload may exempt the sources of a ban.
    load_rules(&limiter, &["10.1.2.0/25=5 exempt"]);
    assert_eq!(granted(&limiter, [10, 1, 2, 1]), text("5 exempt", false));
    assert_eq!(bans(&limiter, 0).len(), 2);
}

#[test]
fn host_rules_and_their_sources_are_banned_apart() {
    let limiter = limiter();
    load_rules(
        &limiter,
        &["2001:db8::/64=5", "2001:db8::1=3 exempt", "2001:db8::2=2"],
    );
    let address = |low: u8| {
        let mut octets = [0; 16];
        (octets[..4]).copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        octets[15] = low;
        octets
    };
    let of = |low| {
        let host = Source::new(&address(low), PrefixLengths::new(32, 128).unwrap());
        let source = limiter.source(&address(low)).unwrap();
        let terms = Report::of(&limiter).terms_of(source, host).1;
        (terms.limit, terms.banned)
    };
    limiter
        .ban_prefix(prefix("2001:db8::9"), 60, REASON)
        .unwrap();
    assert_eq!(
        [of(1), of(2), of(9), of(10)],
        [(3, false), (2, false), (5, true), (5, false)]
    );
    limiter.unban_prefix(prefix("2001:db8::9")).unwrap();
    limiter
        .ban_prefix(prefix("2001:db8::/32"), 60, REASON)
        .unwrap();
    assert_eq!([of(1), of(2), of(9)], [(3, false), (2, true), (5, true)]);
}

#[test]
fn longest_ban_is_reported_with_its_reason_and_end() {
    let limiter = limiter();
    load_rules(&limiter, &["10.1.2.0/24=5"]);
    limiter
        .ban_prefix(prefix("10.0.0.0/8"), 60, BanReason::Rpc)
        .unwrap();
    limiter
        .ban_prefix(prefix("10.1.0.0/16"), 30, BanReason::Script)
        .unwrap();
    let ban_of = |octets| {
        let ban = Report::of(&limiter).ban_of(source(octets), None)?;
        Some((ban.prefix.to_string(), ban.origin))
    };
    let ban =
        |prefix: &str, end, reason| Some((prefix.to_owned(), RuleOrigin::Ban { end, reason }));
    let script = ban("10.1.0.0/16", 30, BanReason::Script);
    assert_eq!(ban_of([10, 1, 2, 3]), script);
    assert_eq!(ban_of([10, 1, 3, 3]), script);
    assert_eq!(ban_of([10, 2, 0, 1]), ban("10.0.0.0/8", 60, BanReason::Rpc));
    assert_eq!(ban_of([11, 0, 0, 1]), None);
}

#[test]
fn ban_is_replaced_lifted_and_named_in_errors() {
    let limiter = limiter();
    let net = prefix("10.0.0.0/8");
    assert_eq!(limiter.ban_prefix(net, 60, REASON), Ok(None));
    let before = limiter.ban_prefix(net, 90, BanReason::Script).unwrap();
    let end = |rule: Rule| rule.origin.seconds_left(0);
    assert_eq!(before.and_then(end), Some(60));
    let error = |text| limiter.unban_prefix(prefix(text)).unwrap_err();
    assert_eq!(error("11.0.0.0/8"), ChangeError::NotBanned(None));
    assert_eq!(
        error("10.1.0.0/16").to_string(),
        "this prefix is not banned by itself, but is in 10.0.0.0/8, which is; lift that ban"
    );
    // Commands for rules do not touch bans.
    assert_eq!(
        limiter.remove_rule(net, None).unwrap_err(),
        ChangeError::NotSet(None)
    );
    assert_eq!(limiter.unban_prefix(net).map(end), Ok(Some(90)));
    assert!(limiter.unban_prefix(net).is_err());
    for n in 0..5 {
        let net = prefix(&format!("10.{n}.0.0/16"));
        limiter.ban_prefix(net, 60, REASON).unwrap();
    }
    limiter.set_rule(net, Terms::of_limit(3), None).unwrap();
    assert_eq!(limiter.unban_prefixes().unwrap().len(), 5);
    assert_eq!(limiter.unban_prefixes().unwrap().len(), 0);
    assert_eq!(limiter.rules_set(), 1);
}

#[test]
fn one_ban_more_than_the_maximum_is_rejected() {
    let limiter = limiter();
    let nth = |n: usize| prefix(&format!("10.{}.{}.0/24", n >> 8, n & 255));
    for n in 0..MAX_RPC_RULES {
        limiter.ban_prefix(nth(n), 60, REASON).unwrap();
        // As many rules may be set besides.
        limiter.set_rule(nth(n), Terms::of_limit(1), None).unwrap();
    }
    let error = limiter
        .ban_prefix(nth(MAX_RPC_RULES), 60, REASON)
        .unwrap_err();
    assert_eq!(error, ChangeError::TooManyBans);
    assert!(error.to_string().contains("1024 bans"), "{error}");
    limiter.ban_prefix(nth(3), 70, REASON).unwrap();
    limiter.unban_prefix(nth(0)).unwrap();
    limiter.ban_prefix(nth(MAX_RPC_RULES), 60, REASON).unwrap();
}

/// Rejections by the rule below a ban stay with that rule, and a ban begins with none.
#[test]
fn rejections_of_a_rule_are_not_those_of_its_ban() {
    let limiter = limiter();
    load_rules(&limiter, &["0.0.0.0/0=1"]);
    let wanted = source([10, 0, 0, 1]);
    let _token = limiter.opened(Worker::ACCEPTOR, wanted, 0).unwrap();
    let rejection = limiter.check(wanted).unwrap_err();
    limiter.rejected(Worker::ACCEPTOR, rejection);
    limiter.ban_prefix(prefix("0.0.0.0/0"), 60, REASON).unwrap();
    let rejected = || {
        let groups = Report::of(&limiter).groups(9).unwrap();
        groups[0].rule.unwrap().rejected
    };
    assert_eq!(rejected(), 0);
    // Any change of the rules copies them.
    limiter
        .set_rule(prefix("11.0.0.0/8"), Terms::of_limit(1), None)
        .unwrap();
    assert_eq!(rejected(), 0);
    limiter.unban_prefix(prefix("0.0.0.0/0")).unwrap();
    assert_eq!(rejected(), 1);
}

/// All rejections by a ban are those of its own rule, with whichever rule a source has in it,
/// and whether it has a slot or not.
#[test]
fn rejections_by_a_ban_count_for_the_ban() {
    let limiter = limiter();
    load_rules(
        &limiter,
        &["10.1.0.0/16=5", "10.1.1.0/24=1", "10.2.0.0/16=unlimited"],
    );
    limiter
        .ban_prefix(prefix("10.0.0.0/8"), 60, REASON)
        .unwrap();
    limiter
        .ban_prefix(prefix("10.1.1.128/25"), 60, REASON)
        .unwrap();
    let _held = limiter
        .opened(Worker::ACCEPTOR, source([10, 1, 1, 1]), 0)
        .unwrap();
    // The last one has a ban of its own, and no prefix around it is banned.
    let alone = source([11, 0, 0, 1]);
    limiter
        .ban(Worker::ACCEPTOR, alone, 60, Cause::Rpc)
        .unwrap();
    for (octets, times) in [
        ([10, 1, 0, 1], 1),
        ([10, 1, 1, 1], 2),
        ([10, 9, 0, 1], 4),
        ([10, 1, 1, 200], 8),
        ([11, 0, 0, 1], 16),
    ] {
        for _ in 0..times {
            let rejection = limiter.check(source(octets)).unwrap_err();
            assert!(limiter.rejected(Worker::ACCEPTOR, rejection));
        }
    }
    limiter.check(source([10, 2, 0, 1])).unwrap();
    let report = Report::of(&limiter);
    let bans = report.banned_prefixes().unwrap();
    let bans: Vec<_> = bans
        .iter()
        .map(|ban| (ban.prefix.to_string(), ban.rejected))
        .collect();
    assert_eq!(
        bans,
        [("10.0.0.0/8".into(), 7), ("10.1.1.128/25".into(), 8)]
    );
    let groups = report.groups(9).unwrap();
    let total: u64 = groups.iter().map(|group| group.rejected).sum();
    assert_eq!(total, limiter.totals().ban_rejected);
    assert_eq!(report.get(alone).ban().unwrap().rejected, 16);
}

#[test]
fn rate_of_any_rule_is_known() {
    let limiter = limiter();
    assert!(!limiter.has_rated_rules());
    for words in ["rate=none", "burst=9", "rate=1/h"] {
        let rated = format!("11.0.0.0/8=5 {words}");
        load_rules(&limiter, &["10.0.0.0/8=5", &rated]);
        assert!(limiter.has_rated_rules(), "{words}");
        load_rules(&limiter, &["10.0.0.0/8=5"]);
        assert!(!limiter.has_rated_rules());
    }
}

/// Few prefixes, many of which contain others.
const NETS: [&str; 6] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3",
    "10.2.0.0/16",
];

/// An address in each of them that is in no longer one.
const ADDRESSES: [[u8; 4]; 6] = [
    [9, 0, 0, 1],
    [10, 0, 0, 1],
    [10, 1, 0, 1],
    [10, 1, 2, 1],
    [10, 1, 2, 3],
    [10, 2, 0, 1],
];

/// The indices of the nets that contain each address, longest first.
const AROUND: [&[usize]; 6] = [
    &[0],
    &[1, 0],
    &[2, 1, 0],
    &[3, 2, 1, 0],
    &[4, 3, 2, 1, 0],
    &[5, 1, 0],
];

const TEXTS: [&str; 7] = [
    "3",
    "5 rate=10/s",
    "9 burst=40",
    "2 rate=none exempt",
    "none",
    "none rate=1/h burst=3",
    "1 exempt",
];

#[derive(Clone, Debug)]
enum Operation {
    /// Indices of texts, by index of the net.
    Load(BTreeMap<usize, usize>),
    Set(usize, usize),
    Remove(usize),
    Ban(usize, u32),
    Unban(usize),
    UnbanAll,
    Pass(u32),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let net = || 0..NETS.len();
    let text = || 0..TEXTS.len();
    let rules = proptest::collection::btree_map(net(), text(), 0..=NETS.len());
    let operation = prop_oneof![
        2 => rules.prop_map(Operation::Load),
        2 => (net(), text()).prop_map(|(n, text)| Operation::Set(n, text)),
        1 => net().prop_map(Operation::Remove),
        5 => (net(), 1..20u32).prop_map(|(n, seconds)| Operation::Ban(n, seconds)),
        1 => net().prop_map(Operation::Unban),
        1 => Just(Operation::UnbanAll),
        3 => (1..9u32).prop_map(Operation::Pass),
    ];
    proptest::collection::vec(operation, 0..60)
}

#[derive(Default)]
struct Plain {
    loaded: BTreeMap<usize, usize>,
    set: BTreeMap<usize, usize>,
    /// When each ban ends.
    bans: BTreeMap<usize, u64>,
}

impl Plain {
    /// The text of the rule of the net itself, without bans.
    fn rule(&self, net: usize) -> Option<&'static str> {
        let index = self.set.get(&net).or_else(|| self.loaded.get(&net))?;
        Some(TEXTS[*index])
    }

    /// The text that applies to the sources of a net.
    fn granted(&self, net: usize) -> &'static str {
        let rules = AROUND[net].iter().filter_map(|around| self.rule(*around));
        rules.into_iter().next().unwrap_or("7")
    }

    fn is_exempt(text: &str) -> bool {
        text.starts_with("none") || text.ends_with("exempt")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_sequence_agrees_with_a_plain_map(operations in operations(), start in any::<u32>()) {
        let limiter = limiter();
        let mut plain = Plain::default();
        let mut passed = 0u64;
        for operation in operations {
            let now = start.wrapping_add(passed as u32);
            match operation {
                Operation::Load(rules) => {
                    let rules_of = |(net, text): (&usize, &usize)| {
                        format!("{} = {}", NETS[*net], TEXTS[*text])
                    };
                    let texts: Vec<String> = rules.iter().map(rules_of).collect();
                    load_rules(&limiter, &texts);
                    plain.loaded = rules;
                }
                Operation::Set(net, text) => {
                    let rule = SetRule::parse(
                        Some(NETS[net]), Some(TEXTS[text]), None, limiter.nat64(),
                    ).unwrap();
                    let before = limiter.set_rule(rule.prefix, rule.terms, None).unwrap();
                    let before = before.map(|rule| TermsText(rule.terms).to_string());
                    prop_assert_eq!(before.as_deref(), plain.rule(net));
                    plain.set.insert(net, text);
                }
                Operation::Remove(net) => {
                    let removed = limiter.remove_rule(prefix(NETS[net]), None).ok();
                    let expected = plain.set.remove(&net).map(|text| TEXTS[text]);
                    let removed = removed.map(|rule| TermsText(rule.terms).to_string());
                    prop_assert_eq!(removed.as_deref(), expected);
                }
                Operation::Ban(net, seconds) => {
                    let end = now.wrapping_add(seconds);
                    let banned = limiter.ban_prefix(prefix(NETS[net]), end, REASON);
                    if Plain::is_exempt(plain.granted(net)) {
                        prop_assert!(matches!(banned, Err(ChangeError::Exempt(..))));
                    } else {
                        let before = plain.bans.insert(net, passed + u64::from(seconds));
                        prop_assert_eq!(banned.unwrap().is_some(), before.is_some());
                    }
                }
                Operation::Unban(net) => {
                    let lifted = limiter.unban_prefix(prefix(NETS[net]));
                    prop_assert_eq!(lifted.is_ok(), plain.bans.remove(&net).is_some());
                }
                Operation::UnbanAll => {
                    let lifted = limiter.unban_prefixes().unwrap();
                    prop_assert_eq!(lifted.len(), plain.bans.len());
                    plain.bans.clear();
                }
                Operation::Pass(seconds) => {
                    passed += u64::from(seconds);
                    let ended = tick(&limiter, start.wrapping_add(passed as u32));
                    let expected = plain.bans.iter().filter(|(_, end)| **end < passed);
                    let expected: Vec<&str> = expected.map(|(net, _)| NETS[*net]).collect();
                    prop_assert_eq!(ended, expected);
                    plain.bans.retain(|_, end| *end >= passed);
                }
            }
            let now = start.wrapping_add(passed as u32);
            let expected: Vec<_> = plain
                .bans
                .iter()
                .map(|(net, end)| (NETS[*net].to_owned(), (end - passed) as u32))
                .collect();
            prop_assert_eq!(bans(&limiter, now), expected);
            prop_assert_eq!(limiter.rules_set(), plain.set.len());
            let rules = (0..NETS.len())
                .filter(|net| plain.rule(*net).is_some() || plain.bans.contains_key(net));
            prop_assert_eq!(limiter.rules_len(), rules.count());
            let mut is_rated = false;
            for net in 0..NETS.len() {
                let terms = plain.granted(net);
                let is_banned = AROUND[net].iter().any(|around| plain.bans.contains_key(around));
                let expected = (terms.to_owned(), is_banned && !Plain::is_exempt(terms));
                prop_assert_eq!(granted(&limiter, ADDRESSES[net]), expected, "{}", NETS[net]);
                let rate = |index: Option<&usize>| {
                    index.is_some_and(|index| ["rate", "burst"].iter().any(|word| TEXTS[*index].contains(word)))
                };
                is_rated |= rate(plain.loaded.get(&net)) || rate(plain.set.get(&net));
            }
            prop_assert_eq!(limiter.has_rated_rules(), is_rated);
        }
    }
}

/// A ban of another node, at the time 0 of the host clock.
fn ban_from_node(limiter: &Limiter, who: &str, seconds: u32) -> FromNode {
    limiter.ban_from_node(Worker::ACCEPTOR, 3, (prefix(who), seconds), 0)
}

#[test]
fn rules_go_before_bans_of_other_nodes() {
    let limiter = limiter();
    load_rules(
        &limiter,
        &[
            "10.1.0.0/16 = 5 exempt",
            "10.2.0.0/16 = 5 trusted",
            "10.3.0.0/16 = unlimited",
            "10.4.0.0/16 = 5",
            "10.5.0.0/16 = 5 trusted listener=tcp:192.0.2.1:5060",
        ],
    );
    let done = |who| ban_from_node(&limiter, who, 60);
    for spared in ["10.1.0.1", "10.2.0.1", "10.3.0.1", "10.5.0.1"] {
        assert_eq!(done(spared), FromNode::Nothing, "{spared}");
    }
    for spared in ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/16"] {
        assert_eq!(done(spared), FromNode::Nothing, "{spared}");
    }
    assert_eq!(done("10.4.0.1"), FromNode::Begins);
    assert_eq!(done("10.4.0.1"), FromNode::Lasts);
    assert!(limiter.check(source([10, 4, 0, 1])).is_err());
    assert_eq!(done("10.0.0.0/8"), FromNode::Begins);
    let banned = |net| terms(&limiter, [10, net, 0, 2]).banned;
    assert_eq!(
        [0, 1, 2, 3, 4].map(banned),
        [true, false, false, false, true]
    );
    // A ban of this node around it concerns what is trusted.
    limiter
        .ban_prefix(prefix("10.0.0.0/7"), 90, REASON)
        .unwrap();
    assert_eq!(
        [0, 1, 2, 3, 4].map(banned),
        [true, false, true, false, true]
    );
    limiter.unban_prefix(prefix("10.0.0.0/7")).unwrap();
    assert!(!banned(2));
}

#[test]
fn ban_of_another_node_gives_way_to_one_of_this_node() {
    let limiter = limiter();
    let reason = |who: [u8; 4]| {
        Report::of(&limiter)
            .get(source(who))
            .ban()
            .map(|ban| ban.cause)
    };
    let here = source([10, 0, 0, 1]);
    limiter.ban(Worker::ACCEPTOR, here, 90, Cause::Rpc).unwrap();
    let net = prefix("10.1.0.0/16");
    limiter.ban_prefix(net, 90, REASON).unwrap();
    for who in ["10.0.0.1", "10.1.0.0/16"] {
        // Neither shortened nor lifted.
        assert_eq!(ban_from_node(&limiter, who, 60), FromNode::Lasts);
        assert_eq!(ban_from_node(&limiter, who, 0), FromNode::Nothing);
    }
    assert_eq!(reason([10, 0, 0, 1]), Some(Cause::Rpc));
    assert_eq!(bans(&limiter, 0), [("10.1.0.0/16".to_owned(), 90)]);
    for who in ["10.0.0.1", "10.1.0.0/16"] {
        assert_eq!(ban_from_node(&limiter, who, 120), FromNode::Lasts);
    }
    let ban = Report::of(&limiter).get(here).ban().unwrap();
    assert_eq!((ban.cause, ban.node), (Cause::Cluster, 3));
    let rule = Report::of(&limiter).ban_of(here, None);
    assert_eq!(rule, None);
    let rule = Report::of(&limiter).banned_prefixes().unwrap()[0];
    let reason_of = BanReason::Cluster { node: 3 };
    assert_eq!(
        rule.origin,
        RuleOrigin::Ban {
            end: 120,
            reason: reason_of
        }
    );
    // Rejections do not change the node.
    for _ in 0..1_000 {
        let rejection = limiter.check(here).unwrap_err();
        limiter.rejected(Worker::ACCEPTOR, rejection);
    }
    let ban = Report::of(&limiter).get(here).ban().unwrap();
    assert_eq!((ban.rejected, ban.node), (1_000, 3));
    // A node can shorten its own ban.
    for who in ["10.0.0.1", "10.1.0.0/16"] {
        assert_eq!(ban_from_node(&limiter, who, 30), FromNode::Lasts);
    }
    let ban = Report::of(&limiter).get(here).ban().unwrap();
    assert!(ban.seconds_left() <= 30, "{ban:?}");
    assert_eq!(bans(&limiter, 0), [("10.1.0.0/16".to_owned(), 30)]);
    for who in ["10.0.0.1", "10.1.0.0/16"] {
        assert_eq!(ban_from_node(&limiter, who, 0), FromNode::Ends);
        assert_eq!(ban_from_node(&limiter, who, 0), FromNode::Nothing);
    }
    assert_eq!(reason([10, 0, 0, 1]), None);
    assert_eq!(bans(&limiter, 0), []);
}
