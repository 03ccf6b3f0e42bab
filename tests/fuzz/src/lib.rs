// SPDX-License-Identifier: GPL-2.0-or-later
//! What the fuzz targets share.
//!
//! Each target in `targets/` drives the shipped code with bytes of libFuzzer's and
//! holds it against a reading of the same bytes that is as plain as can be.
//!
//! 1. [`engine`]: the C ABI, called as C would, and the host that it reports to.
//! 2. [`edge`]: memory that ends where it says.
//! 3. [`naive`]: addresses and rules, bit by bit.
//! 4. [`peers`]: connections that are accepted by functions that we replace.

pub mod edge;
pub mod engine;
pub mod naive;
pub mod peers;
