// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Window`]: which of the last sequence numbers of a sender arrived.

#![forbid(unsafe_code)]

use super::report::Rejected;

/// The sequence numbers that are remembered.
const SIZE: u64 = 1_024;

/// The last [`SIZE`] sequence numbers up to the highest one, a bit for each that arrived.
#[derive(Clone, Debug)]
pub(super) struct Window {
    top: u64,
    /// The bit of a number is its remainder by [`SIZE`].
    bits: [u64; SIZE as usize / 64],
}

impl Window {
    /// Regards all numbers up to `top` as arrived.
    pub(super) fn after(top: u64) -> Window {
        Window {
            top,
            bits: [u64::MAX; SIZE as usize / 64],
        }
    }

    /// Whether a message with this number is new.
    pub(super) fn check(&self, number: u64) -> Result<(), Rejected> {
        if number > self.top {
            return Ok(());
        }
        if self.top - number >= SIZE {
            return Err(Rejected::Late);
        }
        let (word, bit) = index(number);
        match self.bits[word] & bit {
            0 => Ok(()),
            _ => Err(Rejected::Repeated),
        }
    }

    /// Records that the message with this number arrived.
    pub(super) fn insert(&mut self, number: u64) {
        if number > self.top {
            if number - self.top >= SIZE {
                self.bits = [0; SIZE as usize / 64];
            } else {
                for skipped in self.top + 1..=number {
                    let (word, bit) = index(skipped);
                    self.bits[word] &= !bit;
                }
            }
            self.top = number;
        }
        if self.top - number < SIZE {
            let (word, bit) = index(number);
            self.bits[word] |= bit;
        }
    }
}

fn index(number: u64) -> (usize, u64) {
    let bit = number % SIZE;
    ((bit / 64) as usize, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_number_is_new_once(
            start in prop_oneof![0..5u64, Just(u64::MAX - 9_000)],
            steps in vec((0..3_000u64, 0..2_500u64), 1..200),
        ) {
            let mut window = Window::after(start);
            let (mut top, mut arrived) = (start, HashSet::new());
            for (forward, back) in steps {
                let number = top.saturating_add(forward % 40).saturating_sub(back);
                let expected = if number > top {
                    Ok(())
                } else if top - number >= SIZE {
                    Err(Rejected::Late)
                } else if number <= start || arrived.contains(&number) {
                    Err(Rejected::Repeated)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.check(number), expected);
                if expected.is_ok() {
                    window.insert(number);
                    arrived.insert(number);
                    top = top.max(number);
                    prop_assert_eq!(window.check(number), Err(Rejected::Repeated));
                }
            }
        }
    }

    #[test]
    fn far_jump_forgets_all_but_the_newest() {
        let mut window = Window::after(0);
        window.insert(u64::MAX);
        assert_eq!(window.check(u64::MAX), Err(Rejected::Repeated));
        assert_eq!(window.check(u64::MAX - 1), Ok(()));
        assert_eq!(window.check(1), Err(Rejected::Late));
    }
}
