// SPDX-License-Identifier: GPL-2.0-or-later

//! Client sockets, bound to any address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

/// Returns a non-blocking socket that is being connected. Neither this call nor later ones
/// on it wait.
pub(crate) fn connecting(from: IpAddr, to: SocketAddr) -> io::Result<OwnedFd> {
    let family = match from {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    // The kernel chooses the port in connect(), where it must only be free for this
    // source and server.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    let from = SockaddrStorage::from(SocketAddr::new(from, 0));
    bind(socket.as_raw_fd(), &from)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Makes close() send RST. Then nothing is left of a connection that waits to be accepted.
/// After a FIN the kernel keeps the state of both ends for a minute or more, and the server
/// gets a connection whose client has long gone.
pub(crate) fn to_be_reset(socket: &OwnedFd) -> nix::Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(socket, sockopt::Linger, &at_once)
}
