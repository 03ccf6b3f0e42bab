// SPDX-License-Identifier: GPL-2.0-or-later
//! The listening sockets of the host, for rules that name one, and reports about them.

use core::ffi::{c_char, c_int};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::codes::{TCL_EARG, TCL_EINIT, TCL_EMEM, TCL_LISTENER_TEXT, TCL_OK};
use super::global::guard;
use super::memory::{bytes, put, write_text};
use super::reports::tcl_source;
use super::rules::code_of;
use crate::limiter::Limiter;
use crate::policy::listener::{ListenerName, Protocol};
use crate::source::{Named, Scope};

/// `tcl_listeners()` takes at most this many sockets.
pub const TCL_MAX_LISTENERS: usize = 256;
const _: () = assert!(TCL_MAX_LISTENERS == Limiter::MAX_SOCKETS);

/// At most this many listeners can be named in rules, from the start to the end of the
/// server. They have the numbers from 1 on.
pub const TCL_MAX_NAMED_LISTENERS: u32 = 64;
const _: () = assert!(TCL_MAX_NAMED_LISTENERS == Scope::MAX_LISTENERS as u32);

/// A listening socket.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_listener {
    /// Its address in network byte order, 4 or 16 bytes.
    pub address: [u8; 16],
    /// 4 or 16.
    pub length: u32,
    /// Its port, 1 to 65535.
    pub port: u32,
    /// 1 if it is for TLS, 0 if it is for TCP without TLS.
    pub tls: i32,
    /// Its descriptor in the process that accepts.
    pub descriptor: c_int,
}

impl tcl_listener {
    fn name(&self) -> Option<ListenerName> {
        let octets: [u8; 16] = self.address;
        let address = match self.length {
            4 => {
                let [a, b, c, d, ..] = octets;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            16 => IpAddr::V6(Ipv6Addr::from(octets)),
            _ => return None,
        };
        let port = u16::try_from(self.port).ok().filter(|port| *port != 0)?;
        let protocol = match self.tls {
            0 => Protocol::Tcp,
            _ => Protocol::Tls,
        };
        Some(ListenerName {
            address,
            port,
            protocol: Some(protocol),
        })
    }
}

/// Names the sockets on which the host listens for connections, so that rules can be for one
/// of them. At most `TCL_MAX_LISTENERS`; rules cannot name any others. Must be called at most
/// once, after `tcl_rules_load()` and before the process that accepts is forked.
///
/// Returns `TCL_OK`, `TCL_EARG` (`listeners` is null, there are too many, or one is invalid),
/// `TCL_ERULES` (the rules name too many listeners), `TCL_ELOCKED`, `TCL_EMEM` or
/// `TCL_EINIT`. With `TCL_ERULES` the reason is written to `error`, truncated to `error_size`
/// bytes including the NUL.
///
/// # Safety
///
/// `listeners` is null or points to `count` of them; `error` is null or has room for
/// `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_listeners(
    listeners: *const tcl_listener,
    count: u32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        if listeners.is_null() || count as usize > TCL_MAX_LISTENERS {
            return TCL_EARG;
        }
        // SAFETY: `count` listeners, as the caller promises.
        let listeners = unsafe { core::slice::from_raw_parts(listeners, count as usize) };
        let named = listeners.iter().map(|one| {
            let name = one.name().filter(|_| one.descriptor >= 0)?;
            Some((one.descriptor, name))
        });
        let Some(sockets) = named.collect::<Option<Vec<_>>>() else {
            return TCL_EARG;
        };
        match global.limiter.register_listeners(&sockets) {
            Ok(()) => TCL_OK,
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &reason.to_string()) };
                code_of(reason)
            }
        }
    })
}

/// Writes a listener that active rules name but that none of `tcl_listeners()` is, number
/// `index` of them, as text of at most `TCL_LISTENER_TEXT` bytes with its NUL. Allocates, so
/// the process that accepts connections should not call it.
///
/// Returns 1 if there is such a listener, 0 if `index` is too high, or `TCL_EARG`,
/// `TCL_EMEM` or `TCL_EINIT`.
///
/// # Safety
///
/// `name` is null or has room for `TCL_LISTENER_TEXT` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_unknown_listener(index: u32, name: *mut c_char) -> i32 {
    guard(TCL_EINIT, |global| {
        if name.is_null() {
            return TCL_EARG;
        }
        let Ok(unknown) = global.limiter.unknown_listeners() else {
            return TCL_EMEM;
        };
        match unknown.get(index as usize) {
            Some(found) => {
                // SAFETY: room for that many bytes, as the caller promises.
                unsafe { write_text(name, TCL_LISTENER_TEXT, &found.to_string()) };
                1
            }
            None => 0,
        }
    })
}

/// As `tcl_find()`, for connections that were accepted on the listener with this number,
/// which is from 1 to `TCL_MAX_NAMED_LISTENERS`.
///
/// Returns `TCL_OK`, `TCL_EARG` (the text does not name a source, `source` is null, or rules
/// never named a listener with this number) or `TCL_EINIT`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `source` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_find_on(
    name: *const u8,
    length: u32,
    number: u32,
    source: *mut tcl_source,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        let named = global.read_source(name);
        let scope = u8::try_from(number).ok().and_then(Scope::of_listener);
        let (Ok(Named { source: key, host }), Some(scope)) = (named, scope) else {
            return TCL_EARG;
        };
        if !global.limiter.prefixes().leave_room_for_scopes() {
            return TCL_EARG;
        }
        let key = key.in_scope(scope);
        if global.limiter.listener_of(key).is_none() {
            return TCL_EARG;
        }
        let value = global.describe_named(key, host);
        // SAFETY: null or valid, as the caller promises.
        unsafe { put(source, value) }
    })
}
