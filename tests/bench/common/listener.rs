// SPDX-License-Identifier: GPL-2.0-or-later

//! The number of connections that the kernel has set up and the server has not accepted
//! yet.
//!
//! A client cannot see `accept()`: its connection is up as soon as the kernel has answered.
//! The listening socket has the length of its queue, so this module reads it from a
//! duplicate of the server's descriptor. That does not affect the server.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::sys::socket::{SockaddrIn, getsockname, getsockopt, sockopt};

/// The accept queue of a server.
pub(crate) struct AcceptQueue(OwnedFd);

impl AcceptQueue {
    /// Finds the socket of process `pid` that listens on TCP port `port`.
    pub(crate) fn of(pid: u32, port: u16) -> io::Result<AcceptQueue> {
        let process = pidfd_open(pid)?;
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
            let name = entry?.file_name();
            let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let fd = pidfd_getfd(&process, number)?;
            if listens_on(&fd, port) {
                return Ok(AcceptQueue(fd));
            }
        }
        Err(io::Error::other(format!(
            "process {pid} has no socket listening on port {port}"
        )))
    }

    /// Returns the number of connections that wait to be accepted.
    pub(crate) fn len(&self) -> io::Result<usize> {
        // For a listening socket, this field is the length of its queue.
        Ok(tcp_info(&self.0)?.tcpi_unacked as usize)
    }
}

fn listens_on(fd: &OwnedFd, port: u16) -> bool {
    // Most descriptors are not sockets, or are sockets of another family.
    getsockopt(fd, sockopt::AcceptConn) == Ok(true)
        && getsockname::<SockaddrIn>(fd.as_raw_fd()).is_ok_and(|name| name.port() == port)
}

fn tcp_info(fd: &OwnedFd) -> io::Result<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `info`, which is that large.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all its fields are integers, for which zero is also valid.
    Ok(unsafe { info.assume_init() })
}

fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes and returns only integers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

fn pidfd_getfd(process: &OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes and returns only integers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn own(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
}
