// SPDX-License-Identifier: GPL-2.0-or-later
//! Connections that count for the client of a proxy.

use core::ffi::c_char;
use core::net::IpAddr;

use super::codes::{
    TCL_EARG, TCL_EINIT, TCL_ELOCKED, TCL_EOFF, TCL_EOVER, TCL_EPROXY, TCL_ESLOT, TCL_ESTALE,
    TCL_OK,
};
use super::global::{guard, worker};
use super::memory::{bytes, write_text};
use super::rules::any_rule;
use crate::limiter::{ConnectionToken, MoveError};
use crate::policy::rules::rules_have_proxies;
use crate::shared::visible::Excerpt;
use crate::source::Family;

/// The connection was moved to the source of a client, see `tcl_count_for()`.
pub const TCL_FACT_MOVED: u32 = 64;

/// Whether one of these rules has the word `proxy`, as `tcl_rules_load()` would read them. Needs
/// no limiter, so a host can set `tcl_config.moves` before it calls `tcl_init()`. Invalid rules
/// are skipped.
///
/// Reads the file and allocates, so the process that accepts connections should not call
/// it.
///
/// Returns 1 or 0.
///
/// # Safety
///
/// `texts` is null or points to `count` pointers, each null or a string; `file` is null or a
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rules_have_proxies(
    texts: *const *const c_char,
    count: u32,
    file: *const c_char,
) -> i32 {
    // SAFETY: as the caller promises.
    unsafe {
        any_rule(texts, count, file, |texts, file| {
            rules_have_proxies(texts, file)
        })
    }
}

fn code_of(error: MoveError) -> i32 {
    match error {
        MoveError::Off => TCL_EOFF,
        MoveError::Gone => TCL_ESTALE,
        MoveError::NotProxy => TCL_EPROXY,
        MoveError::Address => TCL_EARG,
        MoveError::Busy => TCL_ELOCKED,
        MoveError::Full => TCL_ESLOT,
        MoveError::Rejected(_) => TCL_EOVER,
    }
}

/// Counts the connection that `token` stands for, which `peer` (network byte order, 4 or 16 bytes)
/// opened, for the address in `client`, a text of `client_length` bytes, from now on: the
/// connection leaves the source and the network in which it was counted, and is checked and
/// counted in those of the client. Its trust moves with it, and `tcl_closed()` releases it there.
/// A rejection is counted, and logged by `tcl_watch()`. In monitor mode the connection is moved
/// nevertheless, and with the mode off nothing is checked. May be called from any process, also
/// more than once for a connection.
///
/// Returns `TCL_OK`, `TCL_EOVER` if the source of the client is not admitted, `TCL_EARG` if the
/// text is not an address, `TCL_EPROXY`, `TCL_ESTALE` if the connection is closed, also if its
/// descriptor has another one by now, `TCL_ELOCKED` if another process moves it or was killed
/// while it did, `TCL_ESLOT`, `TCL_EOFF` or `TCL_EINIT`. Except with `TCL_OK`, the connection
/// counts where it did before, and why is written to `error`, truncated to `error_size` bytes
/// including the NUL.
///
/// # Safety
///
/// `peer` and `client` are null or point to as many bytes as their lengths say; `error` is null
/// or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_count_for(
    token: u64,
    peer: *const u8,
    peer_length: u32,
    client: *const u8,
    client_length: u32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or as many bytes, as the caller promises.
        let (peer, client) = unsafe { (bytes(peer, peer_length), bytes(client, client_length)) };
        let outcome = match (ConnectionToken::from_bits(token), read_address(client)) {
            _ if !global.limiter.has_moves() => Err(MoveError::Off),
            (_, None) => Err(MoveError::Address),
            (None, _) => Err(MoveError::Gone),
            (Some(token), Some(IpAddr::V4(client))) => {
                let client = client.octets();
                global.limiter.count_for(worker(), token, peer, &client)
            }
            (Some(token), Some(IpAddr::V6(client))) => {
                let client = client.octets();
                global.limiter.count_for(worker(), token, peer, &client)
            }
        };
        let Err(reason) = outcome else {
            return TCL_OK;
        };
        if matches!(reason, MoveError::NotProxy | MoveError::Address) {
            global.limiter.note_invalid_move(worker());
        }
        let why = match reason {
            MoveError::Address => format!(
                "invalid address `{}` of a client: expected an IPv4 or IPv6 address without a port",
                Excerpt::of(client)
            ),
            other => other.to_string(),
        };
        // SAFETY: null or `error_size` bytes, as the caller promises.
        unsafe { write_text(error, error_size, &why) };
        code_of(reason)
    })
}

/// An address as proxies write it: without a port, IPv6 also in brackets.
fn read_address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim_ascii();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok()
}

/// Writes the address for which the connection that `token` stands for is counted to
/// `address`, in network byte order, if `tcl_count_for()` moved it: that of the source, whose
/// last bits are 0.
///
/// Returns its length, 4 or 16; 0 if the connection was not moved, or is closed.
///
/// # Safety
///
/// `address` is null or has room for 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_moved_to(token: u64, address: *mut u8) -> u32 {
    guard(0, |global| {
        let limiter = &global.limiter;
        let token = ConnectionToken::from_bits(token).filter(|_| limiter.has_moves());
        let Some(source) = token.and_then(|token| limiter.moved_to(token)) else {
            return 0;
        };
        if address.is_null() {
            return 0;
        }
        let prefix = source.without_scope().prefix(limiter.prefixes());
        let (first, length) = match prefix.family {
            Family::V4 => ((prefix.upper as u32).to_be_bytes().to_vec(), 4),
            Family::V6 => {
                let words = [prefix.upper, prefix.lower];
                (words.map(u64::to_be_bytes).concat(), 16)
            }
        };
        // SAFETY: there is room for 16 bytes, as the caller promises.
        unsafe { address.copy_from_nonoverlapping(first.as_ptr(), first.len()) };
        length
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1\r", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(
                read_address(text.as_bytes()),
                address.parse().ok(),
                "{text}"
            );
        }
        let invalid: [&[u8]; 7] = [
            b"",
            b"unknown",
            b"192.0.2.1:80",
            b"192.0.2.1, 192.0.2.2",
            b"[2001:db8::1]:80",
            b"[192.0.2.1",
            b"\xff",
        ];
        for text in invalid {
            assert_eq!(read_address(text), None, "{text:?}");
        }
    }
}
