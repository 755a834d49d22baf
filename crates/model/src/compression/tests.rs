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
