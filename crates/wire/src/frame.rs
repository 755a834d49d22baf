//! Requests and responses with their headers, as they cross a connection.
//!
//! ```text
//! request    length i32 | api key i16 | version i16 | correlation id i32 | client id | (tags) | body
//! response   length i32 | correlation id i32 | (tags) | body
//! ```
//!
//! The tags are there in flexible versions only, and never before an ApiVersions response.

use bytes::Bytes;

use crate::headers::{RequestHeader, ResponseHeader};
use crate::{
    AnyRequest, AnyResponse, ApiKey, DecodeError, EncodeError, Message, Reader, Request, Response, Str,
    Writer, records,
};

/// Encoded bytes as a list of segments for a vectored write.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    segments: Vec<Bytes>,
    len: usize,
}

impl Frame {
    pub(crate) fn new(segments: Vec<Bytes>) -> Frame {
        let len = segments.iter().map(Bytes::len).sum();
        Frame { segments, len }
    }

    /// The number of bytes in all segments.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    pub fn into_segments(self) -> Vec<Bytes> {
        self.segments
    }

    /// All bytes in one piece; copies only when there are several segments.
    pub fn to_bytes(&self) -> Bytes {
        records::join(&self.segments)
    }
}

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As it came: [`Header::api`] says whether we know it.
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Str>,
}

impl Header {
    /// The API, if it is one of ours.
    pub fn api(&self) -> Option<ApiKey> {
        ApiKey::of(self.api_key)
    }
}

/// Reads a request's header from a frame (without the frame's length); the reader then stands at the body.
///
/// API keys and versions that we do not know are no error here: their headers can still be read, and
/// ApiVersions must be answered in every version. The body is for the caller to refuse.
pub fn decode_request_header(frame: Bytes) -> Result<(Header, Reader), DecodeError> {
    let mut reader = Reader::new(frame);
    let mut ahead = reader.clone();
    let (key, version) = (ahead.i16()?, ahead.i16()?);
    let header_version = ApiKey::of(key).map_or(1, |api| api.request_header_version(version));
    let header = RequestHeader::decode(&mut reader, header_version)?;
    let header = Header {
        api_key: key,
        api_version: version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
    };
    Ok((header, reader))
}

/// A request with length and header.
pub fn encode_request<R: Request>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &R,
) -> Result<Frame, EncodeError> {
    let mut writer = open_request(R::KEY, correlation_id, client_id, version)?;
    request.encode(&mut writer, version)?;
    writer.finish_with_length()
}

/// A request of any API with length and header.
pub fn encode_any_request(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &AnyRequest,
) -> Result<Frame, EncodeError> {
    let mut writer = open_request(request.key(), correlation_id, client_id, version)?;
    request.encode(&mut writer, version)?;
    writer.finish_with_length()
}

fn open_request(
    key: ApiKey,
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
) -> Result<Writer, EncodeError> {
    let mut writer = Writer::with_capacity(256);
    writer.i32(0);
    let header = RequestHeader {
        request_api_key: key.code(),
        request_api_version: version,
        correlation_id,
        client_id: client_id.map(Str::from),
        ..RequestHeader::default()
    };
    header.encode(&mut writer, key.request_header_version(version))?;
    Ok(writer)
}

/// A response with length and header.
pub fn encode_response<R: Response>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Frame, EncodeError> {
    let mut writer = open_response(R::KEY, correlation_id, version)?;
    response.encode(&mut writer, version)?;
    writer.finish_with_length()
}

/// A response of any API with length and header.
pub fn encode_any_response(
    correlation_id: i32,
    version: i16,
    response: &AnyResponse,
) -> Result<Frame, EncodeError> {
    let mut writer = open_response(response.key(), correlation_id, version)?;
    response.encode(&mut writer, version)?;
    writer.finish_with_length()
}

fn open_response(key: ApiKey, correlation_id: i32, version: i16) -> Result<Writer, EncodeError> {
    let mut writer = Writer::with_capacity(256);
    writer.i32(0);
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    header.encode(&mut writer, key.response_header_version(version))?;
    Ok(writer)
}

/// Reads a response's header from a frame (without the frame's length): the correlation id, and a reader
/// that stands at the body.
pub fn decode_response_header(key: ApiKey, version: i16, frame: Bytes) -> Result<(i32, Reader), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, key.response_header_version(version))?;
    Ok((header.correlation_id, reader))
}
