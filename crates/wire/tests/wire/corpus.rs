//! The inputs that the fuzzer found worth keeping, without the fuzzer.

use std::io::Read;

use crate::any_bytes;

#[test]
fn the_fuzzers_corpus_breaks_nothing() {
    let mut text = String::new();
    let file = include_bytes!("../../golden/corpus.txt.gz");
    flate2::read::GzDecoder::new(&file[..]).read_to_string(&mut text).expect("a gzip file");
    let (mut messages, mut refused) = (0, 0);
    for line in text.lines() {
        let digits: Vec<u8> = line.chars().map(|c| c.to_digit(16).expect("a hex digit") as u8).collect();
        let input: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        match std::panic::catch_unwind(|| any_bytes::check(&input)) {
            Ok(true) => messages += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("the input is {line}"),
        }
    }
    assert!(messages > 500 && refused > 500, "{messages} messages, {refused} refused: not a corpus");
}
