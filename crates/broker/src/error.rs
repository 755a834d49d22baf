//! The one place where our refusals become Kafka error codes.

use storage::{AppendError, ChangeError, ReadError};
use wire::ErrorCode;

use crate::hosting::{CreateError, HostError};
use crate::partition::validate::Refused;

/// A refusal for the client: the code it acts on, and words for its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: Option<String>,
    /// Records at fault, by index (Produce).
    pub records: Vec<(i32, String)>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Refusal { code, message: Some(message.into()), records: Vec::new() }
    }

    pub fn code(&self) -> i16 {
        self.code.into()
    }

    pub fn text(&self) -> Option<wire::Str> {
        self.message.as_deref().map(Into::into)
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Refusal { code, message: None, records: Vec::new() }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let of_records = |code, what: &str, records: Vec<(i32, String)>| Refusal {
            code,
            message: Some(format!("One or more records have been rejected due to {what}")),
            records,
        };
        match refused {
            Refused::Batch(why) => Refusal::new(ErrorCode::InvalidRecord, why),
            Refused::Records(records) => {
                let what = format!("{} record errors in total", records.len());
                of_records(ErrorCode::InvalidRecord, &what, records)
            }
            Refused::Timestamps(records) => {
                of_records(ErrorCode::InvalidTimestamp, "invalid timestamp", records)
            }
            Refused::Corrupt(why) => Refusal::new(ErrorCode::CorruptMessage, why),
            Refused::TooLarge(why) => Refusal::new(ErrorCode::MessageTooLarge, why),
            Refused::LargerThanSegment(why) => Refusal::new(ErrorCode::RecordListTooLarge, why),
            Refused::Compression(why) => Refusal::new(ErrorCode::UnsupportedCompressionType, why),
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let code = match error {
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            AppendError::Damaged | AppendError::DiskFull | AppendError::OutOfFiles | AppendError::Closed => {
                ErrorCode::KafkaStorageError
            }
            AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
            AppendError::Overloaded => ErrorCode::RequestTimedOut,
            AppendError::UnexpectedEnd { .. } => ErrorCode::UnknownServerError,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
            ReadError::Deleted => ErrorCode::UnknownTopicOrPartition,
            ReadError::Io(_) => ErrorCode::KafkaStorageError,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        let code = match error {
            ChangeError::Unknown => ErrorCode::UnknownTopicOrPartition,
            ChangeError::Exists => ErrorCode::TopicAlreadyExists,
            ChangeError::OutOfRange => ErrorCode::OffsetOutOfRange,
            ChangeError::DiskFull | ChangeError::OutOfFiles | ChangeError::Closed => {
                ErrorCode::KafkaStorageError
            }
            ChangeError::Overloaded => ErrorCode::RequestTimedOut,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<CreateError> for Refusal {
    fn from(error: CreateError) -> Self {
        let code = match error {
            CreateError::InvalidName(_) | CreateError::Collides(_) => ErrorCode::InvalidTopicException,
            CreateError::Exists => ErrorCode::TopicAlreadyExists,
            CreateError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
            CreateError::Storage(_) => ErrorCode::KafkaStorageError,
        };
        Refusal::new(code, error.to_string())
    }
}

/// A machine's host that could not write or read its log; `rejected` says what a refusal by the machine means.
pub fn of_host<R>(error: HostError<R>, rejected: impl FnOnce(R) -> Refusal) -> Refusal {
    match error {
        HostError::Rejected(reject) => rejected(reject),
        // Clients of a coordinator look for another one and try again; there may be room on the disk by then.
        HostError::Append(error) => Refusal::new(ErrorCode::CoordinatorNotAvailable, error.to_string()),
        HostError::Unreadable(why) => Refusal::new(ErrorCode::CoordinatorNotAvailable, why),
        HostError::Gone => ErrorCode::CoordinatorNotAvailable.into(),
    }
}

/// The same for the cluster metadata, whose clients know no coordinator.
pub fn of_cluster(error: crate::hosting::ClusterError) -> Refusal {
    use coordinators::metadata::Reject;
    match error {
        HostError::Rejected(reject) => match reject {
            Reject::InvalidName(why) => Refusal::new(ErrorCode::InvalidTopicException, why),
            Reject::TopicExists => ErrorCode::TopicAlreadyExists.into(),
            Reject::NameCollides { with } => {
                Refusal::new(ErrorCode::InvalidTopicException, format!("the name collides with topic {with}"))
            }
            Reject::UnknownTopic => ErrorCode::UnknownTopicOrPartition.into(),
            Reject::InvalidPartitions(why) => Refusal::new(ErrorCode::InvalidPartitions, why),
            Reject::TooManyConfiguredGroups => {
                let most = coordinators::metadata::CONFIGURED_GROUPS_MAX;
                Refusal::new(ErrorCode::PolicyViolation, format!("{most} groups have configs: no more can"))
            }
        },
        HostError::Append(error) => error.into(),
        error => Refusal::new(ErrorCode::KafkaStorageError, error.to_string()),
    }
}
