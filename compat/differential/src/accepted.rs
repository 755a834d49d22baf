//! Differences that stand, each with its reason.

use wire::ApiKey;

use crate::ops::Op;

/// Topic configs that only one side has, or whose default differs on purpose: (name, why).
const CONFIGS: [(&str, &str); 10] = [
    ("flush.messages", "by default every batch is on disk before it is acknowledged: flush.messages is 1"),
    ("max.decompressed.message.bytes", "configs that are new in Kafka 4.4"),
    ("errors.deadletterqueue.group.enable", "configs that are new in Kafka 4.4"),
    ("remote.copy.lag.ms", "configs that are new in Kafka 4.4"),
    ("remote.copy.lag.bytes", "configs that are new in Kafka 4.4"),
    (
        "min.insync.replicas",
        "Kafka with eligible leader replicas sets min.insync.replicas as a cluster default",
    ),
    ("retention.ms", SYNONYMS),
    ("flush.ms", SYNONYMS),
    ("segment.ms", SYNONYMS),
    ("segment.jitter.ms", SYNONYMS),
];

const SYNONYMS: &str =
    "synonyms tell the broker setting whose default is in force, such as log.retention.hours";

/// A ListOffsets answer without what it found.
fn without_marks(text: &str) -> String {
    let mut out = String::new();
    for part in text.split("timestamp: ") {
        out.push_str(part.split_once('}').map_or(part, |(_, rest)| rest));
    }
    out
}

const NO_GROUP: &str =
    "a group without members and offsets is no group; Kafka keeps its shell in memory until a sweep";

const BAD_NAMES: [&str; 4] = ["", "bad name", ".", "a/b"];

/// Why this difference is accepted; `None` if it is not.
pub fn reason(op: &Op, ours: &str, theirs: &str) -> Option<&'static str> {
    match op.key {
        ApiKey::DescribeConfigs => {
            let known =
                |line: &&str| CONFIGS.iter().find(|(name, _)| line.trim().starts_with(&format!("{name} = ")));
            let rest = |text: &str| -> Vec<String> {
                text.lines().filter(|line| known(line).is_none()).map(String::from).collect()
            };
            if rest(ours) != rest(theirs) {
                return None;
            }
            let odd = ours.lines().filter(|line| !theirs.lines().any(|other| other == *line));
            odd.filter_map(|line| known(&line)).map(|(_, why)| *why).next()
        }
        ApiKey::IncrementalAlterConfigs
            if op.words.contains("config_operation: 9")
                && ours.contains("error_code: 42")
                && theirs.contains("error_code: -1") =>
        {
            Some("an unknown operation is the client's mistake: INVALID_REQUEST, not UNKNOWN_SERVER_ERROR")
        }
        // A topic of a bad name, and a config that is wrong as well.
        ApiKey::AlterConfigs | ApiKey::IncrementalAlterConfigs
            if BAD_NAMES.iter().any(|name| op.words.contains(&format!("resource_name: {name:?}")))
                && [17, 40, 42].iter().any(|code| ours.contains(&format!("error_code: {code},")))
                && [17, 40, 42].iter().any(|code| theirs.contains(&format!("error_code: {code},"))) =>
        {
            Some(
                "of two mistakes in one config change, a bad topic name and a bad value, the other is told first",
            )
        }
        ApiKey::CreateTopics
            if op.words.contains("validate_only: true")
                && theirs.replace("AQEBAQEBAQEBAQEBAQEBAQ", "AAAAAAAAAAAAAAAAAAAAAA") == ours =>
        {
            Some("a topic that was only validated has no id; Kafka tells one that is never used")
        }
        ApiKey::ListOffsets
            if op.words.contains("timestamp: -3,") && without_marks(ours) == without_marks(theirs) =>
        {
            Some(
                "the record with the largest timestamp is looked for among those that are left after DeleteRecords",
            )
        }
        // Everything but the code is the same: there is one partition.
        ApiKey::OffsetCommit
            if (ours.contains("error_code: 69") || ours.contains("error_code: 22"))
                && theirs == ours.replace(": 69", ": 25").replace(": 22", ": 25") =>
        {
            Some(NO_GROUP)
        }
        ApiKey::OffsetDelete
            if ours.contains("error_code: 69")
                && theirs.starts_with("OffsetDelete(OffsetDeleteResponse { error_code: 0") =>
        {
            Some(NO_GROUP)
        }
        ApiKey::Produce
            if op.words.contains("producer: Some")
                && theirs.replace("log_append_time_ms: 0", "log_append_time_ms: -1")
                    == ours.replace("log_append_time_ms: 0", "log_append_time_ms: -1") =>
        {
            Some("a repeated batch gets no append time under CreateTime; Kafka gives its largest timestamp")
        }
        ApiKey::Produce if op.words.contains("fault: Null") && theirs == "no answer" => {
            Some("a partition without records is refused with INVALID_RECORD; Kafka 4.3.1 never answers")
        }
        _ => None,
    }
}
