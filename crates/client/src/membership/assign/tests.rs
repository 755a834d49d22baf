use proptest::prelude::*;

use super::*;

fn parts(numbers: impl IntoIterator<Item = i32>) -> BTreeSet<TopicPartition> {
    numbers.into_iter().map(|number| ("t".to_owned(), number)).collect()
}

fn member(generation: i32, owned: impl IntoIterator<Item = i32>) -> Candidate {
    Candidate { owned: parts(owned), generation }
}

proptest! {
    #[test]
    fn every_partition_has_one_owner_and_nobody_has_two_more(
        owned in prop::collection::vec((prop::collection::btree_set(0..20, 0..20), -1..5), 1..6),
        count in 0..20,
    ) {
        let members: BTreeMap<String, Candidate> = owned
            .iter()
            .enumerate()
            .map(|(number, (owned, generation))| (number.to_string(), member(*generation, owned.clone())))
            .collect();
        let assigned = assign(&members, &parts(0..count));
        let all: Vec<&TopicPartition> = assigned.values().flatten().collect();
        prop_assert_eq!(all.len(), count as usize);
        prop_assert_eq!(all.into_iter().cloned().collect::<BTreeSet<_>>(), parts(0..count));
        let sizes = || assigned.values().map(BTreeSet::len);
        prop_assert!(sizes().max() <= sizes().min().map(|least| least + 1));
    }
}

#[test]
fn whoever_comes_takes_no_more_than_its_share_and_nobody_else_moves() {
    let members = BTreeMap::from([
        ("a".to_owned(), member(3, 0..4)),
        ("b".to_owned(), member(3, 4..8)),
        ("c".to_owned(), Candidate::default()),
    ]);
    let assigned = assign(&members, &parts(0..8));
    assert!(assigned["a"].is_subset(&parts(0..4)) && assigned["b"].is_subset(&parts(4..8)), "{assigned:?}");
    assert_eq!(assigned["c"].len(), 2);
}

#[test]
fn whoever_heard_last_is_believed() {
    let members = BTreeMap::from([("a".to_owned(), member(2, 0..2)), ("b".to_owned(), member(5, 0..2))]);
    let assigned = assign(&members, &parts(0..4));
    assert_eq!(assigned["b"], parts(0..2));
}
