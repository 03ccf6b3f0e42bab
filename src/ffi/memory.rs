// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads and writes through pointers from C.

use core::ffi::{CStr, c_char};
use core::fmt;
use std::borrow::Cow;

use super::codes::{TCL_EARG, TCL_OK};

/// # Safety
///
/// `address` is null or points to `length` bytes that live as long as the result
/// is used.
#[inline]
pub(super) unsafe fn bytes<'a>(address: *const u8, length: u32) -> &'a [u8] {
    if address.is_null() {
        return &[];
    }
    // SAFETY: not null, so `length` bytes that live long enough, as the caller promises.
    unsafe { core::slice::from_raw_parts(address, length as usize) }
}

/// # Safety
///
/// `to` is null or valid for writing.
pub(super) unsafe fn put<T>(to: *mut T, value: T) -> i32 {
    if to.is_null() {
        return TCL_EARG;
    }
    // SAFETY: not null, so valid for writing, as the caller promises.
    unsafe { to.write(value) };
    TCL_OK
}

/// # Safety
///
/// `to` is null or has room for `size` bytes.
pub(super) unsafe fn write_text(to: *mut c_char, size: usize, text: &str) {
    if to.is_null() || size == 0 {
        return;
    }
    let mut taken = text.len().min(size - 1);
    // A character that is cut in half would make the text invalid UTF-8.
    while !text.is_char_boundary(taken) {
        taken -= 1;
    }
    // SAFETY: `taken` bytes and a NUL fit into the `size` bytes that the caller promises.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), taken);
        to.add(taken).write(0);
    }
}

/// The string at `text`, or `None` if it is null.
///
/// # Safety
///
/// `text` is null or points to a string that lives as long as the result is used.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: not null, so a string, as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The strings of an array. Bytes that are not UTF-8 are replaced.
///
/// # Errors
///
/// If one of them, or the array, is null.
///
/// # Safety
///
/// `array` is null or points to `count` pointers, each null or a string that lives as long
/// as the result is used.
pub(super) unsafe fn strings<'a>(
    array: *const *const c_char,
    count: u32,
) -> Result<Vec<Cow<'a, str>>, NullString> {
    let pointers = match (array.is_null(), count) {
        (_, 0) => &[],
        (true, _) => return Err(NullString::Array { count }),
        // SAFETY: `count` pointers, as the caller promises.
        (false, _) => unsafe { core::slice::from_raw_parts(array, count as usize) },
    };
    (1..)
        .zip(pointers)
        .map(|(number, &one)| {
            // SAFETY: null or a string, as the caller promises.
            let one = unsafe { text(one) };
            one.map(CStr::to_string_lossy)
                .ok_or(NullString::One { number, count })
        })
        .collect()
}

/// A null pointer in place of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NullString {
    Array { count: u32 },
    One { number: u32, count: u32 },
}

impl fmt::Display for NullString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NullString::Array { count } => write!(f, "`texts` is null but `count` is {count}"),
            NullString::One { number, count } => write!(f, "rule {number} of {count} is null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_truncated_between_characters() {
        let mut to = [1 as c_char; 6];
        for (size, expected) in [
            (1, ""),
            (2, "a"),
            (3, "a"),
            (4, "aé"),
            (5, "aéb"),
            (6, "aéb"),
        ] {
            // SAFETY: room for six bytes.
            unsafe { write_text(to.as_mut_ptr(), size, "aéb") };
            // SAFETY: `write_text` ended it with a NUL.
            let written = unsafe { CStr::from_ptr(to.as_ptr()) };
            assert_eq!(written.to_str(), Ok(expected));
        }
    }
}
