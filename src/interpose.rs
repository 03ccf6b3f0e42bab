// SPDX-License-Identifier: GPL-2.0-or-later
//! Counts the connections of a host without hooks.
//!
//! A Kamailio that was built without our hooks does not call the module when it accepts or
//! closes a connection. It only calls the C library, so these calls are redirected to
//! wrappers:
//!
//! ```text
//!   executable                    wrapper (here)                C library
//!  ┌──────────────┐  GOT entry   ┌───────────────────────┐
//!  │ accept(…)   ─┼──▶ accept ──▶│ accept(…) ────────────┼──▶ accept
//!  │              │              │ reject: close, EAGAIN │
//!  │              │              │ admit: count          │
//!  │ close(…)    ─┼──▶ close ───▶│ close(…), release ────┼──▶ close
//!  └──────────────┘              └───────────────────────┘
//! ```
//!
//! # Reading order
//!
//! `attach` replaces and restores the functions; `got` finds the GOT entries for it, and
//! `patch` writes to them. `wrappers` holds the functions that the executable then calls.
//! `state` is what these two share; `counter` is what the wrappers call, and `received` what
//! the system knows of a connection. The records of the connections, by their descriptors,
//! are those of the limiter, see [`crate::table::connections`].
//!
//! # Which functions
//!
//! `accept` and, if the executable calls it, `accept4`; and `close`. `got` finds the GOT
//! entries through which the executable calls them, and returns an error for anything that
//! it does not understand; `patch` changes all of them or none. There must be an entry to
//! accept and one to close: without the first, nothing would be counted; without the
//! second, counts would only grow.
//!
//! Only the *executable's* GOT entries are changed. Modules, this library and the C library
//! have GOT entries of their own; the connections that they accept and close are not
//! counted. An address that the program copied from a GOT entry before is not changed
//! either, which is why all this is done at the start.
//!
//! The wrappers call the function whose address was in the GOT entry. So a library that has
//! interposed before us, for instance a debugger's or a preloaded one, is still called.
//!
//! # Which process counts
//!
//! The GOT entries are changed once, before the server forks, while it has one thread. All
//! processes then call the wrappers, which only pass the calls on until [`activate`] is
//! called in the one process that accepts. Workers also close descriptors, but each closes
//! its own copy, which ends no connection.
//!
//! A process that the active process forks is not active: the wrappers compare the process
//! id, which also works in the memory that `vfork` shares. Only one process at a time can
//! be active, since the records are in shared memory and a descriptor has a meaning only in
//! its own process.
//!
//! # A rejection does not wait
//!
//! The host calls `accept` when a connection is pending, and the listening socket may be a
//! blocking one. After a rejection there is no connection to return, and another `accept`
//! would wait if no other connection is pending. So the wrapper first calls `poll`, which
//! does not wait; no other process or thread accepts from that socket in between. If no
//! connection is pending, the host gets `EAGAIN`. It must handle that anyway, because a
//! client may go away before its connection is accepted.
//!
//! The host also gets `EAGAIN` after `wrappers::MAX_REJECTIONS`, so that a flood of
//! rejected connections does not keep it from its other work. The host's poll then reports
//! the socket again, unless it is edge-triggered: such a host cannot be served.
//!
//! # The order at a close
//!
//! The record of the connection is taken, the descriptor is closed, and the connection is
//! released. Once the descriptor is closed, even before `close` returns, another thread may
//! get the same number for a new connection, and that connection's record must not be the
//! one that is taken. The count goes down last, so at no time are more connections open
//! than counted. It also goes down if `close` fails: Linux has freed the descriptor even
//! then, unless it was not open.
//!
//! # Facts about a connection
//!
//! Whether a connection is for TLS follows from the listening socket, see
//! [`set_tls_listeners`]. A wrapper does not see messages, so *the client spoke* means that
//! the system has received more than one byte from it. This is asked before a close, which
//! costs a system call, and so only if the limiter [needs it](Counter::reads_received). A
//! TLS handshake counts as spoken. Why the host closes is not known.
//!
//! # The end
//!
//! [`detach`] restores the GOT entries of the process that calls it, and releases the
//! connections that this process has counted. The library is linked such that it is never
//! unloaded (`-z nodelete`), so a wrapper that a process still calls is there.

mod attach;
mod counter;
mod got;
mod patch;
mod received;
mod refused;
pub(crate) mod sockaddr;
mod state;
mod wrappers;

pub(crate) use attach::{attach, detach, find, is_attached};
pub(crate) use counter::Counter;
pub(crate) use refused::Refused;
pub(crate) use state::{Occupied, activate, set_tls_listeners};
