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
