use bytes::Bytes;

use crate::*;

#[test]
fn a_response_survives_the_wire() {
    let response = FetchResponse {
        session_id: 7,
        responses: vec![fetch::FetchableTopicResponse {
            topic: Str::from_static("orders"),
            partitions: vec![fetch::PartitionData {
                high_watermark: 9,
                aborted_transactions: None,
                records: Some(Records::from(vec![Bytes::from(vec![1; 600]), Bytes::from_static(b"ab")])),
                current_leader: fetch::LeaderIdAndEpoch { leader_id: 1, ..Default::default() },
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = encode_response(5, 12, &response).unwrap();
    assert_eq!(frame.segments().len(), 3);
    let bytes = frame.to_bytes();
    assert_eq!(i32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len() - 4);
    let (correlation_id, mut body) = decode_response_header(ApiKey::Fetch, 12, bytes.slice(4..)).unwrap();
    assert_eq!(correlation_id, 5);
    assert_eq!(FetchResponse::decode(&mut body, 12).unwrap(), response);
    assert_eq!(body.remaining(), 0);
}

#[test]
fn an_api_versions_request_from_the_future_can_be_answered() {
    let request = ApiVersionsRequest { client_software_name: "new".into(), ..Default::default() };
    let mut bytes = encode_request(3, Some("me"), 4, &request).unwrap().to_bytes().to_vec();
    bytes[7] = 99;
    let (header, _) = decode_request_header(Bytes::from(bytes).slice(4..)).unwrap();
    assert_eq!(header.api(), Some(ApiKey::ApiVersions));
    assert_eq!((header.api_version, header.correlation_id), (99, 3));
    assert_eq!(header.client_id.as_deref(), Some("me"));
    let answer =
        ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion.code(), ..Default::default() };
    let frame = encode_response(3, 0, &answer).unwrap().to_bytes();
    assert_eq!(&frame[..], [0, 0, 0, 10, 0, 0, 0, 3, 0, 35, 0, 0, 0, 0]);
}

#[test]
fn requests_come_back_with_their_headers() {
    for (version, header_bytes) in [(0, 14), (2, 14), (3, 15), (5, 15)] {
        let request = AnyRequest::ApiVersions(ApiVersionsRequest::default());
        let frame = encode_any_request(9, Some("test"), version, &request).unwrap().to_bytes();
        let (header, mut body) = decode_request_header(frame.slice(4..)).unwrap();
        let expected = Header {
            api_key: ApiKey::ApiVersions.code(),
            api_version: version,
            correlation_id: 9,
            client_id: Some(Str::from_static("test")),
        };
        assert_eq!((header, body.position()), (expected, header_bytes));
        assert_eq!(AnyRequest::decode(ApiKey::ApiVersions, version, &mut body), Ok(request));
        assert_eq!(body.remaining(), 0);
    }
}

#[test]
fn a_header_of_an_unknown_api_can_be_read() {
    let frame = Bytes::from_static(&[0x7f, 0, 0, 1, 0, 0, 0, 5, 0xff, 0xff, 1, 2]);
    let (header, body) = decode_request_header(frame).unwrap();
    assert_eq!((header.api(), header.api_key, header.correlation_id), (None, 0x7f00, 5));
    assert_eq!(body.rest(), Bytes::from_static(&[1, 2]));
    assert_eq!(ApiKey::try_from(4), Err(UnknownApiKey(4)));
}

#[test]
fn large_records_are_shared_and_small_ones_copied() {
    let large = Bytes::from(vec![7; SEGMENT_BYTES_MIN]);
    let small = Bytes::from(vec![8; SEGMENT_BYTES_MIN - 1]);
    let partition = |records: Vec<Bytes>| produce::PartitionProduceData {
        records: Some(Records::from(records)),
        ..Default::default()
    };
    let request = ProduceRequest {
        topic_data: vec![produce::TopicProduceData {
            partition_data: vec![
                partition(vec![small.clone(), large.clone(), large.clone()]),
                partition(vec![]),
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = encode_request(1, None, 9, &request).unwrap();
    let of_large = frame.segments().iter().filter(|segment| segment.as_ptr() == large.as_ptr());
    assert_eq!((frame.segments().len(), of_large.count()), (4, 2));
    let bytes = frame.to_bytes();
    assert_eq!(
        (frame.len(), i32::from_be_bytes(bytes[..4].try_into().unwrap())),
        (bytes.len(), bytes.len() as i32 - 4)
    );
    let (_, mut body) = decode_request_header(bytes.slice(4..)).unwrap();
    let decoded = ProduceRequest::decode(&mut body, 9).unwrap();
    assert_eq!(decoded, request);
    let records = decoded.topic_data[0].partition_data[0].records.as_ref().unwrap();
    assert_eq!((records.len(), records.chunks().len()), (3 * SEGMENT_BYTES_MIN - 1, 1));
    let shared = bytes.as_ptr_range().contains(&records.chunks()[0].as_ptr());
    assert!(shared, "decoded records are a part of the frame");
}

#[test]
fn a_stored_record_of_another_kind_is_refused() {
    let key = stored::encode_key(&group_records::GroupMetadataKey { group: "g".into() }).unwrap();
    let refused = stored::decode_key::<group_records::OffsetCommitKey>(key);
    assert_eq!(refused, Err(DecodeError::RecordType { expected: 1, found: 2 }));
    let refused = stored::decode_metadata_header(Bytes::from_static(&[2, 2, 0])).map(|_| ());
    assert_eq!(refused, Err(DecodeError::FrameVersion { version: 2 }));
    let refused = stored::decode_metadata_header(Bytes::from_static(&[1, 0xff, 0xff, 3, 0])).map(|_| ());
    assert_eq!(refused, Err(DecodeError::Varint { offset: 1 }));
}

#[test]
fn a_tagged_field_longer_than_127_bytes_gets_a_longer_size() {
    for length in [0, 1, 125, 126, 127, 128, 16_381, 16_382, 16_383, 32_767] {
        let request = FetchRequest { cluster_id: Some(Str::from("x".repeat(length))), ..Default::default() };
        let mut writer = Writer::new();
        request.encode(&mut writer, 12).unwrap();
        let mut reader = Reader::new(writer.into_bytes());
        assert_eq!(FetchRequest::decode(&mut reader, 12), Ok(request));
        assert_eq!(reader.remaining(), 0);
    }
}

#[test]
fn unknown_tags_are_written_between_the_known_ones() {
    let mut unknown = TaggedFields::default();
    unknown.push(0, Bytes::from_static(b"a"));
    unknown.push(2, Bytes::new());
    let mut writer = Writer::new();
    let mut tags = writer.tags("Test", &unknown, &[true, false]).unwrap();
    let at = writer.tag(&mut tags, 1).unwrap();
    writer.i8(7);
    writer.close(at);
    writer.last_tags(tags).unwrap();
    assert_eq!(writer.into_bytes(), Bytes::from_static(&[3, 0, 1, b'a', 1, 1, 7, 2, 0]));
}
