//! The one place where our refusals become Kafka error codes.

use storage::{AppendError, ReadError};
use wire::ErrorCode;

use crate::partition::validate::Refused;

/// A refusal for the client: the code it acts on, and words for its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Refusal { code, message: Some(message.into()) }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Refusal { code, message: None }
    }
}
