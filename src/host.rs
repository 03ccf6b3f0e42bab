// SPDX-License-Identifier: GPL-2.0-or-later
// Generated from include/tcl_host.h by `make generate`; do not edit.
//! What the host offers to us.
#![allow(missing_docs, unreachable_pub)]

pub const TCL_LOG_ERROR: u32 = 0;
pub const TCL_LOG_WARN: u32 = 1;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct tcl_host {
    pub log: ::core::option::Option<
        unsafe extern "C" fn(level: i32, line: *const ::core::ffi::c_char),
    >,
    pub now: ::core::option::Option<unsafe extern "C" fn() -> u32>,
}
