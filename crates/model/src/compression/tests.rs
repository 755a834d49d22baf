use super::*;

fn samples() -> Vec<Vec<u8>> {
    let mut noise = Vec::new();
    let mut state = 1u32;
    for _ in 0..200_000 {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        noise.push((state >> 24) as u8);
    }
    vec![Vec::new(), b"a".to_vec(), vec![0; 1_000_000], noise]
}

#[test]
fn what_is_compressed_is_read_back_within_its_size() {
    for codec in Compression::ALL {
        for sample in samples() {
            let compressed = Bytes::from(codec.compress(&sample));
            assert_eq!(codec.decompress(&compressed, sample.len()).unwrap(), sample, "{codec:?}");
            if !sample.is_empty() {
                let error = codec.decompress(&compressed, sample.len() - 1).unwrap_err();
                assert_eq!(error, CompressionError::TooLarge(sample.len() - 1), "{codec:?}");
            }
        }
    }
}

#[test]
fn garbage_is_an_error_and_not_a_panic() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        for sample in samples() {
            let compressed = codec.compress(&sample);
            for length in (0..compressed.len()).step_by(1 + compressed.len() / 50) {
                let cut = Bytes::copy_from_slice(&compressed[..length]);
                if let Ok(bytes) = codec.decompress(&cut, sample.len()) {
                    assert!(sample.starts_with(&bytes), "{codec:?} makes something up");
                }
                let mut changed = compressed.clone();
                changed[length] ^= 0x55;
                let _ = codec.decompress(&changed.into(), sample.len());
            }
        }
        assert!(codec.decompress(&Bytes::from_static(b"\xff\xff\xff\xff\x7f"), 1 << 20).is_err());
    }
}

#[test]
fn gzip_may_have_several_members() {
    let members = [Compression::Gzip.compress(b"hello"), Compression::Gzip.compress(b" world")].concat();
    assert_eq!(Compression::Gzip.decompress(&members.into(), 100).unwrap(), &b"hello world"[..]);
}

#[test]
fn snappy_is_read_raw_and_framed_and_concatenated() {
    let raw = Bytes::from(snap::raw::Encoder::new().compress_vec(b"hello hello hello").unwrap());
    assert_eq!(Compression::Snappy.decompress(&raw, 100).unwrap(), &b"hello hello hello"[..]);
    let framed = Compression::Snappy.compress(b"hello");
    assert!(framed.starts_with(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"));
    let twice = [&framed[..], &framed[..]].concat();
    assert_eq!(Compression::Snappy.decompress(&twice.into(), 100).unwrap(), &b"hellohello"[..]);
}

#[test]
fn lz4_frames_that_java_cannot_read_are_refused() {
    // Written by the lz4 tool: `echo -n hello | lz4`.
    let independent = b"\x04\x22\x4d\x18\x64\x40\xa7\x05\x00\x00\x80hello\x00\x00\x00\x00\xf9\x77\x00\xfb";
    let read = |bytes: &[u8]| Compression::Lz4.decompress(&Bytes::copy_from_slice(bytes), 100);
    assert_eq!(read(independent).unwrap(), &b"hello"[..]);
    let reason = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    let mut dependent = independent.to_vec();
    dependent[4] &= !(1 << 5);
    assert!(reason(&dependent).contains("dependent blocks"), "{}", reason(&dependent));
    for (at, bit) in [(4, 0), (4, 1), (5, 0), (5, 3), (5, 7)] {
        let mut reserved = independent.to_vec();
        reserved[at] |= 1 << bit;
        assert!(reason(&reserved).contains("reserved bits"), "byte {at} bit {bit}");
    }
    let written = Compression::Lz4.compress(b"hello");
    assert_eq!(written[4] & 0b1110_0011, 0b0110_0000, "version 1, independent blocks, nothing reserved");
}

#[test]
fn names_are_kafkas() {
    for codec in Compression::ALL {
        assert_eq!(Compression::from_name(codec.name()), Some(codec));
        assert_eq!(Compression::from_id(codec as i16), Ok(codec));
    }
    assert_eq!(Compression::from_name("uncompressed"), Some(Compression::None));
    assert_eq!(Compression::from_id(5), Err(CompressionError::Unknown(5)));
}

/// Streams of every codec with everything that their formats can have, each holding `contents()`.
fn streams() -> Vec<(&'static str, Compression, Vec<u8>)> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let contents = contents();
    let lz4 = |info: FrameInfo| {
        let info = info.block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&contents).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = |builder: flate2::GzBuilder| {
        let mut encoder = builder.write(Vec::new(), flate2::Compression::default());
        encoder.write_all(&contents).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |checksum| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(checksum).unwrap();
        encoder.write_all(&contents).unwrap();
        encoder.finish().unwrap()
    };
    let plain = FrameInfo::new;
    vec![
        ("gzip", Compression::Gzip, gzip(flate2::GzBuilder::new())),
        (
            "gzip with a header",
            Compression::Gzip,
            gzip(flate2::GzBuilder::new().filename("f").comment("c").extra("e")),
        ),
        ("snappy, framed", Compression::Snappy, Compression::Snappy.compress(&contents)),
        ("snappy, raw", Compression::Snappy, snap::raw::Encoder::new().compress_vec(&contents).unwrap()),
        ("lz4", Compression::Lz4, lz4(plain())),
        ("lz4 with block checksums", Compression::Lz4, lz4(plain().block_checksums(true))),
        ("lz4 with a content checksum", Compression::Lz4, lz4(plain().content_checksum(true))),
        ("lz4 with its size", Compression::Lz4, lz4(plain().content_size(Some(contents.len() as u64)))),
        ("zstd", Compression::Zstd, zstd(false)),
        ("zstd with a checksum", Compression::Zstd, zstd(true)),
    ]
}

/// Two blocks of LZ4, something to compress and something that cannot be.
fn contents() -> Vec<u8> {
    let mut contents = b"something that repeats itself, ".repeat(2500);
    contents.extend(samples().pop().unwrap().into_iter().take(2000));
    contents
}

#[test]
fn whatever_is_cut_off_or_put_behind_a_stream_is_noticed() {
    for (name, codec, stream) in streams() {
        let read = |bytes: Vec<u8>| codec.decompress(&bytes.into(), 1 << 20);
        assert_eq!(read(stream.clone()).unwrap(), contents(), "{name}");
        let near = (1..70).chain(stream.len() - 70..stream.len());
        let spread = (1..stream.len()).step_by(1 + stream.len() / 60);
        for length in near.chain(spread) {
            let cut = read(stream[..length].to_vec());
            // What is framed may end after any block: that records are missing is seen when they are read.
            let is_block_end =
                name == "snappy, framed" && cut.as_ref().is_ok_and(|cut| cut.len() < contents().len());
            assert!(cut.is_err() || is_block_end, "{name} cut to {length} of {}", stream.len());
        }
        for tail in [&[0][..], &[0; 4], &[0; 30], b"x", b"some text that is no stream at all"] {
            assert!(read([&stream, tail].concat()).is_err(), "{name} with {tail:?} behind it");
        }
    }
}

#[test]
fn checksums_and_sizes_are_looked_at() {
    for (name, codec, stream) in streams() {
        let at_end = match name {
            "gzip" | "gzip with a header" => 8,
            "lz4 with a content checksum" | "zstd with a checksum" => 4,
            _ => 0,
        };
        // LZ4: that of the descriptor; the size of the contents; that of the first block.
        let length =
            |at: usize| u32::from_le_bytes(stream[at..at + 4].try_into().unwrap()) as usize & 0x7fff_ffff;
        let inside: Vec<usize> = match name {
            "lz4" => vec![6],
            "lz4 with its size" => (6..15).collect(),
            "lz4 with block checksums" => (0..4).map(|byte| 11 + length(7) + byte).collect(),
            _ => Vec::new(),
        };
        for at in (stream.len() - at_end..stream.len()).chain(inside) {
            for bit in 0..8 {
                let mut changed = stream.clone();
                changed[at] ^= 1 << bit;
                assert!(
                    codec.decompress(&changed.into(), 1 << 20).is_err(),
                    "{name}: bit {bit} of byte {at}"
                );
            }
        }
    }
}

#[test]
fn lz4_frames_end_with_their_mark_and_blocks_as_the_c_library_wants_it() {
    let frame = |blocks: &[u8]| [&b"\x04\x22\x4d\x18\x60\x40\x82"[..], blocks].concat();
    let reason = |blocks: &[u8]| {
        let read = Compression::Lz4.decompress(&frame(blocks).into(), 1 << 20);
        read.map(|read| read.len()).map_err(|error| error.to_string())
    };
    let is = |blocks: &[u8], why: &str| {
        let refused = reason(blocks).unwrap_err();
        assert!(refused.contains(why), "{refused}, not {why}");
    };
    let stored = b"\x05\0\0\x80hello";
    assert_eq!(reason(&[&stored[..], &[0; 4]].concat()), Ok(5));
    assert_eq!(reason(&[0; 4]), Ok(0));
    is(stored, "no end mark");
    is(&[&stored[..], &[0; 2]].concat(), "no end mark");
    is(&[&stored[..], &[0; 5]].concat(), "bytes follow the frame");
    is(&[&stored[..], &[0; 4], &frame(&[0; 4])].concat(), "bytes follow the frame");
    is(b"\0\0\0\x80\0\0\0\0", "a block is empty");
    is(b"\x01\0\x01\0", "larger than the frame allows");
    is(b"\x09\0\0\x80hello\0\0\0", "cut short");
    let compressed = |block: &[u8]| [&(block.len() as u32).to_le_bytes()[..], block, &[0; 4]].concat();
    // Eight letters, twelve more that repeat them, five at the end.
    assert_eq!(reason(&compressed(b"\x88abcdefgh\x08\x00\x50vwxyz")), Ok(25));
    is(&compressed(b"\x8fabcdefgh\x08\x00\xff\xff\xff\xff\xff\x00"), "does not end with literals");
    is(&compressed(b"\x88abcdefgh\x08\x00"), "malformed");
    is(&compressed(b"\x88abcdefgh\x08\x00\x40wxyz"), "malformed");
    is(&compressed(b"\x88abcdefgh\x09\x00\x50vwxyz"), "refers to what is not there");
    is(&compressed(b"\x88abcdefgh\x00\x00\x50vwxyz"), "refers to what is not there");
    is(&compressed(b"\xf0"), "cut short");
}

#[test]
fn snappy_frames_are_of_a_known_version_and_have_no_empty_blocks() {
    let framed = Compression::Snappy.compress(b"hello");
    let read = |bytes: &[u8]| Compression::Snappy.decompress(&Bytes::copy_from_slice(bytes), 100);
    let mut old = framed.clone();
    old[11] = 0;
    assert!(read(&old).unwrap_err().to_string().contains("version 0"));
    assert!(read(&[&framed[..], &[0; 4]].concat()).unwrap_err().to_string().contains("empty"));
    assert!(read(b"").is_err());
}
