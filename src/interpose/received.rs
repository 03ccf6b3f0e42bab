// SPDX-License-Identifier: GPL-2.0-or-later
//! What the system knows of a TCP connection before it is closed.

use core::ffi::{c_int, c_void};

use libc::socklen_t;

use crate::limiter::Facts;

/// The first 136 bytes of the system's `struct tcp_info`, which ends with `bytes_received`
/// since Linux 4.1. The structure has grown since, always at its end.
#[repr(C)]
#[derive(Default)]
struct TcpInfo {
    state: u8,
    /// Fields of 8 bits, 24 fields of 32 bits and 3 of 64 bits.
    unused: [[u8; 32]; 3],
    unused_rest: [u8; 31],
    bytes_received: u64,
}

/// `state` of a connection that neither side has closed, `TCP_ESTABLISHED`.
const ESTABLISHED: u8 = 1;

/// A FIN counts as a received byte.
const FIN: u64 = 1;

/// The facts about the connection with this descriptor: whether the client has sent more
/// than one byte, and whether it is the host that closes. If the system does not say it,
/// the client is taken to have sent something.
pub(super) fn facts(descriptor: c_int) -> Facts {
    match tcp_info(descriptor) {
        None => Facts::SPOKE,
        Some(info) => {
            let fact = |is: bool, fact| if is { fact } else { Facts::NONE };
            fact(info.bytes_received > FIN, Facts::SPOKE)
                | fact(info.state == ESTABLISHED, Facts::CLOSED_BY_HOST)
        }
    }
}

fn tcp_info(descriptor: c_int) -> Option<TcpInfo> {
    let mut info = TcpInfo::default();
    let size = size_of::<TcpInfo>() as socklen_t;
    let mut written = size;
    // SAFETY: the system writes at most `written` bytes to `info`, which has that size and
    // is valid with any bytes.
    let code = unsafe {
        libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast::<c_void>(),
            &mut written,
        )
    };
    (code == 0 && written == size).then_some(info)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    use super::*;

    /// Waits until the system has the facts of the accepted side, after `act` on the other.
    fn expect(act: impl FnOnce(&mut TcpStream), expected: Facts) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        act(&mut client);
        let until = Instant::now() + Duration::from_secs(10);
        while facts(accepted.as_raw_fd()) != expected {
            assert!(Instant::now() < until, "{:?}", facts(accepted.as_raw_fd()));
        }
    }

    #[test]
    fn silent_client_has_not_spoken() {
        expect(|_| {}, Facts::CLOSED_BY_HOST);
        let half_close = |client: &mut TcpStream| client.shutdown(Shutdown::Write).unwrap();
        expect(half_close, Facts::NONE);
    }

    #[test]
    fn client_that_sent_something_has_spoken() {
        let send = |client: &mut TcpStream| client.write_all(b"hi").unwrap();
        expect(send, Facts::SPOKE | Facts::CLOSED_BY_HOST);
        let send_and_close = |client: &mut TcpStream| {
            client.write_all(b"hi").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        };
        expect(send_and_close, Facts::SPOKE);
    }

    #[test]
    fn unknown_descriptor_counts_as_spoken() {
        assert_eq!(facts(-1), Facts::SPOKE);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(facts(file.as_raw_fd()), Facts::SPOKE);
    }
}
