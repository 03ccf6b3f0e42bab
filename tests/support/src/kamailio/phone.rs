// SPDX-License-Identifier: GPL-2.0-or-later

//! A phone that registers with a password (digest authentication, RFC 2617).

use openssl::hash::{MessageDigest, hash};

use super::Client;

const URI: &str = "sip:127.0.0.1";

/// Sends a REGISTER of `user` and, if the server challenges it, another one with `password`.
/// Returns the status of each answer.
#[track_caller]
pub fn register(client: &mut Client, user: &str, password: &str) -> Vec<u16> {
    let challenge = client.exchange(&request(user, 1, ""));
    let mut statuses = vec![status(&challenge)];
    let header = challenge
        .lines()
        .find_map(|line| line.strip_prefix("WWW-Authenticate: "));
    if let Some(header) = header {
        let credentials = credentials(header, user, password);
        let answer = client.exchange(&request(user, 2, &credentials));
        statuses.push(status(&answer));
    }
    statuses
}

fn request(user: &str, number: u32, credentials: &str) -> String {
    format!(
        "REGISTER {URI} SIP/2.0\r\n\
         Via: SIP/2.0/TCP localhost;branch=z9hG4bK-{number}\r\n\
         From: <sip:{user}@127.0.0.1>;tag=1\r\n\
         To: <sip:{user}@127.0.0.1>\r\n\
         Call-ID: {user}@localhost\r\n\
         CSeq: {number} REGISTER\r\n\
         Contact: <sip:{user}@127.0.0.1:5099;transport=tcp>\r\n\
         Expires: 600\r\n\
         {credentials}\
         Content-Length: 0\r\n\r\n"
    )
}

/// The header that answers the challenge.
fn credentials(challenge: &str, user: &str, password: &str) -> String {
    let (realm, nonce) = (value(challenge, "realm"), value(challenge, "nonce"));
    let of_user = md5(&format!("{user}:{realm}:{password}"));
    let of_request = md5(&format!("REGISTER:{URI}"));
    let response = md5(&format!("{of_user}:{nonce}:{of_request}"));
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
         uri=\"{URI}\", response=\"{response}\", algorithm=MD5\r\n"
    )
}

/// A parameter of the challenge, without its quotes.
fn value<'a>(challenge: &'a str, name: &str) -> &'a str {
    let (_, rest) = challenge
        .split_once(&format!("{name}=\""))
        .unwrap_or_else(|| panic!("no {name} in {challenge}"));
    rest.split('"').next().unwrap_or_default()
}

fn md5(text: &str) -> String {
    let digest = hash(MessageDigest::md5(), text.as_bytes()).expect("OpenSSL has MD5");
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn status(answer: &str) -> u16 {
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer of SIP: {answer}"))
}
