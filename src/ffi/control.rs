// SPDX-License-Identifier: GPL-2.0-or-later
//! The start, the settings, and the watch of the background process.

use core::ffi::{CStr, c_char};
use core::fmt::{self, Write as _};
use core::ptr::null;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{catch_unwind, set_hook};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use once_cell::sync::Lazy;

use super::codes::{
    TCL_EALREADY, TCL_EARG, TCL_EINIT, TCL_EMEM, TCL_EPANIC, TCL_ERULES, TCL_LISTENER_TEXT, TCL_OK,
    TCL_RATE_TEXT, TCL_REASON_TEXT, TCL_SOURCE_TEXT,
};
use super::global::{GLOBAL, Global, guard, report_panic};
use super::line::Line;
use super::load::{self, LoadTextError, NoLoad};
use super::memory::{NullString, bytes, put, strings, text, write_text};
use super::reports::scope_name;
use super::rules::code_of;
use crate::host::{TCL_LOG_NOTICE, TCL_LOG_REJECTED, TCL_LOG_WARN, tcl_event, tcl_host};
use crate::limiter::{CreateError, Limiter, MAX_BAN_SECONDS, RejectedFor};
use crate::observe::notices::{Notice, RateAsText, Why};
use crate::observe::report::{PenaltyReport, Report, RuleName, SourceReport};
use crate::observe::watch::Watch;
use crate::policy::ChangeError;
use crate::policy::limit_text;
use crate::policy::penalties::{Penalty, PenaltyError};
use crate::policy::pressure::Pressure;
use crate::policy::rate_text::{self, BurstError, RateError};
use crate::policy::reserve::Reserve;
use crate::policy::rules::{Origin, RuleError, RuleSet};
use crate::policy::rules_file::{ReadError, RulesFile};
use crate::policy::settings::{BanBounds, Mode, OnFull};
use crate::policy::terms::Rate;
use crate::shared::visible::Excerpt;
use crate::source::{Family, Nat64, Nat64Error, NetworkLengths, PrefixLengths, Source};

/// Connections over the limit are rejected.
pub const TCL_MODE_ENFORCE: i32 = 0;
/// Connections over the limit are admitted, counted and logged.
pub const TCL_MODE_MONITOR: i32 = 1;
/// Nothing is checked.
pub const TCL_MODE_OFF: i32 = 2;

/// A connection that cannot be counted is admitted. It cannot be counted if the table
/// has no slot for its source or, where functions are replaced, its descriptor is not
/// tracked.
pub const TCL_ON_FULL_ADMIT: i32 = 0;
/// A connection that cannot be counted is rejected.
pub const TCL_ON_FULL_REJECT: i32 = 1;

/// Upper bound of `max_connections`.
const MAX_CONNECTIONS: i32 = Limiter::MAX_CONNECTIONS as i32;

/// The configuration for `tcl_init()`.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_config {
    /// Connections that the server allows, 1 to 100,000,000. Determines the size of the
    /// table.
    pub max_connections: i32,
    /// Limit of a source without a rule, in connections; 0 or less: no limit.
    pub limit: i32,
    /// Leading bits of an IPv4 address that identify a source, 1 to 32.
    pub ipv4_prefix: i32,
    /// Leading bits of an IPv6 address that identify a source, 1 to 128.
    pub ipv6_prefix: i32,
    /// `TCL_MODE_ENFORCE`, `TCL_MODE_MONITOR` or `TCL_MODE_OFF`.
    pub mode: i32,
    /// `TCL_ON_FULL_ADMIT` or `TCL_ON_FULL_REJECT`.
    pub on_full: i32,
    /// Prefixes of translators between IPv4 and IPv6, whose addresses have an IPv4 address
    /// in them (RFC 6052): strings like 2001:db8:64::/96, with the length 32, 40, 48, 56,
    /// 64 or 96. Their clients count as IPv4, as those behind 64:ff9b::/96 always do. Null
    /// if there is none.
    pub nat64_prefixes: *const *const c_char,
    /// The number of these strings, at most 16.
    pub nat64_count: u32,
    /// The rate of a source without another one: a string like 10/s, 100/m or 2/h. Null or
    /// "none": no rate.
    pub rate: *const c_char,
    /// Connections that a quiet source may open at once; 0: those of one second, at least 5.
    pub burst: i32,
    /// What offences cost: strings like silent=1, a kind (silent, tls, rejected, rate,
    /// script) and a number of seconds from 0 to 3600 with at most one decimal. The last one
    /// of a kind counts; kinds that are not named cost nothing. Null if there is none.
    pub penalties: *const *const c_char,
    /// The number of these strings.
    pub penalty_count: u32,
    /// A source is banned when its offences add up to this many seconds, 1 to 86400;
    /// 0: 15.
    pub ban_min: i32,
    /// The longest ban by offences, in seconds, from `ban_min` to 2592000; 0: 600.
    pub ban_max: i32,
    /// 1: connections can be trusted, which takes 28 bytes more for each; 0: they cannot, and
    /// the two below must be 0.
    pub trust: i32,
    /// Limit of the untrusted connections of a source without a rule; 0: no limit.
    pub untrusted_limit: i32,
    /// Seconds after which an untrusted connection must be closed, at most 86400; 0: never.
    pub trust_timeout: i32,
    /// The last connections of the host, which only sources of rules with the word trusted
    /// get: a number of connections below `max_connections`, or a share of them such as 5%.
    /// Null or "none": no reserve.
    pub reserve: *const c_char,
    /// The levels of use from which on the limits of sources are lower: a string like
    /// "80:50% 90:10". Null or "none": no levels.
    pub pressure: *const c_char,
    /// 1: the networks of sources are also counted, and the members below apply. 0: they are
    /// not, and rules for networks are errors.
    pub networks: i32,
    /// Limit of a network without a rule, in connections; 0 or less: no limit.
    pub network_limit: i32,
    /// The rate of a network without another one, as `rate`.
    pub network_rate: *const c_char,
    /// The burst of that rate, as `burst`.
    pub network_burst: i32,
    /// Leading bits of an IPv4 address that make a network, 8 to 31 and at most
    /// `ipv4_prefix`; 0: 24.
    pub ipv4_network: i32,
    /// Leading bits of an IPv6 address that make a network, 16 to 64 and at most
    /// `ipv6_prefix`; 0: 48.
    pub ipv6_network: i32,
    /// 1: connections can be moved to the clients of proxies, which takes 8 bytes more for each
    /// descriptor, 24 if networks are counted; 0: they cannot, and rules with the word `proxy` are
    /// errors.
    pub moves: i32,
    /// 1: this host is a node of a cluster, which takes 480 bytes of address space more for
    /// each connection; 0: it is not, and `cluster_limit` must be 0.
    pub cluster: i32,
    /// Limit over all nodes of a source without a rule; 0: no limit.
    pub cluster_limit: i32,
}

/// Upper bound of `trust_timeout`, in seconds.
pub const TCL_MAX_TRUST_TIMEOUT: i32 = 86_400;

impl Default for tcl_config {
    /// All numbers 0 and all pointers null, as in memory that C has cleared.
    fn default() -> tcl_config {
        tcl_config {
            max_connections: 0,
            limit: 0,
            ipv4_prefix: 0,
            ipv6_prefix: 0,
            mode: TCL_MODE_ENFORCE,
            on_full: TCL_ON_FULL_ADMIT,
            nat64_prefixes: null(),
            nat64_count: 0,
            rate: null(),
            burst: 0,
            penalties: null(),
            penalty_count: 0,
            ban_min: 0,
            ban_max: 0,
            trust: 0,
            untrusted_limit: 0,
            trust_timeout: 0,
            reserve: null(),
            pressure: null(),
            networks: 0,
            network_limit: 0,
            network_rate: null(),
            network_burst: 0,
            ipv4_network: 0,
            ipv6_network: 0,
            moves: 0,
            cluster: 0,
            cluster_limit: 0,
        }
    }
}

/// Creates the limiter of this process and of all processes that it forks from now on.
///
/// If this fails, nothing is left behind, and a text that names the value or the reason
/// is written to `error`, truncated to `error_size` bytes including the NUL. The
/// functions in `host` are kept; all other memory behind the pointers can be freed.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EALREADY`, `TCL_EMEM` or `TCL_EPANIC`.
///
/// # Safety
///
/// `config` and `host` are null or valid, with valid strings; the functions in `host` can
/// be called until the process ends; `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_init(
    config: *const tcl_config,
    host: *const tcl_host,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    let created = catch_unwind(|| {
        // SAFETY: null or valid, as the caller promises.
        let (config, host) = unsafe { (config.as_ref(), host.as_ref()) };
        // SAFETY: its strings are valid, as the caller promises.
        init(unsafe { Setup::of(config) }, host)
    });
    match created.unwrap_or(Err(InitError::Panic)) {
        Ok(()) => TCL_OK,
        Err(reason) => {
            // SAFETY: null or `error_size` bytes, as the caller promises.
            unsafe { write_text(error, error_size, &reason.to_string()) };
            reason.code()
        }
    }
}

/// Why the limiter was not created. Its `Display` is the text for the operator.
pub(super) enum InitError {
    NoConfig,
    NoHost,
    NoHostFunction,
    OutOfRange {
        /// The parameter that the operator sets.
        name: &'static str,
        value: i32,
        min: i32,
        max: i32,
    },
    PrefixLengths,
    NullNat64Prefix,
    /// A prefix of a translator is invalid: its text, and why.
    Nat64Prefix(String, Nat64Error),
    Rate(RateError),
    Burst(BurstError),
    /// Something is wrong with the modparam of this name for networks.
    Network(&'static str, Box<InitError>),
    /// A network of this family would be smaller than a source: the number of the family,
    /// and both lengths.
    SmallNetwork(u8, u32, u32),
    NullPenalty,
    Penalty(PenaltyError),
    Load(LoadTextError),
    NoLoad,
    AlreadyCreated,
    Create(CreateError),
    Panic,
}

impl InitError {
    pub(super) fn code(&self) -> i32 {
        match self {
            InitError::NoConfig
            | InitError::NoHost
            | InitError::NoHostFunction
            | InitError::OutOfRange { .. }
            | InitError::PrefixLengths
            | InitError::NullNat64Prefix
            | InitError::Nat64Prefix(..)
            | InitError::Rate(_)
            | InitError::Burst(_)
            | InitError::Network(..)
            | InitError::SmallNetwork(..)
            | InitError::NullPenalty
            | InitError::Penalty(_)
            | InitError::Load(_)
            | InitError::NoLoad => TCL_EARG,
            InitError::AlreadyCreated => TCL_EALREADY,
            InitError::Create(_) => TCL_EMEM,
            InitError::Panic => TCL_EPANIC,
        }
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitError::NoConfig => f.write_str("no configuration"),
            InitError::NoHost => f.write_str("no host functions"),
            InitError::NoHostFunction => {
                f.write_str("log, now or rejected in tcl_host is null; these are required")
            }
            InitError::OutOfRange {
                name,
                value,
                min,
                max,
            } => write!(f, "{name} {value}: must be {min} to {max}"),
            InitError::PrefixLengths => f.write_str("prefixes out of range"),
            InitError::NullNat64Prefix => f.write_str("a string in nat64_prefixes is null"),
            InitError::Nat64Prefix(text, error) => {
                write!(
                    f,
                    "nat64_prefix `{}`: {error}",
                    Excerpt::of(text.as_bytes())
                )
            }
            InitError::Rate(error) => error.fmt(f),
            InitError::Burst(error) => error.fmt(f),
            InitError::Network(name, error) => write!(f, "{name}: {error}"),
            InitError::SmallNetwork(family, network, source) => write!(
                f,
                "ipv{family}_network {network}: must be at most ipv{family}_prefix, which is \
                 {source}, so that a network contains whole sources"
            ),
            InitError::NullPenalty => f.write_str("a string in penalties is null"),
            InitError::Penalty(error) => error.fmt(f),
            InitError::Load(error) => error.fmt(f),
            InitError::NoLoad => NoLoad.fmt(f),
            InitError::AlreadyCreated => f.write_str("this process already has a limiter"),
            InitError::Create(error) => error.fmt(f),
            InitError::Panic => f.write_str("internal error: caught a panic"),
        }
    }
}

/// A number from 1 to `max`.
fn positive(name: &'static str, value: i32, max: i32) -> Result<u32, InitError> {
    ranged(name, value, 1, max)
}

/// A number from `min`, which is not negative, to `max`.
fn ranged(name: &'static str, value: i32, min: i32, max: i32) -> Result<u32, InitError> {
    match u32::try_from(value) {
        Ok(number) if (min..=max).contains(&value) => Ok(number),
        _ => Err(InitError::OutOfRange {
            name,
            value,
            min,
            max,
        }),
    }
}

/// A valid configuration.
pub(super) struct Setup {
    max_connections: u32,
    limit: i32,
    prefixes: PrefixLengths,
    nat64: Nat64,
    mode: Mode,
    on_full: OnFull,
    rate: Rate,
    penalties: Vec<Penalty>,
    ban_bounds: BanBounds,
    /// The limit of untrusted connections and the seconds to trust one.
    trust: Option<(u32, u32)>,
    load: (Reserve, Pressure),
    network_limit: i32,
    network_rate: Rate,
    /// Whether connections can be moved to the clients of proxies.
    moves: bool,
    /// The limit over all nodes, if this is a node of a cluster.
    cluster: Option<u32>,
}

impl Setup {
    /// # Safety
    ///
    /// `config.nat64_prefixes` is null or points to `config.nat64_count` pointers, each
    /// null or a string, and so is `config.penalties`; `config.rate`, `config.network_rate`,
    /// `config.reserve` and `config.pressure` are null or strings.
    pub(super) unsafe fn of(config: Option<&tcl_config>) -> Result<Setup, InitError> {
        let config = config.ok_or(InitError::NoConfig)?;
        let v4 = positive("ipv4_prefix", config.ipv4_prefix, 32)?;
        let v6 = positive("ipv6_prefix", config.ipv6_prefix, 128)?;
        let max_connections = positive(
            "tcp_max_connections",
            config.max_connections,
            MAX_CONNECTIONS,
        )?;
        let unknown = |name, value, max| InitError::OutOfRange {
            name,
            value,
            min: 0,
            max,
        };
        let mode =
            Mode::from_number(config.mode).ok_or(unknown("mode", config.mode, TCL_MODE_OFF))?;
        let on_full = OnFull::from_number(config.on_full).ok_or(unknown(
            "on_full",
            config.on_full,
            TCL_ON_FULL_REJECT,
        ))?;
        let prefixes = PrefixLengths::new(v4, v6).ok_or(InitError::PrefixLengths)?;
        let prefixes = with_networks(prefixes, config)?;
        // SAFETY: as the caller promises.
        let texts = unsafe { strings(config.nat64_prefixes, config.nat64_count) };
        // SAFETY: as the caller promises.
        let penalties = unsafe { strings(config.penalties, config.penalty_count) };
        let penalties = penalties.map_err(|_| InitError::NullPenalty)?;
        let penalties = penalties.iter().map(|text| Penalty::parse(text));
        // SAFETY: as the caller promises.
        let (rate, network_rate) = unsafe { (text(config.rate), text(config.network_rate)) };
        let network_rate = rate_of(network_rate, config.network_burst);
        let network_rate = network_rate.map_err(|error| {
            let name = match error {
                InitError::Rate(_) => "network_rate",
                _ => "network_burst",
            };
            InitError::Network(name, Box::new(error))
        })?;
        // SAFETY: as the caller promises.
        let (reserve, pressure) = unsafe { (text(config.reserve), text(config.pressure)) };
        Ok(Setup {
            max_connections,
            limit: config.limit,
            prefixes,
            nat64: nat64(&texts.map_err(|_| InitError::NullNat64Prefix)?)?,
            mode,
            on_full,
            rate: rate_of(rate, config.burst)?,
            penalties: penalties
                .collect::<Result<_, _>>()
                .map_err(InitError::Penalty)?,
            ban_bounds: ban_bounds(config.ban_min, config.ban_max)?,
            trust: trust(config)?,
            load: load::read(reserve, pressure, max_connections).map_err(InitError::Load)?,
            network_limit: config.network_limit,
            network_rate,
            moves: config.moves != 0,
            cluster: cluster(config)?,
        })
    }
}

/// The limit over all nodes, if this is a node of a cluster.
fn cluster(config: &tcl_config) -> Result<Option<u32>, InitError> {
    let most = if config.cluster == 0 { 0 } else { i32::MAX };
    let limit = ranged("cluster_limit", config.cluster_limit, 0, most)?;
    Ok((config.cluster != 0).then_some(limit))
}

/// The limit of untrusted connections and the seconds to trust one, if any can be trusted.
fn trust(config: &tcl_config) -> Result<Option<(u32, u32)>, InitError> {
    // Without trust neither may be set.
    let most = |max| if config.trust == 0 { 0 } else { max };
    let limit = ranged(
        "untrusted_limit",
        config.untrusted_limit,
        0,
        most(MAX_CONNECTIONS),
    )?;
    let timeout = ranged(
        "trust_timeout",
        config.trust_timeout,
        0,
        most(TCL_MAX_TRUST_TIMEOUT),
    )?;
    Ok((config.trust != 0).then_some((limit, timeout)))
}

/// The prefix lengths of sources, with those of networks if these are counted.
fn with_networks(prefixes: PrefixLengths, config: &tcl_config) -> Result<PrefixLengths, InitError> {
    let default = NetworkLengths::DEFAULT;
    let length = |name, value, family, min, max| match value {
        0 => Ok(default.length(family).into()),
        value => ranged(name, value, min, max),
    };
    let v4 = length("ipv4_network", config.ipv4_network, Family::V4, 8, 31)?;
    let v6 = length("ipv6_network", config.ipv6_network, Family::V6, 16, 64)?;
    if config.networks == 0 {
        return Ok(prefixes);
    }
    for (number, family, network) in [(4, Family::V4, v4), (6, Family::V6, v6)] {
        let source = prefixes.length(family).into();
        if network > source {
            return Err(InitError::SmallNetwork(number, network, source));
        }
    }
    let networks = NetworkLengths::new(v4, v6);
    let prefixes = networks.and_then(|networks| prefixes.with_networks(networks));
    prefixes.ok_or(InitError::PrefixLengths)
}

/// A rate of this interval, and with this burst, 0: the default one. The error is the text
/// for the operator.
pub(super) fn rate_from(interval_us: u32, burst: u32) -> Result<Rate, String> {
    if interval_us != 0 && !(100..=3_600_000_000).contains(&interval_us) {
        return Err("the rate must be 1/h to 10000/s".to_owned());
    }
    let rate = rate_text::rate(interval_us, (burst != 0).then_some(burst));
    rate.map_err(|reason| reason.to_string())
}

/// The rate with this text (`None`: no rate) and this burst.
fn rate_of(text: Option<&CStr>, burst: i32) -> Result<Rate, InitError> {
    let interval = text.map(|text| rate_text::parse(&text.to_string_lossy()));
    let interval = interval.transpose().map_err(InitError::Rate)?;
    let burst = match burst {
        0 => None,
        _ => Some(positive("burst", burst, Rate::MAX_BURST as i32)?),
    };
    rate_text::rate(interval.unwrap_or(0), burst).map_err(InitError::Burst)
}

/// The bounds of bans, from numbers of seconds; 0: the default.
fn ban_bounds(min: i32, max: i32) -> Result<BanBounds, InitError> {
    let default = BanBounds::default();
    let seconds = |name, value, default, min, max| match value {
        0 => Ok(default),
        value => ranged(name, value, min, max).map(|seconds| seconds * 1_000),
    };
    let min = seconds("ban_min", min, default.min, 1, 86_400)?;
    // It fits: it is at most 86,400.
    let least = (min / 1_000) as i32;
    let max_default = default.max.max(min);
    let max = seconds("ban_max", max, max_default, least, MAX_BAN_SECONDS as i32)?;
    Ok(BanBounds { min, max })
}

pub(super) fn nat64(texts: &[Cow<'_, str>]) -> Result<Nat64, InitError> {
    let mut nat64 = Nat64::default();
    for text in texts {
        let invalid = |error| InitError::Nat64Prefix(text.to_string(), error);
        nat64.add(text).map_err(invalid)?;
    }
    Ok(nat64)
}

fn init(setup: Result<Setup, InitError>, host: Option<&tcl_host>) -> Result<(), InitError> {
    let setup = setup?;
    let host = host.ok_or(InitError::NoHost)?;
    let (Some(log), Some(now), Some(rejected)) = (host.log, host.now, host.rejected) else {
        return Err(InitError::NoHostFunction);
    };
    if setup.load != Default::default() && host.load.is_none() {
        return Err(InitError::NoLoad);
    }
    let mut created = false;
    GLOBAL.get_or_try_init(|| {
        let (connections, limit, prefixes) = (setup.max_connections, setup.limit, setup.prefixes);
        let limiter = match (setup.moves, setup.trust) {
            (true, trust) => Limiter::with_moves(connections, limit, prefixes, trust.is_some()),
            (false, Some(_)) => Limiter::with_trust(connections, limit, prefixes),
            (false, None) => Limiter::new(connections, limit, prefixes),
        };
        let limiter = limiter.map_err(InitError::Create)?.with_nat64(setup.nat64);
        if let Some((untrusted_limit, timeout)) = setup.trust {
            // Neither fails, since the limiter was created with trust.
            let _ = limiter.set_untrusted_limit(untrusted_limit);
            let _ = limiter.set_trust_timeout(timeout);
        }
        let limiter = match host.load {
            Some(_) => limiter.with_load(load::of_host),
            None => limiter,
        };
        let limiter = match setup.cluster {
            Some(limit) => {
                let limiter = limiter.with_cluster().map_err(InitError::Create)?;
                limiter.set_cluster_limit(limit);
                limiter
            }
            None => limiter,
        };
        limiter.set_mode(setup.mode);
        limiter.set_on_full(setup.on_full);
        limiter.set_rate(setup.rate);
        for penalty in &setup.penalties {
            limiter.set_penalty(*penalty);
        }
        limiter.set_ban_bounds(setup.ban_bounds);
        limiter.set_reserve(setup.load.0);
        limiter.set_pressure(setup.load.1);
        if setup.prefixes.networks().is_some() {
            limiter.set_network_limit(setup.network_limit);
            limiter.set_network_rate(setup.network_rate);
        }
        created = true;
        let global = Global {
            limiter,
            log,
            now,
            rejected,
            released: host.released,
            banned: host.banned,
            unbanned: host.unbanned,
            timed_out: host.timed_out,
            load: host.load,
            pressure: host.pressure,
        };
        global.limiter.set_clock(global.now());
        Ok(global)
    })?;
    if !created {
        return Err(InitError::AlreadyCreated);
    }
    // A cdylib has its own copy of the standard library, so this hook affects no other
    // Rust code in the process.
    set_hook(Box::new(report_panic));
    Ok(())
}

/// Replaces all rules, except those of `tcl_rule_set()`, at once with the `count` texts and
/// the rules in `file` (null: no file), together at most 65,535. If a text and the file
/// have a rule for the same prefix, the one in the file applies. A text is
/// `PREFIX = LIMIT` with words after it, see `tcl_rule_grammar()`. The file
/// has one rule in each line, `#` begins a comment, and its size is at most 16 MiB. If any rule is invalid, nothing changes, and a text
/// that names its origin, the rule, the reason and the remedy is written to `error`,
/// truncated to `error_size` bytes including the NUL.
///
/// Reads the file and allocates, so the process that accepts connections should not call
/// it.
///
/// Returns `TCL_OK`, `TCL_ERULES`, `TCL_ELOCKED`, `TCL_EMEM`, `TCL_EARG` or
/// `TCL_EINIT`.
///
/// # Safety
///
/// `texts` is null or points to `count` pointers, each null or a string; `file` is
/// null or a string; `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rules_load(
    texts: *const *const c_char,
    count: u32,
    file: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: the texts and the file are null or valid, as the caller promises.
        let (texts, file) = unsafe { (strings(texts, count), text(file)) };
        let texts = texts.map_err(LoadError::Texts);
        match texts.and_then(|texts| load(&global.limiter, &texts, file)) {
            Ok(()) => TCL_OK,
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &reason.to_string()) };
                reason.code()
            }
        }
    })
}

/// Why rules were not loaded. Its `Display` is the text for the operator.
enum LoadError {
    Texts(NullString),
    File(ReadError),
    Rules(RuleError),
    Change(ChangeError),
}

impl LoadError {
    fn code(&self) -> i32 {
        match self {
            LoadError::Texts(_) => TCL_EARG,
            LoadError::File(_) | LoadError::Rules(RuleError::Invalid(_)) => TCL_ERULES,
            LoadError::Rules(RuleError::NoMemory) => TCL_EMEM,
            LoadError::Change(error) => code_of(*error),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Texts(error) => error.fmt(f),
            LoadError::File(error) => error.fmt(f),
            LoadError::Rules(error) => error.fmt(f),
            LoadError::Change(error) => error.fmt(f),
        }
    }
}

fn load(limiter: &Limiter, texts: &[Cow<'_, str>], file: Option<&CStr>) -> Result<(), LoadError> {
    let file = file.map(read_rules_file).transpose();
    let file = file.map_err(LoadError::File)?;
    let rules = build(limiter.prefixes(), *limiter.nat64(), texts, file.as_ref());
    let rules = rules.map_err(LoadError::Rules)?;
    limiter.set_rules(&rules).map_err(LoadError::Change)
}

pub(super) fn read_rules_file(path: &CStr) -> Result<RulesFile, ReadError> {
    RulesFile::read(Path::new(OsStr::from_bytes(path.to_bytes())))
}

pub(super) fn build(
    lengths: PrefixLengths,
    nat64: Nat64,
    texts: &[Cow<'_, str>],
    file: Option<&RulesFile>,
) -> Result<RuleSet, RuleError> {
    let mut rules = RuleSet::builder(lengths).with_nat64(nat64);
    for (number, text) in (1..).zip(texts) {
        rules.add(Origin::Modparam(number), text)?;
    }
    if let Some(file) = file {
        rules.add_file(&file.name, &file.content)?;
    }
    rules.build()
}

/// Changes the limit of the sources without a rule; 0 or less: no limit. No connection
/// is closed: a source over a lowered limit keeps its connections but cannot open
/// another until it drops below it.
///
/// Returns `TCL_OK` or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_limit(limit: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        global.limiter.set_limit(limit);
        TCL_OK
    })
}

/// Changes the mode to `TCL_MODE_ENFORCE`, `TCL_MODE_MONITOR` or `TCL_MODE_OFF`.
///
/// Returns `TCL_OK`, `TCL_EARG` for any other number, or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_mode(mode: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        let Some(mode) = Mode::from_number(mode) else {
            return TCL_EARG;
        };
        global.limiter.set_mode(mode);
        TCL_OK
    })
}

/// Reads a limit that an operator sets while the server runs: a number from 1 to
/// 100,000,000, or `none` or `unlimited`, which is written to `limit` as 0. The number 0 is
/// refused, because it may be what is left of a text or of a larger number.
///
/// Returns `TCL_OK`, or `TCL_EARG`: the text is not a limit, and a text with the reason and
/// the remedy is written to `error`, truncated to `error_size` bytes including the NUL; or
/// `limit` is null, and nothing is written to `error`. Returns `TCL_EINIT` before
/// `tcl_init()`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `limit` is null or valid for writing;
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_limit_parse(
    name: *const u8,
    length: u32,
    limit: *mut i32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |_| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        match limit_text::parse(name) {
            // SAFETY: null or valid for writing, as the caller promises.
            Ok(value) => unsafe { put(limit, value) },
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &reason.to_string()) };
                TCL_EARG
            }
        }
    })
}

/// Writes the current limit of the sources without a rule to `limit`, and the current
/// mode to `mode`.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `limit` and `mode` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_settings(limit: *mut i32, mode: *mut i32) -> i32 {
    guard(TCL_EINIT, |global| {
        if limit.is_null() || mode.is_null() {
            return TCL_EARG;
        }
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe {
            put(limit, global.limiter.limit());
            put(mode, global.limiter.mode() as i32)
        }
    })
}

/// Resets all statistics: the totals and the rejections of sources and rules to 0, and
/// each peak to the current count of its source. Counts of connections do not change.
///
/// Returns `TCL_OK` or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_reset_stats() -> i32 {
    guard(TCL_EINIT, |global| {
        global.limiter.reset_stats();
        TCL_OK
    })
}

/// What the background process has reported so far. Only one process uses it; the lock
/// protects against a host that calls `tcl_watch()` from several threads.
static WATCH: Lazy<Mutex<Watch>> = Lazy::new(Mutex::default);

pub(super) fn watch() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connections that the host must close, as the last tick of this process found.
pub(super) fn to_close() -> u32 {
    watch().to_close()
}

/// Removes the rules that ended, samples the sources, and reports the rejections since the
/// last call to the host: the first one of each source in `log_interval` seconds in its own
/// log line and through `rejected()`, all others in one log line at the end of the
/// interval. At most 100 sources have a line in an interval: 80 at once, and at its end
/// those with the most rejections. A source that had one has another line, and is reported
/// through `released()`, when it is back under its limit or its rate. Bans that begin and end
/// have a line each, unless a command has logged it, and are reported through `banned()` and
/// `unbanned()`, at most 100 of each in an interval. What sources have paid off is forgotten.
/// Connections that were not trusted in time have a line for each source and are reported
/// through `timed_out()`, at most 100 in an interval; the host then closes them, see
/// `tcl_expired()`. If the kernel shield is active, its list in the kernel is brought up to
/// date.
///
/// Must be called once a second, always from the same process, which must not accept
/// connections.
///
/// Returns `TCL_OK`, `TCL_EARG` if `log_interval` is 0, or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_watch(log_interval: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if log_interval == 0 {
            return TCL_EARG;
        }
        // A panic in a function of the host at worst leaves some notices unreported.
        let mut watch = watch();
        let now = global.now();
        watch.tick(&global.limiter, now, log_interval, &mut |notice| {
            global.report_notice(&notice);
        });
        super::shield::update(global, &watch, now, log_interval);
        TCL_OK
    })
}

impl Global {
    fn report_notice(&self, notice: &Notice) {
        if !matches!(
            notice,
            Notice::Unbanned {
                is_logged: true,
                ..
            }
        ) {
            self.log_notice(notice);
        }
        if let Some(event) = Event::of(self, notice) {
            event.send(self);
        }
    }

    fn log_notice(&self, notice: &Notice) {
        let first_untracked = self.limiter.first_untracked();
        let mut line = Line::default();
        // A line that is too long is truncated.
        let text = notice.line(self.limiter.prefixes(), first_untracked);
        let _ = write!(line, "{text}");
        let level = match notice {
            Notice::First { .. }
            | Notice::Summary(_)
            | Notice::Released { .. }
            | Notice::Banned { .. }
            | Notice::Unbanned { .. }
            | Notice::TrustedEnough { .. }
            | Notice::FewerInCluster { .. }
            | Notice::TimedOut(_)
            | Notice::MoreTimedOut(_)
            | Notice::MoreBanned { .. }
            | Notice::Flood { .. } => TCL_LOG_REJECTED,
            Notice::RuleEnded(_) => TCL_LOG_NOTICE,
            Notice::Full { .. } | Notice::Untracked { .. } | Notice::NeverTrusted(_) => {
                TCL_LOG_WARN
            }
            Notice::Load(notice) => load::severity(notice),
        };
        self.log(level, &line);
        if let Notice::Load(notice) = notice {
            self.report_pressure(notice);
        }
    }
}

/// What a function of the host gets to know.
struct Event {
    call: unsafe extern "C" fn(*const tcl_event),
    source: Source,
    connections: u32,
    /// Its rejections, including those of monitor mode.
    rejected: u32,
    would: bool,
    reason: RejectedFor,
    ban: Option<PenaltyReport>,
    /// Seconds left of the ban, or those in which it should have been trusted.
    seconds: u32,
}

impl Event {
    /// `None` if no function gets to know of the notice.
    fn of(global: &Global, notice: &Notice) -> Option<Event> {
        let all = |report: &SourceReport| report.rejected.saturating_add(report.would_reject);
        Some(match notice {
            Notice::First {
                report, why, would, ..
            } => {
                let (reason, ban) = match why {
                    Why::Limit => (RejectedFor::Limit, None),
                    Why::Rate(_) => (RejectedFor::Rate, None),
                    Why::Ban(ban) => (RejectedFor::Ban, *ban),
                    Why::Untrusted(_) => (RejectedFor::Untrusted, None),
                    Why::Reserve => (RejectedFor::Reserve, None),
                    Why::Pressure => (RejectedFor::Pressure, None),
                    Why::Cluster(_) => (RejectedFor::Cluster, None),
                };
                Event {
                    call: global.rejected,
                    source: report.source,
                    connections: report.rejected_at,
                    rejected: all(report),
                    would: *would,
                    reason,
                    ban,
                    seconds: ban.map_or(0, |ban| ban.seconds_left()),
                }
            }
            Notice::Released {
                report,
                rate,
                would,
                ..
            } => Event {
                call: global.released?,
                source: report.source,
                connections: report.connections,
                rejected: all(report),
                would: *would,
                reason: match rate {
                    Some(_) => RejectedFor::Rate,
                    None => RejectedFor::Limit,
                },
                ban: None,
                seconds: 0,
            },
            Notice::TrustedEnough { report, would, .. } => Event {
                call: global.released?,
                source: report.source,
                connections: report.connections,
                rejected: all(report),
                would: *would,
                reason: RejectedFor::Untrusted,
                ban: None,
                seconds: 0,
            },
            Notice::FewerInCluster { report, would, .. } => Event {
                call: global.released?,
                source: report.source,
                connections: report.connections,
                rejected: all(report),
                would: *would,
                reason: RejectedFor::Cluster,
                ban: None,
                seconds: 0,
            },
            Notice::Banned { report, ban, would } => Event {
                call: global.banned?,
                source: report.source,
                connections: report.connections,
                rejected: all(report),
                would: *would,
                reason: RejectedFor::Ban,
                ban: Some(*ban),
                seconds: ban.seconds_left(),
            },
            Notice::TimedOut(timed_out) => Event {
                call: global.timed_out?,
                source: timed_out.source,
                connections: timed_out.connections,
                rejected: 0,
                would: timed_out.would,
                reason: RejectedFor::Untrusted,
                ban: None,
                seconds: timed_out.timeout,
            },
            Notice::Unbanned {
                report, ban, would, ..
            } => Event {
                call: global.unbanned?,
                source: report.source,
                connections: report.connections,
                rejected: ban.rejected,
                would: *would,
                reason: RejectedFor::Ban,
                ban: Some(*ban),
                seconds: 0,
            },
            Notice::Summary(_)
            | Notice::MoreBanned { .. }
            | Notice::MoreTimedOut(_)
            | Notice::NeverTrusted(_)
            | Notice::Flood { .. }
            | Notice::RuleEnded(_)
            | Notice::Load(_)
            | Notice::Full { .. }
            | Notice::Untracked { .. } => return None,
        })
    }

    fn send(&self, global: &Global) {
        let limiter = &global.limiter;
        let report = Report::of(limiter);
        let key = self.source;
        let (rule, limit) = report.rule_of(key);
        let limit = match self.reason {
            RejectedFor::Pressure => report.effective(key),
            RejectedFor::Cluster => report.sum_of(key).limit.cast_signed(),
            _ => limit,
        };
        let source: [c_char; TCL_SOURCE_TEXT] = global.address_text(key);
        let rule: [c_char; TCL_SOURCE_TEXT] = global.text(RuleName(rule));
        let rate: [c_char; TCL_RATE_TEXT] = global.text(RateAsText(report.rate_of(key)));
        let reason: [c_char; TCL_REASON_TEXT] = global.text(self.reason.name());
        let ban: [c_char; TCL_REASON_TEXT] =
            global.text(self.ban.map_or("", |ban| ban.cause.name()));
        let listener = limiter.listener_of(key).map(|name| name.to_string());
        let listener: [c_char; TCL_LISTENER_TEXT] = global.text(listener.unwrap_or_default());
        let event = tcl_event {
            source: source.as_ptr(),
            rule: rule.as_ptr(),
            connections: self.connections,
            limit: limit.max(0),
            rejected: self.rejected,
            would: self.would.into(),
            reason: reason.as_ptr(),
            ban: ban.as_ptr(),
            rate: rate.as_ptr(),
            seconds: self.seconds,
            listener: listener.as_ptr(),
            scope: scope_name(key).as_ptr(),
        };
        // SAFETY: callable until the process ends, as the caller of `tcl_init` promised;
        // the event and its texts live until it returns.
        unsafe { (self.call)(&event) };
    }
}
