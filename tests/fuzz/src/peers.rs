// SPDX-License-Identifier: GPL-2.0-or-later
//! Connections that this program accepts by the functions that interposing replaces.

use core::mem::zeroed;
use core::net::Ipv4Addr;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use crate::edge::Edge;

/// The longest name of a Unix socket.
const NAME: usize = 107;

/// What is connected to.
pub struct Listeners {
    tcp: TcpListener,
    unix: OwnedFd,
    name: libc::sockaddr_un,
    edge: Edge,
}

/// One who connects.
pub enum Peer<'a> {
    /// From this address of the loopback network.
    Ipv4([u8; 3]),
    /// From a Unix socket of this name in the abstract name space, cut where it is too
    /// long.
    Unix(&'a [u8]),
}

/// What `accept()` has said.
pub struct Accepted {
    /// The connection, or the error.
    pub result: Result<i32, i32>,
    /// The bytes that were written, and the length that was told.
    pub address: Option<(Vec<u8>, usize)>,
    /// Gone when it is dropped, without a trace.
    _peer: OwnedFd,
}

fn socket(family: i32) -> OwnedFd {
    // SAFETY: asks for a number.
    let socket = unsafe { libc::socket(family, libc::SOCK_STREAM, 0) };
    assert!(socket >= 0, "no socket");
    // SAFETY: new, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(socket) }
}

/// The name, and how many bytes of it count.
fn unix_name(name: &[u8]) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: integers, for which zeros are valid.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let name = &name[..name.len().min(NAME)];
    for (to, from) in address.sun_path[1..].iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    (address, (2 + 1 + name.len()) as libc::socklen_t)
}

type Call = unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> i32;

fn with_address<T>(call: Call, socket: &OwnedFd, address: &T, length: libc::socklen_t) -> bool {
    // SAFETY: a socket address of this length.
    unsafe { call(socket.as_raw_fd(), (&raw const *address).cast(), length) == 0 }
}

/// As long as it lives, libFuzzer's clock does not interrupt this thread: a connection
/// of which connect() says so is made all the same, and the next one who accepts gets it.
struct WithoutAlarm(libc::sigset_t);

impl WithoutAlarm {
    fn new() -> WithoutAlarm {
        // SAFETY: sets of signals, for which zeros are valid, and pointers to them.
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
        // SAFETY: a set that the system has filled in.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, core::ptr::null_mut()) };
    }
}

impl Listeners {
    /// Two that nobody else knows of.
    pub fn new() -> Listeners {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let unix = socket(libc::AF_UNIX);
        let (name, length) = unix_name(format!("tcl-fuzz-{}", std::process::id()).as_bytes());
        assert!(with_address(libc::bind, &unix, &name, length), "a name");
        // SAFETY: a socket.
        assert_eq!(unsafe { libc::listen(unix.as_raw_fd(), 1) }, 0);
        Listeners {
            tcp,
            unix,
            name,
            edge: Edge::new(1),
        }
    }

    /// Accepts a peer, with room for so many bytes of its address, or none. `None` if
    /// there is no such peer.
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
        // SAFETY: null, or room for as many bytes as the length says.
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
            let told = length as usize;
            let written = if code < 0 { 0 } else { told.min(room) };
            // SAFETY: bytes, all of which were written by `room`.
            (unsafe { self.edge.read(room, written) }, told)
        });
        Some(Accepted {
            result,
            address,
            _peer: peer,
        })
    }

    fn tcp_peer(&self, [a, b, c]: [u8; 3]) -> Option<OwnedFd> {
        if [a, b, c] == [0; 3] || [a, b, c] == [255; 3] {
            // for broadcasts: the system takes another one
            return None;
        }
        let socket = socket(libc::AF_INET);
        // no connection is left waiting for its end
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: of the right size.
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
        // SAFETY: integers, for which zeros are valid.
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
        // without a name, too
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

/// The address of the other side, as the system tells it.
pub fn of_peer(descriptor: i32) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<libc::sockaddr_storage>()];
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: room for as many bytes as the length says.
    let code = unsafe { libc::getpeername(descriptor, bytes.as_mut_ptr().cast(), &mut length) };
    assert_eq!(code, 0, "no peer");
    bytes.truncate(length as usize);
    bytes
}

/// Closes a descriptor, by the function that interposing replaces.
pub fn close(descriptor: i32) {
    // SAFETY: the caller's own.
    assert_eq!(unsafe { libc::close(descriptor) }, 0);
}
