// SPDX-License-Identifier: GPL-2.0-or-later
//! Why the functions of an executable cannot be replaced or restored.

#![forbid(unsafe_code)]

use core::fmt;
use std::io;

/// Why the functions of an executable cannot be replaced or restored.
#[derive(Debug)]
pub(crate) enum Refused {
    /// They are already replaced.
    Already,
    /// The relocations of this processor are not supported.
    Processor,
    /// The system does not report its page size.
    PageSize(io::Error),
    /// The dynamic linker does not report where the executable is.
    NotReported,
    /// The executable is not dynamically linked.
    Static,
    /// This part of the executable lies outside its constant segments, or is truncated.
    Unreadable(&'static str),
    /// The same is true of the dynamic symbol with this number.
    Symbol(u32),
    /// An entry of the dynamic section does not have the expected value.
    Tag {
        tag: i64,
        value: u64,
        expected: usize,
    },
    /// The executable has relocations without addends.
    NoAddends,
    /// The executable has no dynamic symbols.
    NoSymbols,
    /// The executable defines a function of this name.
    Own(&'static str),
    /// A relocation for this name is not of a type that makes a GOT entry.
    Relocation {
        name: &'static str,
        kind: u32,
        addend: i64,
    },
    /// The address of a GOT entry for this name, in the file, is invalid.
    Entry { name: &'static str, offset: u64 },
    /// The executable has no GOT entry for this name.
    NotCalled(&'static str),
    /// The GOT entries for this name hold different addresses.
    Ambiguous(&'static str),
    /// No library has a function of this name.
    NotFound(&'static str),
    /// A page of GOT entries cannot be made writable.
    Unseal(io::Error),
    /// A page of GOT entries cannot be made read-only again.
    Seal(io::Error),
    /// Another library has changed this number of GOT entries since.
    ChangedSince(usize),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Already => write!(f, "the functions are already replaced"),
            Refused::Processor => write!(f, "interposition supports only x86-64 and aarch64"),
            Refused::PageSize(error) => error.fmt(f),
            Refused::NotReported => write!(
                f,
                "the dynamic linker does not report where the executable is mapped"
            ),
            Refused::Static => write!(f, "the executable is not dynamically linked"),
            Refused::Unreadable(part) => write!(f, "the executable's {part} cannot be read"),
            Refused::Symbol(number) => {
                write!(f, "the executable's dynamic symbol {number} cannot be read")
            }
            Refused::Tag {
                tag,
                value,
                expected,
            } => write!(
                f,
                "the executable's dynamic tag {tag} is {value}, not {expected}"
            ),
            Refused::NoAddends => write!(
                f,
                "the executable has relocations without addends, which are not supported"
            ),
            Refused::NoSymbols => write!(f, "the executable has no dynamic symbols"),
            Refused::Own(name) => write!(f, "the executable defines its own function {name}"),
            Refused::Relocation { name, kind, addend } => write!(
                f,
                "cannot interpose on {name}: the executable has an unsupported relocation for it \
                 (type {kind}, addend {addend})"
            ),
            Refused::Entry { name, offset } => write!(
                f,
                "the executable's GOT entry for {name} at {offset:#x} is misaligned or outside its \
                 writable segments"
            ),
            Refused::NotCalled(name) => write!(
                f,
                "the executable does not call {name} in a way that can be interposed on (it has \
                 no JUMP_SLOT or GLOB_DAT relocation for that name)"
            ),
            Refused::Ambiguous(name) => write!(
                f,
                "the executable's GOT entries for {name} hold different addresses"
            ),
            Refused::NotFound(name) => {
                write!(f, "no function {name} was found outside the executable")
            }
            Refused::Unseal(error) => write!(
                f,
                "cannot make a page of the executable's GOT entries writable: {error}"
            ),
            Refused::Seal(error) => write!(
                f,
                "cannot make a page of the executable's GOT entries read-only again: {error}"
            ),
            Refused::ChangedSince(count) => write!(
                f,
                "another library has since changed {count} of the executable's GOT entries"
            ),
        }
    }
}
