//! The client's side of SCRAM (RFC 5802, RFC 7677), as a value that is stepped through.
//!
//! ```text
//! C: n,,n=user,r=<client nonce>
//! S: r=<client nonce><server nonce>,s=<salt>,i=<iterations>
//! C: c=biws,r=<both nonces>,p=<proof>
//! S: v=<signature>                     only who knows the password's keys can make it
//! ```
//!
//! There is no channel binding, as Kafka has none; TLS says who the broker is. Passwords are taken as their UTF-8
//! bytes, without SASLprep, for so Kafka's own clients and tools take them.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// A broker that asks for fewer wants the password to be guessed (RFC 7677, 4).
const ITERATIONS_MIN: u32 = 4096;

/// A broker that asks for more keeps this client busy; Kafka allows 16384.
const ITERATIONS_MAX: u32 = 1_000_000;

/// `n,,` in Base64: no channel binding, no other identity.
const HEADER: &str = "n,,";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The broker says why: `invalid-proof`, `unknown-user` and the like.
    #[error("the broker says: {0}")]
    Refused(String),
    #[error("the broker's answer is no SCRAM message: {0}")]
    Malformed(&'static str),
    #[error("the broker answers with another nonce than it was sent: somebody else's conversation")]
    ForeignNonce,
    #[error(
        "the broker wants {0} iterations; between {ITERATIONS_MIN} and {ITERATIONS_MAX} are done: make the user's \
         SCRAM credentials anew"
    )]
    Iterations(u32),
    #[error("the broker does not know the password itself, so it is not who it says: it is not talked to")]
    ForeignServer,
}

/// The first message was made.
pub struct First {
    hash: Hash,
    password: String,
    nonce: String,
    bare: String,
}

impl First {
    /// `nonce`: printable, without commas, never used before.
    pub fn new(hash: Hash, username: &str, password: &str, nonce: String) -> First {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={name},r={nonce}");
        First { hash, password: password.to_owned(), nonce, bare }
    }

    pub fn message(&self) -> String {
        format!("{HEADER}{}", self.bare)
    }

    /// Answers the server's first message with the proof that the password is known. Slow on purpose.
    pub fn prove(self, server_first: &str) -> Result<Last, ScramError> {
        let challenge = Challenge::parse(server_first)?;
        let is_mine = challenge.nonce.len() > self.nonce.len() && challenge.nonce.starts_with(&self.nonce);
        if !is_mine {
            return Err(ScramError::ForeignNonce);
        }
        let iterations = NonZeroU32::new(challenge.iterations)
            .filter(|count| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&count.get()))
            .ok_or(ScramError::Iterations(challenge.iterations))?;
        let hash = self.hash;
        let mut salted = vec![0; hash.digest().output_len()];
        pbkdf2::derive(hash.pbkdf2(), iterations, &challenge.salt, self.password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hash.hmac(), key), text);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(hash.digest(), client_key.as_ref());
        let without_proof = format!("c={},r={}", BASE64.encode(HEADER), challenge.nonce);
        let signed = format!("{},{server_first},{without_proof}", self.bare);
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, mask)| key ^ mask).collect();
        let message = format!("{without_proof},p={}", BASE64.encode(proof));
        let server_key = hmac::Key::new(hash.hmac(), sign(&salted, b"Server Key").as_ref());
        Ok(Last { message, server_key, signed })
    }
}

/// The proof was made.
pub struct Last {
    message: String,
    server_key: hmac::Key,
    signed: String,
}

impl Last {
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the server knows the password's keys, too.
    pub fn verify(&self, server_last: &str) -> Result<(), ScramError> {
        let mut fields = server_last.split(',');
        let field = fields.next().unwrap_or_default();
        if let Some(error) = field.strip_prefix("e=") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        let signature = field.strip_prefix("v=").ok_or(ScramError::Malformed("no v="))?;
        let signature = BASE64.decode(signature).map_err(|_| ScramError::Malformed("v= is not Base64"))?;
        hmac::verify(&self.server_key, self.signed.as_bytes(), &signature)
            .map_err(|_| ScramError::ForeignServer)
    }
}

/// The server's first message.
struct Challenge {
    nonce: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl Challenge {
    fn parse(text: &str) -> Result<Challenge, ScramError> {
        if let Some(error) = text.strip_prefix("e=") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        // An extension that must be understood (`m=`) would come first, and is not.
        let mut fields = text.split(',');
        let mut next = |prefix: &'static str, lacking| {
            let field = fields.next().and_then(|field| field.strip_prefix(prefix));
            field.ok_or(ScramError::Malformed(lacking))
        };
        let nonce = next("r=", "no r=")?.to_owned();
        let salt = next("s=", "no s=")?;
        let iterations = next("i=", "no i=")?;
        let salt = BASE64.decode(salt).map_err(|_| ScramError::Malformed("s= is not Base64"))?;
        let iterations = iterations.parse().map_err(|_| ScramError::Malformed("i= is not a number"))?;
        Ok(Challenge { nonce, salt, iterations })
    }
}

#[cfg(test)]
mod tests;
