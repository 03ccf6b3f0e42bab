// SPDX-License-Identifier: GPL-2.0-or-later
// Generated from include/tcl_host.h by `make generate`; do not edit.
//! The host's functions and constants that the library uses.
#![allow(missing_docs, unreachable_pub)]

pub const TCL_LOG_ERROR: u32 = 0;
pub const TCL_LOG_WARN: u32 = 1;
pub const TCL_LOG_REJECTED: u32 = 2;
pub const TCL_LOG_NOTICE: u32 = 3;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct tcl_event {
    pub source: *const ::core::ffi::c_char,
    pub rule: *const ::core::ffi::c_char,
    pub connections: u32,
    pub limit: i32,
    pub rejected: u32,
    pub would: i32,
    pub reason: *const ::core::ffi::c_char,
    pub ban: *const ::core::ffi::c_char,
    pub rate: *const ::core::ffi::c_char,
    pub seconds: u32,
    pub listener: *const ::core::ffi::c_char,
    pub scope: *const ::core::ffi::c_char,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct tcl_load {
    pub in_use: u32,
    pub max: u32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct tcl_pressure {
    pub level: u32,
    pub was: u32,
    pub pressure: *const ::core::ffi::c_char,
    pub in_use: u32,
    pub max: u32,
    pub would: i32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct tcl_host {
    pub log: ::core::option::Option<
        unsafe extern "C" fn(level: i32, line: *const ::core::ffi::c_char),
    >,
    pub now: ::core::option::Option<unsafe extern "C" fn() -> u32>,
    pub rejected: ::core::option::Option<unsafe extern "C" fn(event: *const tcl_event)>,
    pub released: ::core::option::Option<unsafe extern "C" fn(event: *const tcl_event)>,
    pub banned: ::core::option::Option<unsafe extern "C" fn(event: *const tcl_event)>,
    pub unbanned: ::core::option::Option<unsafe extern "C" fn(event: *const tcl_event)>,
    pub timed_out: ::core::option::Option<unsafe extern "C" fn(event: *const tcl_event)>,
    pub load: ::core::option::Option<unsafe extern "C" fn(load: *mut tcl_load)>,
    pub pressure: ::core::option::Option<
        unsafe extern "C" fn(event: *const tcl_pressure),
    >,
}
