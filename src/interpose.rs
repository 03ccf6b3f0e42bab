// SPDX-License-Identifier: GPL-2.0-or-later
//! Counts the connections of a host that has no hooks for us.
//!
//! A Kamailio that was built without our hooks calls nobody when it accepts or
//! closes a connection, except the C library. So we put ourselves between:
//!
//! ```text
//!   executable                    wrapper (here)                C library
//!  ┌──────────────┐  GOT entry   ┌───────────────────────┐
//!  │ accept(…)   ─┼──▶ accept ──▶│ accept(…) ────────────┼──▶ accept
//!  │              │              │ reject: close, EAGAIN │
//!  │              │              │ admit: count          │
//!  │ close(…)    ─┼──▶ close ───▶│ close(…), take off ───┼──▶ close
//!  └──────────────┘              └───────────────────────┘
//! ```
//!
//! # Which functions
//!
//! `accept` and, where it is called, `accept4`; and `close`. `got` finds the GOT entries
//! through which the executable calls them, and refuses what it does not know;
//! `patch` changes all of them or none. There must be one to accept and one to close:
//! half of it would count nothing, or count up only.
//!
//! Only the *executable's* GOT entries are changed. Modules, this library and the C
//! library have GOT entries of their own: what they accept and close is none of ours. An
//! address that the program took from a GOT entry before is not changed either; that is
//! why all this is done at the start.
//!
//! The wrappers go on to the function that was in the GOT entry, so that whoever else
//! has interposed keeps what he had, and a debugger's or preloaded library's
//! `accept` is still called.
//!
//! # Where it counts
//!
//! The GOT entries are changed once, before the server forks, while there is one thread.
//! All processes then call the wrappers, which pass everything on until
//! [`activate`] is called: in the one process that accepts. A descriptor is closed
//! in the workers as well, each its own copy; that ends no connection.
//!
//! What the active process forks is not active: the wrappers compare the process's
//! number, in the memory that `vfork` shares, too. One process at a time can be active,
//! since the table of descriptors is in shared memory, see `descriptors`.
//!
//! # The wait that must not be
//!
//! The host calls `accept` when there is a connection, and the listening socket may
//! be one that blocks. A rejection leaves the host without what it came for. To try
//! again would wait if there is no other; so `poll` is asked first, which does not
//! wait, and nobody else accepts from that socket in between. If there is none, the
//! host gets `EAGAIN`, which it must know, for a client may have gone before it is
//! accepted. It also gets it after [`MAX_REJECTIONS`], so that a flood of
//! connections that are rejected does not keep the host from its other work. It will
//! then be told of the socket again, unless it asked to be told of changes only (an
//! edge-triggered poll): such a host cannot be served.
//!
//! # The order at a close
//!
//! Token out of the table, real close, count down. Once the real close has
//! returned, or even before, another thread may be given the same number; its token
//! must not be the one that is taken. And the count goes down last: at no time are
//! there more connections open than counted. It goes down also if the close fails:
//! Linux has freed the descriptor then, except where it was none.
//!
//! # The end
//!
//! [`detach`] puts back what was in the GOT entries of the process that calls it, and takes
//! off what that process has counted. The library is linked such that it is never
//! unloaded (`-z nodelete`): a wrapper that a process still calls is there.

mod descriptors;
mod got;
mod patch;

pub(crate) use descriptors::Counter;

use core::ffi::{CStr, c_int, c_void};
use core::mem::{MaybeUninit, transmute};
use std::sync::{Mutex, PoisonError};

use libc::{sockaddr, sockaddr_storage, socklen_t};
use once_cell::sync::OnceCell;

use crate::shared::region::RegionError;
use crate::shared::sync::{AtomicI32, Ordering};
use descriptors::{Descriptors, Verdict};
use got::{GotEntry, Image};
use patch::{Change, Changed};

/// Rejections in one call of the host. To reject costs a few microseconds, so the
/// host waits less than for a hundred connections that it admits.
const MAX_REJECTIONS: u32 = 16;

type Accept = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
type Accept4 = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int;
type Close = unsafe extern "C" fn(c_int) -> c_int;

const ACCEPT: usize = 0;
const ACCEPT4: usize = 1;
const CLOSE: usize = 2;
const NAMES: [&CStr; 3] = [c"accept", c"accept4", c"close"];

/// The functions that the executable would call.
struct Real {
    accept: Accept,
    accept4: Accept4,
    close: Close,
}

/// Known before the first GOT entry is changed.
static REAL: OnceCell<Real> = OnceCell::new();

/// The GOT entries that are changed. The wrappers do not look here.
static CHANGED: Mutex<Option<Changed>> = Mutex::new(None);

/// What the active process counts with; known before the first GOT entry is changed, and
/// shared with all processes that are forked later.
static COUNTING: OnceCell<Counting> = OnceCell::new();

/// The number of the active process; 0 before there is one. A process that it forks
/// inherits the number, or shares it after `vfork`, but has another number itself.
static ACTIVE: AtomicI32 = AtomicI32::new(0);

struct Counting {
    descriptors: Descriptors,
    counter: &'static dyn Counter,
}

/// Why nothing was attached.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It was before.
    Already,
    /// The system gives no memory for the table of descriptors.
    NoMemory(RegionError),
    /// The sentence says what was found, or what the system did not allow.
    Because(String),
}

/// What was found in the executable.
struct Found {
    entries: Vec<GotEntry>,
    real: Real,
}

/// Whether the executable can be interposed on. Changes nothing.
///
/// # Errors
///
/// [`Refused`].
pub(crate) fn find() -> Result<(), Refused> {
    let changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    match *changed {
        Some(_) => Err(Refused::Already),
        None => find_entries().map(drop).map_err(Refused::Because),
    }
}

/// Changes the GOT entries of this process, and of all that it forks from now on. To be
/// called while it has one thread. The host has at most `connections` connections.
///
/// # Errors
///
/// [`Refused`], and every GOT entry is as it was.
pub(crate) fn attach(counter: &'static dyn Counter, connections: u32) -> Result<(), Refused> {
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    if changed.is_some() {
        return Err(Refused::Already);
    }
    let Found { entries, real } = find_entries().map_err(Refused::Because)?;
    COUNTING.get_or_try_init(|| {
        let descriptors = Descriptors::new(Descriptors::needed(connections));
        let descriptors = descriptors.map_err(Refused::NoMemory)?;
        Ok(Counting {
            descriptors,
            counter,
        })
    })?;
    // After a detach they stay what they were: whoever replaced functions in between
    // would be passed by, but the host attaches once.
    REAL.get_or_init(|| real);
    let changes = entries.into_iter().map(|entry| {
        let wrapper = match entry.name {
            ACCEPT => accept as Accept as usize,
            ACCEPT4 => accept4 as Accept4 as usize,
            _ => close as Close as usize,
        };
        // SAFETY: `find_entries` gives GOT entries of the executable, by the name of the
        // function in them; the library is never unloaded.
        unsafe { Change::new(entry, wrapper) }
    });
    *changed = Some(patch::change(changes.collect()).map_err(Refused::Because)?);
    Ok(())
}

/// Whether the GOT entries are changed.
pub(crate) fn is_attached() -> bool {
    let changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    changed.is_some()
}

/// Another process counts already.
#[derive(Debug)]
pub(crate) struct Occupied;

/// From here on this process counts what it accepts. Nothing happens if nothing was
/// attached.
///
/// # Errors
///
/// [`Occupied`], and nothing has changed.
pub(crate) fn activate() -> Result<(), Occupied> {
    let Some(counting) = COUNTING.get() else {
        return Ok(());
    };
    let process = process();
    if !counting.descriptors.claim(process.unsigned_abs().into()) {
        return Err(Occupied);
    }
    // Relaxed: as in `active`.
    ACTIVE.store(process, Ordering::Relaxed);
    Ok(())
}

/// Whether the connection that has this descriptor in the active process is counted;
/// from any process.
pub(crate) fn is_counted(descriptor: c_int) -> bool {
    COUNTING
        .get()
        .is_some_and(|counting| counting.descriptors.is_counted(descriptor))
}

/// The first descriptor that is not tracked, for a host with at most so many
/// connections.
pub(crate) const fn first_untracked(connections: u32) -> usize {
    Descriptors::needed(connections)
}

/// Puts back what was in the GOT entries of this process, and takes off all that it has
/// counted.
///
/// # Errors
///
/// A sentence that says which GOT entries are not as they were.
pub(crate) fn detach() -> Result<(), String> {
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    let undone = match &*changed {
        Some(entries) => entries.undo(),
        None => Ok(()),
    };
    if undone.is_ok() {
        *changed = None;
    }
    if let Some(active) = active() {
        // Relaxed: as in `active`.
        ACTIVE.store(0, Ordering::Relaxed);
        let counter = active.counter;
        active.descriptors.release(|token| counter.closed(token));
    }
    undone
}

/// What this process counts, if it is the one that does.
#[inline]
fn active() -> Option<&'static Counting> {
    // Relaxed: `COUNTING` stands for itself, and its memory is zero where nothing was
    // stored.
    let active = ACTIVE.load(Ordering::Relaxed);
    if active == 0 || active != process() {
        return None;
    }
    COUNTING.get()
}

fn process() -> libc::pid_t {
    // SAFETY: asks for a number.
    unsafe { libc::getpid() }
}

fn find_entries() -> Result<Found, String> {
    let image = Image::of_this_process()?;
    let names = NAMES.map(|name| name.to_str().unwrap_or_default());
    let entries = image.entries(&names)?;
    let has = |wanted: usize| entries.iter().any(|entry| entry.name == wanted);
    let missing = match (has(ACCEPT) || has(ACCEPT4), has(CLOSE)) {
        (true, true) => None,
        (false, _) => Some("accept"),
        (true, false) => Some("close"),
    };
    if let Some(name) = missing {
        return Err(format!(
            "the executable does not call {name} in a way that can be interposed on \
             (it has no JUMP_SLOT or GLOB_DAT relocation for that name)"
        ));
    }
    let real = |index: usize| real(&image, &entries, index, names[index]);
    let (accept, accept4, close) = (real(ACCEPT)?, real(ACCEPT4)?, real(CLOSE)?);
    // SAFETY: addresses of the functions of these names, which POSIX and Linux give
    // these signatures.
    let real = unsafe {
        Real {
            accept: transmute::<usize, Accept>(accept),
            accept4: transmute::<usize, Accept4>(accept4),
            close: transmute::<usize, Close>(close),
        }
    };
    Ok(Found { entries, real })
}

/// The function that the executable would call.
///
/// Until its first call, a GOT entry may lead back into the executable, to where the
/// dynamic linker is called. To go on to there from a wrapper would undo the change,
/// for the dynamic linker writes what it finds into the GOT entry. So the function is then
/// looked for as the dynamic linker would: what the name means in this process. In
/// an executable that lies at a fixed address, that may be its own procedure linkage
/// table, and then the next library that has the name is taken.
fn real(image: &Image, entries: &[GotEntry], index: usize, name: &str) -> Result<usize, String> {
    let extent = image.extent();
    let outside = |address: &usize| *address != 0 && !extent.contains(address);
    let mut resolved = entries
        .iter()
        .filter(|entry| entry.name == index)
        // SAFETY: a GOT entry of the executable.
        .map(|&entry| unsafe { patch::content(entry) })
        .filter(outside);
    if let Some(first) = resolved.next() {
        return match resolved.all(|other| other == first) {
            true => Ok(first),
            false => Err(format!(
                "the executable's GOT entries for {name} hold different addresses"
            )),
        };
    }
    let look_up = |handle: *mut c_void| {
        // SAFETY: a name and one of the two handles that are always valid.
        unsafe { libc::dlsym(handle, NAMES[index].as_ptr()) as usize }
    };
    [libc::RTLD_DEFAULT, libc::RTLD_NEXT]
        .into_iter()
        .map(look_up)
        .find(outside)
        .ok_or_else(|| format!("no function {name} was found outside the executable"))
}

/// What the executable calls for `accept`.
unsafe extern "C" fn accept(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    let accept = REAL
        .get()
        .map_or(libc::accept as Accept, |real| real.accept);
    // SAFETY: the caller's promise to `accept`, handed on.
    unsafe { accept_or_reject(listener, address, length, |a, l| accept(listener, a, l)) }
}

/// What the executable calls for `accept4`.
unsafe extern "C" fn accept4(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let accept = REAL
        .get()
        .map_or(libc::accept4 as Accept4, |real| real.accept4);
    // SAFETY: the caller's promise to `accept4`, handed on.
    unsafe {
        accept_or_reject(listener, address, length, |a, l| {
            accept(listener, a, l, flags)
        })
    }
}

/// What the executable calls for `close`.
unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    let active = active();
    let token = active.map_or(0, |active| active.descriptors.take(descriptor));
    // SAFETY: the caller's promise to `close`, handed on.
    let answer = unsafe { real_close(descriptor) };
    if let Some(active) = active
        && token != 0
    {
        let errno = errno();
        active.counter.closed(token);
        set_errno(errno);
    }
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

/// Accepts connections until one is admitted, see the module's documentation.
///
/// # Safety
///
/// `address` and `length` are as for `accept`; `accept` is it.
#[inline]
unsafe fn accept_or_reject(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    accept: impl Fn(*mut sockaddr, *mut socklen_t) -> c_int,
) -> c_int {
    let active = match active() {
        // the system says what is wrong with an address without a length
        Some(active) if address.is_null() || !length.is_null() => active,
        _ => return accept(address, length),
    };
    for _ in 0..MAX_REJECTIONS {
        // ours, since the caller's may be too short, or none
        let mut peer = MaybeUninit::<sockaddr_storage>::zeroed();
        let mut peer_length = size_of::<sockaddr_storage>() as socklen_t;
        let descriptor = accept(peer.as_mut_ptr().cast(), &mut peer_length);
        if descriptor < 0 {
            return descriptor;
        }
        let errno = errno();
        // SAFETY: all zero is a valid socket address, and so is what accept made.
        let peer = unsafe { peer.assume_init_ref() };
        let mut octets = [0; 16];
        let count = read_octets(peer, &mut octets);
        let verdict = active
            .descriptors
            .accepted(active.counter, descriptor, &octets[..count]);
        if verdict == Verdict::Admitted {
            if !address.is_null() {
                // SAFETY: neither is null, and they are as for `accept`.
                unsafe { hand_over(peer, peer_length, address, length) };
            }
            set_errno(errno);
            return descriptor;
        }
        // SAFETY: closes what was accepted above, which nobody else knows.
        unsafe { real_close(descriptor) };
        if !is_ready(listener) {
            break;
        }
    }
    set_errno(libc::EAGAIN);
    -1
}

/// The octets of an IPv4 or IPv6 address; their number, 0 for others.
fn read_octets(peer: &sockaddr_storage, octets: &mut [u8; 16]) -> usize {
    let at = &raw const *peer;
    match c_int::from(peer.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_in by its family, in storage aligned for it.
            let sin = unsafe { &*at.cast::<libc::sockaddr_in>() };
            octets[..4].copy_from_slice(&sin.sin_addr.s_addr.to_ne_bytes());
            4
        }
        libc::AF_INET6 => {
            // SAFETY: a sockaddr_in6 by its family, in storage aligned for it.
            let sin6 = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            *octets = sin6.sin6_addr.s6_addr;
            16
        }
        _ => 0,
    }
}

/// Gives the caller of `accept` the address, as the system does: as much as there is
/// room for, and its true length.
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
    // SAFETY: as the caller promises; not more than there is in `peer`.
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

/// Whether there is a connection to accept, now.
fn is_ready(listener: c_int) -> bool {
    let mut poll = libc::pollfd {
        fd: listener,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one descriptor, valid for writing. 0: does not wait. An error is as
    // good as nothing: the host will ask again.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}

fn errno() -> c_int {
    // SAFETY: the thread's own, always valid.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: the thread's own, always valid.
    unsafe { *libc::__errno_location() = value };
}
