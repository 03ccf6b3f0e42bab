// SPDX-License-Identifier: GPL-2.0-or-later
//! The ABI and the version of the library.

use core::ffi::c_char;

use super::codes::TCL_ABI;

/// The C ABI of the library. Before any other call, the host must compare it with the
/// `TCL_ABI` that it was compiled with.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_abi() -> i32 {
    TCL_ABI
}

/// The version of the library, for display. A library of another version than `TCL_VERSION`
/// works with the host if its ABI is the same.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
