//! What becomes of streams over time, over gRPC: see `proto/levada/events/v1/lifecycle.proto`.

use std::pin::Pin;

use events::upcast::Upcaster;
use events::{
    Certificate, Direction, EraseError, Handle, NewSnapshot, Snapshot, SnapshotError, TrimmedPartition,
    TruncateError,
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::grpc::api::lifecycle_server::{Lifecycle, LifecycleServer};
use super::grpc::{
    api, append_status, category, event, freshness, invalid, not_found, read_status, sealed, text,
    unavailable,
};

/// Events that are read at once.
const PAGE: usize = 500;

/// Answers that may wait to be sent.
const ANSWERS_MAX: usize = 4;

/// The largest request. A topic's max.message.bytes is the limit of what it may hold.
const REQUEST_BYTES_MAX: usize = 8 << 20;

pub(super) fn service(handle: Handle) -> LifecycleServer<Store> {
    LifecycleServer::new(Store(handle)).max_decoding_message_size(REQUEST_BYTES_MAX)
}

pub struct Store(Handle);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Lifecycle for Store {
    type LoadStreamStream = Answers<api::LoadStreamResponse>;
    type ReadArchiveStream = Answers<api::Event>;

    async fn put_snapshot(
        &self,
        request: Request<api::PutSnapshotRequest>,
    ) -> Result<Response<api::Snapshot>, Status> {
        let request = request.into_inner();
        let category = category(&request.category)?;
        let given = request.snapshot.ok_or_else(|| invalid("there is no snapshot"))?;
        let new = NewSnapshot {
            version: given.version,
            schema_version: given.schema_version.max(1),
            content_type: text(given.content_type).unwrap_or_else(|| "application/json".to_owned()),
            data: given.data,
            sealed: sealed(request.subject, request.personal)?,
        };
        let put = self.0.put_snapshot(&category, &request.stream, new, &freshness(None)?).await;
        let (put, position) = put.map_err(snapshot_status)?;
        Ok(Response::new(api::Snapshot { position: position.to_string(), ..snapshot(put) }))
    }

    async fn get_snapshot(
        &self,
        request: Request<api::GetSnapshotRequest>,
    ) -> Result<Response<api::Snapshot>, Status> {
        let request = request.into_inner();
        let category = category(&request.category)?;
        let found = self.0.snapshot(&category, &request.stream, &freshness(request.freshness)?).await;
        let found = found.map_err(read_status)?;
        let found = found.ok_or_else(|| not_found("there is no snapshot"))?;
        if ![0, found.schema_version].contains(&request.schema_version) {
            let stored = found.schema_version;
            return Err(not_found(format!("the snapshot is of schema version {stored}")));
        }
        Ok(Response::new(snapshot(found)))
    }

    async fn delete_snapshot(
        &self,
        request: Request<api::DeleteSnapshotRequest>,
    ) -> Result<Response<api::DeleteSnapshotResponse>, Status> {
        let request = request.into_inner();
        let category = category(&request.category)?;
        match self.0.drop_snapshot(&category, &request.stream).await.map_err(read_status)? {
            Some(position) => {
                Ok(Response::new(api::DeleteSnapshotResponse { position: position.to_string() }))
            }
            None => Err(not_found("there is no snapshot")),
        }
    }

    async fn load_stream(
        &self,
        request: Request<api::LoadStreamRequest>,
    ) -> Result<Response<Self::LoadStreamStream>, Status> {
        let request = request.into_inner();
        let category = category(&request.category)?;
        let freshness = freshness(request.freshness)?;
        let (handle, stream) = (self.0.clone(), request.stream);
        let wanted = Some(request.schema_version).filter(|wanted| *wanted > 0);
        // What is wrong with the request is the answer, and not an event.
        let loaded = handle.load(&category, &stream, wanted, PAGE, &freshness).await.map_err(read_status)?;
        let (answers, sent) = mpsc::channel(ANSWERS_MAX);
        env::spawn(async move {
            let (mut snapshot, mut found) = (loaded.snapshot.map(snapshot), loaded.found);
            loop {
                let last = found.events.last().map(|last| last.version);
                let events = found.events.into_iter().map(event).collect();
                let answer = api::LoadStreamResponse { snapshot: snapshot.take(), events };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
                let Some(last) = last.filter(|_| !found.is_end) else { return };
                let next =
                    handle.read_stream(&category, &stream, last + 1, Direction::Forward, PAGE, &freshness);
                found = match next.await {
                    Ok(found) => found,
                    Err(error) => return drop(answers.send(Err(read_status(error))).await),
                };
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn truncate_stream(
        &self,
        request: Request<api::TruncateStreamRequest>,
    ) -> Result<Response<api::TruncateStreamResponse>, Status> {
        let request = request.into_inner();
        let category = category(&request.category)?;
        let (before, archive) = (request.before, request.archive);
        let done = self.0.truncate(&category, &request.stream, before, archive, &freshness(None)?).await;
        let done = done.map_err(|error| match error {
            TruncateError::Beyond { .. } => Status::out_of_range(error.to_string()),
            TruncateError::Read(error) => read_status(error),
            TruncateError::Append(error) => append_status(error),
        })?;
        Ok(Response::new(api::TruncateStreamResponse {
            first: done.first,
            version: done.version,
            archived: done.archived,
            position: done.position.to_string(),
        }))
    }

    async fn read_archive(
        &self,
        request: Request<api::ReadArchiveRequest>,
    ) -> Result<Response<Self::ReadArchiveStream>, Status> {
        let request = request.into_inner();
        let category = category(&request.category)?;
        let freshness = freshness(None)?;
        let (handle, stream) = (self.0.clone(), request.stream);
        let from = request.from.max(1);
        let mut found =
            handle.archived(&category, &stream, from, PAGE, &freshness).await.map_err(read_status)?;
        let (answers, sent) = mpsc::channel(PAGE);
        env::spawn(async move {
            loop {
                let last = found.events.last().map(|last| last.version);
                for recorded in found.events {
                    if answers.send(Ok(event(recorded))).await.is_err() {
                        return;
                    }
                }
                let Some(last) = last.filter(|_| !found.is_end) else { return };
                found = match handle.archived(&category, &stream, last + 1, PAGE, &freshness).await {
                    Ok(found) => found,
                    Err(error) => return drop(answers.send(Err(read_status(error))).await),
                };
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn trim_category(
        &self,
        request: Request<api::TrimCategoryRequest>,
    ) -> Result<Response<api::TrimCategoryResponse>, Status> {
        let category = category(&request.into_inner().category)?;
        let trimmed = self.0.trim(&category, &freshness(None)?).await.map_err(read_status)?;
        let start = |part: TrimmedPartition| api::PartitionStart {
            partition: part.partition,
            start_before: part.start_before.0,
            start: part.start.0,
        };
        let partitions = trimmed.into_iter().map(start).collect();
        Ok(Response::new(api::TrimCategoryResponse { partitions }))
    }

    async fn erase_subject(
        &self,
        request: Request<api::EraseSubjectRequest>,
    ) -> Result<Response<api::Certificate>, Status> {
        let request = request.into_inner();
        let erased = self.0.erase(&request.subject, &request.reason).await;
        let erased = erased.map_err(|error| match error {
            EraseError::NoSubject => not_found(error.to_string()),
            EraseError::Key(_) => unavailable(error.to_string()),
            EraseError::Read(error) => read_status(error),
            EraseError::Append(error) => append_status(error),
        })?;
        let (erased, position) = erased;
        Ok(Response::new(api::Certificate { position: position.to_string(), ..certificate(erased) }))
    }

    async fn list_certificates(
        &self,
        request: Request<api::ListCertificatesRequest>,
    ) -> Result<Response<api::ListCertificatesResponse>, Status> {
        let found = self.0.certificates(&request.into_inner().subject).await.map_err(read_status)?;
        let certificates = found.into_iter().map(certificate).collect();
        Ok(Response::new(api::ListCertificatesResponse { certificates }))
    }

    async fn list_upcasters(
        &self,
        request: Request<api::ListUpcastersRequest>,
    ) -> Result<Response<api::ListUpcastersResponse>, Status> {
        let body = |((kind, from_version), upcaster): ((String, u32), Upcaster)| api::Upcaster {
            r#type: kind,
            from_version,
            patch: serde_json::to_string(&upcaster.patch).unwrap_or_default(),
            defaults: Some(upcaster.defaults)
                .filter(|it| !it.is_null())
                .map(|it| it.to_string())
                .unwrap_or_default(),
            new_type: upcaster.kind.unwrap_or_default(),
            example: String::new(),
        };
        let freshness = freshness(request.into_inner().freshness)?;
        let all = self.0.upcasters(&freshness).await.map_err(read_status)?;
        let upcasters = all.into_iter().map(body).collect();
        Ok(Response::new(api::ListUpcastersResponse { upcasters }))
    }

    async fn put_upcaster(
        &self,
        request: Request<api::Upcaster>,
    ) -> Result<Response<api::PutUpcasterResponse>, Status> {
        let request = request.into_inner();
        let upcaster = Upcaster {
            patch: json("patch", &request.patch)?,
            defaults: json("defaults", &request.defaults)?,
            kind: text(request.new_type),
        };
        let example = text(request.example).map(|text| json("example", &text)).transpose()?;
        let put = self.0.put_upcaster(&request.r#type, request.from_version, &upcaster, example).await;
        let (tried, position) = put.map_err(read_status)?;
        let result = tried.map(|tried| tried.data.to_string()).unwrap_or_default();
        Ok(Response::new(api::PutUpcasterResponse { result, position: position.to_string() }))
    }

    async fn delete_upcaster(
        &self,
        request: Request<api::DeleteUpcasterRequest>,
    ) -> Result<Response<api::DeleteUpcasterResponse>, Status> {
        let request = request.into_inner();
        match self.0.drop_upcaster(&request.r#type, request.from_version).await.map_err(read_status)? {
            Some(position) => {
                Ok(Response::new(api::DeleteUpcasterResponse { position: position.to_string() }))
            }
            None => Err(not_found("there is no such upcaster")),
        }
    }
}

fn certificate(certificate: Certificate) -> api::Certificate {
    api::Certificate {
        subject_sha256: certificate.subject_sha256,
        key_ids: certificate.key_ids,
        erased_at: certificate.erased_at,
        keys_gone_by: certificate.keys_gone_by,
        reason: certificate.reason,
        events: certificate.events.into_iter().collect(),
        snapshots: certificate.snapshots,
        incomplete: certificate.incomplete,
        position: String::new(),
    }
}

fn json<T: DeserializeOwned + Default>(what: &str, text: &str) -> Result<T, Status> {
    if text.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|error| invalid(format!("{what}: {error}")))
}

fn snapshot(snapshot: Snapshot) -> api::Snapshot {
    api::Snapshot {
        version: snapshot.version,
        schema_version: snapshot.schema_version,
        content_type: snapshot.content_type,
        data: snapshot.data,
        timestamp: snapshot.time.0,
        position: snapshot.position.to_string(),
    }
}

fn snapshot_status(error: SnapshotError) -> Status {
    let detail = error.to_string();
    let (code, problem) = match error {
        SnapshotError::Ahead { .. } => (Code::FailedPrecondition, "snapshot-ahead"),
        SnapshotError::Older { .. } => (Code::FailedPrecondition, "snapshot-older"),
        SnapshotError::Invalid(_) => (Code::InvalidArgument, "invalid-request"),
        SnapshotError::TooLarge(_) => (Code::ResourceExhausted, "too-large"),
        SnapshotError::Read(error) => return read_status(error),
    };
    let mut status = Status::new(code, detail);
    let problem = tonic::metadata::MetadataValue::from_static(problem);
    status.metadata_mut().insert("levada-problem", problem);
    status
}
