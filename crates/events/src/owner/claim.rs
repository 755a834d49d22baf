//! How somebody becomes the owner: no older epoch gets in any more, and all that did is read.

use std::time::Duration;

use client::{AskError, ClaimedWriter, WriteError};
use model::{Offset, PartitionId};
use tokio::time::sleep;
use tracing::warn;

use super::{End, Parts, log_end};
use crate::planted::{self, Planted};
use crate::record;
use crate::replica::{NotReached, Replica};

/// Claims the partition and reads up to the claim. Gives the writer, and the offset after the claim.
pub(super) async fn claim(parts: &Parts) -> Result<(ClaimedWriter, Offset), End> {
    let Parts { cluster, category, replica, .. } = parts;
    let PartitionId { topic, index } = replica.partition;
    let failed = |error: AskError| End::Failed(error.to_string());
    let name = category.topic();
    if let Some(halted) = replica.halted() {
        return Err(End::Halted(halted.why));
    }
    let log_end = log_end(parts);
    if !planted::is(Planted::ClaimNotAwaited) {
        // Whose the last claim was is known only to whoever has read it.
        reach(replica, log_end().await.map_err(failed)?).await?;
    }
    let before = replica.seen().borrow().state.claim.clone();
    let id = category.transactional_id(index);
    let writer = ClaimedWriter::open(cluster, &id, (&name, topic), index).await.map_err(failed)?;
    let own_name = record::writer(writer.producer_id(), writer.epoch());
    let mut next = match planted::is(Planted::NoClaim) {
        false => write_claim(parts, &writer, &own_name).await?,
        true => Offset::ZERO,
    };
    if planted::is(Planted::ClaimNotAwaited) {
        return Ok((writer, next));
    }
    reach(replica, next).await?;
    // A claim fences older epochs of its own producer id only.
    let strays =
        before.is_some_and(|claim| claim.writer.split(':').next() != Some(&writer.producer_id().to_string()));
    if strays {
        warn!(%category, partition = index, "the producer id is a new one: waiting for what the old one may still write");
        sleep(parts.stray_writes_max).await;
    }
    let end = log_end().await.map_err(failed)?;
    if end > next {
        reach(replica, end).await?;
        next = end;
    }
    let claim = replica.seen().borrow().state.claim.clone();
    match claim {
        Some(claim) if claim.writer == own_name => Ok((writer, next)),
        _ if planted::is(Planted::NoClaim) => Ok((writer, next)),
        _ => Err(End::Fenced),
    }
}

/// The offset after the claim.
async fn write_claim(parts: &Parts, writer: &ClaimedWriter, own_name: &str) -> Result<Offset, End> {
    let at = parts.clock.now();
    let batch = record::claim(parts.category.name(), &format!("claim-{own_name}"), own_name, at);
    let written = writer.write(batch).await.map_err(over)?.await;
    Ok(written.unwrap_or(Err(WriteError::Gone)).map_err(over)?.plus(1))
}

async fn reach(replica: &Replica, next: Offset) -> Result<(), End> {
    // As long as it comes nearer.
    let mut last = Offset::NONE;
    loop {
        match replica.reached(next, Duration::from_secs(30)).await {
            Ok(()) => return Ok(()),
            Err(NotReached::Halted(why)) => return Err(End::Halted(why)),
            Err(NotReached::Late { at } | NotReached::Rebuilding { at, .. }) if at > last => last = at,
            Err(NotReached::Rebuilding { at, to }) => {
                return Err(End::Failed(format!(
                    "its index is made anew, and does not get beyond {at} of {to}"
                )));
            }
            Err(NotReached::Late { at }) => {
                return Err(End::Failed(format!("its index does not get beyond offset {at}")));
            }
        }
    }
}

pub(super) fn over(error: WriteError) -> End {
    match error {
        WriteError::Fenced => End::Fenced,
        other => End::Failed(other.to_string()),
    }
}
