// SPDX-License-Identifier: GPL-2.0-or-later

//! Gives each connection a descriptor, as the system does: one that no other connection
//! has, mostly the one that was closed last. There are no files.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, Ordering};

/// Descriptors of each thread or process but the first. They have few connections at a time.
const EACH: c_int = 1 << 10;

/// The descriptors of a thread that another one must not have.
struct Stock {
    closed: Vec<c_int>,
    next: c_int,
}

thread_local! {
    /// The descriptor that was closed last, or −1.
    static LAST: Cell<c_int> = const { Cell::new(-1) };
    static STOCK: RefCell<Option<Stock>> = const { RefCell::new(None) };
}

/// The descriptors of the first thread, which holds the connections.
static HELD: AtomicI32 = AtomicI32::new(0);
/// How many threads have descriptors.
static THREADS: AtomicI32 = AtomicI32::new(0);

/// Says how many descriptors the first thread needs.
pub(crate) fn start(held: c_int) {
    HELD.store(held, Ordering::Relaxed);
}

fn stock(number: c_int) -> Stock {
    // The library tracks 65,536 more than the connections that it is sized for.
    let held = HELD.load(Ordering::Relaxed);
    Stock {
        closed: Vec::new(),
        next: if number == 0 { 0 } else { held + number * EACH },
    }
}

/// Gives this forked process descriptors of its own; it is process `number`, from 0 on.
pub(crate) fn set_process(number: u32) {
    let number: c_int = number.try_into().expect("few processes");
    LAST.set(-1);
    STOCK.replace(Some(stock(1 + number)));
}

#[inline]
pub(crate) fn open() -> c_int {
    match LAST.replace(-1) {
        -1 => take(),
        last => last,
    }
}

#[cold]
fn take() -> c_int {
    STOCK.with_borrow_mut(|own| {
        let own = own.get_or_insert_with(|| {
            let threads = THREADS.fetch_add(1, Ordering::Relaxed);
            stock(threads)
        });
        own.closed.pop().unwrap_or_else(|| {
            own.next += 1;
            own.next - 1
        })
    })
}

#[inline]
pub(crate) fn close(descriptor: c_int) {
    match LAST.replace(descriptor) {
        -1 => {}
        other => STOCK.with_borrow_mut(|own| {
            if let Some(own) = own {
                own.closed.push(other);
            }
        }),
    }
}
