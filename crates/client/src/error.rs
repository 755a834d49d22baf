//! Why a broker's answer is not there.

use wire::{DecodeError, EncodeError, ErrorCode};

use crate::Refused;

#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// The broker cannot be reached, or does not answer (any more): another connection may help. Whether it did what it
    /// was asked is not known.
    #[error("{0}")]
    Lost(String),
    /// The broker answered: no.
    #[error("{}", place(.context, .refused))]
    Refused { refused: Refused, context: String },
    /// Client and broker do not trust each other: a password, a certificate, or what is spoken at the port. Asking again
    /// does not help; somebody has to change something.
    #[error("{0}")]
    Denied(String),
    /// Client and broker have no version of something in common, or cannot read each other.
    #[error("{0}")]
    Foreign(String),
}

fn place(context: &str, refused: &Refused) -> String {
    if context.is_empty() { refused.to_string() } else { format!("{context}: {refused}") }
}

impl AskError {
    /// The broker's "no", if that is what it is.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            AskError::Refused { refused, .. } => Some(refused),
            AskError::Lost(_) | AskError::Denied(_) | AskError::Foreign(_) => None,
        }
    }

    pub fn is_lost(&self) -> bool {
        matches!(self, AskError::Lost(_))
    }

    pub fn is_denied(&self) -> bool {
        matches!(self, AskError::Denied(_))
    }

    /// Whether asking again may help, and the broker did nothing so far.
    pub fn is_passing(&self) -> bool {
        self.refused().is_some_and(Refused::is_passing)
    }

    /// Whether a topic is asked for that is not there.
    pub fn is_missing_topic(&self) -> bool {
        self.refused().is_some_and(|refused| refused.is(ErrorCode::UnknownTopicOrPartition))
    }

    /// The same, with what it was about.
    pub fn about(self, what: impl Into<String>) -> AskError {
        let what = what.into();
        match self {
            AskError::Refused { refused, context } if context.is_empty() => {
                AskError::Refused { refused, context: what }
            }
            AskError::Refused { refused, context } => {
                AskError::Refused { refused, context: format!("{what}: {context}") }
            }
            AskError::Lost(why) => AskError::Lost(format!("{what}: {why}")),
            AskError::Denied(why) => AskError::Denied(format!("{what}: {why}")),
            AskError::Foreign(why) => AskError::Foreign(format!("{what}: {why}")),
        }
    }
}

impl From<Refused> for AskError {
    fn from(refused: Refused) -> AskError {
        AskError::Refused { refused, context: String::new() }
    }
}

impl From<EncodeError> for AskError {
    fn from(error: EncodeError) -> AskError {
        AskError::Foreign(error.to_string())
    }
}

impl From<DecodeError> for AskError {
    fn from(error: DecodeError) -> AskError {
        AskError::Foreign(format!("an answer is unreadable: {error}"))
    }
}
