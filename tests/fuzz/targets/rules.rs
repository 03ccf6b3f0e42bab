// SPDX-License-Identifier: GPL-2.0-or-later
//! The text of rules, in modparams and in a rules file.
//!
//! Input: the two prefix lengths of sources, then modparams, each ended by a NUL, then the
//! rules file.

#![no_main]

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::FromRawFd as _;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tcp_conn_limit::ffi::{TCL_ERULES, TCL_MODE_ENFORCE, TCL_OK, TCL_ON_FULL_ADMIT};
use tcp_conn_limit::policy::rule_words::TermsText;
use tcp_conn_limit::policy::rules::{
    Key, Origin, Rule, RuleError, RuleLine, RuleSet, longest_match,
};
use tcp_conn_limit::source::{Family, NetworkLengths, Prefix, PrefixLengths, Source};
use tcp_conn_limit_fuzz::engine::{self, ENOUGH, rule_text, tcl_config, text};
use tcp_conn_limit_fuzz::naive::{self, Address, HOST, Lengths, Listener, Net};

const FILE: &str = "/etc/rules";

/// The prefix lengths of this process's limiter. Longer IPv6 sources would leave no room for
/// listeners.
const LENGTHS: Lengths = (32, 120);

/// The listening sockets: the address and the port, and the name.
const SOCKETS: [(Listener, &str); 3] = [
    (
        (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5060),
        "tcp:192.0.2.1:5060",
    ),
    (
        (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5061),
        "tls:192.0.2.1:5061",
    ),
    (
        (
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
            5060,
        ),
        "tcp:[2001:db8::1]:5060",
    ),
];

/// A listener that the host does not have.
const UNKNOWN: &str = "tls:192.0.2.9:5061";

/// Whether rules with this listener are loaded. A process can name 64 listeners before there is
/// an error, so with any others an input would depend on those before. One input is too short
/// to name 65.
fn is_loaded(name: &str) -> bool {
    let names = |socket: &str| {
        let without_protocol = socket.split_once(':').map(|(_, rest)| rest);
        name == socket || without_protocol == Some(name)
    };
    name == UNKNOWN || SOCKETS.iter().any(|(_, socket)| names(socket))
}

/// The descriptor of a socket.
fn descriptor(socket: usize) -> i32 {
    10 + socket as i32
}

/// A file in memory for this process alone, and its path.
static IN_MEMORY: OnceLock<(File, CString)> = OnceLock::new();

fn init() {
    engine::start(tcl_config {
        trust: 1,
        networks: 1,
        moves: 1,
        cluster: 1,
        max_connections: 1,
        limit: 7,
        ipv4_prefix: LENGTHS.0 as i32,
        ipv6_prefix: LENGTHS.1 as i32,
        mode: TCL_MODE_ENFORCE,
        on_full: TCL_ON_FULL_ADMIT,
        ..tcl_config::default()
    });
    let sockets: Vec<_> = SOCKETS
        .iter()
        .enumerate()
        .map(|(number, ((address, port), name))| {
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            engine::socket(&octets, *port, name.starts_with("tls"), descriptor(number))
        })
        .collect();
    assert_eq!(engine::listen(&sockets), TCL_OK);
    IN_MEMORY.get_or_init(|| {
        // SAFETY: the name is a string.
        let descriptor = unsafe { libc::memfd_create(c"rules".as_ptr(), 0) };
        assert!(descriptor >= 0, "no file in memory");
        // SAFETY: the descriptor is new, and nothing else owns it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        let path = format!("/proc/self/fd/{descriptor}");
        (file, CString::new(path).expect("no NUL in it"))
    });
}

/// The rules to load.
struct Input<'a> {
    lengths: Lengths,
    texts: Vec<&'a [u8]>,
    file: &'a [u8],
}

impl<'a> Input<'a> {
    fn of(bytes: &'a [u8]) -> Option<Input<'a>> {
        let [v4, v6, rest @ ..] = bytes else {
            return None;
        };
        let mut texts: Vec<_> = rest.split(|byte| *byte == 0).collect();
        let file = texts.pop()?;
        Some(Input {
            lengths: (1 + u32::from(*v4) % 32, 1 + u32::from(*v6) % 128),
            texts,
            file,
        })
    }

    /// Returns the lines of the file, without a byte order mark at its start.
    fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        let file = self.file.strip_prefix("\u{feff}".as_bytes());
        file.unwrap_or(self.file).split(|byte| *byte == b'\n')
    }

    /// Returns the origin of the error if the marks of a complete file are wrong.
    fn wrong_mark(&self) -> Option<String> {
        let lines: Vec<String> = self
            .lines()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let words = |line: &str| -> Vec<String> {
            line.split_ascii_whitespace().map(str::to_owned).collect()
        };
        let is_end = |line: &String| match &words(line)[..] {
            [mark, end] => mark == "#" && end == "end",
            [mark, end, number] => {
                let is_number = number.chars().all(|c| c.is_ascii_digit());
                mark == "#" && end == "end" && is_number
            }
            _ => false,
        };
        let rules: Vec<usize> = (0..lines.len())
            .filter(|n| {
                let rule = lines[*n].split('#').next().unwrap_or_default();
                !rule.trim_ascii().is_empty()
            })
            .collect();
        let origin = |n: usize| Some(format!("{FILE}:{}", n + 1));
        let Some(end) = lines.iter().position(is_end) else {
            let last = lines
                .iter()
                .rposition(|line| !line.trim_ascii().is_empty())?;
            return (words(&lines[0]) == ["#", "begin"]).then(|| origin(last))?;
        };
        if let Some(after) = rules.iter().find(|rule| **rule > end) {
            return origin(*after);
        }
        let number = words(&lines[end]).into_iter().nth(2)?;
        let is_right = naive::digits_of(&number, 1 << 40) == Some(rules.len() as u128);
        (!is_right).then(|| origin(end))?
    }

    /// Returns the origin and the text of each rule, in the order in which they are read.
    fn rules(&self) -> Vec<(String, String)> {
        let texts = self.texts.iter().zip(1..).map(|(text, number)| {
            let text = String::from_utf8_lossy(text);
            (format!("modparam rule {number}"), text.into_owned())
        });
        let lines = self.lines().zip(1..);
        let lines = lines.filter_map(|(line, number)| {
            let end = line.iter().position(|byte| *byte == b'#');
            let rule = line[..end.unwrap_or(line.len())].trim_ascii();
            // Text that is not UTF-8 is not a rule, and neither is its lossy form.
            let text = String::from_utf8_lossy(rule).into_owned();
            (!rule.is_empty()).then(|| (format!("{FILE}:{number}"), text))
        });
        texts.chain(lines).collect()
    }

    fn build(&self, lengths: Lengths, file: &str) -> Result<RuleSet, String> {
        let texts: Vec<_> = self
            .texts
            .iter()
            .map(|text| String::from_utf8_lossy(text))
            .collect();
        let mut rules = RuleSet::builder(prefixes(lengths));
        let built = (|| {
            for (text, number) in texts.iter().zip(1..) {
                rules.add(Origin::Modparam(number), text)?;
            }
            rules.add_file(file, self.file)?;
            rules.build()
        })();
        built.map_err(|error| match error {
            RuleError::Invalid(rule) => rule.to_string(),
            RuleError::NoMemory => panic!("no memory"),
        })
    }

    /// Checks the rules through the C ABI. Returns the texts, which [`load`] takes.
    fn check(&self, path: &CStr) -> Vec<CString> {
        let texts: Vec<_> = self
            .texts
            .iter()
            .map(|text| CString::new(*text).expect("split at NUL"))
            .collect();
        for text in &texts {
            let rule = naive::whole_rule(text.to_string_lossy().trim_ascii());
            let code = if rule.is_some() { TCL_OK } else { TCL_ERULES };
            assert_eq!(engine::rule_check(text, ENOUGH).0, code);
        }
        let pointers: Vec<_> = texts.iter().map(|text| text.as_c_str()).collect();
        let all = self.rules();
        let valid = || {
            let rules = all.iter();
            rules.filter_map(|(_, text)| naive::whole_rule(text.trim_ascii()))
        };
        let has = [
            valid().any(|rule| rule.networks),
            valid().any(|rule| rule.has("proxy")),
        ];
        assert_eq!(engine::rules_have(&pointers, path), has.map(i32::from));
        let (code, checked) = engine::rules_check(&pointers, path);
        let faults = Faults::of(self);
        assert_eq!(checked.valid as usize, faults.valid);
        // The first 20, and the number of the others.
        assert_eq!(checked.faults.len(), faults.count.min(21));
        match read(self, LENGTHS) {
            Ok(rules) => {
                assert_eq!((code, faults.count), (TCL_OK, 0));
                assert_eq!(checked.rules.len(), rules.len());
                for (line, rule) in checked.rules.iter().zip(&rules) {
                    let start = format!("{} = {} # ", rule.prefix(), rule.shown);
                    assert!(line.starts_with(&start), "{line}: {start}");
                }
            }
            Err(_) => {
                assert_eq!(code, TCL_ERULES);
                assert!(faults.count > 0 && checked.rules.is_empty());
            }
        }
        texts
    }
}

/// The numbers of a report of everything that is wrong.
struct Faults {
    count: usize,
    valid: usize,
}

impl Faults {
    fn of(input: &Input<'_>) -> Faults {
        let mut count = usize::from(input.wrong_mark().is_some());
        let mut seen = HashSet::new();
        for (origin, text) in input.rules() {
            let rule = naive::whole_rule(text.trim_ascii());
            let rule = rule.filter(|rule| can_apply(rule, LENGTHS));
            let is_new = rule.is_some_and(|rule| {
                let is_modparam = origin.starts_with("modparam");
                seen.insert((rule.listener, rule.networks, rule.net, is_modparam))
            });
            count += usize::from(!is_new);
        }
        Faults {
            count,
            valid: seen.len(),
        }
    }
}

/// Loads the rules through the C ABI.
fn load(texts: &[CString], path: &CStr) -> (i32, String) {
    let texts: Vec<_> = texts.iter().map(|text| Some(text.as_c_str())).collect();
    engine::rules_load(&texts, Some(path), ENOUGH)
}

/// Whether sources or networks of these lengths can have a valid rule: sources of long prefixes
/// cannot be counted apart by listener, nor parts of a network as networks.
fn can_apply(rule: &naive::Rule, lengths: Lengths) -> bool {
    let is_for_listener = rule.listener.is_some();
    (!is_for_listener || lengths.1 <= 120) && rule.fits(networks_of(lengths))
}

/// The lengths of networks, which must not be longer than sources: the default ones if
/// possible. `None`: networks are not counted.
fn networks_of(lengths: Lengths) -> Option<Lengths> {
    let can_contain_sources = lengths.0 >= 8 && lengths.1 >= 16;
    can_contain_sources.then_some((lengths.0.min(24), lengths.1.min(48)))
}

fn prefixes(lengths: Lengths) -> PrefixLengths {
    let prefixes = PrefixLengths::new(lengths.0, lengths.1).expect("lengths in range");
    match networks_of(lengths) {
        Some((v4, v6)) => {
            let networks = NetworkLengths::new(v4, v6).expect("lengths in range");
            prefixes
                .with_networks(networks)
                .expect("larger than sources")
        }
        None => prefixes,
    }
}

/// A prefix among the rules of one listener, as the library compares them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Scoped(u8, Prefix);

impl Key for Scoped {
    fn contains(self, other: Scoped) -> bool {
        self.0 == other.0 && self.1.contains(other.1)
    }
}

/// The oracle: returns all rules, sorted by listener and prefix, or the origins that the
/// error may name.
fn read(input: &Input<'_>, lengths: Lengths) -> Result<Vec<naive::Rule>, Vec<String>> {
    let mut rules: Vec<(naive::Rule, bool)> = Vec::new();
    let mut twice = Vec::new();
    let mut wrong_mark = input.wrong_mark();
    for (origin, text) in input.rules() {
        let is_modparam = origin.starts_with("modparam");
        // The marks are checked after the modparams, before the lines of the file.
        if !is_modparam && let Some(origin) = wrong_mark.take() {
            return Err(vec![origin]);
        }
        // An invalid rule is reported before a prefix that occurs twice.
        let rule = naive::whole_rule(text.trim_ascii()).ok_or_else(|| vec![origin.clone()])?;
        if !can_apply(&rule, lengths) {
            return Err(vec![origin]);
        }
        let key = |rule: &naive::Rule| (rule.listener, rule.networks, rule.net);
        let is_same =
            |(other, kind): &(naive::Rule, bool)| (key(other), *kind) == (key(&rule), is_modparam);
        if rules.iter().any(is_same) {
            twice.push(origin);
        }
        rules.push((rule, is_modparam));
    }
    if let Some(origin) = wrong_mark {
        return Err(vec![origin]);
    }
    if !twice.is_empty() {
        return Err(twice);
    }
    // A rule in the file replaces a modparam for the same prefix.
    rules.sort_unstable_by_key(|(rule, is_modparam)| {
        (rule.listener, rule.networks, rule.net, *is_modparam)
    });
    rules.dedup_by_key(|(rule, _)| (rule.listener, rule.networks, rule.net));
    Ok(rules.into_iter().map(|(rule, _)| rule).collect())
}

/// Prefixes and limits of the rules of one listener, or of those without one.
fn of_listener(rules: &[naive::Rule], listener: Option<naive::Listener>) -> Vec<(Net, i32)> {
    let rules = rules
        .iter()
        .filter(|rule| rule.listener == listener && !rule.networks);
    rules.map(|rule| (rule.net, rule.limit)).collect()
}

/// Prefixes and limits of the rules for networks.
fn for_networks(rules: &[naive::Rule]) -> Vec<(Net, i32)> {
    let rules = rules.iter().filter(|rule| rule.networks);
    rules.map(|rule| (rule.net, rule.limit)).collect()
}

/// Returns the addresses at the edges of the rules, and some from the input.
fn addresses(rules: &[naive::Rule], bytes: &[u8]) -> Vec<Address> {
    let edges = rules.iter().take(64).flat_map(|naive::Rule { net, .. }| {
        let (first, last) = (net.address, net.address.filled(net.length, true));
        let edges = [first, last, first.neighbour(false), last.neighbour(true)];
        // The conversion is needed: the last address of ::/80 is IPv4-mapped.
        edges.map(|address| Address::of_octets(&address.octets()))
    });
    let own = bytes
        .rchunks_exact(4)
        .take(4)
        .chain(bytes.rchunks_exact(16).take(4));
    edges.chain(own.map(Address::of_octets)).flatten().collect()
}

fn compare(set: &RuleSet, rules: &[naive::Rule], lengths: Lengths, addresses: &[Address]) {
    let found = set.rules();
    // Of several rules for a prefix, the last one applies.
    let applies = |i: usize| {
        found
            .get(i + 1)
            .is_none_or(|next| (next.scope, next.prefix) != (found[i].scope, found[i].prefix))
    };
    let applying = || (0..found.len()).filter(|i| applies(*i)).map(|i| &found[i]);
    assert_eq!(applying().count(), rules.len());
    let mut again = RuleSet::builder(prefixes(lengths));
    let mut lines = String::new();
    for (rule, expected) in applying().zip(rules) {
        let net = &expected.net;
        assert_eq!(
            (rule.prefix.to_string(), rule.terms.limit),
            (expected.prefix(), expected.limit)
        );
        assert_eq!(TermsText(rule.terms).to_string(), expected.shown);
        let listener = rule.terms.listener.map(|name| (name.address, name.port));
        assert_eq!(listener, expected.listener);
        assert_eq!(rule.scope == 0, listener.is_none());
        let parent = rule.parent.map(usize::from);
        assert!(parent.is_none_or(applies));
        let parent = parent.map(|parent| {
            assert_eq!(found[parent].prefix.of_networks, expected.networks);
            found[parent].prefix.addresses().to_string()
        });
        let mut others = match expected.networks {
            true => for_networks(rules),
            false => of_listener(rules, listener),
        };
        others.retain(|(other, _)| other != net);
        let holding = naive::longest(&others, *net);
        assert_eq!(parent, holding.map(|(net, _)| net.to_string()));
        lines += &format!("{}\n", RuleLine(rule));
    }
    again
        .add_file("again", lines.as_bytes())
        .expect("rules as they are printed");
    let again = again.build().expect("once each");
    let terms = |rule: &Rule| (rule.prefix, rule.terms);
    assert!(again.rules().iter().map(terms).eq(applying().map(terms)));
    // The source of each address, and the address itself, which may have a rule that is
    // longer than the source.
    let lengths = [lengths, HOST];
    for (address, lengths) in addresses.iter().flat_map(|a| lengths.map(|l| (a, l))) {
        let source = Source::new(&address.octets(), prefixes(lengths)).expect("an address");
        let wanted = Prefix {
            length: prefixes(lengths).length(source.family()),
            ..Prefix::from(source)
        };
        if let Some((networks, network)) =
            networks_of(lengths).zip(source.network(prefixes(lengths)))
        {
            let network = Prefix {
                length: match source.family() {
                    Family::V4 => networks.0 as u8,
                    Family::V6 => networks.1 as u8,
                },
                ..Prefix::from(network)
            };
            let index = longest_match(
                found.len(),
                |i| Scoped(found[i].scope, found[i].prefix),
                |i| found[i].parent.map(usize::from),
                Scoped(0, network),
            );
            assert!(index.is_none_or(applies));
            let holding = naive::longest(&for_networks(rules), address.source(networks));
            assert_eq!(
                index.map(|i| found[i].prefix.addresses().to_string()),
                holding.map(|(net, _)| net.to_string())
            );
        }
        // Each listener that has rules, and no listener.
        let mut scopes: Vec<_> = applying()
            .map(|rule| {
                (
                    rule.scope,
                    rule.terms.listener.map(|name| (name.address, name.port)),
                )
            })
            .chain([(0, None)])
            .collect();
        scopes.dedup();
        for (scope, listener) in scopes {
            let index = longest_match(
                found.len(),
                |i| Scoped(found[i].scope, found[i].prefix),
                |i| found[i].parent.map(usize::from),
                Scoped(scope, wanted),
            );
            assert!(index.is_none_or(applies));
            let holding = naive::longest(&of_listener(rules, listener), address.source(lengths));
            assert_eq!(
                index.map(|i| found[i].prefix.to_string()),
                holding.map(|(net, _)| net.to_string())
            );
        }
    }
}

fn check_sentence(sentence: &str, origins: &[String]) {
    let named = origins
        .iter()
        .any(|origin| sentence.starts_with(&format!("{origin}: `")));
    assert!(named, "the error names none of {origins:?}: {sentence}");
    assert!(sentence.len() < 400, "too long for a log: {sentence}");
    assert!(
        !sentence.chars().any(char::is_control),
        "control character: {sentence:?}"
    );
}

/// Compares the active rules of this process's limiter.
fn compare_active(rules: &[naive::Rule], addresses: &[Address]) {
    let reported = engine::rules(rules.len() + 1).expect("rules");
    let (default, reported) = reported.split_last().expect("the default");
    assert_eq!(text(&default.prefix), rule_text(None::<Net>));
    let mut found: Vec<_> = reported
        .iter()
        .map(|rule| (text(&rule.prefix), rule.limit, text(&rule.terms)))
        .collect();
    let expected = rules.iter();
    let mut expected: Vec<_> = expected
        .map(|rule| (rule.prefix(), rule.limit, rule.shown.clone()))
        .collect();
    // Those for listeners come last. Their order is that in which they were first named.
    let everywhere = rules.iter().filter(|rule| rule.listener.is_none()).count();
    assert_eq!(found.len(), expected.len());
    for list in [&mut found, &mut expected] {
        list[everywhere..].sort();
    }
    assert_eq!(found, expected);
    let unknown = rules
        .iter()
        .find(|rule| rule.listener_name() == Some(UNKNOWN));
    assert_eq!(engine::unknown_listener().is_some(), unknown.is_some());

    let of_all = &of_listener(rules, None);
    let of_sockets = SOCKETS.map(|(listener, _)| of_listener(rules, Some(listener)));
    for address in addresses {
        let holding = naive::applying(of_all, *address, LENGTHS);
        compare_rule(*address, -1, "", holding);
        for (number, of_socket) in of_sockets.iter().enumerate() {
            // Any rule of the listener goes before those without one.
            let own = naive::longest(of_socket, address.source(HOST));
            let listener = match of_socket[..] {
                [] => "",
                _ => SOCKETS[number].1,
            };
            compare_rule(*address, descriptor(number), listener, own.or(holding));
        }
    }
}

/// Compares the rule of an address on a socket.
fn compare_rule(address: Address, socket: i32, listener: &str, rule: Option<(Net, i32)>) {
    let source = engine::get_on(&address.octets(), socket);
    let source = source.1.expect("a source");
    assert_eq!(text(&source.listener), listener);
    assert_eq!(text(&source.rule), rule_text(rule.map(|(net, _)| net)));
    assert_eq!(source.limit, rule.map_or(7, |(_, limit)| limit));
}

fuzz_target!(init: init(), |bytes: &[u8]| {
    let Some(input) = Input::of(bytes) else {
        return;
    };
    match (input.build(input.lengths, FILE), read(&input, input.lengths)) {
        (Ok(set), Ok(rules)) => {
            compare(&set, &rules, input.lengths, &addresses(&rules, bytes));
        }
        (Err(sentence), Err(origins)) => check_sentence(&sentence, &origins),
        (Ok(_), Err(origins)) => panic!("accepted invalid rules: {origins:?}"),
        (Err(sentence), Ok(_)) => panic!("did not accept valid rules: {sentence}"),
    }

    let (mut file, path) = IN_MEMORY.get().map(|(file, path)| (file, path)).expect("a file");
    file.rewind().expect("to the start");
    file.set_len(0).expect("an empty file");
    file.write_all(input.file).expect("a file");
    let name = path.to_str().expect("ASCII");
    let texts = input.check(path);
    let rules = read(&input, LENGTHS);
    let mut named = rules.iter().flatten().filter_map(naive::Rule::listener_name);
    if !named.all(is_loaded) {
        return;
    }
    match (load(&texts, path), input.build(LENGTHS, name)) {
        ((TCL_OK, _), Ok(_)) => {
            let rules = rules.expect("the library has just accepted them");
            compare_active(&rules, &addresses(&rules, bytes));
        }
        ((TCL_ERULES, sentence), Err(other)) => assert_eq!(sentence, other),
        ((code, sentence), other) => panic!("{code} {sentence}: {other:?}"),
    }
});
