// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes the addresses in the GOT entries, and restores them.
//!
//! A GOT entry that the dynamic linker made read-only can be written to only while its page
//! is writable. The page is read-only again before the function returns. Either all GOT
//! entries are changed or none.
//!
//! The pages are private to this process: a process that was forked before keeps what it
//! has in its GOT entries, and one that is forked from now on has the changed addresses.

use core::ffi::c_void;
use std::collections::BTreeSet;
use std::io;

use super::got::GotEntry;
use super::refused::Refused;
use crate::shared::region::page_size;
use crate::shared::sync::{AtomicUsize, Ordering};

/// A GOT entry, its address before the change, and its address after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    entry: GotEntry,
    from: usize,
    to: usize,
}

impl Change {
    /// # Safety
    ///
    /// `entry` is a GOT entry of the executable. `to` is the address of a function with the
    /// signature of the function in the entry, and is valid until the process ends.
    pub(super) unsafe fn new(entry: GotEntry, to: usize) -> Change {
        // SAFETY: a GOT entry, as the caller promises.
        let from = unsafe { content(entry) };
        Change { entry, from, to }
    }

    fn word(&self) -> &AtomicUsize {
        // SAFETY: an aligned word of the executable's data, as the caller of `new`
        // promised, which exists as long as the process. All other accesses, by the
        // processor in a call and by the dynamic linker, are of the whole word.
        unsafe { AtomicUsize::from_ptr(self.entry.at as *mut usize) }
    }
}

/// The address in a GOT entry.
///
/// # Safety
///
/// `entry` is a GOT entry of the executable.
pub(super) unsafe fn content(entry: GotEntry) -> usize {
    // SAFETY: an aligned word of the executable's data, as the caller promises. Not an
    // atomic: the page may be read-only.
    unsafe { (entry.at as *const usize).read_volatile() }
}

/// GOT entries that are changed.
#[derive(Debug)]
pub(super) struct Changed(Vec<Change>);

/// Makes all changes, or none.
///
/// # Errors
///
/// [`Refused`]; every GOT entry is as it was then.
pub(super) fn change(changes: Vec<Change>) -> Result<Changed, Refused> {
    let sealed = while_writable(&changes, || {
        for change in &changes {
            // Release: a thread that calls the new function through this entry sees what
            // was written before, which the function reads.
            change.word().store(change.to, Ordering::Release);
        }
    })?;
    let changed = Changed(changes);
    if let Err(refused) = sealed {
        changed.undo()?;
        return Err(refused);
    }
    Ok(changed)
}

impl Changed {
    /// Restores the GOT entries. An entry that another library has changed since is left
    /// alone.
    ///
    /// # Errors
    ///
    /// [`Refused`]; some entries are not as they were then.
    pub(super) fn undo(&self) -> Result<(), Refused> {
        let mut theirs = 0;
        let sealed = while_writable(&self.0, || {
            for change in &self.0 {
                let (from, to) = (change.from, change.to);
                let word = change.word();
                // Relaxed: the function that is restored reads nothing of ours.
                let answer = word.compare_exchange(to, from, Ordering::Relaxed, Ordering::Relaxed);
                theirs += usize::from(answer.is_err_and(|now| now != from));
            }
        })?;
        sealed?;
        if theirs > 0 {
            return Err(Refused::ChangedSince(theirs));
        }
        Ok(())
    }
}

/// Runs `work` while all GOT entries are writable. The outer error means that it did not
/// run and nothing has changed; the inner one that a page could not be made read-only
/// again.
fn while_writable(changes: &[Change], work: impl FnOnce()) -> Result<Result<(), Refused>, Refused> {
    let page = page_size().map_err(Refused::PageSize)?;
    let pages: BTreeSet<usize> = changes
        .iter()
        .filter(|change| change.entry.read_only)
        .map(|change| change.entry.at - change.entry.at % page)
        .collect();
    let mut opened = Vec::with_capacity(pages.len());
    for at in pages {
        if let Err(error) = protect(at, page, libc::PROT_READ | libc::PROT_WRITE) {
            for at in opened {
                protect(at, page, libc::PROT_READ).map_err(Refused::Seal)?;
            }
            return Err(Refused::Unseal(error));
        }
        opened.push(at);
    }
    work();
    let mut answer = Ok(());
    for at in opened {
        if let Err(error) = protect(at, page, libc::PROT_READ) {
            answer = Err(Refused::Seal(error));
        }
    }
    Ok(answer)
}

fn protect(page: usize, size: usize, protection: i32) -> io::Result<()> {
    // SAFETY: a page of the executable's data that the dynamic linker made read-only. The
    // page stays readable, and no code writes to it while it is read-only.
    match unsafe { libc::mprotect(page as *mut c_void, size, protection) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
