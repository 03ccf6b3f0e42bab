// SPDX-License-Identifier: GPL-2.0-or-later

//! The parts that the benchmarks on real servers share: the hold-and-churn load and its
//! measurement.
//!
//! ```text
//! loaded ── load ⇄ generator ── listener   a server's process with its load
//! acceptor                                 the least that a server can do
//! kamailio, machine, cpu, stats            set-up, conditions, figures
//! cli, results                             the command line, the JSON files
//! ```

pub(crate) mod acceptor;
pub(crate) mod cli;
pub(crate) mod cpu;
pub(crate) mod generator;
pub(crate) mod kamailio;
pub(crate) mod listener;
pub(crate) mod load;
pub(crate) mod loaded;
pub(crate) mod machine;
pub(crate) mod results;
pub(crate) mod stats;

use std::error::Error;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;
