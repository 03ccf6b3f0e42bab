// SPDX-License-Identifier: GPL-2.0-or-later

//! A SIP request, and the answer that proves that the server has admitted the connection.

pub(crate) const REQUEST: &[u8] = b"OPTIONS sip:service@localhost SIP/2.0\r\n\
    Via: SIP/2.0/TCP localhost;branch=z9hG4bK-1\r\n\
    From: <sip:honest@localhost>;tag=1\r\n\
    To: <sip:service@localhost>\r\n\
    Call-ID: 1@localhost\r\n\
    CSeq: 1 OPTIONS\r\n\
    Content-Length: 0\r\n\r\n";

/// The beginning of an answer with success.
pub(crate) const SUCCESS: &[u8] = b"SIP/2.0 200 ";

/// The end of any answer, because none has a body.
pub(crate) const END: &[u8] = b"\r\n\r\n";
