// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules of the configuration and of the rules file.

use core::ffi::{CStr, c_char};
use core::fmt::{self};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::codes::{TCL_EARG, TCL_EINIT, TCL_EMEM, TCL_ERULES, TCL_OK};
use super::global::guard;
use super::memory::{NullString, strings, text, write_text};
use super::rules::code_of;
use crate::limiter::Limiter;
use crate::policy::ChangeError;
use crate::policy::rules::{Origin, RuleError, RuleSet};
use crate::policy::rules_file::{ReadError, RulesFile};
use crate::source::{Nat64, PrefixLengths};

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
