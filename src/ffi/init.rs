// SPDX-License-Identifier: GPL-2.0-or-later
//! The start: checks of the configuration, and the limiter that it creates.

use core::ffi::{CStr, c_char};
use core::fmt;
use std::borrow::Cow;
use std::panic::{catch_unwind, set_hook};

use super::codes::{TCL_EALREADY, TCL_EARG, TCL_EMEM, TCL_EPANIC, TCL_OK};
use super::config::{
    MAX_CONNECTIONS, TCL_MAX_TRUST_TIMEOUT, TCL_MODE_OFF, TCL_ON_FULL_REJECT, tcl_config,
};
use super::global::{GLOBAL, Global, report_panic};
use super::load::{self, LoadTextError, NoLoad};
use super::memory::{strings, text, write_text};
use crate::host::tcl_host;
use crate::limiter::{CreateError, Limiter, MAX_BAN_SECONDS};
use crate::policy::penalties::{Penalty, PenaltyError};
use crate::policy::pressure::Pressure;
use crate::policy::rate_text::{self, BurstError, RateError};
use crate::policy::reserve::Reserve;
use crate::policy::settings::{BanBounds, Mode, OnFull};
use crate::policy::terms::Rate;
use crate::shared::visible::Excerpt;
use crate::source::{Family, Nat64, Nat64Error, NetworkLengths, PrefixLengths};

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
