//! Saying who one is: SASL over Kafka's protocol (KIP-43, KIP-152).
//!
//! ```text
//! SaslHandshake(mechanism)     the broker knows it, or says which ones it knows
//! SaslAuthenticate(bytes) …    one with PLAIN, two with SCRAM
//! ```
//!
//! A broker may let a session end (`connections.max.reauth.ms`, KIP-368): the last answer says when.

mod jaas;
mod scram;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use env::Random;
use wire::{
    ErrorCode, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

pub use jaas::{Login, Module};
pub use scram::Hash;

use crate::{AskError, Refused};
use scram::{First, ScramError};

/// Bytes of chance in a nonce: nobody guesses or meets it twice.
const NONCE_BYTES: usize = 24;

/// Kafka's `sasl.mechanism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    Scram(Hash),
}

impl Mechanism {
    pub const ALL: [Mechanism; 3] =
        [Mechanism::Plain, Mechanism::Scram(Hash::Sha256), Mechanism::Scram(Hash::Sha512)];

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(Hash::Sha512) => "SCRAM-SHA-512",
        }
    }

    pub fn module(self) -> Module {
        match self {
            Mechanism::Plain => Module::Plain,
            Mechanism::Scram(_) => Module::Scram,
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who this client is, and how it shows that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub login: Login,
}

/// How the two questions get to the broker. Apart from connections, so that the conversation can be had without one.
pub(crate) trait Conversation {
    async fn handshake(&mut self, request: SaslHandshakeRequest) -> Result<SaslHandshakeResponse, AskError>;
    async fn step(&mut self, request: SaslAuthenticateRequest) -> Result<SaslAuthenticateResponse, AskError>;
}

impl Sasl {
    /// Says who it is. How long that holds; None: for as long as the connection does.
    pub(crate) async fn authenticate(
        &self,
        broker: &mut impl Conversation,
        random: &dyn Random,
    ) -> Result<Option<Duration>, AskError> {
        let mechanism = self.mechanism.name();
        let request = SaslHandshakeRequest { mechanism: mechanism.into(), ..Default::default() };
        let answer = broker.handshake(request).await?;
        if answer.error_code != 0 {
            return Err(AskError::Denied(self.no_handshake(&answer)));
        }
        let last = match self.mechanism {
            Mechanism::Plain => {
                let Login { username, password } = &self.login;
                self.step(broker, format!("\0{username}\0{}", password.0)).await?
            }
            Mechanism::Scram(hash) => {
                let mut chance = [0; NONCE_BYTES];
                random.fill(&mut chance);
                let Login { username, password } = &self.login;
                let first = First::new(hash, username, &password.0, BASE64.encode(chance));
                let challenge = self.step(broker, first.message()).await?;
                let challenge = text(&challenge).map_err(|error| self.foreign(&error))?;
                // The proof takes some milliseconds of work, or many if the broker wants so.
                let proved = env::run_blocking(move || first.prove(&challenge)).await;
                let last = proved.map_err(|error| self.foreign(&error))?;
                let answer = self.step(broker, last.message().to_owned()).await?;
                text(&answer)
                    .and_then(|verified| last.verify(&verified))
                    .map_err(|error| self.foreign(&error))?;
                answer
            }
        };
        Ok(u64::try_from(last.session_lifetime_ms)
            .ok()
            .filter(|millis| *millis > 0)
            .map(Duration::from_millis))
    }

    async fn step(
        &self,
        broker: &mut impl Conversation,
        message: String,
    ) -> Result<SaslAuthenticateResponse, AskError> {
        let request =
            SaslAuthenticateRequest { auth_bytes: message.into_bytes().into(), ..Default::default() };
        let answer = broker.step(request).await?;
        if answer.error_code == 0 {
            return Ok(answer);
        }
        let message = answer.error_message.as_ref().map(ToString::to_string);
        let refused = Refused { code: answer.error_code, message };
        // Of anything else the broker does not say that it is for ever.
        if refused.is_passing() {
            return Err(AskError::from(refused));
        }
        Err(AskError::Denied(format!(
            "the broker does not let the user `{}` in: {refused}; check username and password in sasl.jaas.config, and \
             whether the user has {} credentials there",
            self.login.username, self.mechanism
        )))
    }

    fn no_handshake(&self, answer: &SaslHandshakeResponse) -> String {
        let is = |code: ErrorCode| answer.error_code == code.code();
        if is(ErrorCode::UnsupportedSaslMechanism) {
            let offered: Vec<&str> = answer.mechanisms.iter().map(|name| &**name).collect();
            let offered = offered.join(", ");
            return format!(
                "the broker does not offer the mechanism {}, but {offered}: change sasl.mechanism",
                self.mechanism
            );
        }
        if is(ErrorCode::IllegalSaslState) {
            return "the broker asks nobody for a name at this port: set security.protocol to SSL (or PLAINTEXT), or take \
                    the port of its SASL listener"
                .to_owned();
        }
        let refused = Refused { code: answer.error_code, message: None };
        format!("the broker refuses SASL: {refused}")
    }

    /// The broker's part of the conversation is wrong.
    fn foreign(&self, error: &ScramError) -> AskError {
        AskError::Denied(format!("{}: {error}", self.mechanism))
    }
}

fn text(answer: &SaslAuthenticateResponse) -> Result<String, ScramError> {
    String::from_utf8(answer.auth_bytes.to_vec()).map_err(|_| ScramError::Malformed("it is not text"))
}

#[cfg(test)]
mod tests;
