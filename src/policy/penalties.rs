// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Cause`]: why a source is penalised or banned; [`Penalty`]: what an offence costs, as an
//! operator writes it.
//!
//! ```text
//!   PENALTY   KIND=SECONDS, from 0.1 to 3600 with at most one decimal, or 0: none
//!   KIND      silent, tls, rejected, rate or script
//! ```

#![forbid(unsafe_code)]

use core::fmt;

use crate::shared::visible::Excerpt;

/// Why a source is penalised or banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A connection closed without one whole message.
    Silent = 1,
    /// A TLS connection closed without one whole message.
    Tls = 2,
    /// A connection over the limit was rejected.
    Rejected = 3,
    /// A connection over the rate was rejected.
    Rate = 4,
    /// The server's script said so.
    Script = 5,
    /// An operator said so.
    Rpc = 6,
    /// Another node of the cluster said so.
    Cluster = 7,
}

impl Cause {
    /// The causes that are offences, in the order of their numbers from 1 on.
    pub const OFFENCES: [Cause; 5] = [
        Cause::Silent,
        Cause::Tls,
        Cause::Rejected,
        Cause::Rate,
        Cause::Script,
    ];

    /// The name in settings, log lines and answers.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Silent => "silent",
            Cause::Tls => "tls",
            Cause::Rejected => "rejected",
            Cause::Rate => "rate",
            Cause::Script => "script",
            Cause::Rpc => "rpc",
            Cause::Cluster => "cluster",
        }
    }

    /// The cause with this number. Other numbers, from damaged memory, are that of a command.
    pub(crate) fn from_number(number: u8) -> Cause {
        if number == Cause::Cluster as u8 {
            return Cause::Cluster;
        }
        let offence = usize::from(number).checked_sub(1);
        let offence = offence.and_then(|index| Cause::OFFENCES.get(index));
        offence.copied().unwrap_or(Cause::Rpc)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one offence of a kind costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// The kind of the offence.
    pub offence: Cause,
    /// Milliseconds; 0: nothing.
    pub millis: u32,
}

/// The highest penalty, in seconds.
const MAX_SECONDS: u32 = 3600;

impl Penalty {
    /// Reads `KIND=SECONDS`.
    ///
    /// # Errors
    ///
    /// Why the text is not a penalty.
    pub fn parse(text: &str) -> Result<Penalty, PenaltyError> {
        let fault = |fault| PenaltyError {
            text: Excerpt::of(text.as_bytes()),
            fault,
        };
        let (kind, seconds) = text.split_once('=').ok_or(fault(Fault::Form))?;
        let kind = kind.trim_ascii();
        let offence = Cause::OFFENCES.into_iter().find(|one| one.name() == kind);
        let offence = offence.ok_or(fault(Fault::Kind))?;
        let millis = millis(seconds.trim_ascii()).ok_or(fault(Fault::Seconds))?;
        Ok(Penalty { offence, millis })
    }
}

/// The milliseconds of a number of seconds with at most one decimal.
fn millis(seconds: &str) -> Option<u32> {
    let (whole, tenths) = match seconds.split_once('.') {
        Some((whole, tenths)) if tenths.len() == 1 => (whole, tenths),
        Some(_) => return None,
        None => (seconds, "0"),
    };
    // Only digits: `parse` also accepts a plus sign.
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| digits)
    };
    let (whole, tenths) = (number(whole)?, number(tenths)?);
    let millis = whole.checked_mul(1_000)?.checked_add(tenths * 100)?;
    (millis <= MAX_SECONDS * 1_000).then_some(millis)
}

/// Why a text is not a penalty. Its `Display` says the text, the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PenaltyError {
    text: Excerpt,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Form,
    Kind,
    Seconds,
}

impl fmt::Display for PenaltyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PenaltyError { text, fault } = self;
        write!(f, "penalty `{text}`: ")?;
        match fault {
            Fault::Form => f.write_str("write KIND=SECONDS, such as silent=1"),
            Fault::Kind => {
                f.write_str("unknown kind; it is one of ")?;
                for (index, offence) in Cause::OFFENCES.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{offence}")?;
                }
                Ok(())
            }
            Fault::Seconds => write!(
                f,
                "write the seconds as a number from 0 to {MAX_SECONDS} with at most one \
                 decimal; 0: no penalty"
            ),
        }
    }
}

impl std::error::Error for PenaltyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalty_is_a_kind_and_seconds() {
        for (text, offence, millis) in [
            ("silent=1", Cause::Silent, 1_000),
            ("tls=2.5", Cause::Tls, 2_500),
            (" rejected = 3600 ", Cause::Rejected, 3_600_000),
            ("rate=0", Cause::Rate, 0),
            ("script=0.1", Cause::Script, 100),
        ] {
            assert_eq!(Penalty::parse(text), Ok(Penalty { offence, millis }));
        }
    }

    #[test]
    fn invalid_penalty_names_its_part_and_the_remedy() {
        for (text, part) in [
            ("silent", "write KIND=SECONDS"),
            ("noise=1", "one of silent, tls, rejected, rate, script"),
            ("rpc=1", "unknown kind"),
            ("silent=", "from 0 to 3600"),
            ("silent=+1", "from 0 to 3600"),
            ("silent=-1", "from 0 to 3600"),
            ("silent=1.25", "one decimal"),
            ("silent=.", "from 0 to 3600"),
            ("silent=3600.1", "from 0 to 3600"),
            ("silent=99999999999", "from 0 to 3600"),
        ] {
            let error = Penalty::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(error.starts_with(&format!("penalty `{text}`: ")), "{error}");
        }
    }

    #[test]
    fn causes_have_their_numbers() {
        for cause in Cause::OFFENCES
            .into_iter()
            .chain([Cause::Rpc, Cause::Cluster])
        {
            assert_eq!(Cause::from_number(cause as u8), cause);
        }
        assert_eq!(Cause::from_number(0), Cause::Rpc);
        assert_eq!(Cause::from_number(8), Cause::Rpc);
    }
}
