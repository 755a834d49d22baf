//! The broker's "no", as a user reads it.

use wire::ErrorCode;

/// An error code in an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Refused {
    pub code: i16,
    /// What the broker says about it, if anything.
    pub message: Option<String>,
}

impl Refused {
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.code()
    }

    /// Whether asking again may help: the broker answered, and did nothing.
    pub fn is_passing(&self) -> bool {
        ErrorCode::try_from(self.code).is_ok_and(ErrorCode::is_retriable)
    }

    fn text(&self) -> String {
        let known = ErrorCode::try_from(self.code);
        let name = known.map_or_else(|_| format!("error {}", self.code), |code| code.name().to_owned());
        match self.message.as_deref().filter(|message| !message.is_empty()).or(hint(known.ok())) {
            Some(text) => format!("{text} ({name})"),
            None => name,
        }
    }
}

/// What an error means, where brokers send no text.
fn hint(code: Option<ErrorCode>) -> Option<&'static str> {
    match code? {
        ErrorCode::UnknownTopicOrPartition => Some("there is no such topic or partition"),
        ErrorCode::TopicAlreadyExists => Some("the topic exists already"),
        ErrorCode::InvalidTopicException => {
            Some("topic names are 1 to 249 letters, digits, dots, underscores and hyphens")
        }
        ErrorCode::MessageTooLarge => Some("larger than the topic's max.message.bytes"),
        ErrorCode::RecordListTooLarge => Some("larger than the topic's segment.bytes"),
        ErrorCode::OffsetOutOfRange => Some("no record has that offset (any more, or yet)"),
        ErrorCode::KafkaStorageError => Some("the broker cannot write; its log says why"),
        ErrorCode::CorruptMessage => Some("damaged on the disk or on the way"),
        ErrorCode::InvalidRecord => Some("the topic does not take such a record: a compacted one needs keys"),
        ErrorCode::GroupIdNotFound => Some("there is no such group"),
        ErrorCode::NonEmptyGroup => Some("it has members: stop them first"),
        ErrorCode::GroupSubscribedToTopic => Some("the group's members read the topic"),
        ErrorCode::InvalidTimestamp => Some("the record's time is too far from the broker's"),
        _ => None,
    }
}

/// Turns an answer's error code into an error.
pub fn check(code: i16, message: Option<&str>) -> Result<(), Refused> {
    match code {
        0 => Ok(()),
        code => Err(Refused { code, message: message.map(str::to_owned) }),
    }
}
