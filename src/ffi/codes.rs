// SPDX-License-Identifier: GPL-2.0-or-later
//! The number of the C ABI, the codes that functions return, and the size of a text.
//!
//! `build.rs` also compiles this file, so it uses nothing from the crate.

/// The number of this C ABI. It is raised when a declaration in the headers changes, and
/// the file name of the shared library ends with it. A host must not use a library whose
/// `tcl_abi()` is another number.
pub const TCL_ABI: i32 = 1;

/// Success.
pub const TCL_OK: i32 = 0;
/// An argument is null or out of range.
pub const TCL_EARG: i32 = -1;
/// This process already has a limiter.
pub const TCL_EALREADY: i32 = -2;
/// The system provides no memory, shared or private.
pub const TCL_EMEM: i32 = -3;
/// The function was called before `tcl_init()`, or it caught a panic, which the
/// statistics count.
pub const TCL_EINIT: i32 = -4;
/// The token does not belong to a counted connection.
pub const TCL_ESTALE: i32 = -5;
/// `tcl_init()` caught a panic.
pub const TCL_EPANIC: i32 = -6;
/// Another process or thread is loading rules.
pub const TCL_ELOCKED: i32 = -7;
/// A rule or the rules file is invalid; the error text says where.
pub const TCL_ERULES: i32 = -8;
/// The functions of this executable cannot be replaced; the error text says why.
pub const TCL_EINTERPOSE: i32 = -9;
/// There are more connections than `tcl_audit_begin()` reserved memory for.
pub const TCL_EROOM: i32 = -10;

/// A rule exempts the source from penalties and bans.
pub const TCL_EEXEMPT: i32 = -11;
/// The table has no slot for the source.
pub const TCL_ESLOT: i32 = -12;

/// Connections cannot be trusted or moved: `tcl_config.trust` or `tcl_config.moves` was 0. Of
/// functions about the cluster: `tcl_config.cluster` was 0.
pub const TCL_EOFF: i32 = -13;

/// The kernel shield is not available; the error text says why.
pub const TCL_ESHIELD: i32 = -14;

/// The connection was not moved, because the new source is not admitted.
pub const TCL_EOVER: i32 = -15;
/// The connection was not opened by a proxy, which is an address of a rule with the word
/// `proxy`.
pub const TCL_EPROXY: i32 = -16;

/// Size of why the kernel shield is not active as text, in bytes, including the NUL.
pub const TCL_SHIELD_TEXT: usize = 256;

/// Size of a rate with its burst as text, in bytes, including the NUL.
pub const TCL_RATE_TEXT: usize = 40;
/// Size of the reason of a rejection or a ban as text, in bytes, including the NUL.
pub const TCL_REASON_TEXT: usize = 16;
/// Size of a reserve as text, in bytes, including the NUL.
pub const TCL_RESERVE_TEXT: usize = 16;
/// Size of levels of pressure as text, in bytes, including the NUL.
pub const TCL_PRESSURE_TEXT: usize = 64;
/// Size of the scope of a source as text, in bytes, including the NUL.
pub const TCL_SCOPE_TEXT: usize = 8;
/// Size of a source as text, in bytes, including the NUL.
pub const TCL_SOURCE_TEXT: usize = 52;

/// Size of the name of a listener as text, in bytes, including the NUL.
pub const TCL_LISTENER_TEXT: usize = 60;

/// Size of the name of a node of the cluster as text, in bytes, including the NUL.
pub const TCL_NODE_TEXT: usize = 65;
/// Reasons for which a message of the cluster is rejected.
pub const TCL_CLUSTER_REASONS: usize = 12;

/// Size of what a rule says after its `=` as text, in bytes, including the NUL: a limit and
/// words, such as "100 rate=10/s".
pub const TCL_TERMS_TEXT: usize = 192;

/// Size of what a rule says after its `=`, and where the rule comes from, as text, in bytes,
/// including the NUL.
pub const TCL_WAS_TEXT: usize = 224;
