//! Messages that nobody wrote by hand.

use bytes::Bytes;

use crate::any_bytes::{self, KINDS};
use crate::golden::goldens;
use crate::interpreter::{Dice, Interpreter};
use crate::{find, schemas};

/// Set `WIRE_SEED` to the seed that a failure named to run that one alone.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let wanted: Option<u64> = std::env::var("WIRE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let (first, count) = wanted.map_or((0, count), |seed| (seed, 1));
    first..first + count
}

#[test]
fn random_messages_mean_what_their_schemas_say_and_come_back_byte_for_byte() {
    let schemas = schemas();
    for kind in KINDS {
        let (schema, message) = find(&schemas, kind.name);
        for version in kind.versions.min..=kind.versions.max {
            let interpreter = Interpreter::new(schema, message, version);
            for seed in seeds(20) {
                let bytes = Bytes::from(interpreter.pick(&mut Dice(seed)));
                let replay = format!("{} {version}: WIRE_SEED={seed} cargo test -p wire random", kind.name);
                let recoded = kind.recode(bytes.clone(), version);
                assert_eq!(recoded.debug, interpreter.describe(&bytes).debug, "{replay}");
                assert!(recoded.left == 0 && recoded.bytes == bytes, "{replay}");
            }
        }
    }
}

#[test]
fn damaged_messages_are_refused_or_survive_the_way_back() {
    let goldens = goldens();
    let (mut refused, mut taken) = (0, 0);
    for seed in seeds(20_000) {
        let mut dice = Dice(seed);
        let golden = &goldens[dice.below(goldens.len() as u64) as usize];
        let other = &goldens[dice.below(goldens.len() as u64) as usize];
        let kind = KINDS.iter().find(|k| k.name == golden.name).expect("a message");
        let mut bytes = golden.bytes.to_vec();
        for _ in 0..1 + dice.below(3) {
            damage(&mut bytes, &other.bytes, &mut dice);
        }
        let check = std::panic::catch_unwind(|| kind.check(Bytes::from(bytes), golden.version));
        match check.unwrap_or_else(|_| panic!("WIRE_SEED={seed} cargo test -p wire damaged")) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    let both = refused.min(taken) > 1000 || std::env::var("WIRE_SEED").is_ok();
    assert!(both, "{refused} refused, {taken} taken: the damage is of one kind only");
}

fn damage(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(bytes.len() as u64 + 1) as usize;
    match dice.below(5) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] = dice.next() as u8,
        2 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        3 => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff][dice.below(5) as usize]),
        _ => {
            let from = dice.below(other.len() as u64 + 1) as usize;
            let piece = &other[from..(from + 8).min(other.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
    }
}

#[test]
fn bytes_without_any_order_are_refused_or_survive_the_way_back() {
    for seed in seeds(20_000) {
        let mut dice = Dice(seed);
        let length = 2 + dice.below(60);
        let bytes: Vec<u8> = (0..length).map(|_| (dice.next() >> (dice.below(8) * 8)) as u8 & 0x83).collect();
        let check = std::panic::catch_unwind(|| any_bytes::check(&bytes));
        check.unwrap_or_else(|_| panic!("WIRE_SEED={seed} cargo test -p wire without_any_order"));
    }
}
