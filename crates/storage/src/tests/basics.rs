use model::Offset;

use super::bench::{Bench, batch, id, numbered, small_options};
use crate::{Health, LogConfig};

#[test]
fn what_was_appended_is_read_back_also_after_reopening() {
    let mut bench = Bench::new(small_options());
    let p = id(1, 0);
    bench.create(p, LogConfig::default());
    let first = bench.append(p, batch(&[b"a", b"b"])).unwrap();
    assert_eq!((first.base_offset, first.last_offset), (Offset(0), Offset(1)));
    let second = bench.append(p, numbered(5, 5000)).unwrap();
    assert_eq!(second.base_offset, Offset(2));
    bench.append(p, batch(&[b"c"])).unwrap();
    let before = bench.read_all(p);
    assert_eq!(before.len(), 4);
    let bench = bench.reopen();
    assert_eq!(bench.read_all(p), before);
    assert_eq!(bench.partition(p).offsets().leader_epoch.0, 0, "a clean stop begins no epoch");
    assert_eq!(bench.partition(p).health(), Health::Good);
}

#[test]
fn a_killed_process_loses_nothing_and_begins_a_new_epoch() {
    let mut bench = Bench::new(small_options());
    let p = id(1, 0);
    bench.create(p, LogConfig::default());
    for number in 0..100 {
        bench.append(p, numbered(number, if number % 7 == 3 { 3000 } else { 100 })).unwrap();
    }
    let before = bench.read_all(p);
    bench.disk.crash(env::sim::Survival::Everything);
    let bench = bench.open_again();
    assert_eq!(bench.read_all(p), before);
    assert_eq!(bench.partition(p).offsets().leader_epoch.0, 1);
}
