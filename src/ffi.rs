// SPDX-License-Identifier: GPL-2.0-or-later
//! The C ABI. Each function checks its pointers, converts its arguments, calls the
//! limiter and returns a code. No panic leaves this module.
//!
//! Below the files with functions are `codes` (what they return), `global` (the state of
//! the process, and where panics stop), `line` (a log line) and `memory` (pointers from C).
//!
//! # The contract
//!
//! - A process has one limiter. [`tcl_init`] creates it before the server forks. It
//!   lives until the process ends, so calls late in the shutdown are still safe.
//!   Before `tcl_init`, every function returns its harmless answer: admit, no token,
//!   nothing found. Only the functions that check something work before it:
//!   `tcl_config_check`, `tcl_rule_check`, `tcl_rules_check` and `tcl_interpose_find`.
//! - All functions may be called from any thread of any process that was forked
//!   after `tcl_init`; `tcl_watch` must always be called from the same process. No
//!   function blocks or waits for a lock, with these exceptions: `tcl_init`,
//!   `tcl_watch` and each `tcl_interpose_` function wait while another thread is in
//!   the same function; `tcl_watch` waits for the host functions that it calls;
//!   each `tcl_cluster_` function of the process that runs the node waits for the functions
//!   that it calls;
//!   `tcl_bans` and each `tcl_shield` function wait while another thread of the process
//!   is in one of them or in `tcl_watch`;
//!   `tcl_rules_load` and `tcl_rules_check` read a file. `tcl_rules_load`, `tcl_rule_set`
//!   and `tcl_rule_remove` fail while another process or thread is in one of them. The
//!   code that runs for every connection allocates
//!   nothing: `tcl_check`, `tcl_opened`, `tcl_closed`, `tcp_connection_limit_srcip`,
//!   and the functions with which `tcl_interpose_attach` replaces those of the C
//!   library.
//! - Pointers may be null. A null input counts as a missing address or text. A null
//!   output is not written, and the function reports it. All other pointers must be
//!   valid as described at each function. The library keeps no pointers except those
//!   described at `tcl_init`.
//! - A panic is counted, logged once, and answered as before `tcl_init`: the
//!   connection is admitted.

mod accept;
mod audit;
mod check;
mod cluster;
mod codes;
mod config;
mod control;
mod global;
mod init;
mod interpose;
mod line;
mod listeners;
mod load;
mod memory;
mod moves;
mod networks;
mod reports;
mod restraints;
mod rules;
mod rules_load;
mod shield;
mod trust;
mod version;
mod watch;

pub use accept::*;
pub use audit::*;
pub use check::*;
pub use cluster::*;
pub use codes::*;
pub use config::*;
pub use control::*;
pub use init::*;
pub use interpose::*;
pub use listeners::*;
pub use load::*;
pub use moves::*;
pub use networks::*;
pub use reports::*;
pub use restraints::*;
pub use rules::*;
pub use rules_load::*;
pub use shield::*;
pub use trust::*;
pub use version::*;
pub use watch::*;

pub use crate::host::{tcl_event, tcl_host, tcl_load, tcl_pressure};
