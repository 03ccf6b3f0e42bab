// SPDX-License-Identifier: GPL-2.0-or-later
//! Replaces the functions that the executable calls, and restores them.

use core::ffi::{CStr, c_void};
use core::mem::transmute;
use std::sync::{Mutex, PoisonError};

use super::counter::Counter;
use super::got::{GotEntry, Image};
use super::patch::{self, Change, Changed};
use super::refused::Refused;
use super::state::{Accept, Accept4, COUNTER, Close, REAL, Real, deactivate};
use super::wrappers;

/// Indexes into [`SYMBOLS`] and [`NAMES`].
const ACCEPT: usize = 0;
const ACCEPT4: usize = 1;
const CLOSE: usize = 2;

const SYMBOLS: [&CStr; 3] = [c"accept", c"accept4", c"close"];
const NAMES: [&str; 3] = ["accept", "accept4", "close"];

/// The changed GOT entries. The wrappers do not read this.
static CHANGED: Mutex<Option<Changed>> = Mutex::new(None);

/// What the executable contains.
struct Found {
    entries: Vec<GotEntry>,
    real: Real,
}

/// Checks whether the executable can be interposed on. Changes nothing.
///
/// # Errors
///
/// [`Refused`].
pub(crate) fn find() -> Result<(), Refused> {
    let changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    match *changed {
        Some(_) => Err(Refused::Already),
        None => find_entries().map(drop),
    }
}

/// Changes the GOT entries of this process, and so of all processes that it forks from now
/// on. Must be called while it has one thread.
///
/// # Errors
///
/// [`Refused`]; every GOT entry is as it was then.
pub(crate) fn attach(counter: &'static dyn Counter) -> Result<(), Refused> {
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    if changed.is_some() {
        return Err(Refused::Already);
    }
    let Found { entries, real } = find_entries()?;
    COUNTER.get_or_init(|| counter);
    // A second attachment keeps the functions of the first, and so would bypass a library
    // that replaced them in between. The host attaches once.
    REAL.get_or_init(|| real);
    let changes = entries.into_iter().map(|entry| {
        let wrapper = match entry.name {
            ACCEPT => wrappers::accept as Accept as usize,
            ACCEPT4 => wrappers::accept4 as Accept4 as usize,
            _ => wrappers::close as Close as usize,
        };
        // SAFETY: `find_entries` returns GOT entries of the executable, each with the name
        // of the function in it. The library is never unloaded.
        unsafe { Change::new(entry, wrapper) }
    });
    *changed = Some(patch::change(changes.collect())?);
    Ok(())
}

/// Whether the GOT entries are changed.
pub(crate) fn is_attached() -> bool {
    let changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    changed.is_some()
}

/// Restores the GOT entries of this process, and releases all connections that it has
/// counted.
///
/// # Errors
///
/// [`Refused`]; some GOT entries are not as they were before the attachment then.
pub(crate) fn detach() -> Result<(), Refused> {
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    let undone = match &*changed {
        Some(entries) => entries.undo(),
        None => Ok(()),
    };
    if undone.is_ok() {
        *changed = None;
    }
    deactivate();
    undone
}

fn find_entries() -> Result<Found, Refused> {
    let image = Image::of_this_process()?;
    let entries = image.entries(&NAMES)?;
    let has = |wanted: usize| entries.iter().any(|entry| entry.name == wanted);
    if !has(ACCEPT) && !has(ACCEPT4) {
        return Err(Refused::NotCalled(NAMES[ACCEPT]));
    }
    if !has(CLOSE) {
        return Err(Refused::NotCalled(NAMES[CLOSE]));
    }
    let real = |index: usize| real(&image, &entries, index);
    let (accept, accept4, close) = (real(ACCEPT)?, real(ACCEPT4)?, real(CLOSE)?);
    // SAFETY: addresses of the functions with these names, which have these signatures in
    // POSIX and Linux.
    let real = unsafe {
        Real {
            accept: transmute::<usize, Accept>(accept),
            accept4: transmute::<usize, Accept4>(accept4),
            close: transmute::<usize, Close>(close),
        }
    };
    Ok(Found { entries, real })
}

/// The function that the executable would call without us.
///
/// Until its first call, a GOT entry may lead back into the executable, to code that calls
/// the dynamic linker. A wrapper must not call that code: the dynamic linker would write
/// the function's address into the GOT entry and so undo the change. Instead, the function
/// is looked up as the dynamic linker would do it: by what the name means in this process.
/// In an executable at a fixed address, that may be an entry of its own procedure linkage
/// table; then the next library that has the name is used.
fn real(image: &Image, entries: &[GotEntry], index: usize) -> Result<usize, Refused> {
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
            false => Err(Refused::Ambiguous(NAMES[index])),
        };
    }
    let look_up = |handle: *mut c_void| {
        // SAFETY: a string, and one of the two handles that are always valid.
        unsafe { libc::dlsym(handle, SYMBOLS[index].as_ptr()) as usize }
    };
    [libc::RTLD_DEFAULT, libc::RTLD_NEXT]
        .into_iter()
        .map(look_up)
        .find(outside)
        .ok_or(Refused::NotFound(NAMES[index]))
}
