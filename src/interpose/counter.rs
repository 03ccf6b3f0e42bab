// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Counter`]: what the wrappers call for each connection.

#![forbid(unsafe_code)]

use core::ffi::c_int;

use crate::limiter::Facts;
use crate::table::connections::Taken;

/// The limiter, with the records of connections that all processes of the host share. The
/// descriptors are those of the active process.
pub(crate) trait Counter: Sync {
    /// Checks a new connection, to which the system has given `descriptor`, and which was
    /// accepted on the descriptor `listener`, and counts it if it is admitted. Its address has 4 or 16 octets, or none if it cannot be counted.
    /// Returns whether it is admitted; if not, the caller must close it.
    fn accepted(&self, descriptor: c_int, listener: c_int, address: &[u8], facts: Facts) -> bool;
    /// Takes the connection of a descriptor out of its record; `None` if it is not counted.
    fn take(&self, descriptor: c_int) -> Option<Taken>;
    /// Releases a connection that was taken; `facts` is what is known of its end.
    fn release(&self, taken: Taken, facts: Facts);
    /// Whether it matters if a client has sent something.
    fn reads_received(&self) -> bool;
    /// Makes `process` the one that has the descriptors, unless another process has them.
    fn claim(&self, process: u32) -> bool;
    /// Releases all connections. No process has the descriptors then.
    fn release_all(&self);
}
