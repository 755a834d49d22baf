use super::*;

fn partition(topic: u8, index: i32) -> PartitionId {
    PartitionId { topic: TopicId([topic; 16]), index }
}

#[test]
fn a_token_reads_back() {
    let mut position = Position::of(partition(1, 3), Offset(42));
    position.merge(&Position::of(partition(250, 0), Offset(0)));
    let text = position.to_string();
    assert_eq!(text.parse(), Ok(position), "{text}");
}

#[test]
fn merging_keeps_the_fresher() {
    let mut position = Position::of(partition(1, 0), Offset(5));
    position.merge(&Position::of(partition(1, 0), Offset(3)));
    assert_eq!(position.next(partition(1, 0)), Some(Offset(5)));
    position.merge(&Position::of(partition(1, 0), Offset(9)));
    assert_eq!(position.next(partition(1, 0)), Some(Offset(9)));
}

#[test]
fn what_is_no_token_is_refused() {
    assert_eq!("2~AAAAAAAAAAAAAAAAAAAAAQ.0.1".parse::<Position>(), Err(PositionError::Foreign));
    assert_eq!("".parse::<Position>(), Err(PositionError::Foreign));
    for text in [
        "1~",
        "1~x.0.1",
        "1~AAAAAAAAAAAAAAAAAAAAAQ.-1.1",
        "1~AAAAAAAAAAAAAAAAAAAAAQ.0.-1",
        "1~AAAAAAAAAAAAAAAAAAAAAQ.0.1.2",
        "1~AAAAAAAAAAAAAAAAAAAAAQ.0.1~",
        "1~AAAAAAAAAAAAAAAAAAAAAQ.99999999999.1",
    ] {
        assert!(matches!(text.parse::<Position>(), Err(PositionError::Malformed(_))), "{text}");
    }
}

#[test]
fn partitions_of_one_topic_share_its_id() {
    let mut position = Position::of(partition(1, 3), Offset(42));
    position.merge(&Position::of(partition(1, 4), Offset(7)));
    assert_eq!(position.to_string(), format!("1~{}.3.42.4.7", TopicId([1; 16])));
}
