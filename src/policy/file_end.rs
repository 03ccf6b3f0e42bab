// SPDX-License-Identifier: GPL-2.0-or-later
//! The marks with which a rules file shows that it is complete: a program that writes it
//! may be interrupted, and a rule that is cut off may still be a rule.
//!
//! ```text
//!   # begin
//!   192.0.2.1 = 5000
//!   # end 1
//! ```
//!
//! A file whose first line is `# begin` must have the last line `# end`. The number of rules
//! may follow. Without `# begin` the last line is optional, but no rule may come after it,
//! and the number must be right.

#![forbid(unsafe_code)]

use super::rule_text::Reason;
use super::rules_file;

/// Checks the marks of a file. If they are wrong, returns the line, from 1, its text, and
/// the reason.
pub(super) fn check(content: &[u8]) -> Result<(), (usize, &[u8], Reason)> {
    let mut begins = false;
    let mut end = None;
    let mut last = (1, &b""[..]);
    for (line, text) in rules_file::lines(content) {
        if text.is_empty() {
            continue;
        }
        last = (line, text);
        let words = || {
            text.split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
        };
        match words().collect::<Vec<_>>()[..] {
            [b"#", b"begin"] if line == 1 => begins = true,
            [b"#", b"end"] => end = end.or(Some((line, text, None))),
            [b"#", b"end", number] if number.iter().all(u8::is_ascii_digit) => {
                let number = str::from_utf8(number).ok();
                let number = number.and_then(|number| number.parse().ok());
                end = end.or(Some((line, text, Some(number.unwrap_or(usize::MAX)))));
            }
            _ => {}
        }
    }
    let Some((line, text, number)) = end else {
        return match begins {
            true => Err((last.0, last.1, Reason::EndMissing)),
            false => Ok(()),
        };
    };
    let rules = rules_file::texts(content);
    if let Some((after, rule)) = rules_file::texts(content).find(|(rule, _)| *rule > line) {
        return Err((after, rule, Reason::AfterEnd(line)));
    }
    let found = rules.count();
    match number {
        Some(number) if number != found => Err((line, text, Reason::EndCount(found))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(content: &str) -> Option<(usize, String)> {
        let (line, _, reason) = check(content.as_bytes()).err()?;
        Some((line, reason.to_string()))
    }

    #[test]
    fn complete_files_are_accepted() {
        for content in [
            "",
            "10.0.0.0/8=1",
            "# beginning\n10.0.0.0/8=1",
            "# begin of the office\n10.0.0.0/8=1\n# end of the office\n10.1.0.0/16=1",
            "10.0.0.0/8=1\n# end",
            "# begin\n10.0.0.0/8=1\n# end\n",
            "\u{feff}# begin\r\n10.0.0.0/8=1 # one\r\n\r\n#\tend  1\r\n\r\n",
            "# begin\n# none\n# end 0",
            "10.0.0.0/8=1\n10.1.0.0/16=1\n# end 2\n# written by a program",
            // Only the first line can be the mark.
            "\n# begin\n10.0.0.0/8=1",
        ] {
            assert_eq!(error(content), None, "{content:?}");
        }
    }

    #[test]
    fn cut_file_is_rejected_wherever_it_is_cut() {
        let whole = "# begin\n127.0.0.77 = 5000\n127.0.0.78 = 5000\n# end 2";
        for cut in "# begin".len()..whole.len() {
            // The mark without the number is a valid end.
            if &whole[..cut] == whole.trim_end_matches(" 2") || whole[..cut].ends_with("end ") {
                continue;
            }
            assert!(error(&whole[..cut]).is_some(), "{:?}", &whole[..cut]);
        }
        assert_eq!(error(whole), None);
    }

    #[test]
    fn errors_name_the_line_and_the_remedy() {
        let missing = "the first line is `# begin`, but the last one is not `# end`, so the \
                       file may be cut off; write the whole file again";
        assert_eq!(
            error("# begin\n127.0.0.77 = 5\n"),
            Some((2, missing.to_owned()))
        );
        assert_eq!(error("# begin"), Some((1, missing.to_owned())));
        assert_eq!(
            error("10.0.0.0/8=1\n# end 2\n"),
            Some((
                2,
                "the file has 1 rule; correct the number, or write the whole file again".into()
            ))
        );
        assert_eq!(
            error("10.0.0.0/8=1\n10.1.0.0/16=1\n# end 99999999999999999999"),
            Some((
                3,
                "the file has 2 rules; correct the number, or write the whole file again".into()
            ))
        );
        assert_eq!(
            error("# end\n\n10.0.0.0/8=1\n"),
            Some((
                3,
                "the rule is after `# end` in line 1; move that line to the end of the file".into()
            ))
        );
    }
}
