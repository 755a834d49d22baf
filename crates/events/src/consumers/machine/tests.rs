use bytes::Bytes;
use model::Timestamp;

use super::*;
use crate::event::{Facts, Seen};

const RULES: Rules = Rules {
    ack_timeout: Duration::from_secs(30),
    attempts_max: 3,
    retry_delay: Duration::from_secs(5),
    in_flight_max: 100,
    is_ordered: true,
};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn event(offset: i64, stream: &str) -> Recorded {
    Recorded {
        stream: stream.to_owned(),
        version: 1,
        id: format!("id-{offset}"),
        facts: Facts { kind: "T".to_owned(), ..Facts::default() },
        data: Bytes::new(),
        partition: 0,
        offset: Offset(offset),
        time: Timestamp(0),
        seen: Seen::default(),
    }
}

fn place(offset: i64) -> Place {
    Place { partition: 0, offset: Offset(offset) }
}

/// A machine that has read these events, one each offset.
fn machine(rules: Rules, streams: &[&str]) -> Machine {
    let mut machine = Machine::new(rules, Checkpoint::default(), BTreeMap::new());
    let events = (0..).zip(streams).map(|(offset, stream)| event(offset, stream)).collect();
    machine.fill(0, events, Offset(streams.len() as i64));
    machine
}

fn pull(machine: &mut Machine, seconds: u64) -> Vec<(i64, u32)> {
    let deliveries = machine.pull(10, at(seconds));
    deliveries.into_iter().map(|delivery| (delivery.event.offset.0, delivery.attempt)).collect()
}

/// What is to be parked, written.
fn park(machine: &mut Machine) -> Vec<(i64, String)> {
    let mut done = Vec::new();
    loop {
        let effects = machine.take_effects();
        if effects.is_empty() {
            return done;
        }
        for effect in effects {
            let Effect::Park(place, parked) = effect else { panic!("{effect:?}") };
            done.push((place.offset.0, parked.reason.clone()));
            machine.parked(place, parked);
        }
    }
}

fn next(machine: &Machine) -> i64 {
    machine.checkpoint().next[&0].0
}

/// Of the newest delivery of the event at this offset.
fn number(machine: &Machine, offset: i64) -> u64 {
    let held = machine.lanes.values().flat_map(|lane| &lane.events);
    held.filter(|held| held.event.offset.0 == offset).map(|held| held.number).next().unwrap()
}

#[test]
fn one_event_of_each_stream_is_out_at_a_time() {
    let mut machine = machine(RULES, &["a", "b", "a", "b", "a"]);
    assert_eq!(pull(&mut machine, 0), [(0, 1), (1, 1)]);
    assert_eq!(pull(&mut machine, 0), []);
    machine.ack(place(0));
    assert_eq!(pull(&mut machine, 0), [(2, 1)]);
    machine.ack(place(1));
    machine.ack(place(2));
    assert_eq!(pull(&mut machine, 0), [(3, 1), (4, 1)]);
}

#[test]
fn without_an_order_all_are_out_as_far_as_they_may() {
    let rules = Rules { is_ordered: false, in_flight_max: 3, ..RULES };
    let mut machine = machine(rules, &["a", "a", "a", "a"]);
    assert_eq!(pull(&mut machine, 0), [(0, 1), (1, 1), (2, 1)]);
    machine.ack(place(1));
    assert_eq!(pull(&mut machine, 0), [(3, 1)]);
}

#[test]
fn the_checkpoint_is_before_the_first_that_is_not_settled() {
    let mut machine = machine(RULES, &["a", "b", "c", "d"]);
    pull(&mut machine, 0);
    assert_eq!(next(&machine), 0);
    machine.ack(place(1));
    machine.ack(place(3));
    let checkpoint = machine.checkpoint();
    assert_eq!((next(&machine), checkpoint.settled), (0, BTreeSet::from([place(1), place(3)])));
    machine.ack(place(0));
    assert_eq!((next(&machine), machine.checkpoint().settled), (2, BTreeSet::from([place(3)])));
    machine.ack(place(2));
    assert_eq!((next(&machine), machine.checkpoint().settled), (4, BTreeSet::new()));
}

#[test]
fn what_was_settled_is_not_handed_out_by_whoever_comes_after() {
    let mut before = machine(RULES, &["a", "b", "c"]);
    pull(&mut before, 0);
    before.ack(place(1));
    let mut after = Machine::new(RULES, before.checkpoint(), BTreeMap::new());
    // Its consumer did not hear of the change.
    after.ack(place(2));
    after.fill(0, vec![event(0, "a"), event(1, "b"), event(2, "c"), event(3, "d")], Offset(4));
    assert_eq!(pull(&mut after, 0), [(0, 1), (3, 1)]);
    after.ack(place(0));
    assert_eq!((next(&after), after.checkpoint().settled), (3, BTreeSet::new()));
}

#[test]
fn what_nobody_acknowledges_in_time_goes_out_again() {
    let mut machine = machine(RULES, &["a"]);
    assert_eq!(pull(&mut machine, 0), [(0, 1)]);
    assert_eq!(pull(&mut machine, 29), []);
    assert_eq!(machine.next_due(), Some(at(30)));
    assert_eq!(pull(&mut machine, 30), [(0, 2)]);
    // Whoever had it first is late with a refusal, not with an acknowledgement.
    assert!(!machine.nack(place(0), 1, Refusal::Park, "late", at(31)));
    machine.ack(place(0));
    assert_eq!((next(&machine), machine.counts()), (1, Counts::default()));
}

#[test]
fn a_refused_event_rests_and_is_parked_in_the_end() {
    let mut machine = machine(RULES, &["a"]);
    let retry = Refusal::Retry { after: None };
    assert_eq!(pull(&mut machine, 0), [(0, 1)]);
    assert!(machine.nack(place(0), number(&machine, 0), retry, "no", at(0)));
    assert_eq!(pull(&mut machine, 4), []);
    assert_eq!(pull(&mut machine, 5), [(0, 2)]);
    assert!(machine.nack(
        place(0),
        number(&machine, 0),
        Refusal::Retry { after: Some(Duration::ZERO) },
        "no",
        at(5)
    ));
    assert_eq!(pull(&mut machine, 5), [(0, 3)]);
    assert!(machine.nack(place(0), number(&machine, 0), retry, "still no", at(5)));
    // It holds the checkpoint until that is written.
    assert_eq!((next(&machine), machine.counts().parked), (0, 0));
    assert_eq!(park(&mut machine), [(0, "still no".to_owned())]);
    assert_eq!((next(&machine), machine.counts().parked), (1, 1));
    assert_eq!(pull(&mut machine, 100), []);
}

#[test]
fn behind_a_parked_event_its_stream_waits_and_no_other() {
    let mut machine = machine(RULES, &["a", "b", "a", "a", "b"]);
    assert_eq!(pull(&mut machine, 0), [(0, 1), (1, 1)]);
    assert!(machine.nack(place(0), number(&machine, 0), Refusal::Park, "poison", at(0)));
    machine.ack(place(1));
    let follows = FOLLOWS.to_owned();
    assert_eq!(park(&mut machine), [(0, "poison".to_owned()), (2, follows.clone()), (3, follows.clone())]);
    assert_eq!(pull(&mut machine, 0), [(4, 1)]);
    // Those of a machine that begins with parked events, too.
    let parked = machine.all_parked().map(|(place, parked, _)| (place, parked.clone())).collect();
    let mut after = Machine::new(RULES, machine.checkpoint(), parked);
    after.fill(0, vec![event(4, "b"), event(5, "a")], Offset(6));
    assert_eq!(park(&mut after), [(5, follows)]);
    assert_eq!(pull(&mut after, 0), [(4, 1)]);
}

#[test]
fn replayed_events_come_in_their_order_and_new_ones_after_them() {
    let mut machine = machine(RULES, &["a", "a"]);
    pull(&mut machine, 0);
    machine.nack(place(0), number(&machine, 0), Refusal::Park, "poison", at(0));
    park(&mut machine);
    assert!(machine.replay(event(0, "a")));
    assert!(!machine.replay(event(0, "a")), "it is on its way");
    assert!(machine.replay(event(1, "a")));
    machine.fill(0, vec![event(2, "a")], Offset(3));
    assert_eq!(pull(&mut machine, 0), [(0, 1)]);
    // Parked until somebody has worked with it.
    assert_eq!((machine.counts().parked, next(&machine)), (2, 2));
    machine.ack(place(0));
    assert_eq!(machine.take_effects(), [Effect::Unpark(place(0))]);
    assert_eq!(pull(&mut machine, 0), [(1, 1)]);
    machine.nack(place(1), number(&machine, 1), Refusal::Park, "poison again", at(0));
    assert_eq!(park(&mut machine), [(1, "poison again".to_owned()), (2, FOLLOWS.to_owned())]);
    assert_eq!(machine.counts().parked, 2);
}

#[test]
fn a_discarded_event_lets_its_stream_go_on() {
    let mut machine = machine(RULES, &["a"]);
    pull(&mut machine, 0);
    machine.nack(place(0), number(&machine, 0), Refusal::Park, "poison", at(0));
    park(&mut machine);
    assert!(machine.discard(place(0)));
    assert!(!machine.discard(place(0)));
    assert_eq!(machine.take_effects(), [Effect::Unpark(place(0))]);
    machine.fill(0, vec![event(1, "a")], Offset(2));
    assert_eq!(pull(&mut machine, 0), [(1, 1)]);
}

#[test]
fn what_is_acknowledged_while_it_is_being_parked_is_not_parked() {
    let mut machine = machine(RULES, &["a"]);
    pull(&mut machine, 0);
    machine.nack(place(0), number(&machine, 0), Refusal::Park, "poison", at(0));
    let effects = machine.take_effects();
    machine.ack(place(0));
    for effect in effects {
        let Effect::Park(place, parked) = effect else { panic!("{effect:?}") };
        machine.parked(place, parked);
    }
    assert_eq!(machine.take_effects(), [Effect::Unpark(place(0))]);
    assert_eq!((machine.counts(), next(&machine)), (Counts::default(), 1));
}

#[test]
fn what_is_held_is_bounded() {
    let streams: Vec<String> = (0..HELD_MAX).map(|number| number.to_string()).collect();
    let mut machine = machine(RULES, &streams.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(machine.room(), 0);
    pull(&mut machine, 0);
    machine.ack(place(3));
    assert_eq!(machine.room(), 1);
    // Nor is there an end to what somebody may call acknowledged before it is read.
    for offset in 0..2 * SETTLED_MAX {
        machine.ack(place((HELD_MAX + offset) as i64));
    }
    assert_eq!(machine.checkpoint().settled.len(), SETTLED_MAX);
}

/// Whatever consumers do, no event is passed by the checkpoint before it is settled or parked, and each one is in the end.
#[test]
fn nothing_is_lost_whatever_consumers_do() {
    for seed in 0..200_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let is_ordered = draw(2) == 0;
        let mut machine = Machine::new(Rules { is_ordered, ..RULES }, Checkpoint::default(), BTreeMap::new());
        let (mut settled, mut out, mut read) = (BTreeSet::new(), Vec::new(), 0_i64);
        let (mut now, mut steps) = (0, 0);
        while next_or_zero(&machine) < 60 {
            steps += 1;
            assert!(steps < 20_000, "seed {seed}: it does not come to an end");
            now += draw(4);
            match draw(6) {
                0 if read < 60 => {
                    let stream = draw(5).to_string();
                    machine.fill(0, vec![event(read, &stream)], Offset(read + 1));
                    read += 1;
                }
                1 | 2 => out.extend(machine.pull(3, at(now))),
                3 if !out.is_empty() => {
                    let delivery: Delivery = out.swap_remove(draw(out.len() as u64) as usize);
                    machine.ack(Place::of(&delivery.event));
                    settled.insert(Place::of(&delivery.event));
                }
                4 if !out.is_empty() => {
                    let delivery: Delivery = out.swap_remove(draw(out.len() as u64) as usize);
                    let refusal = if draw(3) == 0 { Refusal::Park } else { Refusal::Retry { after: None } };
                    machine.nack(Place::of(&delivery.event), delivery.number, refusal, "no", at(now));
                }
                _ => {
                    let parked: Vec<Place> = machine
                        .all_parked()
                        .filter(|(.., is_replayed)| !is_replayed)
                        .map(|(at, ..)| at)
                        .collect();
                    let streams: BTreeMap<Place, String> =
                        machine.all_parked().map(|(at, parked, _)| (at, parked.stream.clone())).collect();
                    if draw(8) == 0 {
                        for place in parked {
                            assert!(machine.replay(event(place.offset.0, &streams[&place])), "seed {seed}");
                        }
                    }
                }
            }
            for effect in machine.take_effects() {
                if let Effect::Park(place, parked) = effect {
                    machine.parked(place, parked);
                }
            }
            let parked: BTreeSet<Place> = machine.all_parked().map(|(place, ..)| place).collect();
            for offset in 0..next_or_zero(&machine) {
                let place = place(offset);
                assert!(settled.contains(&place) || parked.contains(&place), "seed {seed}: {offset} is lost");
            }
        }
    }
}

fn next_or_zero(machine: &Machine) -> i64 {
    machine.checkpoint().next.get(&0).map_or(0, |next| next.0)
}

#[test]
fn no_delivery_is_called_as_another_was() {
    let mut machine = machine(RULES, &["a"]);
    let first = machine.pull(1, at(0))[0].number;
    assert!(machine.nack(place(0), first, Refusal::Park, "poison", at(0)));
    park(&mut machine);
    assert!(machine.replay(event(0, "a")));
    let second = machine.pull(1, at(0))[0].number;
    assert!(!machine.nack(place(0), first, Refusal::Skip, "whoever had it before", at(0)));
    assert!(machine.nack(place(0), second, Refusal::Skip, "whoever has it", at(0)));
}

#[test]
fn large_events_are_held_only_up_to_a_bound() {
    let large =
        |offset: i64| Recorded { data: Bytes::from(vec![0; HELD_BYTES_MAX / 4]), ..event(offset, "s") };
    let mut machine = machine(RULES, &[]);
    machine.fill(0, (0..4).map(large).collect(), Offset(4));
    assert_eq!(machine.room(), 0);
    machine.ack(place(1));
    assert_eq!(machine.room(), HELD_MAX - 3);
    (0..4).for_each(|offset| machine.ack(place(offset)));
    assert!(!machine.is_full());
    assert_eq!(machine.held_bytes, 0);
}
