//! Certificates and keys as text. Java's own stores are refused with the command that turns them into this.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const BEGIN: &str = "-----BEGIN ";

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pem,
    Other(&'static str),
}

pub fn kind(bytes: &[u8]) -> Kind {
    match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] => Kind::Other("JKS"),
        [0x30, 0x80..=0x84, ..] => Kind::Other("PKCS12"),
        _ => Kind::Pem,
    }
}

pub fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("{name}: a certificate cannot be read: {error}"))?;
    match found.is_empty() {
        true => Err(format!("{name}: there is no certificate in it (-----BEGIN CERTIFICATE-----)")),
        false => Ok(found),
    }
}

pub fn private_key(name: &str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "{name}: the key is encrypted, and encrypted keys are not read; take the password off (`openssl pkey -in FILE \
             -out client.key`) and let nobody else read the file"
        ));
    }
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| format!("{name}: there is no private key in it that can be read: {error}"))
}

/// Says how a store becomes PEM.
pub fn not_pem(name: &str, kind: &str, path: &str) -> String {
    let (store, _) = name.rsplit_once('.').unwrap_or((name, ""));
    let is_jks = kind == "JKS";
    let steps = match (store.ends_with("truststore"), is_jks) {
        (true, _) => format!("`keytool -list -rfc -keystore {path} >ca.pem`"),
        (false, true) => format!(
            "`keytool -importkeystore -srckeystore {path} -destkeystore client.p12 -deststoretype PKCS12`, then \
             `openssl pkcs12 -in client.p12 -nodes -out client.pem`"
        ),
        (false, false) => format!("`openssl pkcs12 -in {path} -nodes -out client.pem`"),
    };
    format!(
        "{name}: {kind} stores are not read, only PEM; turn it into that with {steps}, and set {store}.type=PEM"
    )
}

/// Puts back the ends of lines: a value of several lines in a properties file has lost them.
pub fn with_lines(text: &str) -> Vec<u8> {
    let mut lines = String::new();
    let mut rest = text;
    while let Some((_, found)) = rest.split_once(BEGIN) {
        let Some((label, found)) = found.split_once("-----") else { break };
        let end = format!("-----END {label}-----");
        let Some((body, found)) = found.split_once(&end) else { break };
        let body: Vec<&str> = body.split_whitespace().collect();
        lines.push_str(&format!("{BEGIN}{label}-----\n{}\n{end}\n", body.join("\n")));
        rest = found;
    }
    lines.into_bytes()
}
