// SPDX-License-Identifier: GPL-2.0-or-later
//! The rate, offences and bans.

use core::ffi::{CStr, c_char};
use core::fmt::{self, Write as _};
use std::cmp::Reverse;

use super::codes::{
    TCL_EARG, TCL_EEXEMPT, TCL_EINIT, TCL_EMEM, TCL_ERULES, TCL_ESLOT, TCL_NODE_TEXT, TCL_OK,
    TCL_RATE_TEXT, TCL_REASON_TEXT, TCL_SOURCE_TEXT,
};
use super::global::{Global, guard, worker};
use super::init::rate_from;
use super::line::Line;
use super::memory::{bytes, put, text, write_text};
use super::reports::{TCL_HISTOGRAM_TEXT, histogram_text};
use crate::host::TCL_LOG_NOTICE;
use crate::limiter::{BanError, MAX_BAN_SECONDS};
use crate::observe::debts::RateSuggestion;
use crate::observe::notices::{BanLifted, BanSetByCommand};
use crate::observe::report::{PenaltyReport, Report};
use crate::policy::ChangeError;
use crate::policy::origin::BanReason;
use crate::policy::penalties::Cause;
use crate::policy::rate_text::{self, RateName};
use crate::policy::terms::Rate;
use crate::shared::visible::Excerpt;
use crate::source::{Named, Prefix, PrefixError, Source};

/// A rate.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_rate {
    /// Such as "10/s", or "none".
    pub text: [c_char; TCL_RATE_TEXT],
    /// Microseconds for each connection; 0: no rate.
    pub interval_us: u32,
    /// Connections that a quiet source may open at once; 0 without a rate.
    pub burst: u32,
}

/// A ban.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_ban {
    /// The banned source or prefix.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// Why: "silent", "tls", "rejected", "rate", "script", "rpc" or "cluster".
    pub reason: [c_char; TCL_REASON_TEXT],
    /// The node of the cluster that set it, if that is the reason; else empty.
    pub node: [c_char; TCL_NODE_TEXT],
    /// Seconds until it ends, rounded up.
    pub seconds: u32,
    /// Connections rejected because of the ban since it began; in monitor mode those that
    /// would have been.
    pub rejected: u64,
    /// Connection attempts (SYN packets) that the kernel shield dropped because of the ban.
    pub dropped: u64,
}

/// Reads a rate that an operator sets while the server runs: a text like 10/s, 100/m or
/// 2/h, from 1/h to 10000/s, or `none`. Writes its interval to `interval_us`; 0: no rate.
///
/// Returns `TCL_OK`, or `TCL_EARG`: the text is not a rate, and a text with the reason and
/// the remedy is written to `error`, truncated to `error_size` bytes including the NUL; or
/// `interval_us` is null, and nothing is written to `error`. Returns `TCL_EINIT` before
/// `tcl_init()`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `interval_us` is null or valid for writing;
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rate_parse(
    name: *const u8,
    length: u32,
    interval_us: *mut u32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |_| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        match rate_text::parse(&String::from_utf8_lossy(name)) {
            // SAFETY: null or valid for writing, as the caller promises.
            Ok(interval) => unsafe { put(interval_us, interval) },
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &reason.to_string()) };
                TCL_EARG
            }
        }
    })
}

/// Changes the rate of the sources without another one: microseconds for each connection
/// (0: no rate), and connections that a quiet source may open at once (0: those of one
/// second, at least 5). What a source owes at this moment does not change.
///
/// Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EARG` if the rate is below 1/h or above 10000/s,
/// or if the burst is above a million or takes more than three days to be available again. Then
/// nothing changes, and a text with the reason is written to `error`, truncated to
/// `error_size` bytes including the NUL.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_set_rate(
    interval_us: u32,
    burst: u32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        let rate = rate_from(interval_us, burst);
        let set = |rate| global.limiter.set_rate(rate);
        // SAFETY: null or `error_size` bytes, as the caller promises.
        unsafe { set_valid(rate, set, error, error_size) }
    })
}

/// Passes a valid rate to `set`, and writes what is wrong with an invalid one to `error`.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
pub(super) unsafe fn set_valid(
    rate: Result<Rate, String>,
    set: impl FnOnce(Rate),
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    match rate {
        Ok(rate) => {
            set(rate);
            TCL_OK
        }
        Err(reason) => {
            // SAFETY: null or `error_size` bytes, as the caller promises.
            unsafe { write_text(error, error_size, &reason) };
            TCL_EARG
        }
    }
}

/// Writes the current rate of the sources without another one.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `rate` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rate(rate: *mut tcl_rate) -> i32 {
    guard(TCL_EINIT, |global| {
        let value = global.rate(global.limiter.rate());
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe { put(rate, value) }
    })
}

/// A rate and a burst that would fit the sources without a rate of their own.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_rate_suggestion {
    /// The rate that they have.
    pub current: tcl_rate,
    /// Sources of which `tcl_watch()` sampled a debt since the rate was last changed.
    pub sources: u64,
    /// How many sources used how many connections of the burst, such as "1: 120, 2: 30,
    /// 3-4: 7"; empty if there are no sources.
    pub owed: [c_char; TCL_HISTOGRAM_TEXT],
    /// 99 if there are 100 sources or more, 90 if there are 10 or more, else 50.
    pub percentile: u32,
    /// This percentage of the sources used no more connections of the burst; 0 without
    /// sources.
    pub usual: u32,
    /// One and a half times `usual` at the current rate, but at least 5. If `usual` is the
    /// whole burst: twice the rate and the burst. Without sources the current rate.
    pub proposed: tcl_rate,
}

/// Proposes a rate and a burst from the largest debts that `tcl_watch()` sampled. It needs a
/// rate; with the mode monitor it rejects no connection.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `suggestion` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_suggest_rate(suggestion: *mut tcl_rate_suggestion) -> i32 {
    guard(TCL_EINIT, |global| {
        let value = global.rate_suggestion(&RateSuggestion::of(&global.limiter));
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe { put(suggestion, value) }
    })
}

impl Global {
    pub(super) fn rate_suggestion(&self, found: &RateSuggestion) -> tcl_rate_suggestion {
        tcl_rate_suggestion {
            current: self.rate(found.current),
            sources: found.sources,
            owed: histogram_text(found.histogram.by_peak()),
            percentile: found.percentile,
            usual: found.usual,
            proposed: self.rate(found.proposed),
        }
    }
}

/// Bans `who`, an address, the source of one, or a prefix, for `seconds`, a number from 1 to
/// 2592000 (30 days). Its open connections stay; new ones are rejected, except those of
/// sources whose rule exempts them. The ban replaces one of the same source or prefix. A
/// reload keeps it. One log line says so, with `reason`, any text (null: none), and `by`,
/// who made it (null: a command). Writes the ban to `ban`, and to `was` the seconds that the
/// ban which it replaces had left; 0 if there was none.
///
/// If it fails, nothing changes, and a text with the value, the reason and the remedy is
/// written to `error`, truncated to `error_size` bytes including the NUL.
///
/// Allocates, so the process that accepts connections should not call it.
///
/// Returns `TCL_OK`, `TCL_EARG` (an argument is missing or invalid), `TCL_EEXEMPT`,
/// `TCL_ESLOT`, `TCL_ERULES` (too many banned prefixes), `TCL_ELOCKED`, `TCL_EMEM` or
/// `TCL_EINIT`.
///
/// # Safety
///
/// `who`, `seconds`, `reason` and `by` are null or strings; `ban` and `was` are null or valid
/// for writing; `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_ban(
    who: *const c_char,
    seconds: *const c_char,
    reason: *const c_char,
    by: *const c_char,
    ban: *mut tcl_ban,
    was: *mut u32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or strings, as the caller promises.
        let texts = [who, seconds, reason, by].map(|one| unsafe { text(one) });
        match global.ban(texts) {
            Ok((done, before)) => {
                // SAFETY: null or valid, as the caller promises. A null pointer is allowed
                // here.
                let _ = unsafe { (put(ban, done), put(was, before)) };
                TCL_OK
            }
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &reason.to_string()) };
                reason.code()
            }
        }
    })
}

/// Lifts the ban of `who`, an address, the source of one, a prefix or "all", and forgives
/// offences. With a prefix also those of all sources in it. Writes the number of sources and
/// prefixes to `lifted`. One log line says so, in which `by` says who did it (null: a
/// command).
///
/// If it fails, nothing changes, and `error` is written as by `tcl_ban()`.
///
/// Walks through the table, and allocates, so the process that accepts connections should
/// not call it.
///
/// Returns `TCL_OK`, `TCL_EARG` (the argument is missing or invalid), `TCL_ERULES` (there is
/// nothing to lift), `TCL_ELOCKED`, `TCL_EMEM` or `TCL_EINIT`.
///
/// # Safety
///
/// `who` and `by` are null or strings; `lifted` is null or valid for writing; `error` is
/// null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_unban(
    who: *const c_char,
    by: *const c_char,
    lifted: *mut u32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or strings, as the caller promises.
        let texts = [who, by].map(|one| unsafe { text(one) });
        match global.unban(texts) {
            Ok(done) => {
                // SAFETY: null or valid, as the caller promises. A null pointer is allowed
                // here.
                let _ = unsafe { put(lifted, done) };
                TCL_OK
            }
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &reason.to_string()) };
                reason.code()
            }
        }
    })
}

/// Writes the bans that last longest, at most `room`, longest first, and their number in all
/// to `total`.
///
/// Walks through the table, and allocates, so the process that accepts connections should
/// not call it.
///
/// Returns the number of bans written, or `TCL_EARG` (`bans` is null), `TCL_EINIT` or
/// `TCL_EMEM`.
///
/// # Safety
///
/// `bans` is null or has room for `room` of them; `total` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_bans(bans: *mut tcl_ban, room: u32, total: *mut u64) -> i32 {
    guard(TCL_EINIT, |global| {
        if bans.is_null() {
            return TCL_EARG;
        }
        let Some((list, found)) = global.bans(room as usize) else {
            return TCL_EMEM;
        };
        // SAFETY: null or valid, as the caller promises. A null pointer is allowed here.
        let _ = unsafe { put(total, found) };
        for (at, ban) in list.iter().enumerate() {
            // SAFETY: there are at most `room`, and there is room for `room` of them, as the
            // caller promises.
            unsafe { bans.add(at).write(*ban) };
        }
        i32::try_from(list.len()).unwrap_or(i32::MAX)
    })
}

/// Bans the source of an address (network byte order, 4 or 16 bytes) for `seconds`, at most
/// 2592000, with the reason "script". A ban that ends later is kept. `tcl_watch()` logs it.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EEXEMPT`, `TCL_ESLOT` or `TCL_EINIT`.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_ban_address(address: *const u8, length: u32, seconds: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let source = global.limiter.source(unsafe { bytes(address, length) });
        let Some(source) = source.filter(|_| (1..=MAX_BAN_SECONDS).contains(&seconds)) else {
            return TCL_EARG;
        };
        let banned = global.limiter.ban(worker(), source, seconds, Cause::Script);
        banned.map_or_else(code_of, |()| TCL_OK)
    })
}

/// Lifts the ban of the source of an address, and forgives its offences. The ban of a
/// prefix stays.
///
/// Returns 1, 0 if there was nothing to lift, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_unban_address(address: *const u8, length: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        match global.limiter.source(unsafe { bytes(address, length) }) {
            Some(source) => global.limiter.unban(source, Cause::Script).into(),
            None => TCL_EARG,
        }
    })
}

/// Charges an offence of the kind "script" to the source of an address.
///
/// Returns 1 if the source is banned now, 0 if it is not, `TCL_EARG`, `TCL_EEXEMPT`,
/// `TCL_ESLOT` or `TCL_EINIT`.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_offence(address: *const u8, length: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let Some(source) = global.limiter.source(unsafe { bytes(address, length) }) else {
            return TCL_EARG;
        };
        let banned = global.limiter.offence(worker(), source);
        banned.map_or_else(code_of, i32::from)
    })
}

/// The seconds until the ban of an address ends, rounded up; 0 if it is not banned. Includes
/// bans of prefixes.
///
/// Returns `TCL_EARG` or `TCL_EINIT` if it fails.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_banned(address: *const u8, length: u32) -> i64 {
    guard(TCL_EINIT.into(), |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let address = unsafe { bytes(address, length) };
        match global.limiter.source(address) {
            Some(source) => global.seconds_banned(source, address).into(),
            None => TCL_EARG.into(),
        }
    })
}

fn code_of(error: BanError) -> i32 {
    match error {
        BanError::Exempt => TCL_EEXEMPT,
        BanError::NoSlot => TCL_ESLOT,
    }
}

/// Whom a command means.
#[derive(Clone, Copy)]
enum Whom {
    Source(Source),
    Prefix(Prefix),
}

/// Why a command did nothing. Its `Display` is the text for the operator.
enum CommandError {
    NoName,
    /// The text names neither a source nor a prefix.
    Name(Excerpt, PrefixError),
    NoSeconds,
    Seconds(Excerpt),
    Ban(BanError),
    /// The ban of a prefix was neither set nor lifted.
    Change(ChangeError),
    Nothing,
    NothingFor(Excerpt),
}

impl CommandError {
    fn code(&self) -> i32 {
        match self {
            CommandError::NoName
            | CommandError::Name(..)
            | CommandError::NoSeconds
            | CommandError::Seconds(_) => TCL_EARG,
            CommandError::Ban(error) => code_of(*error),
            CommandError::Change(ChangeError::Exempt(..)) => TCL_EEXEMPT,
            CommandError::Change(error) => super::rules::code_of(*error),
            CommandError::Nothing | CommandError::NothingFor(_) => TCL_ERULES,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::NoName => {
                f.write_str("missing address or prefix: expected one such as 192.0.2.1")
            }
            CommandError::Name(text, error) => {
                write!(f, "invalid address or prefix `{text}`: {error}")
            }
            CommandError::NoSeconds => write!(
                f,
                "missing seconds: expected a number from 1 to {MAX_BAN_SECONDS}"
            ),
            CommandError::Seconds(text) => write!(
                f,
                "invalid seconds `{text}`: expected a number from 1 to {MAX_BAN_SECONDS}"
            ),
            CommandError::Ban(error) => error.fmt(f),
            CommandError::Change(error) => error.fmt(f),
            CommandError::Nothing => f.write_str("nothing is banned"),
            CommandError::NothingFor(text) => write!(
                f,
                "nothing is banned in `{text}`; tcp_conn_limit.bans lists the bans"
            ),
        }
    }
}

/// Who gave a command without a name.
const BY_COMMAND: &str = "a command";

impl Global {
    pub(super) fn rate(&self, rate: Rate) -> tcl_rate {
        tcl_rate {
            text: self.text(RateName(rate.interval_us)),
            interval_us: rate.interval_us,
            burst: if rate.is_none() { 0 } else { rate.burst },
        }
    }

    /// Seconds until the ban of `address` ends, whose source is `source`; 0: it is not
    /// banned.
    fn seconds_banned(&self, source: Source, address: &[u8]) -> u32 {
        let (report, host) = (Report::of(&self.limiter), self.limiter.host(address));
        let ban = report.ban_in_effect(source, host, self.now());
        ban.map_or(0, |ban| ban.seconds_left())
    }

    /// The source or the prefix with this name.
    fn whom(&self, name: &str) -> Result<Whom, CommandError> {
        let prefixes = self.limiter.prefixes();
        let named = self.limiter.read_source(name).ok();
        let prefix = match named {
            Some(Named {
                host: Some(host), ..
            }) => Prefix::from(host),
            // A network, also one that is a part of a source.
            _ => {
                let parsed = Prefix::parse_any(name);
                let nat64 = self.limiter.nat64();
                let checked = parsed.and_then(|prefix| nat64.check(prefix).map(|()| prefix));
                checked.map_err(|error| CommandError::Name(Excerpt::of(name.as_bytes()), error))?
            }
        };
        Ok(match named {
            Some(Named { source, .. }) if source.prefix(prefixes) == prefix => Whom::Source(source),
            _ => Whom::Prefix(prefix),
        })
    }

    /// The present ban of exactly this source or prefix.
    fn present_ban(&self, whom: Whom) -> Option<PenaltyReport> {
        let report = Report::of(&self.limiter);
        match whom {
            Whom::Source(source) => report.get(source).ban(),
            Whom::Prefix(prefix) => {
                let ban = self.limiter.rulebook().ban_of(prefix);
                let ban = ban.filter(|ban| ban.prefix == prefix)?;
                PenaltyReport::of_prefix(&ban, self.now())
            }
        }
    }

    /// The texts are the source or the prefix, the seconds, the reason, and who gave the
    /// command. Returns the ban, and the seconds that the one before had left.
    fn ban(&self, texts: [Option<&CStr>; 4]) -> Result<(tcl_ban, u32), CommandError> {
        let [who, seconds, reason, by] = texts.map(|text| text.map(CStr::to_string_lossy));
        let who = who.ok_or(CommandError::NoName)?;
        let who = who.trim_ascii();
        let whom = self.whom(who)?;
        let seconds = seconds.ok_or(CommandError::NoSeconds)?;
        let seconds = parse_seconds(seconds.trim_ascii())?;
        let before = self.present_ban(whom);
        match whom {
            Whom::Source(source) => self
                .limiter
                .ban(worker(), source, seconds, Cause::Rpc)
                .map_err(CommandError::Ban)?,
            Whom::Prefix(prefix) => {
                let end = self.now().wrapping_add(seconds);
                let banned = self.limiter.ban_prefix(prefix, end, BanReason::Rpc);
                banned.map(|_| ()).map_err(CommandError::Change)?;
            }
        }
        let who = self.name(whom);
        self.log_ban(BanSetByCommand {
            who: &who,
            seconds,
            was: before,
            reason: reason.as_deref().filter(|reason| !reason.is_empty()),
            by: by.as_deref().unwrap_or(BY_COMMAND),
        });
        let ban = tcl_ban {
            text: self.text(&who),
            reason: self.text(Cause::Rpc),
            node: self.text(""),
            seconds,
            // A ban that replaces another one goes on counting.
            rejected: before.map_or(0, |before| before.rejected.into()),
            dropped: 0,
        };
        Ok((ban, before.map_or(0, |before| before.seconds_left())))
    }

    /// The texts are the source, the prefix or "all", and who gave the command.
    fn unban(&self, texts: [Option<&CStr>; 2]) -> Result<u32, CommandError> {
        let [who, by] = texts.map(|text| text.map(CStr::to_string_lossy));
        let who = who.ok_or(CommandError::NoName)?;
        let who = who.trim_ascii();
        let prefixes = self.limiter.prefixes();
        let (lifted, name) = match who {
            "all" => {
                let prefixes = self.limiter.unban_prefixes();
                let prefixes = prefixes.map_err(CommandError::Change)?.len() as u32;
                (
                    self.limiter.unban_sources(Cause::Rpc, |_| true) + prefixes,
                    None,
                )
            }
            _ => {
                let whom = self.whom(who)?;
                let lifted = match whom {
                    Whom::Source(source) => self.limiter.unban(source, Cause::Rpc).into(),
                    Whom::Prefix(prefix) => {
                        let of_prefix = match self.limiter.unban_prefix(prefix) {
                            Ok(_) => 1,
                            // There may still be bans of sources in it.
                            Err(ChangeError::NotBanned(_)) => 0,
                            Err(error) => return Err(CommandError::Change(error)),
                        };
                        let is_inside = |source: Source| prefix.contains(source.prefix(prefixes));
                        of_prefix + self.limiter.unban_sources(Cause::Rpc, is_inside)
                    }
                };
                (lifted, Some(self.name(whom)))
            }
        };
        if lifted == 0 {
            return Err(match who {
                "all" => CommandError::Nothing,
                _ => CommandError::NothingFor(Excerpt::of(who.as_bytes())),
            });
        }
        self.log_ban(BanLifted {
            who: name.as_deref(),
            lifted,
            by: by.as_deref().unwrap_or(BY_COMMAND),
        });
        Ok(lifted)
    }

    fn name(&self, whom: Whom) -> String {
        match whom {
            Whom::Source(source) => source.display(self.limiter.prefixes()).to_string(),
            Whom::Prefix(prefix) => prefix.to_string(),
        }
    }

    /// The bans that last longest, and the number of all; `None`: no memory.
    fn bans(&self, room: usize) -> Option<(Vec<tcl_ban>, u64)> {
        let report = Report::of(&self.limiter);
        let (sources, found) = report.bans(room).ok()?;
        let prefixes = report.banned_prefixes().ok()?;
        let found = found + prefixes.len() as u64;
        let mut bans: Vec<tcl_ban> = Vec::new();
        bans.try_reserve_exact(sources.len() + prefixes.len())
            .ok()?;
        bans.extend(sources.iter().filter_map(|report| {
            let source = report.source.prefix(self.limiter.prefixes());
            Some(self.ban_of(source, true, report.ban()?))
        }));
        bans.extend(prefixes.iter().filter_map(|rule| {
            let ban = PenaltyReport::of_prefix(rule, self.now())?;
            Some(self.ban_of(rule.prefix, false, ban))
        }));
        // Stable: sources before prefixes, and those in their order.
        bans.sort_by_key(|ban| Reverse(ban.seconds));
        bans.truncate(room);
        Some((bans, found))
    }

    fn ban_of(&self, who: Prefix, is_source: bool, ban: PenaltyReport) -> tcl_ban {
        tcl_ban {
            text: self.text(who),
            dropped: super::shield::dropped(who, is_source),
            reason: self.text(ban.cause),
            node: self.text(self.node_of(ban)),
            seconds: ban.seconds_left(),
            rejected: ban.rejected.into(),
        }
    }

    /// The name of the node that set a ban; empty: this one did.
    fn node_of(&self, ban: PenaltyReport) -> String {
        let board = self.limiter.cluster_board();
        let name = board.filter(|_| ban.cause == Cause::Cluster);
        let name = name.and_then(|board| board.name_of(ban.node));
        name.unwrap_or_default()
    }

    fn log_ban(&self, change: impl fmt::Display) {
        let mut line = Line::default();
        // A line that is too long is truncated.
        let _ = write!(line, "{change}");
        self.log(TCL_LOG_NOTICE, &line);
    }
}

/// Only digits: `parse` also accepts a plus sign.
fn parse_seconds(text: &str) -> Result<u32, CommandError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_number.then(|| text.parse().ok()).flatten();
    seconds
        .filter(|seconds| (1..=MAX_BAN_SECONDS).contains(seconds))
        .ok_or_else(|| CommandError::Seconds(Excerpt::of(text.as_bytes())))
}
