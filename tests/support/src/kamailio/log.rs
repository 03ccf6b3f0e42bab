// SPDX-License-Identifier: GPL-2.0-or-later

//! The log of a server.

use std::fs;
use std::path::Path;

/// The log of a server, up to the moment it was read.
pub struct Log(String);

impl Log {
    pub(super) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("the log of the server is readable");
        Self(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The lines that contain `text`.
    pub fn lines_with(&self, text: &str) -> Vec<&str> {
        self.0.lines().filter(|line| line.contains(text)).collect()
    }

    /// The lines that the process `pid` wrote and that contain `text`.
    pub fn lines_of(&self, pid: u64, text: &str) -> Vec<&str> {
        let mut lines = self.lines_with(text);
        lines.retain(|line| line.contains(&format!("({pid}) ")));
        lines
    }

    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// Panics unless an ERROR line of the module has all of `texts`.
    #[track_caller]
    pub fn assert_error(&self, texts: &[&str]) {
        let lines = self.lines_with("ERROR: tcp_conn_limit");
        let reported = lines
            .iter()
            .any(|line| texts.iter().all(|text| line.contains(text)));
        assert!(reported, "no error line with {texts:?} in\n{self}");
    }

    /// Panics if the log has an error that the test did not announce in `expected`.
    #[track_caller]
    pub fn assert_clean_but_for(&self, expected: &[&str]) {
        const TROUBLE: [&str; 4] = ["ERROR:", "CRITICAL:", "BUG:", "ALERT:"];
        const OF_NO_CONCERN: [&str; 2] = [
            // The core stops its processes one by one. TCP main, the last one, may
            // notice that the others have ended before it is stopped itself.
            "receive_fd(): EOF on",
            // The machine was too busy for the core's clock.
            "local_timer_run(): backwards or still time",
        ];
        let unexpected: Vec<&str> = self
            .0
            .lines()
            .filter(|line| TROUBLE.iter().any(|level| line.contains(level)))
            .filter(|line| !OF_NO_CONCERN.iter().any(|text| line.contains(text)))
            .filter(|line| !expected.iter().any(|text| line.contains(text)))
            .collect();
        assert!(
            unexpected.is_empty(),
            "unexpected in the log of the server:\n{}",
            unexpected.join("\n")
        );
    }

    /// The end of the log, for the output of a failed test.
    pub(super) fn tail(&self) -> String {
        let lines: Vec<&str> = self.0.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
