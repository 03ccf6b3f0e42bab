// SPDX-License-Identifier: GPL-2.0-or-later

//! Headers of the PROXY protocol, with which a proxy names its client.

use std::net::{IpAddr, SocketAddr};

const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;

/// Version 1, as text.
pub fn v1(client: SocketAddr) -> Vec<u8> {
    let (family, destination) = match client.ip() {
        IpAddr::V4(_) => ("TCP4", "192.0.2.1"),
        IpAddr::V6(_) => ("TCP6", "2001:db8:ffff::1"),
    };
    let (ip, port) = (client.ip(), client.port());
    format!("PROXY {family} {ip} {destination} {port} 5060\r\n").into_bytes()
}

/// Version 1 for an unknown client.
pub fn v1_unknown() -> Vec<u8> {
    b"PROXY UNKNOWN\r\n".to_vec()
}

/// Version 2, binary.
pub fn v2(client: SocketAddr) -> Vec<u8> {
    let (family, mut addresses) = match client.ip() {
        IpAddr::V4(ip) => (0x11, [ip.octets(), [192, 0, 2, 1]].concat()),
        IpAddr::V6(ip) => (0x21, [ip.octets(), ip.octets()].concat()),
    };
    addresses.extend(client.port().to_be_bytes());
    addresses.extend(5060u16.to_be_bytes());
    let length = u16::try_from(addresses.len()).expect("a short header");
    let head: [u8; 4] = [
        V2_PROXY,
        family,
        length.to_be_bytes()[0],
        length.to_be_bytes()[1],
    ];
    [&V2_SIGNATURE[..], &head, &addresses].concat()
}

/// Version 2 from a proxy that connects for itself, for example for a health check.
pub fn v2_local() -> Vec<u8> {
    [&V2_SIGNATURE[..], &[V2_LOCAL, 0, 0, 0]].concat()
}
