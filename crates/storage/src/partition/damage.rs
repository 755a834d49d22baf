//! Which offsets of a partition are lost.

use model::Offset;

use crate::codec::{Decoder, Encoder, Malformed};
use crate::segment::{Known, Spot};

/// Offsets that cannot be read any more, and where in a segment they lay if they did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub first: Offset,
    /// Inclusive.
    pub last: Offset,
    pub spot: Option<Spot>,
}

/// The damage of one partition. While there is any, it takes no appends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// By first offset.
    lost: Vec<Lost>,
    /// Records may be missing at the end, it is not known how many.
    pub tail_suspect: bool,
    /// Losses that an operator has accepted: readers step over them.
    accepted: Vec<Lost>,
}

impl Damage {
    pub fn is_none(&self) -> bool {
        self.lost.is_empty() && !self.tail_suspect
    }

    /// Says whether that was news.
    pub fn add(&mut self, lost: Lost) -> bool {
        let covers = |known: &Lost| known.first <= lost.first && lost.last <= known.last;
        if lost.first > lost.last || self.lost.iter().chain(&self.accepted).any(covers) {
            return false;
        }
        let index = self.lost.partition_point(|known| known.first < lost.first);
        self.lost.insert(index, lost);
        true
    }

    /// Adds what is not known yet of a range.
    pub fn add_all(&mut self, first: Offset, last: Offset) {
        for (first, last) in self.unknown(first, last) {
            self.add(Lost { first, last, spot: None });
        }
    }

    /// The parts of a range, first and last, of which it is not known that they are lost.
    pub fn unknown(&self, mut first: Offset, last: Offset) -> Vec<(Offset, Offset)> {
        let mut known: Vec<(Offset, Offset)> =
            self.lost.iter().chain(&self.accepted).map(|lost| (lost.first, lost.last)).collect();
        known.sort_unstable();
        let mut unknown = Vec::new();
        for (from, to) in known.into_iter().filter(|(from, _)| *from <= last) {
            if from > first {
                unknown.push((first, from.plus(-1)));
            }
            first = first.max(to.plus(1));
        }
        if first <= last {
            unknown.push((first, last));
        }
        unknown
    }

    pub fn holds(&self, offset: Offset) -> bool {
        self.lost.iter().any(|lost| lost.first <= offset && offset <= lost.last)
    }

    /// Whether all of these offsets were given up.
    pub fn is_given_up(&self, mut first: Offset, end: Offset) -> bool {
        while let Some(lost) = self.accepted.iter().find(|lost| lost.first <= first && first <= lost.last) {
            first = lost.last.plus(1);
        }
        first >= end
    }

    /// The first lost offset after this one.
    pub fn next_after(&self, offset: Offset) -> Option<Offset> {
        self.lost.iter().map(|lost| lost.first).find(|first| *first > offset)
    }

    pub fn ranges(&self) -> Vec<(Offset, Offset)> {
        self.lost.iter().map(|lost| (lost.first, lost.last)).collect()
    }

    /// What a reader of a segment must know.
    pub fn known(&self, segment: Offset, start: Offset) -> Known {
        let all = || self.lost.iter().chain(&self.accepted);
        let mut lost: Vec<(Offset, Offset)> = all().map(|lost| (lost.first, lost.last)).collect();
        lost.sort_unstable();
        let spots = all().filter_map(|lost| lost.spot).filter(|spot| spot.segment == segment).collect();
        Known { spots, lost, start }
    }

    /// What is lost is lost: from now on the partition is whole again without it.
    pub fn accept(&mut self) {
        self.tail_suspect = false;
        self.accepted.append(&mut self.lost);
    }

    /// Those that reach beyond the log's start.
    pub fn accepted_ranges(&self, start: Offset) -> Vec<(Offset, Offset)> {
        self.accepted.iter().filter(|lost| lost.last >= start).map(|lost| (lost.first, lost.last)).collect()
    }

    /// What lies below the log's start is nobody's loss any more. Unreadable places in a segment must still be stepped over
    /// on the way to what lies behind them.
    pub fn truncate_start(&mut self, start: Offset) {
        let (gone, lost) = std::mem::take(&mut self.lost).into_iter().partition(|lost| lost.last < start);
        self.lost = lost;
        self.accepted.extend::<Vec<Lost>>(gone);
        self.accepted.retain(|lost| lost.last >= start || lost.spot.is_some());
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.bool(self.tail_suspect);
        for list in [&self.lost, &self.accepted] {
            out.list(list.iter(), |out, lost| {
                out.offset(lost.first);
                out.offset(lost.last);
                out.option(lost.spot, |out, spot| {
                    out.offset(spot.segment);
                    out.u64(spot.position);
                    out.u64(spot.next);
                });
            });
        }
    }

    pub fn decode(from: &mut Decoder<'_>) -> Result<Damage, Malformed> {
        let lost = |from: &mut Decoder<'_>| {
            let spot = |from: &mut Decoder<'_>| {
                Ok(Spot { segment: from.offset()?, position: from.u64()?, next: from.u64()? })
            };
            Ok(Lost { first: from.offset()?, last: from.offset()?, spot: from.option(spot)? })
        };
        Ok(Damage { tail_suspect: from.bool()?, lost: from.list(lost)?, accepted: from.list(lost)? })
    }
}
