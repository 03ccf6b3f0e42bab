// SPDX-License-Identifier: GPL-2.0-or-later

//! Sockets of clients, bound to any address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

/// A socket that is being connected; nothing here or later waits.
pub(crate) fn connecting(from: IpAddr, to: SocketAddr) -> io::Result<OwnedFd> {
    let family = match from {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    // The port is chosen at connect(), where it must be free for this source
    // and server only.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    let from = SockaddrStorage::from(SocketAddr::new(from, 0));
    bind(socket.as_raw_fd(), &from)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Make closing it a RST. Of a connection that waits to be accepted nothing is left
/// then; after a FIN the kernels of both sides go on for a minute and more, and the
/// server gets a connection the client of which has long gone.
pub(crate) fn to_be_reset(socket: &OwnedFd) -> nix::Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(socket, sockopt::Linger, &at_once)
}
