// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Source`]: what is counted and limited, a family and a masked address, and perhaps a
//! [`Scope`]. [`Prefix`]: a network of sources.
//!
//! An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2) is the IPv4
//! address: Kamailio never sets `IPV6_V6ONLY`, so an IPv4 peer of a socket that
//! listens on `[::]` arrives in this form. Masking it as IPv6 would merge all
//! IPv4 peers into one source. The same holds for the clients of a translator between
//! IPv4 and IPv6, see [`Nat64`].

#![forbid(unsafe_code)]

mod address;
mod nat64;
mod network;
mod prefix;
mod scope;

pub use address::{Named, SourceError, read_source};
pub use nat64::{Nat64, Nat64Error};
pub use network::NetworkLengths;
pub use prefix::{Prefix, PrefixError};
pub(crate) use scope::Kind;
pub use scope::Scope;

use core::fmt;

/// Address family of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4, including IPv4-mapped IPv6.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Bits of an address.
    #[inline]
    pub(crate) fn bits(self) -> u32 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// How many leading bits of an address make a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLengths {
    v4: u8,
    v6: u8,
    /// Those of networks, or zeros if these are not counted.
    networks: NetworkLengths,
}

impl PrefixLengths {
    /// A single host in IPv4. In IPv6 the /64 network, which usually belongs to a
    /// single host (RFC 6177, RFC 7421).
    pub const DEFAULT: PrefixLengths = PrefixLengths {
        v4: 32,
        v6: 64,
        networks: NetworkLengths::NONE,
    };

    /// Each address is a source.
    pub(crate) const HOST: PrefixLengths = PrefixLengths {
        v4: 32,
        v6: 128,
        networks: NetworkLengths::NONE,
    };

    /// `v4` must be 1 to 32 and `v6` 1 to 128, else the result is `None`.
    pub fn new(v4: u32, v6: u32) -> Option<PrefixLengths> {
        if (1..=32).contains(&v4) && (1..=128).contains(&v6) {
            Some(PrefixLengths {
                v4: v4 as u8,
                v6: v6 as u8,
                networks: NetworkLengths::NONE,
            })
        } else {
            None
        }
    }

    /// The prefix length for `family`, in bits.
    pub fn length(self, family: Family) -> u8 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether an IPv6 source is within the upper half of the address. Then family and
    /// `word` alone identify a [`Source`] without a scope.
    #[inline]
    pub fn fit_one_word(self) -> bool {
        self.v6 <= 64
    }

    /// Whether sources can have scopes.
    pub fn leave_room_for_scopes(self) -> bool {
        self.v6 <= Scope::MAX_IPV6_LENGTH
    }
}

/// A source: a family and a masked address, and perhaps a [`Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    kind: Kind,
    /// See [`word`](Self::word). Computed once, compared with up to eight slots.
    word: u64,
    /// See [`low`](Self::low).
    low: u64,
}

impl Source {
    /// The source of an address in network byte order, 4 or 16 bytes. `None`
    /// for any other length.
    #[inline]
    pub fn new(address: &[u8], prefixes: PrefixLengths) -> Option<Source> {
        Source::translated(address, prefixes, &Nat64::NONE)
    }

    /// As [`new`](Self::new), if there are also translators with the prefixes in `nat64`.
    #[inline]
    pub fn translated(address: &[u8], prefixes: PrefixLengths, nat64: &Nat64) -> Option<Source> {
        if let Ok(octets) = <[u8; 4]>::try_from(address) {
            return Some(Source::v4(u32::from_be_bytes(octets), prefixes));
        }
        let bits = u128::from_be_bytes(<[u8; 16]>::try_from(address).ok()?);
        Some(Source::of_ipv6(bits, prefixes, nat64))
    }

    /// The source of an IPv6 address, which may stand for an IPv4 address.
    #[inline]
    fn of_ipv6(bits: u128, prefixes: PrefixLengths, nat64: &Nat64) -> Source {
        // Compared in halves, which takes fewer instructions than 96 bits.
        match ((bits >> 64) as u64, bits as u64 >> 32) {
            (0, 0xffff) | (nat64::WELL_KNOWN_UPPER, 0) => {
                return Source::v4(bits as u32, prefixes);
            }
            _ => {}
        }
        if !nat64.is_empty()
            && let Some(address) = nat64.embedded(bits)
        {
            return Source::v4(address, prefixes);
        }
        Source::v6(bits & (u128::MAX << (128 - u32::from(prefixes.v6))))
    }

    #[inline]
    fn v4(address: u32, prefixes: PrefixLengths) -> Source {
        let masked = address & (u32::MAX << (32 - u32::from(prefixes.v4)));
        Source {
            kind: Kind::V4,
            word: masked.into(),
            low: 0,
        }
    }

    #[inline]
    fn v6(bits: u128) -> Source {
        let (upper, low) = ((bits >> 64) as u64, bits as u64);
        Source {
            kind: Kind::V6,
            word: upper ^ spread(low),
            low,
        }
    }

    /// The source that has these [`word`](Self::word) and [`low`](Self::low).
    pub(crate) fn from_words(kind: Kind, word: u64, low: u64) -> Source {
        let low = match kind.family() {
            Family::V4 => 0,
            Family::V6 => low,
        };
        Source { kind, word, low }
    }

    /// The same address as a source of `scope`. Must be called only if
    /// [`PrefixLengths::leave_room_for_scopes`].
    pub fn in_scope(self, scope: Scope) -> Source {
        let bits = u64::from(scope.bits());
        match self.kind.family() {
            Family::V4 => Source {
                kind: Kind::ScopedV4,
                word: bits << 32 | self.address_upper(),
                low: 0,
            },
            Family::V6 => {
                let low = self.address_low() & !SCOPE_OF_LOW | bits;
                Source {
                    kind: Kind::ScopedV6,
                    word: self.address_upper() ^ spread(low),
                    low,
                }
            }
        }
    }

    /// The same address without a scope.
    pub fn without_scope(self) -> Source {
        match self.kind {
            Kind::V4 | Kind::V6 => self,
            Kind::ScopedV4 => Source {
                kind: Kind::V4,
                word: self.address_upper(),
                low: 0,
            },
            Kind::ScopedV6 => {
                let bits = u128::from(self.address_upper()) << 64;
                Source::v6(bits | u128::from(self.address_low()))
            }
        }
    }

    /// Where it is counted; `None`: once for the whole server.
    pub fn scope(self) -> Option<Scope> {
        match self.kind {
            Kind::V4 | Kind::V6 => None,
            Kind::ScopedV4 => Scope::from_bits((self.word >> 32) as u8),
            Kind::ScopedV6 => Scope::from_bits(self.low as u8),
        }
    }

    /// Its family, and whether it has a scope.
    #[inline]
    pub(crate) fn kind(self) -> Kind {
        self.kind
    }

    /// IPv4 or IPv6.
    #[inline]
    pub fn family(self) -> Family {
        self.kind.family()
    }

    /// [`word`](Self::word) without what combines it with [`low`](Self::low).
    #[inline]
    pub(crate) fn upper(self) -> u64 {
        // Also for IPv4, where `low` is 0, which `spread` maps to 0.
        self.word ^ spread(self.low)
    }

    /// IPv4: the address. IPv6: the upper half of the address.
    #[inline]
    pub(crate) fn address_upper(self) -> u64 {
        match self.kind.family() {
            Family::V4 => self.word & u64::from(u32::MAX),
            Family::V6 => self.upper(),
        }
    }

    /// IPv4: 0. IPv6: the lower half of the address.
    #[inline]
    pub(crate) fn address_low(self) -> u64 {
        match self.kind {
            Kind::ScopedV6 => self.low & !SCOPE_OF_LOW,
            _ => self.low,
        }
    }

    /// The part of the source that its slot holds. IPv4: the address, and the scope above
    /// its 32 bits. IPv6: the upper half of the address, combined with the lower half so
    /// that sources of one network have different words. The source can be computed from
    /// its kind, this and [`low`](Self::low).
    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.word
    }

    /// IPv4: 0. IPv6: the lower half of the address, with the scope in its lowest 8 bits. It
    /// is 0 if there is no scope and [`PrefixLengths::fit_one_word`].
    #[inline]
    pub(crate) fn low(self) -> u64 {
        self.low
    }

    /// The masked address as a number.
    fn bits(self) -> u128 {
        u128::from(self.address_upper()) << 64 | u128::from(self.address_low())
    }

    /// The masked address in network byte order, and its length: 4 or 16 bytes. The
    /// remaining bytes are zero.
    pub fn octets(self) -> ([u8; 16], usize) {
        match self.family() {
            Family::V4 => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&(self.word as u32).to_be_bytes());
                (octets, 4)
            }
            Family::V6 => (self.bits().to_be_bytes(), 16),
        }
    }

    /// The address of the source as text: `192.0.2.1`, or `2001:db8::/64` if the prefix is
    /// shorter than the address.
    pub fn display(self, prefixes: PrefixLengths) -> impl fmt::Display {
        self.prefix(prefixes)
    }

    /// The network that the source is.
    #[inline]
    pub fn prefix(self, prefixes: PrefixLengths) -> Prefix {
        if self.is_network() {
            return self.prefix_of_network(prefixes);
        }
        Prefix {
            length: prefixes.length(self.family()),
            ..Prefix::from(self)
        }
    }
}

/// The bits of [`Source::low`] that hold the scope.
const SCOPE_OF_LOW: u64 = 0xff;

/// A bijection that maps 0 to 0, and neighbours to numbers that are far apart.
#[inline]
fn spread(low: u64) -> u64 {
    // 2⁶⁴ divided by the golden ratio. It is odd, hence this is a bijection.
    low.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str, prefixes: PrefixLengths) -> Source {
        match address.parse().unwrap() {
            core::net::IpAddr::V4(a) => Source::new(&a.octets(), prefixes),
            core::net::IpAddr::V6(a) => Source::new(&a.octets(), prefixes),
        }
        .unwrap()
    }

    fn text(address: &str, v4: u32, v6: u32) -> String {
        let prefixes = PrefixLengths::new(v4, v6).unwrap();
        source(address, prefixes).display(prefixes).to_string()
    }

    #[test]
    fn sources_are_masked_and_printed() {
        assert_eq!(text("192.0.2.77", 32, 64), "192.0.2.77");
        assert_eq!(text("192.0.2.77", 24, 64), "192.0.2.0/24");
        assert_eq!(text("192.0.2.77", 1, 64), "128.0.0.0/1");
        assert_eq!(text("2001:db8:1:2:3:4:5:6", 32, 64), "2001:db8:1:2::/64");
        assert_eq!(
            text("2001:db8:1:2:3:4:5:6", 32, 128),
            "2001:db8:1:2:3:4:5:6"
        );
        assert_eq!(text("2001:db8:1:2:3:4:5:6", 32, 1), "::/1");
    }

    #[test]
    fn mapped_ipv4_address_is_ipv4() {
        let p = PrefixLengths::DEFAULT;
        assert_eq!(source("::ffff:192.0.2.1", p), source("192.0.2.1", p));
        assert_ne!(source("::fffe:192.0.2.1", p), source("192.0.2.1", p));
    }

    #[test]
    fn family_is_part_of_the_source() {
        // IPv4 0.0.0.1 and IPv6 0:0:0:1::/64 have the same word.
        let p = PrefixLengths::DEFAULT;
        let (v4, v6) = (source("0.0.0.1", p), source("0:0:0:1::", p));
        assert_eq!(v4.word(), v6.word());
        assert_ne!(v4, v6);
    }

    #[test]
    fn source_is_restored_from_its_words() {
        let wide = PrefixLengths::new(32, 128).unwrap();
        for address in ["192.0.2.1", "::", "2001:db8:1:2:3:4:5:6", "0.0.0.0"] {
            let s = source(address, wide);
            assert_eq!(Source::from_words(s.kind(), s.word(), s.low()), s);
        }
    }

    #[test]
    fn scope_is_part_of_the_source_but_not_of_its_address() {
        for (v4, v6) in [(32, 64), (24, 64), (32, 120), (32, 1), (32, 100)] {
            let p = PrefixLengths::new(v4, v6).unwrap();
            assert!(p.leave_room_for_scopes());
            for address in ["192.0.2.1", "255.255.255.255", "::", "2001:db8:1:2:3:4:5:6"] {
                let plain = source(address, p);
                assert_eq!((plain.scope(), plain.without_scope()), (None, plain));
                let scopes = [1, 2, 64].map(|n| Scope::of_listener(n).unwrap());
                let mut all = vec![plain];
                for scope in scopes {
                    let scoped = plain.in_scope(scope);
                    assert_eq!(scoped.scope(), Some(scope));
                    assert_eq!(scoped.family(), plain.family());
                    assert_eq!(scoped.octets(), plain.octets());
                    assert_eq!(scoped.prefix(p), plain.prefix(p));
                    assert_eq!(scoped.without_scope(), plain);
                    assert_eq!(scoped.in_scope(scopes[0]), plain.in_scope(scopes[0]));
                    let words = (scoped.kind(), scoped.word(), scoped.low());
                    assert_eq!(Source::from_words(words.0, words.1, words.2), scoped);
                    assert!(!all.contains(&scoped));
                    all.push(scoped);
                }
            }
        }
        assert!(!PrefixLengths::new(32, 121).unwrap().leave_room_for_scopes());
    }

    #[test]
    fn listeners_have_64_scopes() {
        assert_eq!(Scope::of_listener(0), None);
        assert_eq!(Scope::of_listener(65), None);
        for number in 1..=64 {
            let scope = Scope::of_listener(number).unwrap();
            assert_eq!(scope.listener(), Some(number));
        }
        assert_eq!(Scope::from_bits(255).unwrap().listener(), None);
    }

    #[test]
    fn other_address_lengths_are_rejected() {
        for length in [0, 1, 3, 5, 15, 17] {
            assert_eq!(
                Source::new(&[1; 17][..length], PrefixLengths::DEFAULT),
                None
            );
        }
    }

    #[test]
    fn prefix_lengths_out_of_range_are_rejected() {
        for (v4, v6) in [(0, 64), (33, 64), (32, 0), (32, 129), (u32::MAX, 64)] {
            assert_eq!(PrefixLengths::new(v4, v6), None);
        }
    }
}
