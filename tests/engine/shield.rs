// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel shield, in the kernel: its verifier, the program on packets of all kinds, and
//! real sockets in a network namespace. Where the tests may not load programs they say
//! SKIPPED.
//!
//! `Filter::run` gives the program a packet at whose beginning are both headers. So octet 13
//! is the TCP flags and also the second octet of an IPv4 source address, or the sixth one of
//! an IPv6 source address; the addresses here are chosen to fit. The sockets below have the
//! headers where they belong.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Once;
use std::time::Duration;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use support::engine::{load_rules, source};
use support::kamailio::in_own_network;
use support::raw::{connect_from, raw_tcp, set_option};
use tcp_conn_limit::limiter::cluster_bans::FromNode;
use tcp_conn_limit::limiter::{Limiter, RejectedFor, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::policy::listener::ListenerName;
use tcp_conn_limit::policy::origin::BanReason;
use tcp_conn_limit::policy::penalties::Cause;
use tcp_conn_limit::policy::rules::{Origin, RuleSet};
use tcp_conn_limit::policy::settings::Mode;
use tcp_conn_limit::shield::{Filter, MAX_SOURCES, Shield};
use tcp_conn_limit::source::{Nat64, Prefix, PrefixLengths, Source};

/// Random cases of each property. CASES sets another number.
fn cases() -> u32 {
    let text = std::env::var("CASES");
    text.map_or(400, |text| text.parse().expect("CASES is a number"))
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The filter; `None` after a note if this system does not allow it.
fn load(lengths: PrefixLengths, nat64: &Nat64) -> Option<Filter> {
    match Filter::load(lengths, nat64) {
        Ok(filter) => Some(filter),
        Err(reason) if reason.to_string().contains("CAP_BPF") => {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                // Not eprintln: the harness shows its output only for a failed test.
                let note = format!("SKIPPED the tests of the shield: {reason}\n");
                io::stderr().write_all(note.as_bytes()).expect("stderr");
            });
            None
        }
        Err(reason) => panic!("{reason}"),
    }
}

fn prefix(text: &str) -> Prefix {
    Prefix::parse_any(text).unwrap()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The prefix of this length that contains an address.
fn around(address: IpAddr, length: u8) -> Prefix {
    let net = IpNet::new(address, length).unwrap().trunc();
    prefix(&net.to_string())
}

/// A packet whose source is this address, as far as the program reads it.
fn packet(address: IpAddr) -> Vec<u8> {
    let mut packet = vec![0; 40];
    let at = match address {
        IpAddr::V4(_) => {
            packet[0] = 0x45;
            12
        }
        IpAddr::V6(_) => {
            packet[0] = 0x60;
            8
        }
    };
    let octets = octets(address);
    packet[at..at + octets.len()].copy_from_slice(&octets);
    packet
}

fn is_dropped(filter: &Filter, packet: &[u8]) -> bool {
    let (accepted, _) = filter.run(packet, 1).unwrap();
    !accepted
}

/// What the program does, read plainly: the source if the packet is a bare SYN that can be
/// read.
fn source_of_syn(ip: &[u8], tcp: &[u8], lengths: PrefixLengths, nat64: &Nat64) -> Option<Source> {
    let flags = tcp.get(13)?;
    let is_set = |bit: u8| flags & bit != 0;
    let (fin, syn, rst, ack) = (is_set(0x01), is_set(0x02), is_set(0x04), is_set(0x10));
    if !syn || fin || rst || ack {
        return None;
    }
    let header = ip.get(..24)?;
    match header[0] >> 4 {
        4 => Source::translated(&header[12..16], lengths, nat64),
        6 => Source::translated(&header[8..24], lengths, nat64),
        _ => None,
    }
}

/// The octet that is also the flags: a SYN without ACK, FIN and RST.
fn syn_octet() -> impl Strategy<Value = u8> {
    any::<u8>().prop_map(|octet| octet & !0x17 | SYN)
}

fn nat64_prefixes() -> impl Strategy<Value = Vec<&'static str>> {
    select(vec![
        vec![],
        vec!["2001:db8::/32"],
        vec!["2001:db8:a02::/48", "2001:db8:4202::/64"],
        vec!["2001:db8:a00::/40"],
        vec!["2001:db8:a02:300::/56", "2001:db8:4202::/96"],
    ])
}

fn nat64_of(prefixes: &[&str]) -> Nat64 {
    let mut nat64 = Nat64::default();
    for prefix in prefixes {
        nat64.add(prefix).unwrap();
    }
    nat64
}

fn lengths() -> impl Strategy<Value = PrefixLengths> {
    let v4 = prop_oneof![Just(32), Just(24), 1..=32u32];
    let v6 = prop_oneof![Just(64), Just(48), Just(128), 1..=128u32];
    (v4, v6).prop_map(|(v4, v6)| PrefixLengths::new(v4, v6).unwrap())
}

/// Addresses near each other, among them those behind translators.
fn address() -> impl Strategy<Value = IpAddr> {
    let few = || select(vec![0u8, 1, 2, 0x80, 0xff]);
    let v4 = (syn_octet(), few(), few()).prop_map(|(b, c, d)| IpAddr::from([10, b & 0x4f, c, d]));
    let upper = select(vec![[0x00, 0x00], [0x0a, 0x02], [0x42, 0x02], [0x0a, 0x42]]);
    let v6 = (upper, vec(few(), 10)).prop_map(|(upper, rest)| {
        let mut octets = [0x20, 0x01, 0x0d, 0xb8, upper[0], upper[1] & !0x17 | SYN]
            .into_iter()
            .chain(rest);
        IpAddr::from(Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|_| {
            octets.next().unwrap()
        })))
    });
    // Octet 8 of an address behind a translator is 0.
    let translated = v6.clone().prop_map(|address| {
        let IpAddr::V6(address) = address else {
            unreachable!()
        };
        let mut octets = address.octets();
        octets[8..12].fill(0);
        IpAddr::from(octets)
    });
    prop_oneof![v4, v6, translated]
}

/// The descriptor of the socket that rules name, and of another one.
const LISTENER: i32 = 5;
const OTHER: i32 = 6;

/// Rules and bans, by the index of an address in them and a length in per cent of its bits.
#[derive(Clone, Debug)]
struct Policy {
    lengths: PrefixLengths,
    nat64: Vec<&'static str>,
    addresses: Vec<IpAddr>,
    rules: Vec<(Index, u32, &'static str)>,
    banned_prefixes: Vec<(Index, u32)>,
    banned_sources: Vec<Index>,
    rules_first: bool,
}

fn policy() -> impl Strategy<Value = Policy> {
    let percent = 0..=100u32;
    let words = select(vec![
        "5",
        "5 exempt",
        "5 trusted",
        "unlimited",
        "5 listener=192.0.2.1:5060",
        "5 exempt listener=192.0.2.1:5060",
        "5 trusted listener=192.0.2.1:5060",
        "unlimited listener=192.0.2.9:5060",
    ]);
    (
        (lengths(), nat64_prefixes()),
        vec(address(), 4..20),
        vec((any::<Index>(), percent.clone(), words), 0..8),
        vec((any::<Index>(), percent), 0..3),
        vec(any::<Index>(), 0..6),
        any::<bool>(),
    )
        .prop_map(
            |((lengths, nat64), addresses, rules, banned_prefixes, banned_sources, rules_first)| {
                Policy {
                    lengths,
                    nat64,
                    addresses,
                    rules,
                    banned_prefixes,
                    banned_sources,
                    rules_first,
                }
            },
        )
}

impl Policy {
    fn prefix(&self, index: &Index, percent: u32) -> Prefix {
        let address = *index.get(&self.addresses);
        let bits = if address.is_ipv4() { 32 } else { 128 };
        around(address, (bits * percent / 100) as u8)
    }

    /// The rules that are valid, with their prefixes; of those for the same sources the last
    /// one.
    fn valid_rules(&self, nat64: &Nat64) -> Vec<(Prefix, &'static str)> {
        let mut rules = std::collections::BTreeMap::new();
        for (index, percent, words) in &self.rules {
            let prefix = self.prefix(index, *percent);
            let listener = words.split_once("listener=").map(|(_, name)| name);
            let has_scopes = listener.is_none() || self.lengths.leave_room_for_scopes();
            if has_scopes && nat64.check(prefix).is_ok() {
                rules.insert((prefix, listener), *words);
            }
        }
        let rules = rules.into_iter();
        rules.map(|((prefix, _), words)| (prefix, words)).collect()
    }

    /// Whether no socket may drop an address because of a rule for one of them.
    fn is_spared_on_a_listener(&self, limiter: &Limiter, address: IpAddr) -> bool {
        let address = prefix(&host(limiter, address).to_string());
        let mut rules = self.valid_rules(limiter.nat64()).into_iter();
        rules.any(|(prefix, words)| {
            let spares = ["exempt", "trusted", "unlimited"];
            let spares = spares.iter().any(|word| words.contains(word));
            spares && words.contains("listener=") && prefix.contains(address)
        })
    }

    fn load_rules(&self, limiter: &Limiter) {
        let nat64 = *limiter.nat64();
        let rules = self.valid_rules(&nat64).into_iter();
        let texts: Vec<String> = rules
            .map(|(prefix, words)| format!("{prefix}={words}"))
            .collect();
        let mut rules = RuleSet::builder(limiter.prefixes()).with_nat64(nat64);
        for (text, number) in texts.iter().zip(1..) {
            rules.add(Origin::Modparam(number), text).unwrap();
        }
        limiter.set_rules(&rules.build().unwrap()).unwrap();
    }

    /// A limiter whose only rejections are those of bans.
    fn limiter(&self) -> Limiter {
        let limiter = Limiter::new(1000, 0, self.lengths).unwrap();
        let limiter = limiter.with_nat64(nat64_of(&self.nat64));
        let listener = ListenerName::parse("tcp:192.0.2.1:5060").unwrap();
        limiter.register_listeners(&[(LISTENER, listener)]).unwrap();
        if self.rules_first {
            self.load_rules(&limiter);
        }
        for (index, percent) in &self.banned_prefixes {
            let prefix = self.prefix(index, *percent);
            if limiter.nat64().check(prefix).is_ok() {
                // It fails if a rule exempts it.
                let _ = limiter.ban_prefix(prefix, 1000, BanReason::Rpc);
            }
        }
        for source in self.banned_sources(&limiter) {
            let _ = limiter.ban(Worker::ACCEPTOR, source, 1000, Cause::Rpc);
        }
        if !self.rules_first {
            self.load_rules(&limiter);
        }
        limiter
    }

    fn banned_sources(&self, limiter: &Limiter) -> Vec<Source> {
        let addresses = self.banned_sources.iter();
        let addresses = addresses.map(|index| *index.get(&self.addresses));
        addresses
            .map(|address| limiter.source(&octets(address)).unwrap())
            .collect()
    }
}

/// Whether the limiter rejects its connections to a socket because of a ban.
fn is_banned(limiter: &Limiter, address: IpAddr, listener: i32) -> bool {
    let octets = octets(address);
    let source = limiter.source(&octets).unwrap();
    let source = limiter.on_listener(source, listener);
    let checked = limiter.check_on_listener(source, &octets);
    checked.is_err_and(|rejection| rejection.reason() == Some(RejectedFor::Ban))
}

/// The address, as an IPv4 address if it is one behind a translator.
fn host(limiter: &Limiter, address: IpAddr) -> Prefix {
    let whole = PrefixLengths::new(32, 128).unwrap();
    let host = Source::translated(&octets(address), whole, limiter.nat64()).unwrap();
    prefix(&host.display(whole).to_string())
}

/// Whether the rule of its whole source exempts or trusts it, and whether that of the
/// address itself does.
fn is_spared(limiter: &Limiter, address: IpAddr) -> (bool, bool) {
    let source = limiter.source(&octets(address)).unwrap();
    let whole = PrefixLengths::new(32, 128).unwrap();
    let host = Source::translated(&octets(address), whole, limiter.nat64());
    let of = |host| {
        let (_, terms) = Report::of(limiter).terms_of(source, host);
        terms.is_spared()
    };
    (of(None), of(host))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn kernel_drops_exactly_what_a_ban_rejects(policy in policy(), unbanned in any::<Index>()) {
        let limiter = policy.limiter();
        let Some(filter) = load(policy.lengths, limiter.nat64()) else {
            return Ok(());
        };
        let mut shield = Shield::new(filter);
        let sources = policy.banned_sources(&limiter);
        let update = |shield: &mut Shield| {
            let banned = sources.iter().copied();
            shield.update(&limiter, banned, std::iter::empty(), 0, 60, &mut |notice| {
                panic!("{notice}")
            });
        };
        let compare = |shield: &Shield| {
            for &address in &policy.addresses {
                let packet = packet(address);
                let dropped = is_dropped(shield.filter(), &packet);
                let banned = is_banned(&limiter, address, OTHER);
                let (source_is_spared, is_spared) = is_spared(&limiter, address);
                if is_spared || policy.is_spared_on_a_listener(&limiter, address) {
                    prop_assert!(!dropped, "{}", address);
                } else if source_is_spared {
                    // A rule for a part of the source may not exempt it: then the server
                    // rejects what the kernel accepts.
                    prop_assert!(banned || !dropped, "{}", address);
                } else {
                    prop_assert_eq!(dropped, banned, "{}", address);
                }
                // The kernel drops on all sockets.
                prop_assert!(is_banned(&limiter, address, LISTENER) || !dropped, "{}", address);
            }
            Ok(())
        };
        update(&mut shield);
        compare(&shield)?;
        // After one ban was lifted, and all prefixes.
        if !sources.is_empty() {
            limiter.unban(sources[unbanned.index(sources.len())], Cause::Rpc);
        }
        update(&mut shield);
        compare(&shield)?;
        limiter.unban_prefixes().unwrap();
        update(&mut shield);
        compare(&shield)?;
        // In the mode monitor nothing is dropped.
        limiter.set_mode(Mode::Monitor);
        update(&mut shield);
        for &address in &policy.addresses {
            prop_assert!(!is_dropped(shield.filter(), &packet(address)), "{}", address);
        }
    }

    #[test]
    fn any_packet_is_read_as_by_the_oracle(
        lengths in lengths(),
        prefixes in nat64_prefixes(),
        listed in vec(address(), 1..4),
        bytes in vec(any::<u8>(), 0..80),
        version in select(vec![0x45u8, 0x4f, 0x60, 0x6f]),
        flags in any::<u8>(),
        with_address in any::<Option<Index>>(),
    ) {
        let nat64 = nat64_of(&prefixes);
        let Some(filter) = load(lengths, &nat64) else {
            return Ok(());
        };
        let source = |address: IpAddr| Source::translated(&octets(address), lengths, &nat64);
        let sources: Vec<Source> = listed.iter().filter_map(|&address| source(address)).collect();
        for source in &sources {
            let text = source.display(lengths).to_string();
            filter.add_source(prefix(&text)).unwrap();
        }
        // Bytes at random, and bytes that are nearly a packet of a listed source.
        let mut near = bytes.clone();
        if let Some(index) = with_address {
            let packet = packet(*index.get(&listed));
            let kept = near.len().min(packet.len());
            near[..kept].copy_from_slice(&packet[..kept]);
        }
        let mut packets = vec![bytes, near.clone()];
        if let Some(first) = near.first_mut() {
            *first = version;
            packets.push(near.clone());
        }
        if let Some(octet) = near.get_mut(13) {
            *octet = flags;
            packets.push(near);
        }
        for packet in packets.iter().filter(|packet| !packet.is_empty()) {
            let found = source_of_syn(packet, packet, lengths, &nat64);
            let expected = found.is_some_and(|source| sources.contains(&source));
            prop_assert_eq!(is_dropped(&filter, packet), expected, "{:02x?}", packet);
        }
    }
}

#[test]
fn verifier_accepts_the_program_for_all_prefix_lengths() {
    let all: Vec<&str> = vec![
        "2001:db8:1::/48",
        "2001:db8:2:3::/64",
        "2001:db8:4::/56",
        "2001:db9::/32",
        "2001:dba::/40",
        "2001:db8:5::/96",
        "2001:db8:6::/96",
    ];
    for length in 1..=128 {
        let lengths = PrefixLengths::new(length.min(32), length).unwrap();
        let nat64 = if length % 2 == 0 { &all[..] } else { &[] };
        if load(lengths, &nat64_of(nat64)).is_none() {
            return;
        }
    }
}

#[test]
fn longest_prefix_decides_and_counts() {
    let Some(filter) = load(PrefixLengths::DEFAULT, &Nat64::default()) else {
        return;
    };
    let (outer, inner) = (prefix("10.2.0.0/16"), prefix("10.2.3.0/24"));
    filter.set_prefix(outer, true).unwrap();
    filter.set_prefix(inner, false).unwrap();
    let syn = |address: &str| is_dropped(&filter, &packet(address.parse().unwrap()));
    // Not before prefixes are looked for.
    assert!(!syn("10.2.4.1"));
    filter.switch(true).unwrap();
    assert!(syn("10.2.4.1") && syn("10.2.5.1"));
    assert!(!syn("10.2.3.1") && !syn("10.10.4.1"));
    // The source's own entry counts only where no prefix decides.
    for source in ["10.2.3.1", "10.10.4.1"] {
        filter.add_source(prefix(source)).unwrap();
    }
    assert!(!syn("10.2.3.1") && syn("10.10.4.1"));
    assert_eq!(filter.dropped().unwrap(), 3);
    assert_eq!(filter.dropped_from_prefix(outer).unwrap(), Some(2));
    assert_eq!(filter.dropped_from_prefix(inner).unwrap(), None);
    let of_source = |text: &str| filter.dropped_from_source(prefix(text)).unwrap();
    assert_eq!(of_source("10.2.3.1"), Some(0));
    assert_eq!(of_source("10.10.4.1"), Some(1));
    assert_eq!(of_source("10.10.4.2"), None);
    let entries: Vec<(String, u64)> = filter
        .entries()
        .unwrap()
        .into_iter()
        .map(|(entry, dropped)| (entry.to_string(), dropped))
        .collect();
    let expected = [("10.2.0.0/16", 2), ("10.10.4.1", 1), ("10.2.3.1", 0)];
    assert_eq!(entries, expected.map(|(text, n)| (text.to_owned(), n)));
    // A prefix without an entry is not taken for one that contains it.
    assert_eq!(
        filter.dropped_from_prefix(prefix("10.2.9.0/24")).unwrap(),
        None
    );
}

/// Updates the list at a time of the host clock, and returns the lines.
fn update(shield: &mut Shield, limiter: &Limiter, sources: &[Source], now: u32) -> Vec<String> {
    let mut lines = Vec::new();
    let (banned, flooding) = (sources.iter().copied(), std::iter::empty());
    shield.update(limiter, banned, flooding, now, 60, &mut |notice| {
        lines.push(notice.to_string());
    });
    lines
}

/// The rules for a listener also spare what a ban or a flood of the address would list.
#[test]
fn sources_of_trusted_rules_and_of_exempt_ones_for_a_listener_are_not_listed() {
    let limiter = Limiter::new(100, 1, PrefixLengths::DEFAULT).unwrap();
    load_rules(
        &limiter,
        &[
            "10.2.1.0/24 = 5 trusted",
            "10.2.1.9 = 5",
            "10.2.2.0/24 = 5 exempt listener=192.0.2.1:5060",
            "10.2.2.9 = 5 listener=192.0.2.1:5060",
            "10.2.3.0/24 = 5 trusted listener=192.0.2.1:5060",
            "10.2.4.0/24 = 5 listener=192.0.2.1:5060",
            "10.2.5.0/24 = unlimited",
            "10.2.5.0/24 = 5 listener=192.0.2.1:5060",
        ],
    );
    let listener = ListenerName::parse("tcp:192.0.2.1:5060").unwrap();
    limiter.register_listeners(&[(LISTENER, listener)]).unwrap();
    let at = |[c, d]: [u8; 2]| limiter.source(&[10, 2, c, d]).unwrap();
    let spared = [[1, 1], [2, 1], [2, 9], [3, 1], [5, 1]];
    let dropped = [[1, 9], [4, 1], [6, 1]];
    let all: Vec<Source> = spared.into_iter().chain(dropped).map(at).collect();
    let on_listener: Vec<Source> = all
        .iter()
        .map(|source| limiter.on_listener(*source, LISTENER))
        .collect();

    let check = |bans: &[Source], floods: &[Source]| {
        let Some(filter) = load(PrefixLengths::DEFAULT, &Nat64::default()) else {
            return;
        };
        let mut shield = Shield::new(filter);
        let (bans, floods) = (bans.iter().copied(), floods.iter().copied());
        shield.update(&limiter, bans, floods, 0, 60, &mut |line| panic!("{line}"));
        let drops = |[c, d]: [u8; 2]| {
            let packet = packet([10, 2, c, d].into());
            is_dropped(shield.filter(), &packet)
        };
        assert_eq!(spared.map(drops), [false; 5]);
        assert_eq!(dropped.map(drops), [true; 3]);
    };
    check(&[], &all);
    check(&[], &on_listener);
    for &source in &all {
        let banned = limiter.ban(Worker::ACCEPTOR, source, 1000, Cause::Rpc);
        assert_eq!(banned.is_err(), source == at([5, 1]));
    }
    check(&all, &[]);
    // The ban of a prefix around them.
    let around = prefix("10.2.0.0/16");
    limiter.ban_prefix(around, 1000, BanReason::Rpc).unwrap();
    check(&[], &[]);
    check(&all, &on_listener);
}

#[test]
fn dropped_packets_are_counted_and_logged() {
    let Some(filter) = load(PrefixLengths::DEFAULT, &Nat64::default()) else {
        return;
    };
    let limiter = Limiter::new(100, 1, PrefixLengths::DEFAULT).unwrap();
    let mut shield = Shield::new(filter);
    let sources: Vec<Source> = (1..=5u8)
        .map(|n| limiter.source(&[10, 2, 0, n]).unwrap())
        .collect();
    for &source in &sources {
        limiter
            .ban(Worker::ACCEPTOR, source, 1000, Cause::Rpc)
            .unwrap();
    }
    let send = |shield: &Shield, to_send: &[(u8, u32)]| {
        for &(n, times) in to_send {
            let packet = packet([10, 2, 0, n].into());
            assert!(!shield.filter().run(&packet, times).unwrap().0);
        }
    };
    let dropped = || {
        limiter
            .counters(Report::of(&limiter).occupancy())
            .shield_dropped
    };
    assert!(update(&mut shield, &limiter, &sources, 0).is_empty());
    send(&shield, &[(1, 4), (2, 30), (3, 2)]);
    assert!(update(&mut shield, &limiter, &sources, 1).is_empty());
    assert_eq!(dropped(), 36);
    // A reset; a source that is no longer listed has its packets in the line.
    limiter.reset_stats();
    assert_eq!(dropped(), 0);
    send(&shield, &[(4, 7), (5, 1)]);
    limiter.unban(sources[3], Cause::Rpc);
    assert!(update(&mut shield, &limiter, &sources, 59).is_empty());
    assert_eq!(dropped(), 8);
    assert_eq!(
        update(&mut shield, &limiter, &sources, 60),
        [
            "the kernel shield dropped 44 connection attempts (SYN packets) in 60 s: 30 from \
             10.2.0.2, 7 from 10.2.0.4, 4 from 10.2.0.1, others from 2 more"
        ]
    );
    // An interval in which nothing is dropped has no line, and the next one only its own.
    assert!(update(&mut shield, &limiter, &sources, 120).is_empty());
    send(&shield, &[(1, 1)]);
    assert_eq!(
        update(&mut shield, &limiter, &sources, 180),
        ["the kernel shield dropped 1 connection attempt (SYN packets) in 60 s: 1 from 10.2.0.1"]
    );
}

#[test]
fn sources_beyond_the_room_are_counted_and_logged() {
    let Some(filter) = load(PrefixLengths::DEFAULT, &Nat64::default()) else {
        return;
    };
    // So large that no source takes the slot of another one.
    let limiter = Limiter::new(1_000_000, 1, PrefixLengths::DEFAULT).unwrap();
    let mut shield = Shield::new(filter);
    let sources: Vec<Source> = (0..MAX_SOURCES as u32 + 3).map(source).collect();
    for &source in &sources {
        limiter
            .ban(Worker::ACCEPTOR, source, 1000, Cause::Rpc)
            .unwrap();
    }
    let numbers = || {
        let numbers = limiter.counters(Report::of(&limiter).occupancy());
        (numbers.shield_entries, numbers.shield_unlisted)
    };
    assert!(update(&mut shield, &limiter, &sources, 0).is_empty());
    assert_eq!(numbers(), (MAX_SOURCES as u64, 3));
    assert_eq!(
        update(&mut shield, &limiter, &sources, 60),
        [
            "the kernel shield has no room for 3 more sources; the server rejects their \
             connections itself; ban prefixes instead"
        ]
    );
    // There is room again.
    for &source in &sources[..10] {
        limiter.unban(source, Cause::Rpc);
    }
    assert!(update(&mut shield, &limiter, &sources, 120).is_empty());
    assert_eq!(numbers(), (MAX_SOURCES as u64 - 7, 0));
}

/// A datagram whose octet at the offset of the TCP flags, which is in its payload, has this
/// value.
fn datagram(flags: u8, length: usize) -> Vec<u8> {
    let mut payload = vec![0; length];
    // The header of UDP has 8 octets.
    if let Some(octet) = payload.get_mut(13 - 8) {
        *octet = flags;
    }
    payload
}

/// Whether the receiver, which no other packet reaches, gets a packet.
fn is_received(receiver: &UdpSocket) -> bool {
    receiver
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    match receiver.recv(&mut [0; 100]) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

fn command(arguments: &str) {
    let status = std::process::Command::new("ip")
        .args(arguments.split(' '))
        .status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// For UDP as for TCP the packet begins at the transport header, and the IP header lies
/// before it.
#[test]
fn ipv4_options_fragments_and_short_packets_are_read() {
    in_own_network(|| {
        let Some(filter) = load(PrefixLengths::DEFAULT, &Nat64::default()) else {
            return;
        };
        command("link set lo mtu 1500");
        filter.add_source(prefix("127.0.0.9")).unwrap();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        filter.attach(receiver.as_fd()).unwrap();
        let to = receiver.local_addr().unwrap();
        for options in [0, 4, 40] {
            for (from, flags, length, arrives) in [
                ("127.0.0.9", SYN, 40, false),
                ("127.0.0.9", SYN | 0xe8, 40, false),
                ("127.0.0.9", SYN | ACK, 40, true),
                ("127.0.0.9", ACK, 40, true),
                ("127.0.0.9", SYN | 0x01, 40, true),
                ("127.0.0.9", SYN | 0x04, 40, true),
                ("127.0.0.9", SYN, 4000, false),
                ("127.0.0.9", ACK, 4000, true),
                ("127.0.0.9", SYN, 5, true),
                ("127.0.0.9", SYN, 0, true),
                ("127.0.0.8", SYN, 40, true),
                ("127.0.0.8", SYN, 4000, true),
            ] {
                let sender = UdpSocket::bind((from, 0)).unwrap();
                // No operation, up to the end of the list.
                let nothing = vec![1; options];
                set_option(&sender, libc::IPPROTO_IP, libc::IP_OPTIONS, &nothing);
                sender.send_to(&datagram(flags, length), to).unwrap();
                let arrived = is_received(&receiver);
                assert_eq!(arrived, arrives, "{from} {flags:#x} {length} {options}");
            }
        }
    });
}

/// A raw IPv6 socket for TCP sees what a TCP socket sees, also if TCP would not accept it.
#[test]
fn ipv6_extension_headers_fragments_and_short_packets_are_read() {
    in_own_network(|| {
        let nat64 = nat64_of(&["2001:db8:64::/96"]);
        let Some(filter) = load(PrefixLengths::DEFAULT, &nat64) else {
            return;
        };
        command("link set lo mtu 1500");
        command("-6 route add local 64:ff9b::/96 dev lo");
        filter.add_source(prefix("2001:db8:9::/64")).unwrap();
        filter.add_source(prefix("192.0.2.9")).unwrap();
        let to = "2001:db8::1".parse().unwrap();
        let receiver = raw_tcp(to);
        filter.attach(receiver.as_fd()).unwrap();
        let header = |flags: u8, length: usize| {
            let mut header = vec![0u8; length];
            if let Some(octet) = header.get_mut(13) {
                *octet = flags;
            }
            header
        };
        // Padding of 6 octets in a header of 8.
        let padding = [0, 0, 1, 4, 0, 0, 0, 0];
        for extensions in [
            &[][..],
            &[libc::IPV6_HOPOPTS],
            &[libc::IPV6_HOPOPTS, libc::IPV6_DSTOPTS],
        ] {
            for (from, flags, length, arrives) in [
                ("2001:db8:9::5", SYN, 20, false),
                ("2001:db8:9::ffff:1", SYN | 0xe8, 20, false),
                ("2001:db8:9::5", SYN, 4000, false),
                ("2001:db8:9::5", ACK, 4000, true),
                ("2001:db8:9::5", SYN | ACK, 20, true),
                ("2001:db8:9::5", ACK, 20, true),
                ("2001:db8:9::5", SYN, 13, true),
                ("2001:db8:9::5", SYN, 14, false),
                ("2001:db8:9:1::5", SYN, 20, true),
                ("64:ff9b::192.0.2.9", SYN, 20, false),
                ("64:ff9b::192.0.2.8", SYN, 20, true),
                ("2001:db8:64::192.0.2.9", SYN, 20, false),
                ("2001:db8:64::192.0.2.8", SYN, 20, true),
            ] {
                let sender = raw_tcp(from.parse().unwrap());
                for &extension in extensions {
                    set_option(&sender, libc::IPPROTO_IPV6, extension, &padding);
                }
                sender.send_to(&header(flags, length), (to, 0)).unwrap();
                let arrived = is_received(&receiver);
                assert_eq!(
                    arrived, arrives,
                    "{from} {flags:#x} {length} {extensions:?}"
                );
            }
        }
    });
}

/// Whether a connection comes about.
fn connects(from: &str, to: SocketAddr) -> bool {
    connect_from(from.parse().unwrap(), to, Duration::from_millis(300)).is_ok()
}

fn echoes(client: &mut TcpStream, server: &mut TcpStream) {
    let mut heard = [0; 4];
    client.write_all(b"ping").unwrap();
    server.read_exact(&mut heard).unwrap();
    server.write_all(b"pong").unwrap();
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
}

#[test]
fn listed_source_cannot_connect_and_keeps_its_connections() {
    in_own_network(|| {
        let Some(filter) = load(PrefixLengths::DEFAULT, &Nat64::default()) else {
            return;
        };
        // One socket sees both versions.
        let listener = TcpListener::bind("[::]:0").unwrap();
        filter.attach(listener.as_fd()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let v4 = SocketAddr::new([127, 0, 0, 1].into(), port);
        let v6 = SocketAddr::new("2001:db8::1".parse().unwrap(), port);

        let patience = Duration::from_secs(1);
        let mut client = connect_from("127.0.0.9".parse().unwrap(), v4, patience).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        filter.add_source(prefix("127.0.0.9")).unwrap();
        filter.add_source(prefix("2001:db8:9::/64")).unwrap();
        echoes(&mut client, &mut server);
        assert!(!connects("127.0.0.9", v4) && !connects("2001:db8:9::77", v6));
        assert!(connects("127.0.0.8", v4) && connects("2001:db8:9:1::77", v6));
        assert!(filter.dropped().unwrap() >= 2);
        echoes(&mut client, &mut server);
        // Another socket, and a connection that this host opens to the listed source.
        let other = TcpListener::bind("127.0.0.9:0").unwrap();
        assert!(connects("127.0.0.1", other.local_addr().unwrap()));

        filter.remove_source(prefix("127.0.0.9")).unwrap();
        assert!(connects("127.0.0.9", v4) && !connects("2001:db8:9::77", v6));
        filter.detach(listener.as_fd());
        assert!(connects("2001:db8:9::77", v6));
    });
}

#[test]
fn bans_of_other_nodes_are_dropped() {
    let Some(filter) = load(PrefixLengths::DEFAULT, &Nat64::default()) else {
        return;
    };
    let limiter = Limiter::new(100, 1, PrefixLengths::DEFAULT).unwrap();
    load_rules(&limiter, &["10.2.0.3 = 5 trusted"]);
    for who in ["10.2.3.1", "10.2.0.0/24"] {
        let done = limiter.ban_from_node(Worker::ACCEPTOR, 1, (prefix(who), 1000), 0);
        assert_eq!(done, FromNode::Begins);
    }
    let mut shield = Shield::new(filter);
    let banned = [limiter.source(&[10, 2, 3, 1]).unwrap()].into_iter();
    let none = core::iter::empty();
    shield.update(&limiter, banned, none, 0, 60, &mut |line| panic!("{line}"));
    for (address, dropped) in [
        ([10, 2, 3, 1], true),
        ([10, 2, 3, 2], false),
        ([10, 2, 0, 1], true),
        ([10, 2, 0, 3], false),
    ] {
        assert_eq!(
            is_dropped(shield.filter(), &packet(address.into())),
            dropped,
            "{address:?}"
        );
    }
}
