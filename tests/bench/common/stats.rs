// SPDX-License-Identifier: GPL-2.0-or-later

//! Medians and spreads of a few values.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`, which must not be empty.
    pub(crate) fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Spread {
            median: (below + above) / 2.0,
            min: sorted[0],
            max: sorted[sorted.len() - 1],
        }
    }

    /// The largest distance from 0.
    pub(crate) fn reach(self) -> f64 {
        self.max.abs().max(self.min.abs())
    }
}

/// The spread of values, of which there must be one.
impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Spread {
        Spread::of(&values.into_iter().collect::<Vec<f64>>())
    }
}

/// Writes `median (min..max)`, with the formatter's precision and sign.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.median.fmt(f)?;
        f.write_str(" (")?;
        self.min.fmt(f)?;
        f.write_str("..")?;
        self.max.fmt(f)?;
        f.write_str(")")
    }
}

/// `a - b`, pair by pair.
pub(crate) fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// The mean of `a` and `b`, pair by pair.
pub(crate) fn means(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect()
}
