//! Kafka's error codes.

macro_rules! error_codes {
    ($($name:ident $variant:ident = $code:literal $($retriable:ident)?;)*) => {
        /// Every error code of Kafka 4.4; `None` is success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", stringify!($name), "`")] $variant = $code,)*
        }

        impl ErrorCode {
            /// All of them, ascending.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),*];

            /// Kafka's name, such as `NOT_LEADER_OR_FOLLOWER`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => stringify!($name),)*
                }
            }

            /// Whether clients try again by themselves.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => is_retriable!($($retriable)?),)*
                }
            }

            const fn of(code: i16) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

macro_rules! is_retriable {
    (retriable) => {
        true
    };
    () => {
        false
    };
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn is_error(self) -> bool {
        !matches!(self, ErrorCode::None)
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.code()
    }
}

/// A number that is no error code of Kafka 4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no error code of Kafka 4.4")]
pub struct UnknownErrorCode(pub i16);

impl TryFrom<i16> for ErrorCode {
    type Error = UnknownErrorCode;

    fn try_from(code: i16) -> Result<Self, UnknownErrorCode> {
        ErrorCode::of(code).ok_or(UnknownErrorCode(code))
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

error_codes! {
    UNKNOWN_SERVER_ERROR UnknownServerError = -1;
    NONE None = 0;
    OFFSET_OUT_OF_RANGE OffsetOutOfRange = 1;
    CORRUPT_MESSAGE CorruptMessage = 2 retriable;
    UNKNOWN_TOPIC_OR_PARTITION UnknownTopicOrPartition = 3 retriable;
    INVALID_FETCH_SIZE InvalidFetchSize = 4;
    LEADER_NOT_AVAILABLE LeaderNotAvailable = 5 retriable;
    NOT_LEADER_OR_FOLLOWER NotLeaderOrFollower = 6 retriable;
    REQUEST_TIMED_OUT RequestTimedOut = 7 retriable;
    BROKER_NOT_AVAILABLE BrokerNotAvailable = 8;
    REPLICA_NOT_AVAILABLE ReplicaNotAvailable = 9 retriable;
    MESSAGE_TOO_LARGE MessageTooLarge = 10;
    STALE_CONTROLLER_EPOCH StaleControllerEpoch = 11;
    OFFSET_METADATA_TOO_LARGE OffsetMetadataTooLarge = 12;
    NETWORK_EXCEPTION NetworkException = 13 retriable;
    COORDINATOR_LOAD_IN_PROGRESS CoordinatorLoadInProgress = 14 retriable;
    COORDINATOR_NOT_AVAILABLE CoordinatorNotAvailable = 15 retriable;
    NOT_COORDINATOR NotCoordinator = 16 retriable;
    INVALID_TOPIC_EXCEPTION InvalidTopicException = 17;
    RECORD_LIST_TOO_LARGE RecordListTooLarge = 18;
    NOT_ENOUGH_REPLICAS NotEnoughReplicas = 19 retriable;
    NOT_ENOUGH_REPLICAS_AFTER_APPEND NotEnoughReplicasAfterAppend = 20 retriable;
    INVALID_REQUIRED_ACKS InvalidRequiredAcks = 21;
    ILLEGAL_GENERATION IllegalGeneration = 22;
    INCONSISTENT_GROUP_PROTOCOL InconsistentGroupProtocol = 23;
    INVALID_GROUP_ID InvalidGroupId = 24;
    UNKNOWN_MEMBER_ID UnknownMemberId = 25;
    INVALID_SESSION_TIMEOUT InvalidSessionTimeout = 26;
    REBALANCE_IN_PROGRESS RebalanceInProgress = 27;
    INVALID_COMMIT_OFFSET_SIZE InvalidCommitOffsetSize = 28;
    TOPIC_AUTHORIZATION_FAILED TopicAuthorizationFailed = 29;
    GROUP_AUTHORIZATION_FAILED GroupAuthorizationFailed = 30;
    CLUSTER_AUTHORIZATION_FAILED ClusterAuthorizationFailed = 31;
    INVALID_TIMESTAMP InvalidTimestamp = 32;
    UNSUPPORTED_SASL_MECHANISM UnsupportedSaslMechanism = 33;
    ILLEGAL_SASL_STATE IllegalSaslState = 34;
    UNSUPPORTED_VERSION UnsupportedVersion = 35;
    TOPIC_ALREADY_EXISTS TopicAlreadyExists = 36;
    INVALID_PARTITIONS InvalidPartitions = 37;
    INVALID_REPLICATION_FACTOR InvalidReplicationFactor = 38;
    INVALID_REPLICA_ASSIGNMENT InvalidReplicaAssignment = 39;
    INVALID_CONFIG InvalidConfig = 40;
    NOT_CONTROLLER NotController = 41 retriable;
    INVALID_REQUEST InvalidRequest = 42;
    UNSUPPORTED_FOR_MESSAGE_FORMAT UnsupportedForMessageFormat = 43;
    POLICY_VIOLATION PolicyViolation = 44;
    OUT_OF_ORDER_SEQUENCE_NUMBER OutOfOrderSequenceNumber = 45;
    DUPLICATE_SEQUENCE_NUMBER DuplicateSequenceNumber = 46;
    INVALID_PRODUCER_EPOCH InvalidProducerEpoch = 47;
    INVALID_TXN_STATE InvalidTxnState = 48;
    INVALID_PRODUCER_ID_MAPPING InvalidProducerIdMapping = 49;
    INVALID_TRANSACTION_TIMEOUT InvalidTransactionTimeout = 50;
    CONCURRENT_TRANSACTIONS ConcurrentTransactions = 51 retriable;
    TRANSACTION_COORDINATOR_FENCED TransactionCoordinatorFenced = 52;
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED TransactionalIdAuthorizationFailed = 53;
    SECURITY_DISABLED SecurityDisabled = 54;
    OPERATION_NOT_ATTEMPTED OperationNotAttempted = 55;
    KAFKA_STORAGE_ERROR KafkaStorageError = 56 retriable;
    LOG_DIR_NOT_FOUND LogDirNotFound = 57;
    SASL_AUTHENTICATION_FAILED SaslAuthenticationFailed = 58;
    UNKNOWN_PRODUCER_ID UnknownProducerId = 59;
    REASSIGNMENT_IN_PROGRESS ReassignmentInProgress = 60;
    DELEGATION_TOKEN_AUTH_DISABLED DelegationTokenAuthDisabled = 61;
    DELEGATION_TOKEN_NOT_FOUND DelegationTokenNotFound = 62;
    DELEGATION_TOKEN_OWNER_MISMATCH DelegationTokenOwnerMismatch = 63;
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DelegationTokenRequestNotAllowed = 64;
    DELEGATION_TOKEN_AUTHORIZATION_FAILED DelegationTokenAuthorizationFailed = 65;
    DELEGATION_TOKEN_EXPIRED DelegationTokenExpired = 66;
    INVALID_PRINCIPAL_TYPE InvalidPrincipalType = 67;
    NON_EMPTY_GROUP NonEmptyGroup = 68;
    GROUP_ID_NOT_FOUND GroupIdNotFound = 69;
    FETCH_SESSION_ID_NOT_FOUND FetchSessionIdNotFound = 70 retriable;
    INVALID_FETCH_SESSION_EPOCH InvalidFetchSessionEpoch = 71 retriable;
    LISTENER_NOT_FOUND ListenerNotFound = 72 retriable;
    TOPIC_DELETION_DISABLED TopicDeletionDisabled = 73;
    FENCED_LEADER_EPOCH FencedLeaderEpoch = 74 retriable;
    UNKNOWN_LEADER_EPOCH UnknownLeaderEpoch = 75 retriable;
    UNSUPPORTED_COMPRESSION_TYPE UnsupportedCompressionType = 76;
    STALE_BROKER_EPOCH StaleBrokerEpoch = 77;
    OFFSET_NOT_AVAILABLE OffsetNotAvailable = 78 retriable;
    MEMBER_ID_REQUIRED MemberIdRequired = 79;
    PREFERRED_LEADER_NOT_AVAILABLE PreferredLeaderNotAvailable = 80 retriable;
    GROUP_MAX_SIZE_REACHED GroupMaxSizeReached = 81;
    FENCED_INSTANCE_ID FencedInstanceId = 82;
    ELIGIBLE_LEADERS_NOT_AVAILABLE EligibleLeadersNotAvailable = 83 retriable;
    ELECTION_NOT_NEEDED ElectionNotNeeded = 84 retriable;
    NO_REASSIGNMENT_IN_PROGRESS NoReassignmentInProgress = 85;
    GROUP_SUBSCRIBED_TO_TOPIC GroupSubscribedToTopic = 86;
    INVALID_RECORD InvalidRecord = 87;
    UNSTABLE_OFFSET_COMMIT UnstableOffsetCommit = 88 retriable;
    THROTTLING_QUOTA_EXCEEDED ThrottlingQuotaExceeded = 89 retriable;
    PRODUCER_FENCED ProducerFenced = 90;
    RESOURCE_NOT_FOUND ResourceNotFound = 91;
    DUPLICATE_RESOURCE DuplicateResource = 92;
    UNACCEPTABLE_CREDENTIAL UnacceptableCredential = 93;
    INCONSISTENT_VOTER_SET InconsistentVoterSet = 94;
    INVALID_UPDATE_VERSION InvalidUpdateVersion = 95;
    FEATURE_UPDATE_FAILED FeatureUpdateFailed = 96;
    PRINCIPAL_DESERIALIZATION_FAILURE PrincipalDeserializationFailure = 97;
    SNAPSHOT_NOT_FOUND SnapshotNotFound = 98;
    POSITION_OUT_OF_RANGE PositionOutOfRange = 99;
    UNKNOWN_TOPIC_ID UnknownTopicId = 100 retriable;
    DUPLICATE_BROKER_REGISTRATION DuplicateBrokerRegistration = 101;
    BROKER_ID_NOT_REGISTERED BrokerIdNotRegistered = 102;
    INCONSISTENT_TOPIC_ID InconsistentTopicId = 103 retriable;
    INCONSISTENT_CLUSTER_ID InconsistentClusterId = 104;
    TRANSACTIONAL_ID_NOT_FOUND TransactionalIdNotFound = 105;
    FETCH_SESSION_TOPIC_ID_ERROR FetchSessionTopicIdError = 106 retriable;
    INELIGIBLE_REPLICA IneligibleReplica = 107;
    NEW_LEADER_ELECTED NewLeaderElected = 108;
    OFFSET_MOVED_TO_TIERED_STORAGE OffsetMovedToTieredStorage = 109;
    FENCED_MEMBER_EPOCH FencedMemberEpoch = 110;
    UNRELEASED_INSTANCE_ID UnreleasedInstanceId = 111;
    UNSUPPORTED_ASSIGNOR UnsupportedAssignor = 112;
    STALE_MEMBER_EPOCH StaleMemberEpoch = 113;
    MISMATCHED_ENDPOINT_TYPE MismatchedEndpointType = 114;
    UNSUPPORTED_ENDPOINT_TYPE UnsupportedEndpointType = 115;
    UNKNOWN_CONTROLLER_ID UnknownControllerId = 116;
    UNKNOWN_SUBSCRIPTION_ID UnknownSubscriptionId = 117;
    TELEMETRY_TOO_LARGE TelemetryTooLarge = 118;
    INVALID_REGISTRATION InvalidRegistration = 119;
    TRANSACTION_ABORTABLE TransactionAbortable = 120;
    INVALID_RECORD_STATE InvalidRecordState = 121;
    SHARE_SESSION_NOT_FOUND ShareSessionNotFound = 122 retriable;
    INVALID_SHARE_SESSION_EPOCH InvalidShareSessionEpoch = 123 retriable;
    FENCED_STATE_EPOCH FencedStateEpoch = 124;
    INVALID_VOTER_KEY InvalidVoterKey = 125;
    DUPLICATE_VOTER DuplicateVoter = 126;
    VOTER_NOT_FOUND VoterNotFound = 127;
    INVALID_REGULAR_EXPRESSION InvalidRegularExpression = 128;
    REBOOTSTRAP_REQUIRED RebootstrapRequired = 129;
    STREAMS_INVALID_TOPOLOGY StreamsInvalidTopology = 130;
    STREAMS_INVALID_TOPOLOGY_EPOCH StreamsInvalidTopologyEpoch = 131;
    STREAMS_TOPOLOGY_FENCED StreamsTopologyFenced = 132;
    SHARE_SESSION_LIMIT_REACHED ShareSessionLimitReached = 133 retriable;
    GROUP_DELETION_FAILED GroupDeletionFailed = 134;
    STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED StreamsTopologyDescriptionUpdateFailed = 135;
    CONTROLLER_ID_NOT_REGISTERED ControllerIdNotRegistered = 136;
}
