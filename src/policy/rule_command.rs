// SPDX-License-Identifier: GPL-2.0-or-later
//! The arguments of the commands that set and remove a rule while the server runs.

#![forbid(unsafe_code)]

use core::fmt;

use super::listener::{ListenerError, ListenerName};
use super::origin::MAX_SECONDS;
use super::rule_words::{self, WordError};
use super::terms::Terms;
use crate::shared::visible::Excerpt;
use crate::source::{Nat64, Prefix, PrefixError};

/// A rule to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetRule {
    /// The sources that get the rule.
    pub prefix: Prefix,
    /// What each source may do.
    pub terms: Terms,
    /// For how many seconds, at most [`MAX_SECONDS`]; `None`: until it is removed.
    pub seconds: Option<u32>,
}

impl SetRule {
    /// Parses the arguments; `None` for one that is missing. `terms` is what comes after the
    /// `=` of a rule: a limit, and words if the rule has any. `nat64` has the translators
    /// whose clients are IPv4 sources.
    ///
    /// # Errors
    ///
    /// The first argument that is invalid.
    pub fn parse(
        prefix: Option<&str>,
        terms: Option<&str>,
        seconds: Option<&str>,
        nat64: &Nat64,
    ) -> Result<SetRule, InvalidArgument> {
        let prefix = parse_prefix(prefix, nat64)?;
        let terms = terms.ok_or(InvalidArgument(Invalid::NoLimit))?.trim_ascii();
        let read = match prefix.of_networks {
            true => rule_words::parse_of_networks(terms),
            false => rule_words::parse(terms),
        };
        let terms =
            read.map_err(|reason| InvalidArgument(Invalid::Terms(excerpt(terms), reason)))?;
        let seconds = seconds.map(|text| {
            let text = text.trim_ascii();
            parse_seconds(text).ok_or_else(|| InvalidArgument(Invalid::Seconds(excerpt(text))))
        });
        Ok(SetRule {
            prefix,
            terms,
            seconds: seconds.transpose()?,
        })
    }
}

/// Parses the prefix of a rule; `None` if it is missing. `nat64` is that of
/// [`SetRule::parse`].
///
/// # Errors
///
/// If the prefix is missing or invalid.
pub fn parse_prefix(prefix: Option<&str>, nat64: &Nat64) -> Result<Prefix, InvalidArgument> {
    let text = prefix
        .ok_or(InvalidArgument(Invalid::NoPrefix))?
        .trim_ascii();
    let invalid = |error| InvalidArgument(Invalid::Prefix(excerpt(text), error));
    Prefix::parse_of_rule(text, nat64).map_err(invalid)
}

/// Parses the listener of the rule to remove, as it is written in a rule; `None`: a rule
/// without one.
///
/// # Errors
///
/// If the text is not one.
pub fn parse_listener(text: Option<&str>) -> Result<Option<ListenerName>, InvalidArgument> {
    let Some(text) = text.map(str::trim_ascii) else {
        return Ok(None);
    };
    let invalid = |error| InvalidArgument(Invalid::Listener(excerpt(text), error));
    let name = text
        .strip_prefix("listener=")
        .ok_or_else(|| invalid(None))?;
    let name = ListenerName::parse(name).map_err(|error| invalid(Some(error)))?;
    Ok(Some(name))
}

fn excerpt(text: &str) -> Excerpt {
    Excerpt::of(text.as_bytes())
}

/// Only digits: `parse` also accepts a plus sign.
fn parse_seconds(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_number.then(|| text.parse().ok())??;
    (1..=MAX_SECONDS).contains(&seconds).then_some(seconds)
}

/// An argument that is missing or invalid. Its `Display` says its text, the reason and the
/// remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidArgument(Invalid);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Invalid {
    NoPrefix,
    Prefix(Excerpt, PrefixError),
    NoLimit,
    Terms(Excerpt, WordError),
    Seconds(Excerpt),
    /// It is not the word `listener`, or its value is invalid.
    Listener(Excerpt, Option<ListenerError>),
}

impl fmt::Display for InvalidArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Invalid::NoPrefix => f.write_str("missing prefix: expected one such as 192.0.2.0/24"),
            Invalid::Prefix(text, error) => write!(f, "invalid prefix `{text}`: {error}"),
            Invalid::NoLimit => write!(
                f,
                "missing limit: expected a number from 1 to {} or `unlimited`",
                i32::MAX
            ),
            Invalid::Terms(text, reason) => write!(f, "invalid limit `{text}`: {reason}"),
            Invalid::Seconds(text) => write!(
                f,
                "invalid seconds `{text}`: expected a number from 1 to {MAX_SECONDS}, or no \
                 parameter for a rule that does not end"
            ),
            Invalid::Listener(text, None) => write!(
                f,
                "invalid listener `{text}`: expected one such as listener=tcp:192.0.2.1:5060, or \
                 no parameter for a rule without one"
            ),
            Invalid::Listener(text, Some(error)) => write!(f, "invalid listener `{text}`: {error}"),
        }
    }
}

impl std::error::Error for InvalidArgument {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rule_words::TermsText;
    use crate::policy::rules::UNLIMITED;

    fn parse(prefix: &str, terms: &str, seconds: Option<&str>) -> Result<SetRule, String> {
        let mut nat64 = Nat64::default();
        nat64.add("2001:db8:64::/96").unwrap();
        let parsed = SetRule::parse(Some(prefix), Some(terms), seconds, &nat64);
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn valid_arguments_are_parsed() {
        let rule = parse(" 10.0.0.0/8 ", "5", None).unwrap();
        assert_eq!(rule.prefix.to_string(), "10.0.0.0/8");
        assert_eq!((rule.terms.limit, rule.seconds), (5, None));
        let rule = parse("2001:db8::/64", "unlimited", Some("2147483647")).unwrap();
        assert_eq!(
            (rule.terms.limit, rule.seconds),
            (UNLIMITED, Some(MAX_SECONDS))
        );
        assert_eq!(parse("::/0", "1", Some("1")).unwrap().seconds, Some(1));
        // A host in a source, and the word in answers.
        let rule = parse("2001:db8::7", "none", None).unwrap();
        assert_eq!((rule.prefix.length, rule.terms.limit), (128, UNLIMITED));
    }

    #[test]
    fn limit_may_have_words_after_it() {
        let rule = parse("10.0.0.0/8", " 5  burst=20 rate=10/s exempt", Some("60")).unwrap();
        assert_eq!(
            TermsText(rule.terms).to_string(),
            "5 rate=10/s burst=20 exempt"
        );
        assert_eq!(
            parse("10.0.0.0/8", "5 rate=10", None).unwrap_err(),
            "invalid limit `5 rate=10`: invalid rate `10`: expected one like 10/s, 100/m or \
             2/h, or none"
        );
        assert_eq!(
            parse("10.0.0.0/8", "rate=10/s", None).unwrap_err(),
            "invalid limit `rate=10/s`: the limit is missing; write a number or `unlimited` \
             before `rate`"
        );
    }

    #[test]
    fn listener_is_a_word_of_the_terms_and_an_argument_of_its_own() {
        let name = ListenerName::parse("tls:192.0.2.1:5061").unwrap();
        let rule = parse("10.0.0.0/8", "5 listener=tls:192.0.2.1:5061", None).unwrap();
        assert_eq!(rule.terms.listener, Some(name));
        assert_eq!(parse_listener(None), Ok(None));
        let read = parse_listener(Some(" listener=tls:192.0.2.1:5061 "));
        assert_eq!(read, Ok(Some(name)));
        let error = |text| parse_listener(Some(text)).unwrap_err().to_string();
        for text in ["", "tls:192.0.2.1:5061", "listener"] {
            assert_eq!(
                error(text),
                format!(
                    "invalid listener `{text}`: expected one such as \
                     listener=tcp:192.0.2.1:5060, or no parameter for a rule without one"
                )
            );
        }
        assert_eq!(
            error("listener=192.0.2.1:0"),
            "invalid listener `listener=192.0.2.1:0`: the port `0` of a listener must be a \
             number from 1 to 65535"
        );
    }

    #[test]
    fn missing_arguments_are_named() {
        let error = |prefix, limit| {
            let parsed = SetRule::parse(prefix, limit, None, &Nat64::default());
            parsed.unwrap_err().to_string()
        };
        assert_eq!(
            error(None, None),
            "missing prefix: expected one such as 192.0.2.0/24"
        );
        assert_eq!(
            error(Some("10.0.0.1"), None),
            "missing limit: expected a number from 1 to 2147483647 or `unlimited`"
        );
    }

    #[test]
    fn invalid_arguments_are_shown_with_a_remedy() {
        assert_eq!(
            parse("10.1.0.0/8", "5", None).unwrap_err(),
            "invalid prefix `10.1.0.0/8`: the address has bits set beyond the prefix length; \
             write 10.0.0.0/8"
        );
        assert_eq!(
            parse("2001:db8:64::192.0.2.0/120", "5", None).unwrap_err(),
            "invalid prefix `2001:db8:64::192.0.2.0/120`: clients of the \
             translator 2001:db8:64::/96 count as IPv4; write 192.0.2.0/24"
        );
        for limit in ["0", "-1", "-2147483648"] {
            assert_eq!(
                parse("10.0.0.1", limit, None).unwrap_err(),
                format!(
                    "invalid limit `{limit}`: a limit must be at least 1; write `unlimited` \
                     for no limit, or block the prefix with a firewall"
                )
            );
        }
        for limit in ["", "many", "1.5", "+5", "1e3"] {
            assert_eq!(
                parse("10.0.0.1", limit, None).unwrap_err(),
                format!(
                    "invalid limit `{limit}`: a limit must be a number from 1 to \
                     2147483647 or `unlimited`"
                )
            );
        }
        for seconds in ["", "0", "-1", "+1", "1.5", "2147483648", "soon"] {
            assert_eq!(
                parse("10.0.0.1", "5", Some(seconds)).unwrap_err(),
                format!(
                    "invalid seconds `{seconds}`: expected a number from 1 to 2147483647, or \
                     no parameter for a rule that does not end"
                )
            );
        }
    }
}
