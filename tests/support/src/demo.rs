// SPDX-License-Identifier: GPL-2.0-or-later
//! How a demo ends.

use std::process::ExitCode;

/// Something is not as it should be, such as a number that differs from the expected one.
pub struct Unexpected(pub String);

/// Runs a demo, and says whether all of it was as it should be.
pub fn run(demo: impl FnOnce() -> Result<(), Unexpected>) -> ExitCode {
    match demo() {
        Ok(()) => {
            println!("\nAll of this was as it should be.");
            ExitCode::SUCCESS
        }
        Err(Unexpected(what)) => {
            eprintln!("\nNOT as it should be: {what}");
            ExitCode::FAILURE
        }
    }
}
