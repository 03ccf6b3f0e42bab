// SPDX-License-Identifier: GPL-2.0-or-later

//! TLS: a certificate for the server, and the client's side.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::LazyLock;

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{Error, HandshakeError, SslConnector, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509NameBuilder};

use super::stream::Stream;

/// The TLS parameters of the server. Its default method is TLS 1.0, which OpenSSL no
/// longer supports.
pub(super) const MODULE: &str = r#"
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "private_key", "@DIR@/key.pem")
modparam("tls", "certificate", "@DIR@/certificate.pem")
"#;

static CONNECTOR: LazyLock<SslConnector> = LazyLock::new(|| {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL works");
    // The server is our own, and its identity is not under test.
    builder.set_verify(SslVerifyMode::NONE);
    builder.build()
});

/// Writes a new key and a certificate signed with it.
pub(super) fn write_certificate(dir: &Path) {
    let make = || -> Result<(Vec<u8>, Vec<u8>), openssl::error::ErrorStack> {
        let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&curve)?)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "localhost")?;
        let name = name.build();
        let mut certificate = X509::builder()?;
        certificate.set_version(2)?;
        certificate.set_subject_name(&name)?;
        certificate.set_issuer_name(&name)?;
        certificate.set_pubkey(&key)?;
        certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        certificate.set_not_after(&*Asn1Time::days_from_now(1)?)?;
        certificate.sign(&key, MessageDigest::sha256())?;
        Ok((
            key.private_key_to_pem_pkcs8()?,
            certificate.build().to_pem()?,
        ))
    };
    let (key, certificate) = make().expect("a certificate can be made");
    fs::write(dir.join("key.pem"), key).expect("the key can be written");
    fs::write(dir.join("certificate.pem"), certificate).expect("the certificate can be written");
}

/// The client's side of a handshake. `None` if the server closed the connection instead.
pub(super) fn handshake(stream: Stream) -> Option<SslStream<Stream>> {
    match CONNECTOR.connect("localhost", stream) {
        Ok(stream) => Some(stream),
        Err(HandshakeError::Failure(failed)) if is_closed(failed.error()) => None,
        Err(error) => panic!("the TLS handshake failed: {error}"),
    }
}

fn is_closed(error: &Error) -> bool {
    if let Some(error) = error.io_error() {
        return matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
        );
    }
    // Since OpenSSL 3.0 the end of the stream is a separate error.
    error.ssl_error().is_none_or(|stack| {
        stack
            .errors()
            .iter()
            .any(|e| e.reason().is_some_and(|r| r.contains("unexpected eof")))
    })
}
