// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Token`]: names the cell in which one connection is counted.

#![forbid(unsafe_code)]

use core::num::NonZeroU64;

use crate::shared::layout::ROWS;

/// Names the cell in which a connection is counted; 64 bits, never 0. The record of the
/// connection holds it, see [`connect`](super::Limiter::connect).
///
/// ```text
///   bits 0–31 slot + 1 │ 32–39 row │ 40–51 epoch of the slot │ 63 and a network
/// ```
///
/// The record of a connection that also counts in a network says so in its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(NonZeroU64);

impl Token {
    const ROW_SHIFT: u32 = 32;
    const EPOCH_SHIFT: u32 = 40;
    const NETWORK: u64 = 1 << 63;

    pub(super) fn new(slot: usize, row: usize, epoch: u32) -> Token {
        let slot = NonZeroU64::MIN.saturating_add(slot as u64);
        Token(slot | (row as u64) << Self::ROW_SHIFT | u64::from(epoch) << Self::EPOCH_SHIFT)
    }

    /// The token with these bits; `None` for 0.
    pub fn from_bits(bits: u64) -> Option<Token> {
        NonZeroU64::new(bits).map(Token)
    }

    /// The token as an integer.
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The token with these bits. `None` for 0, and if the connection also counts in a
    /// network: one comparison decides both.
    #[inline(always)]
    pub(super) fn without_network_from_bits(bits: u64) -> Option<Token> {
        match bits.cast_signed() {
            1.. => Token::from_bits(bits),
            _ => None,
        }
    }

    /// Slot, row and epoch; `None` if the bits cannot be a token.
    pub(super) fn parts(self) -> Option<(usize, usize, u32)> {
        let bits = self.0.get() & !Self::NETWORK;
        let slot = (bits as u32).checked_sub(1)? as usize;
        let row = (bits >> Self::ROW_SHIFT & 0xff) as usize;
        let epoch = u32::try_from(bits >> Self::EPOCH_SHIFT).ok()?;
        (row < ROWS).then_some((slot, row, epoch))
    }

    /// Whether the connection also counts in a network.
    #[inline]
    pub(super) fn has_network(self) -> bool {
        self.0.get() & Self::NETWORK != 0
    }

    /// The same for the record of a connection that also counts in a network.
    pub(super) fn with_network(self) -> Token {
        Token(self.0 | Self::NETWORK)
    }

    /// Whether the cell is one of the source that took `slot` in `epoch`.
    pub(super) fn is_in(self, slot: usize, epoch: u32) -> bool {
        let parts = self.parts();
        parts.is_some_and(|(its_slot, _, its_epoch)| (its_slot, its_epoch) == (slot, epoch))
    }
}

/// The token does not name a connection, or a cell with one: it was made up or released
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleToken;
