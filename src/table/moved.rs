// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Moved`]: in which cells the moved connection of a descriptor is counted, and whether it is
//! trusted.
//!
//! ```text
//!   bits 0–51 token of the cell │ 52–60 generation │ 61 trusted
//!   62 which word has the cell of the network │ 63 it also counts in a network
//! ```
//!
//! The word means something while the record of the descriptor is open and has `Facts::MOVED`.
//! All that must change together when a connection moves is in this one word: the process that exchanges
//! it has moved the connection, and the process that closes the connection swaps it for 0. So of
//! a process that moves a connection and one that closes it at the same moment, the second finds
//! the cell before or after the move, and the first finds out which one.
//!
//! If networks are counted, two more words have the cells of networks, so that a process that
//! prepares the next move does not overwrite the one that is in use.
//!
//! # Late writers
//!
//! A process may be stopped before an exchange, while the connection closes, its descriptor
//! gets another one, and that one is moved. The exchange then fails, because the word has
//! the generation of the record: a process reads the word, makes sure that its connection is
//! still open, and then exchanges what it read. It succeeds wrongly only if the number of
//! connections in between is a multiple of 512, and the last of them is counted in the same
//! cell.
//!
//! Only one process at a time moves a connection (`Facts::MOVING`). If it is killed, the
//! connection cannot be moved any more.

#![forbid(unsafe_code)]

use core::ffi::c_int;

use crate::limiter::Token;
use crate::shared::region::Region;
use crate::shared::sync::{AtomicU64, Ordering};
use crate::table::connections::{ConnectionToken, Connections};

const CELL: u64 = (1 << GENERATION_SHIFT) - 1;
const GENERATION_SHIFT: u32 = 52;
const GENERATION: u64 = 0x1ff << GENERATION_SHIFT;
const TRUSTED: u64 = 1 << 61;
const SECOND: u64 = 1 << 62;
const NETWORK: u64 = 1 << 63;

/// What the word of a moved connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellWord(u64);

impl CellWord {
    /// The connection that `token` names is counted in `cell`, and in no network.
    pub(crate) fn new(token: ConnectionToken, cell: Token, trusted: bool) -> CellWord {
        let trusted = if trusted { TRUSTED } else { 0 };
        CellWord(cell.to_bits() & CELL | tag(token) | trusted)
    }

    /// Whether it is that of the connection that `token` names.
    fn is_of(self, token: ConnectionToken) -> bool {
        self.0 & CELL != 0 && self.0 & GENERATION == tag(token)
    }

    /// The token of the cell, as in a record.
    pub(crate) fn cell(self) -> u64 {
        self.0 & (CELL | NETWORK)
    }

    pub(crate) fn is_trusted(self) -> bool {
        self.0 & TRUSTED != 0
    }

    pub(crate) fn with_trust(self, trusted: bool) -> CellWord {
        let bit = if trusted { TRUSTED } else { 0 };
        CellWord(self.0 & !TRUSTED | bit)
    }

    fn second(self) -> usize {
        usize::from(self.0 & SECOND != 0)
    }
}

fn tag(token: ConnectionToken) -> u64 {
    token.generation() << GENERATION_SHIFT & GENERATION
}

/// The words of one descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Moved<'a> {
    word: &'a AtomicU64,
    networks: Option<[&'a AtomicU64; 2]>,
}

impl<'a> Moved<'a> {
    /// `None` if connections cannot be moved, or the descriptor is not tracked.
    pub(crate) fn of(region: &'a Region, descriptor: c_int) -> Option<Moved<'a>> {
        // A negative number becomes one that is too high.
        let descriptor = descriptor as u32 as usize;
        let (words, networks) = region.moved();
        Some(Moved {
            word: words.get(descriptor)?,
            networks: match networks.get(2 * descriptor..2 * descriptor + 2) {
                Some([first, second]) => Some([first, second]),
                _ => None,
            },
        })
    }

    /// Where the connection that `token` names is counted, if it was moved and is open.
    pub(crate) fn look(self, token: ConnectionToken) -> Option<CellWord> {
        // Acquire: what the cell belongs to is read after this.
        let cells = CellWord(self.word.load(Ordering::Acquire));
        cells.is_of(token).then_some(cells)
    }

    /// Writes the word for the connection that `token` names, which is not moved yet. Must be
    /// called by the process that moves it. `None` if the connection is closed.
    pub(crate) fn prepare(
        self,
        connections: Connections<'_>,
        token: ConnectionToken,
        cells: CellWord,
        network: u64,
    ) -> Option<()> {
        let mut cells = cells;
        if Token::from_bits(network).is_some() {
            cells = self.write_network(connections, token, cells, network)?;
        }
        write(self.word, connections, token, cells.0)
    }

    /// Writes the cell of a network into the word that `before` does not use. Returns `next`
    /// with it. Must be called by the process that moves the connection that `token` names.
    /// `None` if that is closed, or networks are not counted.
    pub(crate) fn write_network(
        self,
        connections: Connections<'_>,
        token: ConnectionToken,
        next: CellWord,
        network: u64,
    ) -> Option<CellWord> {
        // Acquire: if the connection is closed, and the word with it, that is seen below.
        let before = CellWord(self.word.load(Ordering::Acquire));
        let unused = 1 - before.second();
        let value = network & CELL | tag(token);
        write(self.networks?[unused], connections, token, value)?;
        let second = if unused == 1 { SECOND } else { 0 };
        Some(CellWord(next.0 & !SECOND | second | NETWORK))
    }

    /// Replaces the word if it is `from`. The error is what it says of the connection that `token`
    /// names now; `None`: it is closed.
    pub(crate) fn exchange(
        self,
        token: ConnectionToken,
        from: CellWord,
        to: CellWord,
    ) -> Result<(), Option<CellWord>> {
        // Release: a process that finds the new cells also sees the cell of its network, and
        // what was done for its trust. Acquire on failure: as in `look`.
        let exchanged =
            self.word
                .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire);
        exchanged.map(|_| ()).map_err(|now| {
            let now = CellWord(now);
            now.is_of(token).then_some(now)
        })
    }

    /// The cells of a connection whose record was taken. The word names no cell any more.
    pub(crate) fn take(self) -> CellWord {
        // Acquire: sees the cell of the network. Release: a process that moves the connection
        // and finds that it is closed releases what it had prepared after this.
        CellWord(self.word.swap(0, Ordering::AcqRel))
    }

    /// The cell of the network in `cells`; 0 if it has no network. It stays the same as long
    /// as the descriptor is not closed.
    pub(crate) fn network(self, cells: CellWord) -> u64 {
        match self.networks {
            Some(words) if cells.0 & NETWORK != 0 => {
                // Relaxed: published with the word.
                words[cells.second()].load(Ordering::Relaxed) & CELL
            }
            _ => 0,
        }
    }
}

/// Stores a value of the connection that `token` names in a word that only the process that
/// moves it may write, besides late writers. `None` if the connection is closed.
fn write(
    word: &AtomicU64,
    connections: Connections<'_>,
    token: ConnectionToken,
    value: u64,
) -> Option<()> {
    // Acquire: the record is read after this, see the module's documentation.
    let mut before = word.load(Ordering::Acquire);
    while connections.is_open(token) {
        match word.compare_exchange(before, value, Ordering::Release, Ordering::Acquire) {
            Ok(_) => return Some(()),
            Err(now) => before = now,
        }
    }
    None
}
