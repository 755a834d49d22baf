//! Damaged compressed batches: streams of every codec, with everything that their formats can have, cut, lengthened and
//! changed, under a right checksum of the batch. Both brokers must take the same ones and give the same records back. Ours
//! may refuse more, where `accepted.rs` says why; never less, since readers stop for good at what they cannot read.

use std::io::Write;

use anyhow::Context;
use bytes::Bytes;
use env::SeededRandom;
use model::batch::{Batch, BatchBuilder, HEADER_BYTES, NewRecord, seal};
use model::compression::Compression;
use model::{Timestamp, TopicId};
use wire::create_topics::CreatableTopic;
use wire::fetch::{FetchPartition, FetchTopic};
use wire::produce::{PartitionProduceData, TopicProduceData};
use wire::{CreateTopicsRequest, FetchRequest, ProduceRequest};

use crate::pick;
use crate::side::Side;

/// What is tried with each stream beside every cut near its ends and some tails.
const CHANGES: usize = 60;

/// So many bytes at each end of a stream are cut off one by one, and changed bit by bit.
const EDGE: usize = 12;

/// What became of each batch, in lines that begin with the codec.
pub fn tell(side: &mut Side, seed: u64) -> anyhow::Result<Vec<String>> {
    let topic = format!("damage-{seed}");
    create(side, &topic)?;
    let plain = records();
    let mut lines = Vec::new();
    for (name, codec, stream) in streams(&plain)? {
        for (what, damaged) in damages(&stream, seed) {
            let batch = with_stream(codec, &damaged);
            lines.push(format!("{name}, {what}: {}", verdict(side, &topic, batch)?));
        }
    }
    Ok(lines)
}

fn create(side: &mut Side, topic: &str) -> anyhow::Result<()> {
    let created =
        CreatableTopic { name: topic.into(), num_partitions: 1, replication_factor: 1, ..Default::default() };
    side.call(5, &CreateTopicsRequest { topics: vec![created], timeout_ms: 10_000, ..Default::default() })?;
    let topics = [(topic.to_string(), TopicId([1; 16]))];
    side.until("the topic", |side| {
        let known = side.learn(&topics)?;
        Ok(!known.is_empty() && side.leads(&known)?)
    })
}

const RECORDS: usize = 5;

/// The records of a batch, not compressed.
fn records() -> Vec<u8> {
    batch().into_bytes()[HEADER_BYTES..].to_vec()
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    for number in 0..RECORDS {
        builder.push(NewRecord {
            timestamp: Timestamp(1_700_000_000_000 + number as i64),
            key: Some(b"key"),
            value: Some(&b"something that repeats itself, ".repeat(4)),
            headers: &[],
        });
    }
    builder.build()
}

/// The batch with this stream in place of its records.
fn with_stream(codec: Compression, stream: &[u8]) -> Bytes {
    let header = batch().into_bytes().slice(..HEADER_BYTES);
    let mut bytes = [&header[..], stream].concat();
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&(codec as i16).to_be_bytes());
    seal(&mut bytes).expect("it is one batch");
    bytes.into()
}

fn streams(plain: &[u8]) -> anyhow::Result<Vec<(&'static str, Compression, Vec<u8>)>> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let lz4 = |info: FrameInfo| -> anyhow::Result<Vec<u8>> {
        let info = info.block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(plain)?;
        Ok(encoder.finish()?)
    };
    let gzip = |builder: flate2::GzBuilder| -> anyhow::Result<Vec<u8>> {
        let mut encoder = builder.write(Vec::new(), flate2::Compression::default());
        encoder.write_all(plain)?;
        Ok(encoder.finish()?)
    };
    let zstd = |checksum| -> anyhow::Result<Vec<u8>> {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3)?;
        encoder.include_checksum(checksum)?;
        encoder.write_all(plain)?;
        Ok(encoder.finish()?)
    };
    Ok(vec![
        ("gzip", Compression::Gzip, gzip(flate2::GzBuilder::new())?),
        ("gzip with a name", Compression::Gzip, gzip(flate2::GzBuilder::new().filename("name"))?),
        ("snappy, framed", Compression::Snappy, Compression::Snappy.compress(plain)),
        ("snappy, raw", Compression::Snappy, snap::raw::Encoder::new().compress_vec(plain)?),
        ("lz4", Compression::Lz4, lz4(FrameInfo::new())?),
        ("lz4 with block checksums", Compression::Lz4, lz4(FrameInfo::new().block_checksums(true))?),
        ("lz4 with a content checksum", Compression::Lz4, lz4(FrameInfo::new().content_checksum(true))?),
        (
            "lz4 with its size",
            Compression::Lz4,
            lz4(FrameInfo::new().content_size(Some(plain.len() as u64)))?,
        ),
        ("zstd", Compression::Zstd, zstd(false)?),
        ("zstd with a checksum", Compression::Zstd, zstd(true)?),
    ])
}

fn damages(stream: &[u8], seed: u64) -> Vec<(String, Vec<u8>)> {
    let random = SeededRandom::new(seed);
    let mut all = vec![("whole".to_string(), stream.to_vec())];
    let middle = stream.len() / 2;
    for length in (1..EDGE).chain([middle]).chain(stream.len().saturating_sub(EDGE)..stream.len()) {
        all.push((format!("cut to {length}"), stream[..length].to_vec()));
    }
    for (name, tail) in [
        ("a zero", &[0][..]),
        ("four zeros", &[0; 4]),
        ("thirty zeros", &[0; 30]),
        ("a letter", b"x"),
        ("text", b"some text that is no stream of any codec"),
        ("itself", stream),
    ] {
        all.push((format!("followed by {name}"), [stream, tail].concat()));
    }
    let edges = (0..EDGE).chain(stream.len() - EDGE..stream.len());
    let bits = edges.flat_map(|byte| [0, 1, 2, 3, 4, 5, 6, 7].map(|bit| (byte, bit)));
    let inside = (0..CHANGES).map(|_| (pick(&random, stream.len()), pick(&random, 8)));
    for (byte, bit) in bits.chain(inside) {
        let mut changed = stream.to_vec();
        changed[byte] ^= 1 << bit;
        all.push((format!("bit {bit} of byte {byte} changed"), changed));
    }
    all
}

/// Whether a batch is taken, and what is read of it then.
fn verdict(side: &mut Side, topic: &str, batch: Bytes) -> anyhow::Result<String> {
    let data = PartitionProduceData { records: Some(batch.into()), ..Default::default() };
    let data = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 5000, topic_data: vec![data], ..Default::default() };
    let answer = side.call(9, &request)?;
    let answer = &answer.responses.first().context("no topic is answered")?.partition_responses[0];
    if answer.error_code != 0 {
        return Ok(format!("refused with {}", answer.error_code));
    }
    let partition = FetchPartition {
        fetch_offset: answer.base_offset,
        partition_max_bytes: 1 << 20,
        current_leader_epoch: -1,
        ..Default::default()
    };
    let wanted = FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: 1000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![wanted],
        ..Default::default()
    };
    let fetched = side.call(12, &request)?;
    let records = fetched.responses[0].partitions[0].records.clone().context("no records")?;
    let first = model::batch::batches(records.to_bytes()).next().context("no batch")??;
    let read = first.records(1 << 20).map(|records| hash(records.section()));
    Ok(format!("taken, {read:?}"))
}

/// Enough to tell records apart.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)))
}
