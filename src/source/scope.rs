// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Scope`]: where the connections of a source are counted. A source is usually counted
//! once for the whole server. Within a scope, for example a listener, the same address is
//! another source, with a count of its own. A network of sources is also a source, in the
//! scope [`NETWORK`](Scope::NETWORK).
//!
//! The scope is a part of the key of a source, in bits that are free: the bits above the
//! 32 of an IPv4 address, and the lowest 8 bits of an IPv6 address, which are masked if a
//! source has at most [`MAX_IPV6_LENGTH`](Scope::MAX_IPV6_LENGTH) bits.

#![forbid(unsafe_code)]

use core::num::NonZeroU8;

use super::Family;

/// Where the connections of a source are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(NonZeroU8);

impl Scope {
    /// There are at most this many listeners with scopes.
    pub const MAX_LISTENERS: u8 = 64;

    /// The scope of networks: each is a source that has the connections of all its
    /// addresses, see [`Source::network`](super::Source::network).
    pub const NETWORK: Scope = Scope(NonZeroU8::MAX);

    /// With a longer IPv6 prefix, sources have no scopes.
    pub const MAX_IPV6_LENGTH: u8 = 120;

    /// The scope of the listener with this number, which is 1 to
    /// [`MAX_LISTENERS`](Self::MAX_LISTENERS). `None` for any other number.
    #[inline]
    pub fn of_listener(number: u8) -> Option<Scope> {
        match number <= Self::MAX_LISTENERS {
            true => NonZeroU8::new(number).map(Scope),
            false => None,
        }
    }

    /// The number of the listener.
    #[inline]
    pub fn listener(self) -> Option<u8> {
        Some(self.0.get()).filter(|number| *number <= Self::MAX_LISTENERS)
    }

    /// The scope with these bits, which are not 0.
    #[inline]
    pub(super) fn from_bits(bits: u8) -> Option<Scope> {
        NonZeroU8::new(bits).map(Scope)
    }

    #[inline]
    pub(super) fn bits(self) -> u8 {
        self.0.get()
    }
}

/// The family of a source, and whether it has a scope. The order matters: a kind up to
/// [`ScopedV4`](Self::ScopedV4), and up to [`V6`](Self::V6) if
/// [`PrefixLengths::fit_one_word`](super::PrefixLengths::fit_one_word), is identified by
/// its word alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// An IPv4 source without a scope.
    V4 = 0,
    /// An IPv4 source of a scope.
    ScopedV4 = 1,
    /// An IPv6 source without a scope.
    V6 = 2,
    /// An IPv6 source of a scope.
    ScopedV6 = 3,
}

impl Kind {
    /// The kind with this number, of which only the lowest two bits count.
    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Kind {
        match bits & 3 {
            0 => Kind::V4,
            1 => Kind::ScopedV4,
            2 => Kind::V6,
            _ => Kind::ScopedV6,
        }
    }

    #[inline]
    pub(super) fn family(self) -> Family {
        match self {
            Kind::V4 | Kind::ScopedV4 => Family::V4,
            Kind::V6 | Kind::ScopedV6 => Family::V6,
        }
    }
}
