//! Record batches, good ones and all kinds of bad ones.

use bytes::Bytes;
use env::SeededRandom;
use model::batch::{BatchBuilder, NewRecord, seal};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId, Timestamp};

use crate::{one, pick};

/// What is to be sent, but for the producer id, which each broker gave itself.
#[derive(Clone, Debug)]
pub struct Batch {
    pub codec: Compression,
    pub records: usize,
    /// Added to the time at which the run began, in ms.
    pub time: i64,
    pub key: bool,
    /// Number of the producer id, epoch, sequence.
    pub producer: Option<(usize, i16, i32)>,
    pub fault: Fault,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    None,
    Empty,
    Null,
    CutShort,
    Trailing,
    Twice,
    Crc,
    Magic,
    BaseOffset,
    LastOffsetDelta,
    RecordCount,
    ControlBit,
    LogAppendTimeBit,
    NegativeSequence,
    MaxTimestamp,
    LengthTooLarge,
    Large,
}

const FAULTS: [Fault; 15] = [
    Fault::Empty,
    Fault::CutShort,
    Fault::Trailing,
    Fault::Twice,
    Fault::Crc,
    Fault::Magic,
    Fault::BaseOffset,
    Fault::LastOffsetDelta,
    Fault::RecordCount,
    Fault::ControlBit,
    Fault::LogAppendTimeBit,
    Fault::NegativeSequence,
    Fault::MaxTimestamp,
    Fault::LengthTooLarge,
    Fault::Large,
];

impl Batch {
    /// No records at all.
    pub const NULL: Batch = Batch {
        codec: Compression::None,
        records: 1,
        time: 0,
        key: true,
        producer: None,
        fault: Fault::Null,
    };

    pub fn draw(random: &SeededRandom) -> Batch {
        let faulty = pick(random, 4) == 0;
        let producer = (pick(random, 3) == 0).then(|| {
            let epoch = one(random, &[0, 0, 0, 1, 1, 2, 3]);
            let sequence = one(random, &[0, 0, 1, 2, 3, 4, 6, i32::MAX]);
            (pick(random, 4), epoch, sequence)
        });
        Batch {
            codec: one(random, &Compression::ALL),
            records: 1 + pick(random, 4),
            time: one(random, &[0, 0, 0, -1000, 1000, 7_200_000, -1_000_000]),
            key: pick(random, 4) > 0,
            producer,
            fault: if faulty { one(random, &FAULTS) } else { Fault::None },
        }
    }

    /// The other broker looks at the bit for LogAppendTime only where the topic's times are its own, and elsewhere
    /// stores such a batch under times that it does not hold; so it is tried there only.
    pub fn for_topic(mut self, stamped: bool) -> Batch {
        if self.fault == Fault::LogAppendTimeBit && !stamped {
            self.fault = Fault::None;
        }
        self
    }

    pub fn bytes(&self, producer_id: impl Fn(usize) -> i64, start: i64) -> Option<Bytes> {
        let mut builder = BatchBuilder::new(self.codec);
        if let Some((number, epoch, sequence)) = self.producer {
            builder = builder.producer(ProducerId(producer_id(number)), ProducerEpoch(epoch), sequence);
        }
        let large = [b'x'; 3000];
        for record in 0..self.records {
            let value: &[u8] = if self.fault == Fault::Large { &large } else { b"value" };
            builder.push(NewRecord {
                timestamp: Timestamp(start + self.time + record as i64),
                key: self.key.then_some(b"key".as_slice()),
                value: Some(value),
                headers: &[(b"h", Some(b"1")), (b"h", None)],
            });
        }
        let good = builder.build().into_bytes();
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = good.to_vec();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            seal(&mut changed).expect("still a batch");
            Bytes::from(changed)
        };
        let attributes = i16::from_be_bytes([good[21], good[22]]);
        Some(match self.fault {
            Fault::None | Fault::Large => good,
            Fault::Null => return None,
            Fault::Empty => Bytes::new(),
            Fault::CutShort => good.slice(..good.len() - 3),
            Fault::Trailing => [&good[..], b"abc"].concat().into(),
            Fault::Twice => [&good[..], &good[..]].concat().into(),
            Fault::Crc => {
                let mut changed = good.to_vec();
                changed[17] ^= 1;
                changed.into()
            }
            Fault::Magic => {
                let mut changed = good.to_vec();
                changed[16] = 1;
                changed.into()
            }
            Fault::BaseOffset => {
                let mut changed = good.to_vec();
                changed[7] = 9;
                changed.into()
            }
            Fault::LengthTooLarge => {
                let mut changed = good.to_vec();
                changed[9] = 1;
                changed.into()
            }
            Fault::LastOffsetDelta => with(23, &(self.records as i32 + 2).to_be_bytes()),
            Fault::RecordCount => with(57, &(self.records as i32 + 2).to_be_bytes()),
            Fault::ControlBit => with(21, &(attributes | 0x20).to_be_bytes()),
            Fault::LogAppendTimeBit => with(21, &(attributes | 0x08).to_be_bytes()),
            Fault::NegativeSequence => {
                let mut changed = with(43, &producer_id(0).to_be_bytes()).to_vec();
                changed[53..57].copy_from_slice(&(-1i32).to_be_bytes());
                seal(&mut changed).expect("still a batch");
                changed.into()
            }
            Fault::MaxTimestamp => with(35, &(start + self.time + 999).to_be_bytes()),
        })
    }
}
