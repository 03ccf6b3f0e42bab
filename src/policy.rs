// SPDX-License-Identifier: GPL-2.0-or-later
//! Which limit a source has.
//!
//! - [`limit_text`]: how a limit is written and shown.
//! - `rule_text`: the grammar of a rule.
//! - [`rules`]: a set of rules, and the longest prefix that contains a source.
//! - [`rules_file`]: a rules file, read and split.
//! - `rulebook`: the active rules, in shared memory, replaced while they are read.
//! - [`settings`]: the default limit, the mode, what happens when the table is full.

pub mod limit_text;
mod rule_text;
pub(crate) mod rulebook;
pub mod rules;
pub mod rules_file;
pub mod settings;

pub use rulebook::Busy;
