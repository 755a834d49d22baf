use anyhow::Context;

use super::*;

#[test]
fn a_cause_that_was_told_already_is_not_told_again() {
    #[derive(Debug, thiserror::Error)]
    #[error("opening data: {source}")]
    struct Open {
        #[source]
        source: io::Error,
    }
    let open = Open { source: io::Error::other("no such file") };
    let error = Err::<(), _>(open).context("cannot verify data").expect_err("an error");
    assert_eq!(told(&error), "cannot verify data: opening data: no such file");
}

#[test]
fn a_broken_connection_is_a_failure_and_not_a_reader_that_left() {
    let broken = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("the connection broke");
    assert!(!is_closed(&broken.expect_err("an error")));
    assert!(is_closed(&Err::<(), _>(Closed).context("printing").expect_err("an error")));
}

#[test]
fn sizes_and_times_are_told_in_the_unit_that_fits() {
    let sizes =
        [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_300_000, "1.2 MiB"), (1 << 40, "1.0 TiB")];
    for (size, told) in sizes {
        assert_eq!(bytes(size), told);
    }
    assert_eq!(bytes((1 << 20) - 1), "1.0 MiB", "not 1024.0 KiB");
    assert_eq!(bytes(i64::MAX), "8192.0 PiB");
    let times = [
        (604_800_000, "7 days"),
        (86_400_000, "1 day"),
        (5_400_000, "90 minutes"),
        (1500, "1500 ms"),
        (0, "0 ms"),
    ];
    for (ms, told) in times {
        assert_eq!(time(ms), told);
    }
}

#[test]
fn a_path_can_be_copied_into_a_shell() {
    let cases = [
        ("data", "data"),
        ("/var/lib/levada-1", "/var/lib/levada-1"),
        ("its data", "'its data'"),
        ("o'b", "'o'\\''b'"),
    ];
    for (path, word) in cases {
        assert_eq!(shell_word(std::path::Path::new(path)), word);
    }
}
