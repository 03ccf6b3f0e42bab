// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Faults`]: everything that is wrong with a set of rules, not only the first fault.

#![forbid(unsafe_code)]

use super::{Draft, InvalidRule, Origin, Reason, RuleError, RulesBuilder};
use crate::policy::{file_end, rules_file};

/// The invalid rules of a set.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// At most [`MAX_LISTED`](Self::MAX_LISTED): first those that are invalid by
    /// themselves, and a wrong mark of the end of the file; then those whose prefix has a rule already; both in the order in which
    /// they were written.
    pub listed: Vec<InvalidRule>,
    /// The number of all.
    pub count: usize,
    /// The number of valid rules.
    pub valid: usize,
}

impl Faults {
    /// At most this many invalid rules are listed.
    pub const MAX_LISTED: usize = 20;

    fn add(&mut self, fault: InvalidRule) {
        self.count += 1;
        if self.listed.len() < Self::MAX_LISTED {
            self.listed.push(fault);
        }
    }
}

impl<'a> RulesBuilder<'a> {
    /// Checks the rules in `texts`, numbered from 1, and those in the file `name` with this
    /// content.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn check(
        mut self,
        texts: &'a [impl AsRef<str>],
        file: Option<(&'a str, &'a [u8])>,
    ) -> Result<Faults, RuleError> {
        let mut faults = Faults::default();
        for (number, text) in (1..).zip(texts) {
            self.check_one(
                Origin::Modparam(number),
                text.as_ref().as_bytes(),
                &mut faults,
            )?;
        }
        if let Some((name, content)) = file {
            if let Err((line, text, reason)) = file_end::check(content) {
                faults.add(InvalidRule::new(Origin::Line(name, line), text, reason));
            }
            for (line, text) in rules_file::texts(content) {
                self.check_one(Origin::Line(name, line), text, &mut faults)?;
            }
        }
        faults.valid = self.drafts.len();
        for duplicate in self.duplicates()? {
            faults.valid -= 1;
            faults.add(duplicate);
        }
        Ok(faults)
    }

    fn check_one(
        &mut self,
        origin: Origin<&'a str>,
        text: &'a [u8],
        faults: &mut Faults,
    ) -> Result<(), RuleError> {
        let added = match str::from_utf8(text) {
            Ok(text) => self.add(origin, text),
            Err(_) => Err(super::invalid(origin, text, Reason::NotUtf8)),
        };
        match added {
            Err(RuleError::Invalid(fault)) => {
                faults.add(fault);
                Ok(())
            }
            other => other,
        }
    }

    /// The rules whose prefix another rule of the same kind of origin has that was written
    /// before. A rule in the file may replace a modparam.
    fn duplicates(mut self) -> Result<Vec<InvalidRule>, RuleError> {
        self.drafts
            .sort_unstable_by_key(|draft| (draft.key(), draft.origin));
        let mut found = Vec::new();
        let is_same =
            |a: &Draft<'_>, b: &Draft<'_>| a.key() == b.key() && a.origin.is_same_kind(&b.origin);
        for same in self.drafts.chunk_by(is_same) {
            let [first, others @ ..] = same else {
                continue;
            };
            found.try_reserve(others.len())?;
            found.extend(
                others
                    .iter()
                    .map(|draft| (draft.origin, first.origin, draft)),
            );
        }
        found.sort_unstable_by_key(|(origin, ..)| *origin);
        let mut faults = Vec::new();
        faults.try_reserve_exact(found.len())?;
        faults.extend(found.into_iter().map(|(origin, first, draft)| {
            let reason = Reason::Duplicate(first.into_owned());
            InvalidRule::new(origin, draft.text.as_bytes(), reason)
        }));
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::RuleSet;
    use crate::source::{Nat64, PrefixLengths};

    fn check(texts: &[&str], content: &[u8]) -> Faults {
        let builder = RuleSet::builder(PrefixLengths::DEFAULT);
        builder.check(texts, Some(("r", content))).unwrap()
    }

    fn lines(faults: &Faults) -> Vec<String> {
        faults.listed.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_invalid_rule_is_found() {
        let faults = check(
            &["garbage", "10.0.0.0/8=1", "10.0.0.0/8=2", "10.1.0.0/16=1"],
            b"# head\n10.1.0.0/16 = 5\n10.2.0.0/16\n\n10.3.0.0/16=\xff\n10.0.0.0/8=3\n\
              10.1.0.0/16=6\n10.1.0.0/16=7\n",
        );
        assert_eq!((faults.count, faults.valid), (6, 4));
        assert_eq!(
            lines(&faults),
            [
                "modparam rule 1: `garbage`: `=` is missing; \
                 write PREFIX=LIMIT, as in 192.0.2.0/24=100",
                "r:3: `10.2.0.0/16`: `=` is missing; write PREFIX=LIMIT, as in 192.0.2.0/24=100",
                "r:5: `10.3.0.0/16=\u{fffd}`: not valid UTF-8; save the file as UTF-8",
                "modparam rule 3: `10.0.0.0/8=2`: modparam rule 2 already has a rule for this \
                 prefix; remove one of the two",
                "r:7: `10.1.0.0/16=6`: r:2 already has a rule for this prefix; \
                 remove one of the two",
                "r:8: `10.1.0.0/16=7`: r:2 already has a rule for this prefix; \
                 remove one of the two",
            ]
        );
    }

    #[test]
    fn rules_for_translated_addresses_are_faults() {
        let mut nat64 = Nat64::default();
        nat64.add("2001:db8:64::/96").unwrap();
        let builder = RuleSet::builder(PrefixLengths::DEFAULT).with_nat64(nat64);
        let content = b"2001:db8:64::/64=1\n2001:db8:64::c000:200/120=2\n";
        let texts = ["2001:db8:64::/96=3"];
        let faults = builder.check(&texts, Some(("r", content))).unwrap();
        assert_eq!(faults.valid, 1);
        assert_eq!(
            lines(&faults),
            [
                "modparam rule 1: `2001:db8:64::/96=3`: clients of the \
                 translator 2001:db8:64::/96 count as IPv4; write 0.0.0.0/0",
                "r:2: `2001:db8:64::c000:200/120=2`: clients of the \
                 translator 2001:db8:64::/96 count as IPv4; write 192.0.2.0/24",
            ]
        );
    }

    #[test]
    fn incomplete_file_is_a_fault() {
        let faults = check(&[], b"# begin\n10.0.0.0/8=1\n10.1.0.0/16\n");
        assert_eq!((faults.count, faults.valid), (2, 1));
        assert!(lines(&faults)[0].contains("the last one is not `# end`"));
        assert!(lines(&faults)[1].starts_with("r:3: `10.1.0.0/16`: "));
    }

    #[test]
    fn twenty_invalid_rules_are_listed_and_all_are_counted() {
        let content = "10.0.0.0/8\n".repeat(1000);
        let faults = check(&[], content.as_bytes());
        assert_eq!((faults.listed.len(), faults.count), (20, 1000));
        assert!(lines(&faults)[19].starts_with("r:20: "));
    }

    #[test]
    fn valid_rules_have_no_faults() {
        let faults = check(&["10.0.0.0/8=1"], b"2001:db8::1 = unlimited\n");
        let expected = Faults {
            valid: 2,
            ..Faults::default()
        };
        assert_eq!(faults, expected);
    }
}
