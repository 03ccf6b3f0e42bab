// SPDX-License-Identifier: GPL-2.0-or-later

//! The parts that the benchmarks share.
//!
//! ```text
//! cli ─┬─ process                            what the command line asks for
//!      ├─ run ── machine                     which code, on which machine
//!      └─ results, figures                   the JSON files; RESULTS.md
//! cpu, stats, progress, plot                 figures and how they are shown
//!
//! loaded ── process ⇄ generator ── listener  a server's process with its load
//! acceptor                                   the least that a server can do
//! kamailio                                   the servers under load
//! sip                                        a request and its answer
//! ```

pub(crate) mod acceptor;
pub(crate) mod cli;
pub(crate) mod cpu;
pub(crate) mod figures;
pub(crate) mod generator;
pub(crate) mod kamailio;
pub(crate) mod listener;
pub(crate) mod loaded;
pub(crate) mod machine;
pub(crate) mod plot;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod sip;
pub(crate) mod stats;

use std::error::Error;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;
