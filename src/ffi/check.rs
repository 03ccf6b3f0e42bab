// SPDX-License-Identifier: GPL-2.0-or-later
//! Checks that need no limiter: of a configuration, of rules, of a rules file. They can
//! run before `tcl_init()`, or without it.

use core::ffi::{CStr, c_char, c_void};
use core::fmt;
use std::borrow::Cow;
use std::ffi::CString;

use super::codes::{TCL_EARG, TCL_EMEM, TCL_EPANIC, TCL_ERULES, TCL_OK};
use super::config::tcl_config;
use super::global::{GLOBAL, guard_early};
use super::init::{InitError, Setup, nat64};
use super::memory::{put, strings, text, write_text};
use super::rules_load::{build, read_rules_file};
use crate::policy::rule_words::Grammar;
use crate::policy::rules::{Faults, RuleLine, RuleSet, check_rule};
use crate::source::{Nat64, NetworkLengths, PrefixLengths};

/// `tcl_rules_check()` reports at most this many faults in lines of their own.
pub const TCL_MAX_FAULTS: usize = 20;
const _: () = assert!(TCL_MAX_FAULTS == Faults::MAX_LISTED);

/// Receives a fault as a line of text, which is valid until it returns. `data` is what the
/// caller of `tcl_rules_check()` passed.
#[allow(non_camel_case_types)]
pub type tcl_fault = Option<unsafe extern "C" fn(data: *mut c_void, line: *const c_char)>;

/// Receives a rule as a line of text, such as "192.0.2.0/24 = 100 rate=10/s # file:12", which
/// is valid until it returns. A rules file with such lines has the same rules. `data` is what
/// the caller of `tcl_rules_check()` passed.
#[allow(non_camel_case_types)]
pub type tcl_rule_line = Option<unsafe extern "C" fn(data: *mut c_void, line: *const c_char)>;

/// Checks a configuration as `tcl_init()` does, and creates nothing.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EPANIC`. Unless it is `TCL_OK`, a text that names
/// the value is written to `error`, truncated to `error_size` bytes including the NUL.
///
/// # Safety
///
/// `config` is null or valid, with valid strings; `error` is null or has room for
/// `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_config_check(
    config: *const tcl_config,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard_early(TCL_EPANIC, || {
        // SAFETY: null or valid, with valid strings, as the caller promises.
        let setup = unsafe { Setup::of(config.as_ref()) };
        let Err(reason) = setup else {
            return TCL_OK;
        };
        // SAFETY: null or `error_size` bytes, as the caller promises.
        unsafe { write_text(error, error_size, &reason.to_string()) };
        reason.code()
    })
}

/// Checks one rule, such as `192.0.2.0/24=100`, by itself.
///
/// Returns `TCL_OK`, `TCL_ERULES`, `TCL_EARG` if `rule` is null, or `TCL_EPANIC`. With
/// `TCL_ERULES`, the rule, the reason and the remedy are written to `error`, truncated to
/// `error_size` bytes including the NUL.
///
/// # Safety
///
/// `rule` is null or a string; `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rule_check(
    rule: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard_early(TCL_EPANIC, || {
        // SAFETY: null or a string, as the caller promises.
        let Some(rule) = (unsafe { text(rule) }) else {
            return TCL_EARG;
        };
        let Err(sentence) = check_rule(&rule.to_string_lossy()) else {
            return TCL_OK;
        };
        // SAFETY: null or `error_size` bytes, as the caller promises.
        unsafe { write_text(error, error_size, &sentence) };
        TCL_ERULES
    })
}

/// Writes the grammar of a rule and a line about each of its words to `text`, truncated to
/// `size` bytes including the NUL. 2,048 bytes are enough.
///
/// # Safety
///
/// `text` is null or has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rule_grammar(text: *mut c_char, size: usize) {
    guard_early((), || {
        // SAFETY: null or `size` bytes, as the caller promises.
        unsafe { write_text(text, size, &Grammar.to_string()) };
    });
}

/// Checks rules as `tcl_rules_load()` does, but publishes none. `nat64_prefixes` and
/// `nat64_count` are those of `tcl_config`. Calls `fault` for each
/// invalid rule with its origin, its text, the reason and the remedy, at most 20 times
/// (`TCL_MAX_FAULTS`), and then once with the number of the others. A file that cannot be
/// read is one fault. Without faults, calls `rule` for each rule that would be active, sorted
/// by prefix, except those that commands set: a rule in the file replaces one for the same
/// prefix among the texts. If the host has named its listeners, the comment in the line says
/// if that of the rule is missing. Writes the number of valid rules to `valid`.
///
/// Reads the file and allocates, so the process that accepts connections should not call
/// it.
///
/// Returns `TCL_OK`, `TCL_ERULES`, `TCL_EARG`, `TCL_EMEM` or `TCL_EPANIC`. `fault` was
/// called at least once unless it is `TCL_OK` or `TCL_EPANIC`.
///
/// # Safety
///
/// `texts` is null or points to `count` pointers, each null or a string; so is
/// `nat64_prefixes`, with `nat64_count`; `file` is null or a string; `fault` and `rule` are
/// null or can be called with `data`; `valid` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rules_check(
    texts: *const *const c_char,
    count: u32,
    file: *const c_char,
    nat64_prefixes: *const *const c_char,
    nat64_count: u32,
    fault: tcl_fault,
    rule: tcl_rule_line,
    data: *mut c_void,
    valid: *mut u32,
) -> i32 {
    guard_early(TCL_EPANIC, || {
        let call = |to: tcl_fault, line: &dyn fmt::Display| {
            let (Some(to), Ok(line)) = (to, CString::new(line.to_string())) else {
                return;
            };
            // SAFETY: can be called with `data`, as the caller promises; the line lives
            // until it returns.
            unsafe { to(data, line.as_ptr()) };
        };
        let report = |line: &dyn fmt::Display| call(fault, line);
        let list = |line: &dyn fmt::Display| call(rule, line);
        // SAFETY: null or valid, as the caller promises.
        let (texts, file) = unsafe { (strings(texts, count), text(file)) };
        let texts = match texts {
            Ok(texts) => texts,
            Err(error) => {
                report(&error);
                return TCL_EARG;
            }
        };
        // SAFETY: null or valid, as the caller promises.
        let prefixes = unsafe { strings(nat64_prefixes, nat64_count) };
        let prefixes = prefixes.map_err(|_| InitError::NullNat64Prefix);
        let nat64 = match prefixes.and_then(|prefixes| nat64(&prefixes)) {
            Ok(nat64) => nat64,
            Err(error) => {
                report(&error);
                return TCL_EARG;
            }
        };
        let list = rule.is_some().then_some(&list as TakesLine<'_>);
        let (code, found) = check(&texts, file, nat64, &report, list);
        // SAFETY: null or valid for writing, as the caller promises. A null pointer is
        // allowed here.
        let _ = unsafe { put(valid, found) };
        code
    })
}

/// Takes a line of text.
type TakesLine<'a> = &'a dyn Fn(&dyn fmt::Display);

/// Returns a code, and the number of valid rules. Without faults, `list` takes each rule.
fn check(
    texts: &[Cow<'_, str>],
    file: Option<&CStr>,
    nat64: Nat64,
    report: TakesLine<'_>,
    list: Option<TakesLine<'_>>,
) -> (i32, u32) {
    let file = match file.map(read_rules_file).transpose() {
        Ok(file) => file,
        Err(error) => {
            report(&error);
            return (TCL_ERULES, 0);
        }
    };
    let content = file.as_ref().map(|file| (&*file.name, &*file.content));
    // Without a limiter, a rule with a listener counts as valid, and one for networks of any
    // length.
    let limiter = GLOBAL.get().map(|global| &global.limiter);
    let prefixes = match limiter {
        Some(limiter) => Some(limiter.prefixes()),
        None => PrefixLengths::DEFAULT.with_networks(NetworkLengths::LONGEST),
    };
    let prefixes = prefixes.unwrap_or(PrefixLengths::DEFAULT);
    let builder = RuleSet::builder(prefixes).with_nat64(nat64);
    let faults = match builder.check(texts, content) {
        Ok(faults) => faults,
        Err(error) => {
            report(&error);
            return (TCL_EMEM, 0);
        }
    };
    for fault in &faults.listed {
        report(fault);
    }
    let others = faults.count - faults.listed.len();
    if others > 0 {
        report(&format_args!("{others} more invalid rules"));
    }
    // There are at most 65,535.
    let valid = faults.valid as u32;
    if faults.count > 0 {
        return (TCL_ERULES, valid);
    }
    let Some(list) = list else {
        return (TCL_OK, valid);
    };
    match build(prefixes, nat64, texts, file.as_ref()) {
        Ok(rules) => {
            let lacks = |name| limiter.is_some_and(|limiter| limiter.lacks_listener(name));
            for rule in rules.applying() {
                match rule.terms.listener {
                    Some(name) if lacks(name) => list(&format_args!(
                        "{}; the server does not listen on {name}",
                        RuleLine(rule)
                    )),
                    _ => list(&RuleLine(rule)),
                }
            }
            (TCL_OK, valid)
        }
        // The rules are valid, so there is no memory.
        Err(error) => {
            report(&error);
            (TCL_EMEM, valid)
        }
    }
}
