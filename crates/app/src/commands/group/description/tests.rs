use wire::consumer_protocol::ConsumerProtocolAssignmentTopicPartition;

use super::*;

fn written(version: i16) -> Bytes {
    let topic = |topic: &str, partitions: &[i32]| ConsumerProtocolAssignmentTopicPartition {
        topic: topic.into(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![topic("orders", &[2, 0]), topic("payments", &[1])],
        ..Default::default()
    };
    let body = wire::stored::encode_with_version_prefix(&assignment, 0).unwrap();
    [&version.to_be_bytes()[..], &body[2..]].concat().into()
}

#[test]
fn what_a_classic_consumer_was_given_is_read_also_in_a_newer_version() {
    for version in [0, 3, 9] {
        let assigned = assigned(written(version));
        assert_eq!(assigned["orders"], BTreeSet::from([0, 2]));
        assert_eq!(assigned["payments"], BTreeSet::from([1]));
    }
}

#[test]
fn an_assignment_that_cannot_be_read_is_none() {
    assert!(assigned(Bytes::new()).is_empty());
    assert!(assigned(written(0).slice(..9)).is_empty());
}
