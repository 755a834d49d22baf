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
