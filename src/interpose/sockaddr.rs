// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads socket addresses.

use core::ffi::c_int;

use libc::sockaddr;

/// Copies the octets of an IPv4 or IPv6 socket address to `buffer` and returns them: 4 or
/// 16 octets, or none for another family or a null pointer.
///
/// # Safety
///
/// `address` is null or points to a socket address of the size that its family implies.
pub(crate) unsafe fn octets(address: *const sockaddr, buffer: &mut [u8; 16]) -> &[u8] {
    if address.is_null() {
        return &[];
    }
    // SAFETY: every socket address begins with its family. It is read unaligned and
    // without a reference to a whole `sockaddr`, which may be larger than the address.
    let family = unsafe { address.cast::<libc::sa_family_t>().read_unaligned() };
    match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_in, by its family.
            let sin = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            buffer[..4].copy_from_slice(&sin.sin_addr.s_addr.to_ne_bytes());
            &buffer[..4]
        }
        libc::AF_INET6 => {
            // SAFETY: a sockaddr_in6, by its family.
            let sin6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            *buffer = sin6.sin6_addr.s6_addr;
            buffer
        }
        _ => &[],
    }
}
