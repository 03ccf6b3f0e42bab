// SPDX-License-Identifier: GPL-2.0-or-later
//! The functions that the executable calls instead of `accept`, `accept4` and `close`.

use core::ffi::c_int;
use core::mem::MaybeUninit;

use libc::{sockaddr, sockaddr_storage, socklen_t};

use super::received;
use super::sockaddr::octets;
use super::state::{Accept, Accept4, Close, REAL, active, facts_of_listener};
use crate::limiter::Facts;

/// At most this many rejections in one call of the host. A rejection costs a few
/// microseconds, so the host waits less than for a hundred connections that it admits.
const MAX_REJECTIONS: u32 = 16;

/// What the executable calls for `accept`.
pub(super) unsafe extern "C" fn accept(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    let accept = REAL
        .get()
        .map_or(libc::accept as Accept, |real| real.accept);
    // SAFETY: what the caller promises to `accept`, passed on.
    unsafe { accept_or_reject(listener, address, length, |a, l| accept(listener, a, l)) }
}

/// What the executable calls for `accept4`.
pub(super) unsafe extern "C" fn accept4(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let accept = REAL
        .get()
        .map_or(libc::accept4 as Accept4, |real| real.accept4);
    // SAFETY: what the caller promises to `accept4`, passed on.
    unsafe {
        accept_or_reject(listener, address, length, |a, l| {
            accept(listener, a, l, flags)
        })
    }
}

/// What the executable calls for `close`. The order is argued in the documentation of the
/// module above.
pub(super) unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    let taken = active().and_then(|counter| Some((counter, counter.take(descriptor)?)));
    let Some((counter, taken)) = taken else {
        // SAFETY: what the caller promises to `close`, passed on.
        return unsafe { real_close(descriptor) };
    };
    // If it is not read, the client is taken to have sent something.
    let facts = match counter.reads_received() {
        true => {
            let errno = errno();
            let facts = received::facts(descriptor);
            set_errno(errno);
            facts
        }
        false => Facts::SPOKE,
    };
    // SAFETY: what the caller promises to `close`, passed on.
    let answer = unsafe { real_close(descriptor) };
    let errno = errno();
    counter.release(taken, facts);
    set_errno(errno);
    answer
}

/// # Safety
///
/// As for `close`.
unsafe fn real_close(descriptor: c_int) -> c_int {
    let close = REAL.get().map_or(libc::close as Close, |real| real.close);
    // SAFETY: as the caller promises.
    unsafe { close(descriptor) }
}

/// Accepts connections until one is admitted, none is pending, or too many were rejected;
/// see the documentation of the module above.
///
/// # Safety
///
/// `address` and `length` are as for `accept`; `accept` calls that function.
#[inline]
unsafe fn accept_or_reject(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    accept: impl Fn(*mut sockaddr, *mut socklen_t) -> c_int,
) -> c_int {
    let counter = match active() {
        // The system reports an address without a length as an error.
        Some(counter) if address.is_null() || !length.is_null() => counter,
        _ => return accept(address, length),
    };
    for _ in 0..MAX_REJECTIONS {
        // Our own memory, since the caller's may be null or too short.
        let mut peer = MaybeUninit::<sockaddr_storage>::zeroed();
        let mut peer_length = size_of::<sockaddr_storage>() as socklen_t;
        let descriptor = accept(peer.as_mut_ptr().cast(), &mut peer_length);
        if descriptor < 0 {
            return descriptor;
        }
        let errno = errno();
        // SAFETY: all zero is a valid socket address, and so is what `accept` wrote.
        let peer = unsafe { peer.assume_init_ref() };
        let mut buffer = [0; 16];
        // SAFETY: a `sockaddr_storage` is large enough for an address of any family.
        let source = unsafe { octets((&raw const *peer).cast(), &mut buffer) };
        if counter.accepted(descriptor, listener, source, facts_of_listener(listener)) {
            if !address.is_null() {
                // SAFETY: neither is null, and they are as for `accept`.
                unsafe { hand_over(peer, peer_length, address, length) };
            }
            set_errno(errno);
            return descriptor;
        }
        // SAFETY: closes the descriptor that was accepted above, which no other code has.
        unsafe { real_close(descriptor) };
        if !is_ready(listener) {
            break;
        }
    }
    set_errno(libc::EAGAIN);
    -1
}

/// Writes the address for the caller of `accept` as the system does: truncated to
/// `*length` bytes, and then its full length to `*length`.
///
/// # Safety
///
/// `address` has room for `*length` bytes.
unsafe fn hand_over(
    peer: &sockaddr_storage,
    peer_length: socklen_t,
    address: *mut sockaddr,
    length: *mut socklen_t,
) {
    let known = (peer_length as usize).min(size_of::<sockaddr_storage>());
    // SAFETY: at most `*length` bytes, for which there is room as the caller promises, and
    // at most the size of `peer`.
    unsafe {
        let taken = known.min(*length as usize);
        core::ptr::copy_nonoverlapping(
            (&raw const *peer).cast::<u8>(),
            address.cast::<u8>(),
            taken,
        );
        *length = peer_length;
    }
}

/// Whether a connection is pending now.
fn is_ready(listener: c_int) -> bool {
    let mut poll = libc::pollfd {
        fd: listener,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one descriptor, valid for writing. The timeout of 0 does not wait. An error
    // counts as not ready: the host will call `accept` again.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}

fn errno() -> c_int {
    // SAFETY: the calling thread's errno is always valid.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: the calling thread's errno is always valid.
    unsafe { *libc::__errno_location() = value };
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use super::super::counter::Counter;
    use super::super::state::{COUNTER, activate, set_tls_listeners};
    use super::*;
    use crate::shared::sync::Ordering;
    use crate::table::connections::Taken;

    /// Records the facts that the wrappers find, at the start and at the end.
    struct Recorder {
        reads: AtomicBool,
        accepted: Mutex<Vec<Facts>>,
        released: Mutex<Vec<Facts>>,
    }

    impl Counter for Recorder {
        fn accepted(&self, _: c_int, _: c_int, _: &[u8], facts: Facts) -> bool {
            self.accepted.lock().unwrap().push(facts);
            true
        }

        fn take(&self, _: c_int) -> Option<Taken> {
            let facts = Facts::NONE;
            Some(Taken {
                cell: 1,
                network: 0,
                facts,
            })
        }

        fn release(&self, _: Taken, facts: Facts) {
            self.released.lock().unwrap().push(facts);
        }

        fn reads_received(&self) -> bool {
            self.reads.load(Ordering::Relaxed)
        }

        fn claim(&self, _: u32) -> bool {
            true
        }

        fn release_all(&self) {}
    }

    static RECORDER: Recorder = Recorder {
        reads: AtomicBool::new(false),
        accepted: Mutex::new(Vec::new()),
        released: Mutex::new(Vec::new()),
    };

    /// A client, and the descriptor of its connection, which the wrapper accepted.
    fn connection(listener: &TcpListener) -> (TcpStream, c_int) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let null = core::ptr::null_mut();
        // SAFETY: a listening socket; both pointers may be null.
        let descriptor = unsafe { accept(listener.as_raw_fd(), null, null.cast()) };
        assert!(descriptor >= 0);
        (client, descriptor)
    }

    fn closed(descriptor: c_int) -> Facts {
        // SAFETY: `connection` returned this descriptor, and no other code has it.
        assert_eq!(unsafe { close(descriptor) }, 0);
        RECORDER.released.lock().unwrap().pop().unwrap()
    }

    /// One test, because the active process has one counter.
    #[test]
    fn facts_reach_the_counter() {
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        COUNTER.get_or_init(|| &RECORDER);
        set_tls_listeners(&[c_int::MAX, listeners[1].as_raw_fd()]);
        activate().unwrap();
        let connections = [0, 1, 0, 0].map(|of| connection(&listeners[of]));
        assert_eq!(
            *RECORDER.accepted.lock().unwrap(),
            [Facts::NONE, Facts::TLS, Facts::NONE, Facts::NONE]
        );
        let [
            (_silent, first),
            (_tls, second),
            (_other, third),
            (mut talker, fourth),
        ] = connections;
        // Nothing is read.
        assert_eq!(closed(first), Facts::SPOKE);
        RECORDER.reads.store(true, Ordering::Relaxed);
        assert_eq!(closed(second), Facts::CLOSED_BY_HOST);
        assert_eq!(closed(third), Facts::CLOSED_BY_HOST);
        talker.write_all(b"hello").unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while !received::facts(fourth).include(Facts::SPOKE) {
            assert!(Instant::now() < until, "the system did not receive it");
        }
        assert_eq!(closed(fourth), Facts::SPOKE | Facts::CLOSED_BY_HOST);
    }
}
