//! Finding the groups of a log that a crash, or the disk, may have damaged. Changes nothing.

use std::io;
use std::sync::Arc;

use env::{File, read_exact_at};

use super::format::{
    Entry, FRAME_HEADER_BYTES, Frame, GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, read_frame,
};

/// Bytes looked through at a time while searching for a header.
const SEARCH_BYTES: usize = 1 << 20;

/// A group whose header is readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub slot: u32,
    pub header: GroupHeader,
    /// Every frame and every batch in it is as it was written.
    pub is_intact: bool,
}

/// Part of a group's body.
pub(crate) enum Piece<'a> {
    /// `at`: where the frame begins; `is_intact`: its batch has the right CRC.
    Frame { frame: Frame<'a>, at: usize, is_intact: bool },
    /// No frame can be read here.
    Lost { bytes: usize },
}

/// All readable groups of one file that belong to its last use, if that is `first_file` or later.
pub(crate) fn scan_file(
    file: &Arc<dyn File>,
    slot: u32,
    shard: u32,
    first_file: u64,
) -> io::Result<Vec<Found>> {
    let length = file.len()?;
    let is_ours = |header: &GroupHeader| header.shard == shard;
    let begin = match header_at(&**file, 0)?.filter(is_ours) {
        Some(header) => header,
        // The very first header may be the damaged one: its number is that of the newest group behind it.
        None => {
            let mut newest: Option<GroupHeader> = None;
            let mut from = 0;
            while let Some(header) = search(&**file, from, length, |header| is_ours(header))? {
                from = header.position + 1;
                if newest.is_none_or(|newest| header.file > newest.file) {
                    newest = Some(header);
                }
            }
            match newest {
                Some(header) => header,
                None => return Ok(Vec::new()),
            }
        }
    };
    if begin.file < first_file {
        return Ok(Vec::new());
    }
    let number = begin.file;
    let mut found = Vec::new();
    let mut body = Vec::new();
    let mut position = begin.position;
    loop {
        let same_use = |header: &GroupHeader| is_ours(header) && header.file == number;
        let header = match header_at(&**file, position)?.filter(same_use) {
            Some(header) => header,
            None => match search(&**file, position + 1, length, same_use)? {
                Some(header) => header,
                None => return Ok(found),
            },
        };
        let is_intact = header.end() <= length && {
            read_body(&**file, &header, &mut body)?;
            is_intact(&body, &header)
        };
        found.push(Found { slot, header, is_intact });
        // A damaged group may hide the one behind it if its length lies; its header's CRC says it does not.
        position = header.end();
    }
}

pub(crate) fn read_body(file: &dyn File, header: &GroupHeader, body: &mut Vec<u8>) -> io::Result<()> {
    body.clear();
    body.resize(header.body_bytes as usize, 0);
    let count = file.read_at(body, header.position + GROUP_HEADER_BYTES as u64)?;
    body.truncate(count);
    Ok(())
}

fn is_intact(body: &[u8], header: &GroupHeader) -> bool {
    let mut frames = 0;
    for piece in pieces(body, header.file) {
        match piece {
            Piece::Frame { frame, is_intact: true, .. } if frame.group_low == header.group as u32 => {
                frames += 1
            }
            _ => return false,
        }
    }
    frames == header.frames && body.len() == header.body_bytes as usize
}

/// Takes a body apart, over damaged places too.
pub(crate) fn pieces(body: &[u8], file: u64) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= body.len() {
            return None;
        }
        if let Some(frame) = read_frame(&body[at..], file) {
            let is_intact = match &frame.entry {
                Entry::Batch(header) => header.check_crc(frame.payload).is_ok(),
                _ => true,
            };
            let piece = Piece::Frame { at, is_intact, frame };
            if let Piece::Frame { frame, .. } = &piece {
                at += frame.size_bytes();
            }
            return Some(piece);
        }
        let readable = |next: &usize| read_frame(&body[*next..], file).is_some();
        let next =
            (at + 1..body.len().saturating_sub(FRAME_HEADER_BYTES)).find(readable).unwrap_or(body.len());
        let piece = Piece::Lost { bytes: next - at };
        at = next;
        Some(piece)
    })
}

fn header_at(file: &dyn File, position: u64) -> io::Result<Option<GroupHeader>> {
    let mut bytes = [0; GROUP_HEADER_BYTES];
    let count = file.read_at(&mut bytes, position)?;
    Ok(GroupHeader::decode(&bytes[..count], position))
}

/// The first header from a position on that passes.
fn search(
    file: &dyn File,
    from: u64,
    length: u64,
    passes: impl Fn(&GroupHeader) -> bool,
) -> io::Result<Option<GroupHeader>> {
    let mut start = from;
    let mut window = Vec::new();
    while start < length {
        // Overlapping, so that a header across the border is seen.
        window.resize((SEARCH_BYTES + GROUP_HEADER_BYTES).min((length - start) as usize), 0);
        read_exact_at(file, &mut window, start)?;
        let mut at = 0;
        while let Some(step) = window[at..].iter().position(|byte| *byte == GROUP_MAGIC[0]) {
            at += step;
            if at >= SEARCH_BYTES {
                break;
            }
            if window[at..].starts_with(&GROUP_MAGIC)
                && let Some(header) = GroupHeader::decode(&window[at..], start + at as u64)
                && passes(&header)
            {
                return Ok(Some(header));
            }
            at += 1;
        }
        start += SEARCH_BYTES as u64;
    }
    Ok(None)
}
