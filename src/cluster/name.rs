// SPDX-License-Identifier: GPL-2.0-or-later
//! [`NodeName`]: how a node is called in messages, reports and commands.

#![forbid(unsafe_code)]

use core::fmt;

/// The name of a node: 1 to [`MAX`](Self::MAX) visible ASCII characters. It must be unique
/// in the cluster and stay the same when the node restarts, for example its address in DMQ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Box<str>);

impl NodeName {
    /// A name has at most this many characters.
    pub const MAX: usize = 64;

    /// `None` if the text is not a name.
    pub fn new(text: &str) -> Option<NodeName> {
        let length = (1..=Self::MAX).contains(&text.len());
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (length && visible).then(|| NodeName(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::NodeName;

    #[test]
    fn only_visible_ascii_is_a_name() {
        for name in ["a", "10.0.0.1:5060", &"x".repeat(64)] {
            assert_eq!(NodeName::new(name).unwrap().as_str(), name);
        }
        for text in ["", "a b", "a\n", "é", "a\0", &"x".repeat(65)] {
            assert_eq!(NodeName::new(text), None);
        }
    }
}
