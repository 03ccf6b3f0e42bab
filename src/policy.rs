// SPDX-License-Identifier: GPL-2.0-or-later
//! Which limit a source has.
//!
//! - [`terms`]: what a rule grants: a limit, a rate, an exemption, or a ban.
//! - [`listener`]: how a listening socket is named.
//! - `listeners`: the listening sockets and those that rules name, in shared memory.
//! - [`limit_text`]: how a limit is written and shown.
//! - [`rate_text`]: how a rate and a burst are written and shown.
//! - `rule_text`: the grammar of a rule.
//! - [`rule_words`]: the words after the prefix of a rule, a table.
//! - [`rule_command`]: the arguments of the commands that set and remove a rule.
//! - [`rules`]: a set of rules, and the longest prefix that contains a source.
//! - [`origin`]: where an active rule comes from, and how long it is active.
//! - [`rules_file`]: a rules file, read and split.
//! - `file_end`: the marks that show that a rules file is complete.
//! - `rulebook`: the active rules, in shared memory, replaced while they are read.
//! - [`penalties`]: what an offence is, and what it costs.
//! - [`reserve`]: the connections that are kept for trusted rules.
//! - [`pressure`]: the limits of sources while the host is nearly full.
//! - [`settings`]: the default limit, the mode, what happens when the table is full.
//! - `network_settings`: the same for networks.

#[cfg(not(loom))]
pub(crate) mod cluster_keys;
pub(crate) mod cluster_settings;
mod file_end;
pub mod limit_text;
pub mod listener;
pub(crate) mod listeners;
pub(crate) mod network_settings;
pub mod origin;
pub mod penalties;
pub mod pressure;
pub mod rate_text;
pub mod reserve;
pub mod rule_command;
mod rule_text;
pub mod rule_words;
pub(crate) mod rulebook;
pub mod rules;
pub mod rules_file;
pub mod settings;
pub mod terms;

pub use rulebook::{Busy, ChangeError, MAX_RPC_RULES};
