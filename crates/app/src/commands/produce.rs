//! `levada produce`: lines become records.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;
use env::{Clock, Random, SystemClock, SystemRandom};
use model::Timestamp;
use model::batch::{BatchBuilder, NewRecord};
use model::compression::Compression;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep};
use wire::ProduceRequest;
use wire::produce::{PartitionProduceData, TopicProduceData};

use crate::cli::{Codec, ProduceArgs};
use crate::client::{self, Cluster, Topic, check, partition_of_key};
use crate::commands::topic::own;
use crate::output::{self, counted};

/// A batch is sent when it holds so many records or bytes, or when no more lines are waiting.
const BATCH_RECORDS_MAX: usize = 1000;
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Lines that are read ahead of the broker.
const LINES_AHEAD_MAX: usize = 4 * BATCH_RECORDS_MAX;
const PAUSE: Duration = Duration::from_millis(100);

/// One line, cut into key and value.
struct Line {
    /// From 1.
    number: usize,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

pub fn run(arguments: &ProduceArgs) -> anyhow::Result<()> {
    client::run(&arguments.broker, async |cluster| {
        own::check_in(&cluster, &arguments.topic, own::Deed::Produce, arguments.force).await?;
        // Before the topic: it is not to be made for a file that is not there.
        let input = input(arguments)?;
        let topic = cluster.topic(&arguments.topic, true).await?;
        if let Some(partition) = arguments.partition {
            client::by_leader(&topic, &[partition])?;
        }
        let mut sender = Sender::new(arguments, topic);
        let mut lines = read_lines(arguments, input)?;
        let mut held = None;
        loop {
            let (batch, unreadable) = next_lines(&mut lines, &mut held).await;
            let outcome = match sender.send(&cluster, &batch).await {
                Ok(()) => unreadable.map_or(Ok(()), Err),
                failed => failed,
            };
            if let Err(error) = outcome {
                return Err(error.context(sender.so_far()));
            }
            if batch.is_empty() {
                break;
            }
        }
        output::error_line(&format!("sent {} to {}", records(sender.sent), arguments.topic));
        Ok(())
    })
}

fn records(count: usize) -> String {
    counted(count as u64, "record")
}

type Input = Box<dyn Read + Send>;

/// Where lines come from.
fn input(arguments: &ProduceArgs) -> anyhow::Result<Input> {
    Ok(match &arguments.file {
        Some(path) => Box::new(open(path)?),
        None => Box::new(std::io::stdin()),
    })
}

/// Reads on a thread of its own, so that what is typed is sent at once and a file is read ahead.
fn read_lines(arguments: &ProduceArgs, input: Input) -> anyhow::Result<mpsc::Receiver<anyhow::Result<Line>>> {
    let (send, receive) = mpsc::channel(LINES_AHEAD_MAX);
    let cut = Cut {
        separator: arguments.key_separator.clone().map(String::into_bytes),
        key: arguments.key.clone().map(String::into_bytes),
        empty_is_null: arguments.empty_is_null,
    };
    env::spawn_thread("lines".to_owned(), move || {
        let mut reader = BufReader::new(input);
        let mut told_of_cr = false;
        for number in 1.. {
            let mut line = Vec::new();
            let outcome = match reader.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => cut.line(number, &line).with_context(|| format!("line {number}")),
                Err(error) => Err(error).with_context(|| format!("cannot read line {number}")),
            };
            if line.ends_with(b"\r\n") && !told_of_cr {
                output::note(
                    "lines end with CR LF: the CR stays in the records (`tr -d '\\r'` takes it out)",
                );
                told_of_cr = true;
            }
            let ended = outcome.is_err();
            if send.blocking_send(outcome).is_err() || ended {
                return;
            }
        }
    })?;
    Ok(receive)
}

#[expect(clippy::disallowed_methods, reason = "a file that the user names, at the rim of the command line")]
fn open(path: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// How a line becomes key and value.
struct Cut {
    separator: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    empty_is_null: bool,
}

impl Cut {
    fn line(&self, number: usize, line: &[u8]) -> anyhow::Result<Line> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (key, value) = match &self.separator {
            None => (self.key.clone(), line),
            Some(separator) => {
                let at = line.windows(separator.len().max(1)).position(|window| window == separator);
                let at = at.with_context(|| {
                    let separator = String::from_utf8_lossy(separator);
                    format!("no `{separator}` between key and value in `{}`", String::from_utf8_lossy(line))
                })?;
                (Some(line[..at].to_vec()), &line[at + separator.len()..])
            }
        };
        let value = if value.is_empty() && self.empty_is_null { None } else { Some(value.to_vec()) };
        Ok(Line { number, key, value })
    }
}

/// Waits for a line, then takes what else is there already, up to a batch; and what came instead of the next line, if
/// it is an error. A line that would make the batch too large is held for the next one: the broker may refuse it, and
/// shall not refuse those before it too.
async fn next_lines(
    lines: &mut mpsc::Receiver<anyhow::Result<Line>>,
    held: &mut Option<Line>,
) -> (Vec<Line>, Option<anyhow::Error>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = match held.take() {
        Some(line) => Some(Ok(line)),
        None => lines.recv().await,
    };
    while let Some(line) = next {
        let line = match line {
            Ok(line) => line,
            Err(error) => return (batch, Some(error)),
        };
        bytes += line.key.as_ref().map_or(0, Vec::len) + line.value.as_ref().map_or(0, Vec::len);
        if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
            *held = Some(line);
            break;
        }
        batch.push(line);
        if batch.len() >= BATCH_RECORDS_MAX {
            break;
        }
        next = lines.try_recv().ok();
    }
    (batch, None)
}

struct Sender<'a> {
    arguments: &'a ProduceArgs,
    topic: Topic,
    /// Which partition is next for lines without a key.
    turn: usize,
    /// Acknowledged, unless acks is 0.
    sent: usize,
    clock: SystemClock,
}

impl<'a> Sender<'a> {
    fn new(arguments: &'a ProduceArgs, topic: Topic) -> Sender<'a> {
        // Anywhere: many runs with one line each shall not all meet in one partition.
        let turn = SystemRandom.below(topic.partitions.len() as u64) as usize;
        Sender { arguments, topic, turn, sent: 0, clock: SystemClock::new() }
    }

    /// What is known when something went wrong.
    fn so_far(&self) -> String {
        let became = if self.arguments.acks == "0" { "sent" } else { "acknowledged" };
        match self.sent {
            0 => format!("no record was {became}"),
            1 => format!("1 record was {became} before this"),
            sent => format!("{} were {became} before this", records(sent)),
        }
    }

    /// One batch a partition, each acknowledged (unless acks is 0) before the next lines are read.
    async fn send(&mut self, cluster: &Cluster, lines: &[Line]) -> anyhow::Result<()> {
        let now = self.clock.now();
        for (partition, lines) in self.by_partition(lines) {
            let deadline = Instant::now() + cluster.patience();
            loop {
                match self.send_one(cluster, partition, &lines, now).await {
                    Err(error) if may_pass(&error) && Instant::now() < deadline => {
                        sleep(PAUSE).await;
                        self.topic = cluster.topic(&self.topic.name, false).await?;
                    }
                    Err(error) => {
                        let in_doubt = if client::is_lost(&error) {
                            " (it is not known whether the broker has them)"
                        } else {
                            ""
                        };
                        return Err(error.context(format!("{}{in_doubt}", place(&lines))));
                    }
                    Ok(()) => break,
                }
            }
            self.sent += lines.len();
        }
        Ok(())
    }

    fn by_partition<'l>(&mut self, lines: &'l [Line]) -> BTreeMap<i32, Vec<&'l Line>> {
        let count = self.topic.partitions.len();
        let mut partitions: BTreeMap<i32, Vec<&Line>> = BTreeMap::new();
        self.turn += 1;
        for line in lines {
            let partition = match (self.arguments.partition, &line.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => partition_of_key(key, count) as i32,
                (None, None) => (self.turn % count) as i32,
            };
            partitions.entry(partition).or_default().push(line);
        }
        partitions
    }

    async fn send_one(
        &self,
        cluster: &Cluster,
        partition: i32,
        lines: &[&Line],
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let leaders = client::by_leader(&self.topic, &[partition])?;
        let leader = *leaders.keys().next().context("a partition has a leader")?;
        let headers: Vec<(&[u8], Option<&[u8]>)> = (self.arguments.header.iter())
            .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))
            .collect();
        let mut batch = BatchBuilder::new(codec(self.arguments.compression));
        for line in lines {
            batch.push(NewRecord {
                timestamp: now,
                key: line.key.as_deref(),
                value: line.value.as_deref(),
                headers: &headers,
            });
        }
        let acks = match self.arguments.acks.as_str() {
            "0" => 0,
            "1" => 1,
            _ => -1,
        };
        let request = ProduceRequest {
            acks,
            timeout_ms: i32::try_from(cluster.patience().as_millis()).unwrap_or(i32::MAX),
            topic_data: vec![TopicProduceData {
                name: self.topic.name.as_str().into(),
                topic_id: self.topic.id,
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: Some(batch.build().into_bytes().into()),
                    ..PartitionProduceData::default()
                }],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        let node = cluster.node(leader).await?;
        if acks == 0 {
            return Ok(node.tell(&request).await?);
        }
        let answer = node.ask(&request).await?;
        let answer = answer.responses.into_iter().flat_map(|topic| topic.partition_responses).next();
        let answer = answer.context("the broker left the partition out of its answer")?;
        check(answer.error_code, answer.error_message.as_deref())
            .with_context(|| format!("{} partition {partition}", self.topic.name))
    }
}

/// Which lines a batch is made of, as far as their numbers tell.
fn place(lines: &[&Line]) -> String {
    match lines {
        [] => String::new(),
        [only] => format!("line {}", only.number),
        [first, .., last] => {
            format!("{} between lines {} and {}", records(lines.len()), first.number, last.number)
        }
    }
}

/// Whether the broker said "not now": then it did nothing, and asking again does nothing twice.
fn may_pass(error: &anyhow::Error) -> bool {
    client::refused(error).is_some_and(client::Refused::is_passing)
}

fn codec(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}
