// SPDX-License-Identifier: GPL-2.0-or-later
//! The parts that the fuzz targets share.
//!
//! Each target in `targets/` drives the shipped code with libFuzzer's bytes, and compares
//! it with a simple oracle that reads the same bytes.
//!
//! 1. [`engine`]: the C ABI, called as from C, and the host that it reports to.
//! 2. [`edge`]: memory with an exact end.
//! 3. [`naive`]: the oracle for addresses and rules, bit by bit.
//! 4. [`peers`]: connections that are accepted through interposed functions.
//! 5. [`restraints`]: the oracle of rates, penalties and bans.
//! 6. [`settings`]: the oracle of settings as operators write them.

pub mod edge;
pub mod engine;
pub mod naive;
pub mod peers;
pub mod restraints;
pub mod settings;
