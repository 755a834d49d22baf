//! Differences that stand, each with its reason.

use wire::ApiKey;

use crate::ops::Op;

const DURABLE: &str = "by default every batch is on disk before it is acknowledged: flush.messages is 1";
const NEWER: &str = "configs that are new in Kafka 4.4";
const ELIGIBLE: &str = "Kafka with eligible leader replicas sets min.insync.replicas as a cluster default";
const SYNONYMS: &str =
    "synonyms tell the broker setting whose default is in force, such as log.retention.hours";

pub const NEWER_CONFIGS: [&str; 4] = [
    "max.decompressed.message.bytes",
    "errors.deadletterqueue.group.enable",
    "remote.copy.lag.ms",
    "remote.copy.lag.bytes",
];

/// Why the line of one config may differ; `theirs` is `None` where only our side has the config.
fn config_reason(ours: &str, theirs: Option<&str>) -> Option<&'static str> {
    let (name, _) = ours.trim().split_once(" = ")?;
    let Some(theirs) = theirs else {
        return NEWER_CONFIGS.contains(&name).then_some(NEWER);
    };
    let without_synonyms = |line: &str| line.rsplit_once(" [").map(|(rest, _)| rest.to_string());
    match name {
        "flush.messages" => {
            let never = ours
                .replace("\"1\"", "\"9223372036854775807\"")
                .replace("\\\"1\\\"", "\\\"9223372036854775807\\\"");
            (never == theirs).then_some(DURABLE)
        }
        "min.insync.replicas" => {
            let plain = |line: &str| without_synonyms(line).map(|line| line.replace(" from 3 ", " from 5 "));
            (plain(ours) == plain(theirs)).then_some(ELIGIBLE)
        }
        "retention.ms" | "flush.ms" | "segment.ms" | "segment.jitter.ms" => (theirs.ends_with(" []")
            && without_synonyms(ours) == without_synonyms(theirs))
        .then_some(SYNONYMS),
        _ => None,
    }
}

/// The reason of the first line that differs, if all that differ have one.
fn configs_reason(ours: &str, theirs: &str) -> Option<&'static str> {
    let name = |line: &str| line.trim().split_once(" = ").map(|(name, _)| name.to_string());
    let named = |text: &str, wanted: &Option<String>| {
        text.lines().find(|line| wanted.is_some() && name(line) == *wanted).map(String::from)
    };
    let both = |text: &str, other: &str| -> Vec<String> {
        text.lines()
            .filter(|line| name(line).is_none() || named(other, &name(line)).is_some())
            .map(|line| name(line).unwrap_or(line.to_string()))
            .collect()
    };
    // Everything that Kafka tells, we tell too.
    if both(ours, theirs)
        != theirs.lines().map(|line| name(line).unwrap_or(line.to_string())).collect::<Vec<_>>()
    {
        return None;
    }
    let mut first = None;
    for line in ours.lines() {
        let other = named(theirs, &name(line));
        if name(line).is_some() && other.as_deref() != Some(line) {
            let reason = config_reason(line, other.as_deref())?;
            first = first.or(Some(reason));
        }
    }
    first
}

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
        ApiKey::DescribeConfigs => configs_reason(ours, theirs),
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
        ApiKey::JoinGroup if theirs == ours.replace("error_code: 25", "error_code: 23") => Some(NO_GROUP),
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

/// The same for a line of a tale.
pub fn reason_in_tale(ours: &str, theirs: &str) -> Option<&'static str> {
    let (what, ours) = ours.rsplit_once(": ")?;
    let (same, theirs) = theirs.rsplit_once(": ")?;
    if what != same {
        return None;
    }
    let refused = ours.starts_with("refused with 87");
    if refused && theirs == "refused with -1" {
        return Some("a damaged batch is the client's mistake: INVALID_RECORD, not UNKNOWN_SERVER_ERROR");
    }
    None
}
