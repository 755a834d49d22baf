//! The hash beside the Java client's.

use super::*;

/// What `org.apache.kafka.common.utils.Utils.murmur2` of kafka-clients 4.4.0 gives.
#[test]
fn hashes_are_those_of_the_java_client() {
    let java: [(&str, i32); 6] = [
        ("", 275646681),
        ("a", -1563381124),
        ("ab", 316155434),
        ("orders-17", -773254341),
        ("água · 水", 943771586),
        ("a little longer than four words", -119688275),
    ];
    for (key, hash) in java {
        assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
    }
}
