use super::*;

fn told(name: &str, all: &[&str], deed: Deed, force: bool) -> Option<String> {
    check(name, all, deed, force).err().map(|error| error.to_string())
}

#[test]
fn what_the_broker_or_the_event_store_keeps_is_touched_only_by_force_and_the_right_command_is_named() {
    let all = ["orders.events", "orders.snapshots", "orders.archive"];
    for (name, deed, command) in [
        ("orders.events", Deed::Delete, "levada events category delete orders"),
        ("orders.snapshots", Deed::Delete, "levada events category delete orders"),
        ("orders.archive", Deed::Delete, "levada events category delete orders"),
        ("shop.orders.events", Deed::DeleteRecords, "levada events trim shop.orders"),
        ("orders.events", Deed::Produce, "levada events append orders"),
        ("orders.events", Deed::Alter, "--force"),
        ("lv.upcasters", Deed::Delete, "--force"),
        ("__consumer_offsets", Deed::Alter, "--force"),
        ("__transaction_state", Deed::Produce, "--force"),
    ] {
        let refused = told(name, &all, deed, false).expect(name);
        assert!(refused.contains(command) && refused.contains(name), "{refused}");
        assert_eq!(told(name, &all, deed, true), None);
    }
}

#[test]
fn a_name_that_only_looks_like_an_archive_is_a_users() {
    for name in ["photos.archive", "orders.snapshots", "orders", ".events", "levada", "_private", "events"] {
        assert_eq!(told(name, &["orders"], Deed::Delete, false), None, "{name}");
    }
}
