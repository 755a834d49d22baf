//! Writing anew what nothing proves to be on the medium.
//!
//! After a failed sync the kernel may hold written bytes in memory and never write them (it marks the pages clean).
//! Whoever opens the log after that reads them, although the next power cut takes them away, and another sync does
//! not help. So every group behind the proof, and every large batch that such a group names, is written once more
//! before it is synced and believed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use env::{File, read_exact_at};

use super::examine::Slots;
use super::{Parts, Verdict};
use crate::directory::PARTITIONS;
use crate::segment::Name;
use crate::wal::format::{Entry, GROUP_HEADER_BYTES};
use crate::wal::scan::{Piece, pieces, read_body};

/// The caller syncs the write-ahead log afterwards; segments are synced here.
pub(super) fn rewrite_unproven(parts: &Parts, slots: &Slots, verdict: &Verdict) -> io::Result<()> {
    let mut segments: BTreeMap<PathBuf, Arc<dyn File>> = BTreeMap::new();
    let mut body = Vec::new();
    for found in verdict.groups.iter().filter(|found| found.header.group > verdict.proof) {
        let header = &found.header;
        let slot = &slots[&found.slot];
        rewrite(&**slot, header.position, GROUP_HEADER_BYTES + header.body_bytes as usize)?;
        read_body(&**slot, header, &mut body)?;
        for piece in pieces(&body, header.file) {
            let Piece::Frame { frame, .. } = piece else { continue };
            let Entry::Direct { header, segment, position } = frame.entry else { continue };
            let directory = parts.options.data_dir.join(PARTITIONS).join(frame.partition.to_string());
            let path = directory.join(Name::first(segment).stem()).with_extension("log");
            let log = match segments.get(&path) {
                Some(log) => log.clone(),
                None => {
                    let log = match parts.disk.open(&path) {
                        Ok(log) => log,
                        // Deleted since: a later frame says so.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(error),
                    };
                    segments.insert(path, log.clone());
                    log
                }
            };
            match rewrite(&*log, position, header.size_bytes()) {
                // So was this: the groups were looked at before.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                written => written?,
            }
        }
    }
    segments.values().try_for_each(|log| log.sync_data())
}

fn rewrite(file: &dyn File, position: u64, length: usize) -> io::Result<()> {
    let mut bytes = vec![0; length];
    read_exact_at(file, &mut bytes, position)?;
    file.write_at(&bytes, position)
}
