// SPDX-License-Identifier: GPL-2.0-or-later
//! What the tests and benchmarks share.
//!
//! ```text
//! allocations  the number of allocations
//! demo         how a demo ends
//! denied       systems that do not allow all of bpf(2)
//! engine       sources, rules and workers, for tests of the library
//! processes    forked processes and the memory they share
//! programs     C programs that are built and run
//! kamailio     a real server, its clients and its limit
//! raw          raw sockets
//! ports, wait  free ports, and waiting with a deadline
//! ```
//!
//! The unit tests in `src/` cannot use this crate. It depends on the library as it is
//! built without `cfg(test)`, so its `Limiter` is another type than theirs.

pub mod allocations;
pub mod demo;
pub mod denied;
pub mod engine;
pub mod kamailio;
pub mod ports;
pub mod processes;
// Under loom the library has no C ABI.
#[cfg(not(loom))]
pub mod programs;
pub mod raw;
mod set_at_end;
pub mod wait;

pub use set_at_end::SetAtEnd;
