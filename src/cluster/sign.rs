// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Keys`]: messages are signed with HMAC-SHA256, cut to [`SIGNATURE`] bytes (RFC 2104 allows
//! half of the hash).

#![forbid(unsafe_code)]

use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The bytes of a signature.
pub(super) const SIGNATURE: usize = 16;

/// The keys that all nodes share. Messages are signed with the first one. Those signed with
/// either are accepted, so that the key can be changed one node at a time: first add the new
/// key as the second one everywhere, then make it the first one, then remove the old one.
#[derive(Clone)]
pub struct Keys {
    first: Hmac<Sha256>,
    second: Option<Hmac<Sha256>>,
}

impl Keys {
    /// A key has at least this many bytes.
    pub const MIN: usize = 16;

    /// `None` if a key is shorter than [`MIN`](Self::MIN).
    pub fn new(first: &[u8], second: Option<&[u8]>) -> Option<Keys> {
        Some(Keys {
            first: of_key(first)?,
            second: match second {
                Some(key) => Some(of_key(key)?),
                None => None,
            },
        })
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE] {
        let whole = self.first.clone().chain_update(bytes).finalize();
        let mut signature = [0; SIGNATURE];
        signature.copy_from_slice(&whole.into_bytes()[..SIGNATURE]);
        signature
    }

    /// Whether the signature of these bytes is valid. It takes the same time wherever it
    /// differs from a valid one.
    pub(super) fn verify(&self, bytes: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        let signed_with = |key: &Hmac<Sha256>| {
            let mac = key.clone().chain_update(bytes);
            mac.verify_truncated_left(signature).is_ok()
        };
        signed_with(&self.first) || self.second.as_ref().is_some_and(signed_with)
    }
}

fn of_key(key: &[u8]) -> Option<Hmac<Sha256>> {
    (key.len() >= Keys::MIN).then(|| Hmac::new_from_slice(key).ok())?
}

impl fmt::Debug for Keys {
    /// Does not show the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = 1 + usize::from(self.second.is_some());
        write!(f, "Keys({number})")
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    /// RFC 4231, test case 3.
    #[test]
    fn signature_is_hmac_sha256() {
        let keys = Keys::new(&[0xaa; 20], None).unwrap();
        let expected = 0x773ea91e36800e46854db8ebd09181a7_u128.to_be_bytes();
        assert_eq!(keys.sign(&[0xdd; 50]), expected);
        assert!(keys.verify(&[0xdd; 50], &expected));
    }

    #[test]
    fn either_key_is_accepted_and_others_are_not() {
        let (old, new) = ([1; 16], [2; 16]);
        let signature = Keys::new(&old, None).unwrap().sign(b"text");
        for (first, second, valid) in [
            (old, None, true),
            (old, Some(new), true),
            (new, Some(old), true),
            (new, None, false),
            (new, Some([3; 16]), false),
        ] {
            let keys = Keys::new(&first, second.as_ref().map(|key| &key[..])).unwrap();
            assert_eq!(keys.verify(b"text", &signature), valid);
            assert!(!keys.verify(b"texu", &signature));
        }
        for bit in 0..128 {
            let flipped = u128::from_be_bytes(signature) ^ 1 << bit;
            let keys = Keys::new(&old, None).unwrap();
            assert!(!keys.verify(b"text", &flipped.to_be_bytes()));
        }
    }

    #[test]
    fn short_keys_are_rejected_and_keys_are_not_shown() {
        assert!(Keys::new(&[1; 15], None).is_none());
        assert!(Keys::new(&[1; 16], Some(&[1; 15])).is_none());
        let keys = Keys::new(&[0x41; 16], Some(&[0x42; 99])).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys(2)");
    }
}
