// SPDX-License-Identifier: GPL-2.0-or-later

//! Raw sockets and options of sockets, for packets as no ordinary client sends them.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// A raw socket for TCP that is bound to `address`. It sends what follows the IP header, and
/// receives, with IPv4 after the IP header, what each TCP socket does. The type is that of
/// UDP sockets, which send and receive packets.
///
/// # Panics
///
/// If the system does not allow it.
pub fn raw_tcp(address: IpAddr) -> UdpSocket {
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    // SAFETY: numbers only.
    let socket = unsafe { libc::socket(family, libc::SOCK_RAW, libc::IPPROTO_TCP) };
    assert!(socket >= 0, "raw socket: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just opened it, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let address = SockaddrStorage::from(SocketAddr::new(address, 0));
    bind(socket.as_raw_fd(), &address).expect("bind a raw socket");
    UdpSocket::from(socket)
}

/// Sets an option of a socket.
///
/// # Panics
///
/// If the system does not allow it.
pub fn set_option(socket: &impl AsFd, level: c_int, name: c_int, value: &[u8]) {
    let length = libc::socklen_t::try_from(value.len()).expect("short");
    // SAFETY: the kernel reads `length` bytes of the value.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    };
    let error = io::Error::last_os_error();
    assert_eq!(result, 0, "setsockopt({level}, {name}): {error}");
}

/// Connects from an address, and gives up after `patience`.
///
/// # Errors
///
/// If no connection comes about.
pub fn connect_from(from: IpAddr, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(
        stream.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(from, 0)),
    )?;
    let patience = TimeVal::new(
        patience.as_secs() as i64,
        i64::from(patience.subsec_micros()),
    );
    // It also bounds connect().
    setsockopt(&stream, sockopt::SendTimeout, &patience)?;
    connect(stream.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(stream))
}
