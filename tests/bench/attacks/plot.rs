// SPDX-License-Identifier: GPL-2.0-or-later

//! The plot.

use std::path::Path;

use crate::Result;
use crate::record::Record;

pub(crate) fn draw(_record: &Record, _path: &Path) -> Result<()> {
    Ok(())
}
