// SPDX-License-Identifier: GPL-2.0-or-later
//! The keys of a cluster, from parameters and files. There is one key, or two while it is
//! changed: all nodes accept both, and sign with the first one.

#![forbid(unsafe_code)]

use core::fmt;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};

use crate::shared::visible::Excerpt;

/// The shortest key, in bytes.
const MIN_KEY: usize = 16;

/// A file of keys has at most this many bytes.
const MAX_FILE: u64 = 4096;

/// What a text begins with that names a file.
const FILE: &str = "file:";

/// One or two keys.
#[derive(PartialEq, Eq)]
pub(crate) struct KeyTexts(Vec<String>);

impl KeyTexts {
    pub(crate) fn in_order(&self) -> (&[u8], Option<&[u8]>) {
        let second = self.0.get(1).map(String::as_bytes);
        (self.0.first().map_or(&[], String::as_bytes), second)
    }
}

/// Never shows a key.
impl fmt::Debug for KeyTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// Why there are no keys. Its `Display` says the reason and the remedy, and never a key.
#[derive(Debug)]
pub(crate) enum KeyError {
    None,
    Many(usize),
    Short,
    File(Excerpt, io::Error),
    LongFile(Excerpt),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::None => {
                f.write_str("there is no key: set cluster_key to the same secret text on all nodes")
            }
            KeyError::Many(keys) => write!(
                f,
                "there are {keys} keys: expected one, or two while the key is changed"
            ),
            KeyError::Short => write!(f, "a key is shorter than {MIN_KEY} bytes"),
            KeyError::File(path, error) => {
                write!(f, "cannot read the keys in `{path}`: {error}")
            }
            KeyError::LongFile(path) => write!(
                f,
                "the file `{path}` of keys is longer than {MAX_FILE} bytes; it must have a key \
                 on each line"
            ),
        }
    }
}

/// Reads the keys that these texts are or name.
///
/// # Errors
///
/// If there are not one or two keys, one is too short, or a file cannot be read.
pub(crate) fn read(texts: &[Cow<'_, str>]) -> Result<KeyTexts, KeyError> {
    let mut keys = Vec::new();
    for text in texts {
        match text.strip_prefix(FILE) {
            None => keys.push(text.to_string()),
            Some(path) => {
                let content = read_file(path)?;
                let lines = content.lines().map(str::trim);
                let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                keys.extend(lines.map(str::to_owned));
            }
        }
    }
    match keys.len() {
        0 => Err(KeyError::None),
        1 | 2 if keys.iter().any(|key| key.len() < MIN_KEY) => Err(KeyError::Short),
        1 | 2 => Ok(KeyTexts(keys)),
        many => Err(KeyError::Many(many)),
    }
}

fn read_file(path: &str) -> Result<String, KeyError> {
    let name = || Excerpt::of(path.as_bytes());
    let mut content = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut content));
    match read {
        Err(error) => Err(KeyError::File(name(), error)),
        Ok(bytes) if bytes as u64 > MAX_FILE => Err(KeyError::LongFile(name())),
        Ok(_) => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> Result<KeyTexts, String> {
        let texts: Vec<_> = texts.iter().map(|text| Cow::Borrowed(*text)).collect();
        read(&texts).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_come_from_texts_and_files() {
        let (a, b) = ("a".repeat(16), "b".repeat(40));
        let path = std::env::temp_dir().join(format!("keys-{}", std::process::id()));
        std::fs::write(&path, format!("# old and new\n\n  {b}  \n")).unwrap();
        let file = format!("file:{}", path.display());
        assert_eq!(keys(&[&a]), Ok(KeyTexts(vec![a.clone()])));
        assert_eq!(keys(&[&a, &file]), Ok(KeyTexts(vec![a.clone(), b.clone()])));
        assert_eq!(keys(&[&file, &a]), Ok(KeyTexts(vec![b.clone(), a.clone()])));
        let many = keys(&[&a, &a, &file]).unwrap_err();
        assert_eq!(
            many,
            "there are 3 keys: expected one, or two while the key is changed"
        );
        std::fs::write(&path, " ".repeat(5000)).unwrap();
        assert!(
            keys(&[&file])
                .unwrap_err()
                .contains("longer than 4096 bytes")
        );
        std::fs::remove_file(&path).unwrap();
        assert!(
            keys(&[&file])
                .unwrap_err()
                .starts_with("cannot read the keys in")
        );
    }

    #[test]
    fn missing_and_short_keys_are_refused() {
        assert!(keys(&[]).unwrap_err().starts_with("there is no key"));
        let error = keys(&["fifteen bytes..", &"a".repeat(16)]).unwrap_err();
        assert_eq!(error, "a key is shorter than 16 bytes");
    }
}
