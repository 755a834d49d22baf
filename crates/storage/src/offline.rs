//! Reading records without a broker, and without changing anything.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use env::{Clock, Disk, File, Random, read_exact_at};
use model::{Batch, Offset, PartitionId};

use crate::directory;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::recovery::{Examined, Parts, examine, extents, log_files};
use crate::segment::{Step, Walk, file_stem};
use crate::storage::OpenError;

/// Hands over every readable batch of one partition, in order; damaged ones are passed over, and of a partition that
/// does not exist there are none. Nobody else may use the directory meanwhile.
pub fn read_offline(
    options: Options,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    id: PartitionId,
    mut each: impl FnMut(&Batch),
) -> Result<(), OpenError> {
    let data_dir = options.data_dir.clone();
    let _lock = directory::lock(&*disk, &data_dir)?;
    let failed =
        |source: io::Error| OpenError::Io { doing: format!("reading {}", data_dir.display()), source };
    let shards = directory::shards(&*disk, &data_dir).map_err(failed)?;
    let parts =
        Parts { options: Arc::new(options), disk, clock, random, metrics: Arc::new(Metrics::default()) };
    for shard in shards {
        let Some(examined) = examine(&parts, shard)? else { continue };
        if examined.replay.partitions.contains_key(&id) {
            return read_partition(&examined, id, &mut each).map_err(failed);
        }
    }
    Ok(())
}

fn read_partition(examined: &Examined, id: PartitionId, each: &mut impl FnMut(&Batch)) -> io::Result<()> {
    let site = &examined.site;
    let rebuilt = &examined.replay.partitions[&id];
    let directory = site.partitions_dir().join(id.to_string());
    let on_disk = log_files(&*site.disk, &directory)?;
    let mut reached = Offset::ZERO;
    for extent in extents(rebuilt, &directory, &on_disk, site)?.iter().filter(|extent| extent.exists) {
        let log = site.disk.open(&directory.join(file_stem(extent.base)).with_extension("log"))?;
        for step in Walk::new(&*log, extent.base, extent.size, extent.end, true) {
            let Step::Batch { position, header } = step? else { continue };
            if let Some(batch) = batch_at(&*log, position, header.size_bytes())? {
                each(&batch);
            }
        }
        reached = extent.end;
    }
    for pending in rebuilt.state.pending.iter().filter(|pending| pending.base >= reached) {
        let Some(file) = site.wal.file(pending.file) else { continue };
        if let Some(batch) = batch_at(&*file.file, pending.position.into(), pending.bytes as usize)? {
            each(&batch);
        }
    }
    Ok(())
}

fn batch_at(file: &dyn File, position: u64, size: usize) -> io::Result<Option<Batch>> {
    let mut bytes = BytesMut::zeroed(size);
    read_exact_at(file, &mut bytes, position)?;
    Ok(Batch::parse(bytes.freeze()).ok())
}
