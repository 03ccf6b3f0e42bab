// SPDX-License-Identifier: GPL-2.0-or-later
//! Connections that this program accepts through the functions that interposing replaces.

use core::mem::zeroed;
use core::net::Ipv4Addr;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use crate::edge::Edge;

/// The maximum length of a Unix socket name in the abstract name space.
const MAX_NAME: usize = 107;

/// The listening sockets.
pub struct Listeners {
    tcp: TcpListener,
    unix: OwnedFd,
    name: libc::sockaddr_un,
    edge: Edge,
}

/// The other side of a connection.
pub enum Peer<'a> {
    /// A client at this address of the loopback network.
    Ipv4([u8; 3]),
    /// A Unix socket with this name in the abstract name space, truncated if it is too
    /// long.
    Unix(&'a [u8]),
}

/// The result of `accept()`.
pub struct Accepted {
    /// The connection, or the error.
    pub result: Result<i32, i32>,
    /// The bytes that were written, and the length that was reported.
    pub address: Option<(Vec<u8>, usize)>,
    /// The client's socket, which is closed on drop.
    _peer: OwnedFd,
}

fn socket(family: i32) -> OwnedFd {
    // SAFETY: the call takes and returns only integers.
    let socket = unsafe { libc::socket(family, libc::SOCK_STREAM, 0) };
    assert!(socket >= 0, "no socket");
    // SAFETY: the descriptor is new, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(socket) }
}

/// Returns the socket address for a name, and its length.
fn unix_name(name: &[u8]) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: the struct consists of integers, for which zeros are valid.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let name = &name[..name.len().min(MAX_NAME)];
    for (to, from) in address.sun_path[1..].iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    (address, (2 + 1 + name.len()) as libc::socklen_t)
}

type Call = unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> i32;

fn with_address<T>(call: Call, socket: &OwnedFd, address: &T, length: libc::socklen_t) -> bool {
    // SAFETY: `address` is a socket address of at least this length.
    unsafe { call(socket.as_raw_fd(), (&raw const *address).cast(), length) == 0 }
}

/// Blocks the signal of libFuzzer's timer in this thread until it is dropped. If the signal
/// interrupts connect(), the connection is still made, and a later accept() would get it.
struct WithoutAlarm(libc::sigset_t);

impl WithoutAlarm {
    fn new() -> WithoutAlarm {
        // SAFETY: zeros are valid for sets of signals, and the pointers are valid.
        unsafe {
            let (mut alarm, mut before) = (zeroed(), zeroed());
            assert_eq!(libc::sigaddset(&mut alarm, libc::SIGALRM), 0);
            let code = libc::pthread_sigmask(libc::SIG_BLOCK, &alarm, &mut before);
            assert_eq!(code, 0);
            WithoutAlarm(before)
        }
    }
}

impl Drop for WithoutAlarm {
    fn drop(&mut self) {
        // SAFETY: the system has written this set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, core::ptr::null_mut()) };
    }
}

impl Listeners {
    /// Listens on TCP and on a Unix socket, both for this process alone.
    pub fn new() -> Listeners {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let unix = socket(libc::AF_UNIX);
        let (name, length) = unix_name(format!("tcl-fuzz-{}", std::process::id()).as_bytes());
        assert!(with_address(libc::bind, &unix, &name, length), "a name");
        // SAFETY: the call takes only integers.
        assert_eq!(unsafe { libc::listen(unix.as_raw_fd(), 1) }, 0);
        Listeners {
            tcp,
            unix,
            name,
            edge: Edge::new(1),
        }
    }

    /// Accepts a connection of a peer, with room for `room` bytes of its address, or without
    /// a buffer. It calls accept4() if `four`, else accept(). Returns `None` if such a peer
    /// cannot connect.
    pub fn accept(&mut self, peer: &Peer<'_>, room: Option<usize>, four: bool) -> Option<Accepted> {
        let _quiet = WithoutAlarm::new();
        let (peer, listener) = match peer {
            Peer::Ipv4(from) => (self.tcp_peer(*from)?, self.tcp.as_raw_fd()),
            Peer::Unix(name) => (self.unix_peer(name)?, self.unix.as_raw_fd()),
        };
        let mut length = room.unwrap_or_default() as libc::socklen_t;
        let (address, length_at) = match room {
            Some(room) => (self.edge.room::<u8>(room).cast(), &raw mut length),
            None => (core::ptr::null_mut(), core::ptr::null_mut()),
        };
        // SAFETY: the pointers are null, or the buffer has as many bytes as the length says.
        let code = unsafe {
            match four {
                true => libc::accept4(listener, address, length_at, libc::SOCK_CLOEXEC),
                false => libc::accept(listener, address, length_at),
            }
        };
        let result = match code {
            0.. => Ok(code),
            _ => Err(std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or_default()),
        };
        let address = room.map(|room| {
            let reported = length as usize;
            let written = if code < 0 { 0 } else { reported.min(room) };
            // SAFETY: they are bytes, all of which `room` has written.
            (unsafe { self.edge.read(room, written) }, reported)
        });
        Some(Accepted {
            result,
            address,
            _peer: peer,
        })
    }

    fn tcp_peer(&self, [a, b, c]: [u8; 3]) -> Option<OwnedFd> {
        if [a, b, c] == [0; 3] || [a, b, c] == [255; 3] {
            // These addresses are for broadcasts, and the system uses another one.
            return None;
        }
        let socket = socket(libc::AF_INET);
        // close() sends RST, so no connection stays in TIME_WAIT.
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the pointer and the size are those of `linger`.
        let code = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
        assert_eq!(code, 0);
        let SocketAddr::V4(to) = self.tcp.local_addr().ok()? else {
            return None;
        };
        // SAFETY: the struct consists of integers, for which zeros are valid.
        let mut address: libc::sockaddr_in = unsafe { zeroed() };
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_addr.s_addr = u32::from_ne_bytes([127, a, b, c]);
        let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        if !with_address(libc::bind, &socket, &address, length) {
            return None;
        }
        address.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
        address.sin_port = to.port().to_be();
        with_address(libc::connect, &socket, &address, length).then_some(socket)
    }

    fn unix_peer(&self, name: &[u8]) -> Option<OwnedFd> {
        let socket = socket(libc::AF_UNIX);
        let (own, length) = unix_name(name);
        // Without a name the socket connects unbound.
        if !name.is_empty() && !with_address(libc::bind, &socket, &own, length) {
            return None;
        }
        let (_, length) = unix_name(format!("tcl-fuzz-{}", std::process::id()).as_bytes());
        with_address(libc::connect, &socket, &self.name, length).then_some(socket)
    }
}

impl Default for Listeners {
    fn default() -> Listeners {
        Listeners::new()
    }
}

/// Returns the address of the other side, as the system reports it.
pub fn of_peer(descriptor: i32) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<libc::sockaddr_storage>()];
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: the buffer has as many bytes as the length says.
    let code = unsafe { libc::getpeername(descriptor, bytes.as_mut_ptr().cast(), &mut length) };
    assert_eq!(code, 0, "no peer");
    bytes.truncate(length as usize);
    bytes
}

/// Closes a descriptor through the function that interposing replaces.
pub fn close(descriptor: i32) {
    // SAFETY: the call takes only an integer. The callers own the descriptor.
    assert_eq!(unsafe { libc::close(descriptor) }, 0);
}
