// SPDX-License-Identifier: GPL-2.0-or-later
//! The program that the kernel runs for each packet of a listening socket and of the
//! connections that it accepted: [`program`].
//!
//! ```text
//!   is it a bare SYN? ─no─▶ accept
//!        │ yes
//!   is the source known? ─no─▶ accept          (IPv4, IPv6, IPv4 behind a translator)
//!        │ yes
//!   the longest prefix with the address ─"admit"─▶ accept
//!        │ none            └─"drop"─▶ count and drop
//!   is the source listed? ─no─▶ accept
//!        │ yes
//!   count and drop
//! ```
//!
//! - The TCP flags come first, because accepted sockets inherit the program: each packet of an
//!   open connection passes through it, and ends after one load and one comparison.
//! - For a TCP socket the packet begins at the TCP header, whatever IPv4 options or IPv6
//!   extension headers come before it. The kernel has reassembled fragments and verified
//!   the header's length by then. The source address is at a fixed offset of the IP header.
//! - The version in the IP header decides, because a socket that listens on `[::]` receives
//!   both.
//! - The helper functions return an error for a packet that is too short, and the program
//!   then accepts it. The older instruction `LD_ABS` would end the program with 0, which
//!   drops the packet.
//! - An address becomes a source as in [`Source::translated`](crate::source::Source).

#![forbid(unsafe_code)]

use super::assembler::{
    Assembler, FROM_IP_HEADER, Helper, Instruction, Label, R0, R1, R2, R3, R4, R5, R6, Register,
    STACK, Size,
};
use super::key::{FAMILY_V4, FAMILY_V6, Key, TrieKey, Verdict};
use crate::source::{Family, Nat64, Prefix, PrefixLengths};

/// The maps of the program, by their descriptors.
#[derive(Clone, Copy)]
pub(super) struct Maps {
    /// A hash: [`Key`] of a source → packets dropped.
    pub(super) sources: i32,
    /// A trie: [`TrieKey`] of a prefix → [`Verdict`].
    pub(super) prefixes: i32,
    /// An array with one value: not 0 if there are prefixes.
    pub(super) has_prefixes: i32,
    /// An array with one value: packets dropped in all.
    pub(super) dropped: i32,
}

/// FIN, SYN, RST and ACK in the octet of TCP flags.
const FLAGS_MASK: u32 = 0x17;
const SYN: i32 = 0x02;
/// The offset of that octet in the TCP header.
const FLAGS_AT: i32 = 13;

/// The result that accepts a packet of any length, as a word.
const ACCEPT: i32 = -1;
/// The result that drops the packet.
const DROP: i32 = 0;

// The stack, as offsets from its end.
/// The first octets of the IP header, up to the end of an IPv6 source address.
const HEADER: i16 = -24;
const HEADER_SIZE: i32 = 24;
const SOURCE_V4: i16 = HEADER + 12;
const SOURCE_V6: i16 = HEADER + 8;
/// A [`TrieKey`] with the whole address.
const TRIE_KEY: i16 = HEADER - TrieKey::SIZE as i16;
const ADDRESS: i16 = TRIE_KEY + 8;
/// A [`Key`] with the address of the source.
const KEY: i16 = TRIE_KEY - Key::SIZE as i16;
const MASKED: i16 = KEY + 4;
/// The TCP flags, and the IPv4 address within an IPv6 address.
const SCRATCH: i16 = KEY - 4;

/// The program for sources of these prefix lengths.
pub(super) fn program(maps: Maps, lengths: PrefixLengths, nat64: &Nat64) -> Vec<Instruction> {
    let mut p = Assembler::default();
    let [v6, as_v4, look_up, count, accept] = core::array::from_fn(|_| p.label());

    p.copy(R6, R1);

    // Accept what is not a bare SYN.
    p.set(R2, FLAGS_AT);
    to_stack(&mut p, R3, SCRATCH);
    p.set(R4, 1);
    p.call(Helper::LoadBytes);
    p.jump_if_not_equal(R0, 0, accept);
    p.load(Size::Byte, R1, STACK, SCRATCH);
    p.and_word(R1, FLAGS_MASK);
    p.jump_if_not_equal(R1, SYN, accept);

    // Load the IP header, and look at its version.
    p.copy(R1, R6);
    p.set(R2, 0);
    to_stack(&mut p, R3, HEADER);
    p.set(R4, HEADER_SIZE);
    p.set(R5, FROM_IP_HEADER);
    p.call(Helper::LoadBytesRelative);
    p.jump_if_not_equal(R0, 0, accept);
    p.load(Size::Byte, R1, STACK, HEADER);
    p.shift_right(R1, 4);
    p.jump_if_equal(R1, 6, v6);
    p.jump_if_not_equal(R1, 4, accept);
    p.load(Size::Word, R1, STACK, SOURCE_V4);
    p.jump(as_v4);

    // IPv6: an address that stands for an IPv4 address continues there.
    p.place(v6);
    embedded(&mut p, MAPPED, as_v4);
    embedded(&mut p, Nat64::WELL_KNOWN, as_v4);
    for translator in nat64.translators() {
        embedded(&mut p, translator, as_v4);
    }
    keys(&mut p, FAMILY_V6);
    p.load(Size::Double, R1, STACK, SOURCE_V6);
    p.load(Size::Double, R2, STACK, SOURCE_V6 + 8);
    p.store(Size::Double, STACK, ADDRESS, R1);
    p.store(Size::Double, STACK, ADDRESS + 8, R2);
    let [upper, lower] = mask(lengths, Family::V6);
    mask_double(&mut p, R1, upper);
    mask_double(&mut p, R2, lower);
    p.store(Size::Double, STACK, MASKED, R1);
    p.store(Size::Double, STACK, MASKED + 8, R2);
    p.jump(look_up);

    // IPv4: the address is in R1, in network byte order.
    p.place(as_v4);
    keys(&mut p, FAMILY_V4);
    p.set(R2, 0);
    p.store(Size::Double, STACK, ADDRESS, R2);
    p.store(Size::Double, STACK, ADDRESS + 8, R2);
    p.store(Size::Double, STACK, MASKED, R2);
    p.store(Size::Double, STACK, MASKED + 8, R2);
    p.store(Size::Word, STACK, ADDRESS, R1);
    if lengths.length(Family::V4) < 32 {
        let bits = u32::MAX << (32 - u32::from(lengths.length(Family::V4)));
        p.and_word(R1, u32::from_ne_bytes(bits.to_be_bytes()));
    }
    p.store(Size::Word, STACK, MASKED, R1);

    // The longest prefix in the trie decides, if there is any.
    p.place(look_up);
    let no_prefix = p.label();
    p.set_map_value(R1, maps.has_prefixes);
    p.load(Size::Double, R1, R1, 0);
    p.jump_if_equal(R1, 0, no_prefix);
    p.set_map(R1, maps.prefixes);
    to_stack(&mut p, R2, TRIE_KEY);
    p.call(Helper::MapLookup);
    p.jump_if_equal(R0, 0, no_prefix);
    p.load(Size::Word, R1, R0, Verdict::DROPS_AT);
    p.jump_if_equal(R1, 0, accept);
    p.add(R0, Verdict::DROPPED_AT.into());
    p.jump(count);

    // Otherwise the source decides.
    p.place(no_prefix);
    p.set_map(R1, maps.sources);
    to_stack(&mut p, R2, KEY);
    p.call(Helper::MapLookup);
    p.jump_if_not_equal(R0, 0, count);

    p.place(accept);
    p.set_word(R0, ACCEPT);
    p.exit();

    // Count the packet for its entry, whose counter is at R0, and in all.
    p.place(count);
    p.set(R1, 1);
    p.atomic_add(R0, 0, R1);
    p.set_map_value(R2, maps.dropped);
    p.atomic_add(R2, 0, R1);
    p.set(R0, DROP);
    p.exit();
    p.finish()
}

/// ::ffff:0:0/96, whose addresses are IPv4 (RFC 4291 §2.5.5.2).
const MAPPED: Prefix = Prefix {
    of_networks: false,
    family: Family::V6,
    upper: 0,
    lower: 0xffff << 32,
    length: 96,
};

/// `to =` the address of an offset on the stack.
fn to_stack(p: &mut Assembler, to: Register, at: i16) {
    p.copy(to, STACK);
    p.add(to, at.into());
}

/// Writes the length and the family of both keys.
fn keys(p: &mut Assembler, family: u32) {
    p.store_constant(Size::Word, STACK, TRIE_KEY, TrieKey::WHOLE as i32);
    p.store_constant(Size::Word, STACK, TRIE_KEY + 4, family as i32);
    p.store_constant(Size::Word, STACK, KEY, family as i32);
}

/// Continues at `as_v4` with the IPv4 address in R1, if `translator` contains the IPv6
/// source address and embeds one in it. The lengths and the octets are those of
/// [`Nat64`].
fn embedded(p: &mut Assembler, translator: Prefix, as_v4: Label) {
    let other = p.label();
    p.load(Size::Double, R1, STACK, SOURCE_V6);
    if translator.length < 64 {
        mask_double(p, R1, u64::MAX << (64 - translator.length));
    }
    p.set_double(R2, u64::from_ne_bytes(translator.upper.to_be_bytes()));
    p.jump_if_different(R1, R2, other);
    if translator.length > 64 {
        let middle = (translator.lower >> 32) as u32;
        p.load(Size::Word, R1, STACK, SOURCE_V6 + 8);
        let middle = u32::from_ne_bytes(middle.to_be_bytes());
        p.set_double(R2, middle.into());
        p.jump_if_different(R1, R2, other);
    } else {
        p.load(Size::Byte, R1, STACK, SOURCE_V6 + 8);
        p.jump_if_not_equal(R1, 0, other);
    }
    let first = i16::from(translator.length / 8);
    let octets = (first..16).filter(|&at| at != 8 || translator.length > 64);
    for (to, from) in octets.take(4).enumerate() {
        p.load(Size::Byte, R1, STACK, SOURCE_V6 + from);
        p.store(Size::Byte, STACK, SCRATCH + to as i16, R1);
    }
    p.load(Size::Word, R1, STACK, SCRATCH);
    p.jump(as_v4);
    p.place(other);
}

/// The upper and the lower half of the mask of a source.
fn mask(lengths: PrefixLengths, family: Family) -> [u64; 2] {
    let host_bits = 128 - u32::from(lengths.length(family));
    let bits = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    [(bits >> 64) as u64, bits as u64]
}

/// `to &= mask`, which is in network byte order. Clobbers R3.
fn mask_double(p: &mut Assembler, to: Register, mask: u64) {
    match mask {
        u64::MAX => {}
        0 => p.set(to, 0),
        _ => {
            p.set_double(R3, u64::from_ne_bytes(mask.to_be_bytes()));
            p.and(to, R3);
        }
    }
}

// The verifier rejects accesses to the stack that are not aligned.
const _: () = assert!(SOURCE_V6 % 8 == 0 && ADDRESS % 8 == 0 && MASKED % 8 == 0);
const _: () = assert!(SOURCE_V4 % 4 == 0 && TRIE_KEY % 4 == 0 && KEY % 4 == 0 && SCRATCH % 4 == 0);
