// SPDX-License-Identifier: GPL-2.0-or-later
//! Rules that are set and removed while the server runs.

use core::ffi::{CStr, c_char};
use core::fmt::{self, Write as _};
use std::borrow::Cow;

use super::codes::{
    TCL_EARG, TCL_EINIT, TCL_ELOCKED, TCL_EMEM, TCL_ERULES, TCL_OK, TCL_SOURCE_TEXT,
    TCL_TERMS_TEXT, TCL_WAS_TEXT,
};
use super::global::{Global, guard, guard_early};
use super::line::Line;
use super::memory::{put, strings, text, write_text};
use super::reports::TCL_NEVER;
use super::rules_load::read_rules_file;
use crate::host::TCL_LOG_NOTICE;
use crate::observe::notices::{RuleEnded, RuleRemoved, RuleSetByCommand, Was};
use crate::observe::report::RuleName;
use crate::policy::ChangeError;
use crate::policy::listener::NoListener;
use crate::policy::rule_command::{InvalidArgument, SetRule, parse_listener, parse_prefix};
use crate::policy::rule_words::TermsText;
use crate::policy::rules::NoNetwork;

/// What a command did to a rule.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_rule_change {
    /// The prefix of the rule that was set or removed.
    pub prefix: [c_char; TCL_SOURCE_TEXT],
    /// What the prefix itself had before: a limit with the words after it, and where it came
    /// from, such as "5 rate=10/s from file:12", or "no rule".
    pub was: [c_char; TCL_WAS_TEXT],
    /// The prefix of the rule that its sources have now, except those with rules for longer
    /// prefixes; "default" if no rule applies to them.
    pub rule: [c_char; TCL_SOURCE_TEXT],
    /// What that rule says after its `=`.
    pub terms: [c_char; TCL_TERMS_TEXT],
    /// Its limit; 0: no limit.
    pub limit: i32,
    /// Seconds until the rule that was set ends, or `TCL_NEVER`.
    pub seconds: u32,
}

/// Sets a rule for `prefix`, for `seconds` (null: until it is removed or the server stops).
/// `limit` is what comes after the `=` of a rule: a number from 1 to 2147483647 or `none`,
/// and words if the rule has any, such as `100 rate=10/s`. It takes precedence over a
/// rule for the same prefix from a file or a parameter, and replaces one that was set
/// before. A rule with the word `listener` is one of its own: it replaces only rules for the
/// same listener, which must be one of `tcl_listeners()`. `tcl_rules_load()` keeps it. There are at most 1,024 such rules at a time. A rule
/// ends within two seconds after its time, when `tcl_watch()` next runs, and a log line says
/// so. Each change has a log line, in which `by` says who made it (null: a command).
///
/// If it fails, nothing changes, and a text with the value, the reason and the remedy is
/// written to `error`, truncated to `error_size` bytes including the NUL.
///
/// Allocates, so the process that accepts connections should not call it.
///
/// Returns `TCL_OK`, `TCL_EARG` (an argument is missing or invalid), `TCL_ERULES` (too many
/// rules), `TCL_ELOCKED`, `TCL_EMEM` or `TCL_EINIT`.
///
/// # Safety
///
/// `prefix`, `limit`, `seconds` and `by` are null or strings; `change` is null or valid for
/// writing; `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rule_set(
    prefix: *const c_char,
    limit: *const c_char,
    seconds: *const c_char,
    by: *const c_char,
    change: *mut tcl_rule_change,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or strings, as the caller promises.
        let texts = [prefix, limit, seconds, by].map(|one| unsafe { text(one) });
        let done = global.set_rule(texts);
        // SAFETY: null or valid, as the caller promises.
        unsafe { answer(done, change, error, error_size) }
    })
}

/// Removes the rule that `tcl_rule_set()` set for `prefix`, and for `listener` if it is not
/// null: the word as it is in a rule, such as `listener=tcp:192.0.2.1:5060`. A rule for the same
/// prefix and listener from a file or a parameter applies again. `by` is that of
/// `tcl_rule_set()`.
///
/// If it fails, nothing changes, and `error` is written as by `tcl_rule_set()`.
///
/// Allocates, so the process that accepts connections should not call it.
///
/// Returns `TCL_OK`, `TCL_EARG` (an argument is missing or invalid), `TCL_ERULES` (there is
/// no such rule), `TCL_ELOCKED`, `TCL_EMEM` or `TCL_EINIT`.
///
/// # Safety
///
/// `prefix`, `listener` and `by` are null or strings; `change` is null or valid for writing;
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rule_remove(
    prefix: *const c_char,
    listener: *const c_char,
    by: *const c_char,
    change: *mut tcl_rule_change,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or strings, as the caller promises.
        let texts = [prefix, listener, by].map(|one| unsafe { text(one) });
        let done = global.remove_rule(texts);
        // SAFETY: null or valid, as the caller promises.
        unsafe { answer(done, change, error, error_size) }
    })
}

/// Why a command did nothing. Its `Display` is the text for the operator.
enum CommandError {
    Argument(InvalidArgument),
    NoNetwork(NoNetwork),
    NoListener(NoListener),
    Change(ChangeError),
}

impl CommandError {
    fn code(&self) -> i32 {
        match self {
            CommandError::Argument(_)
            | CommandError::NoNetwork(_)
            | CommandError::NoListener(_) => TCL_EARG,
            CommandError::Change(error) => code_of(*error),
        }
    }
}

/// The code for a change of the rules that failed.
pub(super) fn code_of(error: ChangeError) -> i32 {
    match error {
        ChangeError::Busy(_) => TCL_ELOCKED,
        ChangeError::NoMemory => TCL_EMEM,
        ChangeError::TooMany
        | ChangeError::TooManySet
        | ChangeError::TooManyBans
        | ChangeError::TooManyListeners
        | ChangeError::Exempt(..)
        | ChangeError::NotBanned(_)
        | ChangeError::NotSet(_)
        | ChangeError::NoTrust(..)
        | ChangeError::NoCluster(..)
        | ChangeError::NoMoves(..) => TCL_ERULES,
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Argument(error) => error.fmt(f),
            CommandError::NoNetwork(error) => error.fmt(f),
            CommandError::NoListener(error) => error.fmt(f),
            CommandError::Change(error) => error.fmt(f),
        }
    }
}

impl Global {
    /// The texts are the prefix, the limit, the seconds, and who made the change.
    fn set_rule(&self, texts: [Option<&CStr>; 4]) -> Result<tcl_rule_change, CommandError> {
        let [prefix, limit, seconds, by] = texts.map(|text| text.map(CStr::to_string_lossy));
        let texts = (prefix.as_deref(), limit.as_deref(), seconds.as_deref());
        let rule = SetRule::parse(texts.0, texts.1, texts.2, self.limiter.nat64())
            .map_err(CommandError::Argument)?;
        NoNetwork::check(rule.prefix, self.limiter.prefixes()).map_err(CommandError::NoNetwork)?;
        if let Some(name) = rule.terms.listener {
            let checked = self.limiter.check_listener(name);
            checked.map_err(CommandError::NoListener)?;
        }
        let end = rule.seconds.map(|seconds| self.now().wrapping_add(seconds));
        let was = self.limiter.set_rule(rule.prefix, rule.terms, end);
        let was = was.map_err(CommandError::Change)?;
        self.log_change(RuleSetByCommand {
            prefix: rule.prefix,
            terms: rule.terms,
            seconds: rule.seconds,
            was,
            by: by.as_deref().unwrap_or("a command"),
        });
        let prefix = self.text(rule.prefix);
        Ok(tcl_rule_change {
            prefix,
            was: self.text(Was(was)),
            rule: prefix,
            limit: rule.terms.limit,
            terms: self.text(TermsText(rule.terms)),
            seconds: rule.seconds.unwrap_or(TCL_NEVER),
        })
    }

    /// The texts are the prefix, the listener, and who made the change.
    fn remove_rule(&self, texts: [Option<&CStr>; 3]) -> Result<tcl_rule_change, CommandError> {
        let [prefix, listener, by] = texts.map(|text| text.map(CStr::to_string_lossy));
        let prefix = parse_prefix(prefix.as_deref(), self.limiter.nat64())
            .map_err(CommandError::Argument)?;
        let listener = parse_listener(listener.as_deref()).map_err(CommandError::Argument)?;
        let rule = self.limiter.remove_rule(prefix, listener);
        let rule = rule.map_err(CommandError::Change)?;
        let scope = self.limiter.scope_of_listener(listener);
        let (now, terms) = self.limiter.rulebook().describe(prefix, scope);
        let limit = terms.limit;
        let ended = RuleEnded { rule, now, limit };
        self.log_change(RuleRemoved {
            ended,
            by: by.as_deref().unwrap_or("a command"),
        });
        Ok(tcl_rule_change {
            prefix: self.text(prefix),
            was: self.text(Was(Some(rule))),
            rule: self.text(RuleName(now)),
            limit: limit.max(0),
            terms: self.text(TermsText(terms)),
            seconds: TCL_NEVER,
        })
    }

    pub(super) fn log_change(&self, change: impl fmt::Display) {
        let mut line = Line::default();
        // A line that is too long is truncated.
        let _ = write!(line, "{change}");
        self.log(TCL_LOG_NOTICE, &line);
    }
}

/// Writes what was done, or why nothing was. Returns the code.
///
/// # Safety
///
/// `change` is null or valid for writing; `error` is null or has room for `error_size`
/// bytes.
unsafe fn answer(
    done: Result<tcl_rule_change, CommandError>,
    change: *mut tcl_rule_change,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    match done {
        Ok(done) => {
            // SAFETY: null or valid, as the caller promises. A null pointer is allowed here.
            let _ = unsafe { put(change, done) };
            TCL_OK
        }
        Err(reason) => {
            // SAFETY: null or `error_size` bytes, as the caller promises.
            unsafe { write_text(error, error_size, &reason.to_string()) };
            reason.code()
        }
    }
}

/// Whether `has` finds a rule among these texts and in the file, for `tcl_rules_have_*()`.
///
/// # Safety
///
/// As for those functions.
pub(super) unsafe fn any_rule(
    texts: *const *const c_char,
    count: u32,
    file: *const c_char,
    has: impl FnOnce(&[Cow<'_, str>], &[u8]) -> bool,
) -> i32 {
    guard_early(0, || {
        // SAFETY: the texts and the file are null or valid, as the caller promises.
        let (texts, file) = unsafe { (strings(texts, count), text(file)) };
        let texts = texts.unwrap_or_default();
        // A file that cannot be read is reported when the rules are loaded.
        let file = file.and_then(|file| read_rules_file(file).ok());
        let content = file.as_ref().map(|file| &*file.content);
        has(&texts, content.unwrap_or_default()).into()
    })
}
