//! Lengths and counts that lie, and the limits.

use bytes::Bytes;
use wire::{
    ARRAY_ELEMENTS_MAX, ApiVersionsRequest, DecodeError, EncodeError, FetchRequest, ListGroupsResponse,
    ListTransactionsRequest, MEMORY_PER_BYTE_MAX, Message, MetadataRequest, OffsetFetchRequest,
    ProduceRequest, Reader, Str, SyncGroupResponse, TAGGED_FIELDS_MAX, TaggedFields, Writer, offset_fetch,
};

use crate::counting;

fn decode<M: Message>(version: i16, bytes: impl Into<Bytes>) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(bytes.into()), version)
}

fn encode<M: Message>(version: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

#[test]
fn four_bytes_cannot_claim_two_thousand_million_elements() {
    let (refused, memory) = counting::peak(|| decode::<MetadataRequest>(0, vec![0x7f, 0xff, 0xff, 0xff]));
    let field = "MetadataRequest.topics";
    assert_eq!(refused, Err(DecodeError::ArrayTooLong { field, offset: 0, length: 0x7fff_ffff }));
    assert!(memory < 1024, "{memory}");
}

#[test]
fn an_array_longer_than_the_bytes_behind_it_is_refused_at_its_length() {
    let (refused, memory) = counting::peak(|| decode::<MetadataRequest>(0, vec![0, 0, 0xff, 0xff, 0, 0]));
    assert!(matches!(refused, Err(DecodeError::End { offset: 0, left: 2, .. })), "{refused:?}");
    assert!(memory < 1024, "{memory}");
}

#[test]
fn an_array_has_a_million_elements_at_most() {
    let topics = |count: u32| {
        let mut bytes = count.to_be_bytes().to_vec();
        bytes.resize(4 + 2 * count as usize, 0);
        decode::<MetadataRequest>(0, bytes)
    };
    let topics_max = ARRAY_ELEMENTS_MAX as u32;
    assert_eq!(topics(topics_max).unwrap().topics.unwrap().len(), ARRAY_ELEMENTS_MAX);
    assert!(matches!(topics(topics_max + 1), Err(DecodeError::ArrayTooLong { .. })));
}

/// The worst there is: elements that are large in memory and small on the wire, with honest lengths, and
/// cut off before the end so that everything half-built counts too.
#[test]
fn memory_stays_within_its_bound_for_the_worst_arrays() {
    let repeat = |before: &[u8], count: usize, element: &[u8], after: &[u8]| {
        [before, &varint(count as u32 + 1), &element.repeat(count), after].concat()
    };
    let mut worst = 0.0_f64;
    for count in [1, 2, 3, 4, 5, 8, 9, 100, 1000, 65_537] {
        // State filters: empty strings. Then no producer ids, no tags.
        let strings = repeat(&[], count, &[1], &[1, 0]);
        // Groups: no id, topics null, or empty, or one topic without name and partitions; no tags.
        let groups = repeat(&[], count, &[1, 0, 0], &[0, 0]);
        let empty_groups = repeat(&[], count, &[1, 1, 0], &[0, 0]);
        let full_groups = repeat(&[], count, &[1, 2, 1, 1, 0, 0], &[0, 0]);
        let listed = repeat(&[0; 6], count, &[1, 1, 0], &[0]);
        let tagged = repeat(&[0; 6], count, &[1, 1, 1, 0, 0], &[0]);
        for cut in [0, 1, count] {
            worst = worst.max(memory_per_byte::<ListTransactionsRequest>(0, &strings, cut));
            worst = worst.max(memory_per_byte::<OffsetFetchRequest>(8, &groups, cut));
            worst = worst.max(memory_per_byte::<OffsetFetchRequest>(8, &empty_groups, cut));
            worst = worst.max(memory_per_byte::<OffsetFetchRequest>(8, &full_groups, cut));
            worst = worst.max(memory_per_byte::<ListGroupsResponse>(3, &listed, cut));
            worst = worst.max(memory_per_byte::<ListGroupsResponse>(3, &tagged, cut));
        }
    }
    assert!(worst > 0.5 * MEMORY_PER_BYTE_MAX as f64, "{worst}: these are not the worst any more");
}

/// The memory per byte of input, checked against what the crate promises.
fn memory_per_byte<M: Message>(version: i16, bytes: &[u8], cut: usize) -> f64 {
    let bytes = Bytes::copy_from_slice(&bytes[..bytes.len() - cut]);
    let length = bytes.len();
    let (decoded, memory) = counting::peak(|| decode::<M>(version, bytes));
    assert_eq!(decoded.is_ok(), cut == 0, "{}: {:?}", M::NAME, decoded.err());
    let allowed = MEMORY_PER_BYTE_MAX * length + 1024;
    assert!(memory <= allowed, "{}: {memory} for {length}, allowed are {allowed}", M::NAME);
    if length < 1000 { 0.0 } else { memory as f64 / length as f64 }
}

/// A claim reserves no more than the bytes that could back it, however large the elements are in memory.
#[test]
fn a_claim_alone_costs_little() {
    let claimed = [varint(30_001), vec![0; 90_002]].concat(); // groups whose ids are null
    let length = claimed.len();
    let (refused, memory) = counting::peak(|| decode::<OffsetFetchRequest>(8, claimed));
    assert!(matches!(refused, Err(DecodeError::Null { .. })), "{refused:?}");
    assert!(memory <= length + 1024, "{memory} for {length}");
}

#[test]
fn a_reader_may_be_told_how_much_memory_a_message_may_take() {
    let length = 1000_u32;
    let bytes = Bytes::from([varint(length + 1), [1, 0, 0].repeat(length as usize), vec![0, 0]].concat());
    let read = |memory_max| {
        let mut reader = Reader::new(bytes.clone()).with_memory_max(memory_max);
        OffsetFetchRequest::decode(&mut reader, 8).map(|_| reader.memory())
    };
    let needed = length as usize * size_of::<offset_fetch::OffsetFetchRequestGroup>();
    assert_eq!(read(needed), Ok(needed));
    let refused = read(needed - 1);
    assert!(
        matches!(refused, Err(DecodeError::TooMuchMemory { allowed, .. }) if allowed == needed - 1),
        "{refused:?}"
    );
    let unknown = [vec![0; 6], varint(2), vec![1, 1, 1, 0, 0, 0]].concat();
    let mut reader = Reader::new(unknown.into()).with_memory_max(0);
    assert!(matches!(ListGroupsResponse::decode(&mut reader, 3), Err(DecodeError::TooMuchMemory { .. })));
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

#[test]
fn a_tagged_section_has_ten_thousand_fields_at_most() {
    let request = |count: u32| {
        let mut bytes = vec![1, 1]; // two empty strings
        bytes.extend(varint(count));
        (0..count).for_each(|tag| bytes.extend([varint(tag), vec![0]].concat()));
        decode::<ApiVersionsRequest>(3, bytes)
    };
    let fields_max = TAGGED_FIELDS_MAX as u32;
    assert_eq!(request(fields_max).unwrap().unknown_tagged_fields.as_slice().len(), TAGGED_FIELDS_MAX);
    let message = "ApiVersionsRequest";
    let refusal = DecodeError::TooManyTags { message, offset: 2, count: TAGGED_FIELDS_MAX + 1 };
    assert_eq!(request(fields_max + 1), Err(refusal));
}

#[test]
fn tags_must_ascend_and_sizes_must_be_true() {
    let request = |tags: &[u8]| decode::<FetchRequest>(12, [&[0; 25][..], &[1, 1, 1], tags].concat());
    assert!(request(&[2, 5, 0, 9, 0]).is_ok());
    let message = "FetchRequest";
    assert_eq!(request(&[2, 5, 0, 5, 0]), Err(DecodeError::TagOrder { message, tag: 5, offset: 31 }));
    assert_eq!(request(&[2, 5, 0, 4, 0]), Err(DecodeError::TagOrder { message, tag: 4, offset: 31 }));
    // The cluster id, tag 0: "ab" takes three bytes.
    assert_eq!(request(&[1, 0, 3, 3, 97, 98]).unwrap().cluster_id.as_deref(), Some("ab"));
    let longer = DecodeError::TagSize { message, tag: 0, offset: 34, left: 1 };
    assert_eq!(request(&[1, 0, 4, 3, 97, 98, 0]), Err(longer));
    assert!(matches!(request(&[1, 0, 2, 3, 97, 98]), Err(DecodeError::End { .. })));
    assert!(matches!(request(&[1, 7, 2, 0]), Err(DecodeError::End { needed: 2, left: 1, .. })));
}

#[test]
fn variable_length_numbers_end_within_32_bits() {
    let number = |bytes: &'static [u8]| Reader::new(Bytes::from_static(bytes)).varint();
    assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
    assert_eq!(number(&[0x80, 0x00]), Ok(0));
    assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(DecodeError::Varint { offset: 0 }));
    assert_eq!(number(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(DecodeError::Varint { offset: 0 }));
    assert_eq!(number(&[0x80]), Err(DecodeError::End { offset: 1, needed: 1, left: 0 }));
}

#[test]
fn null_where_it_is_not_allowed_names_the_field() {
    let refused = decode::<ApiVersionsRequest>(3, vec![0, 1, 0]);
    let field = "ApiVersionsRequest.client_software_name";
    assert_eq!(refused, Err(DecodeError::Null { field, offset: 1 }));
    let refused = encode(1, &OffsetFetchRequest { topics: None, ..Default::default() });
    assert_eq!(refused, Err(EncodeError::Null { field: "OffsetFetchRequest.topics", version: 1 }));
    assert!(encode(2, &OffsetFetchRequest { topics: None, ..Default::default() }).is_ok());
}

#[test]
fn text_is_utf_8_and_no_longer_than_a_string_may_be() {
    let field = "ApiVersionsRequest.client_software_name";
    assert_eq!(
        decode::<ApiVersionsRequest>(3, vec![2, 0xff, 1, 0]),
        Err(DecodeError::NotUtf8 { field, offset: 0 })
    );
    let named = |length: usize| ApiVersionsRequest {
        client_software_name: Str::from("x".repeat(length)),
        ..Default::default()
    };
    let longest = encode(3, &named(32_767)).unwrap();
    assert_eq!(decode::<ApiVersionsRequest>(3, longest), Ok(named(32_767)));
    assert_eq!(encode(3, &named(32_768)), Err(EncodeError::TooLong { field, length: 32_768 }));
    let longer = [varint(32_769), vec![b'x'; 32_768], vec![1, 0]].concat();
    let refusal = DecodeError::StringTooLong { field, offset: 0, length: 32_768 };
    assert_eq!(decode::<ApiVersionsRequest>(3, longer), Err(refusal));
}

#[test]
fn a_field_that_the_version_lacks_is_refused_unless_it_may_be_dropped() {
    let transactional = ProduceRequest { transactional_id: Some("t".into()), ..Default::default() };
    assert!(encode(3, &transactional).is_ok());
    let groups = vec![offset_fetch::OffsetFetchRequestGroup::default()];
    let refused = encode(7, &OffsetFetchRequest { groups, ..Default::default() });
    assert_eq!(refused, Err(EncodeError::Absent { field: "OffsetFetchRequest.groups", version: 7 }));
    // Ignorable: a throttle time is dropped where there is no place for it.
    let throttled = SyncGroupResponse { throttle_time_ms: 7, ..Default::default() };
    assert_eq!(decode::<SyncGroupResponse>(0, encode(0, &throttled).unwrap()).unwrap().throttle_time_ms, 0);
}

#[test]
fn unknown_tags_are_not_lost_and_never_take_a_known_place() {
    let mut unknown = TaggedFields::default();
    unknown.push(3, Bytes::from_static(b"x"));
    let request = FetchRequest { unknown_tagged_fields: unknown.clone(), ..Default::default() };
    assert!(encode(12, &request).is_ok());
    let refused = encode(11, &request);
    assert_eq!(refused, Err(EncodeError::NoTags { message: "FetchRequest", version: 11 }));
    let mut taken = TaggedFields::default();
    taken.push(0, Bytes::new());
    let request =
        FetchRequest { cluster_id: Some("c".into()), unknown_tagged_fields: taken, ..Default::default() };
    assert_eq!(encode(12, &request), Err(EncodeError::UnknownTags { message: "FetchRequest" }));
    unknown.push(3, Bytes::new());
    let request = FetchRequest { unknown_tagged_fields: unknown, ..Default::default() };
    assert_eq!(encode(12, &request), Err(EncodeError::UnknownTags { message: "FetchRequest" }));
}

#[test]
fn a_version_outside_the_range_is_refused() {
    let known = FetchRequest::VERSIONS;
    let message = "FetchRequest";
    let refusal = DecodeError::Version { message, version: 3, known };
    assert_eq!(decode::<FetchRequest>(3, vec![0; 64]), Err(refusal));
    let refusal = EncodeError::Version { message, version: 19, known };
    assert_eq!(encode(19, &FetchRequest::default()), Err(refusal));
}
