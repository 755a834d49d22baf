use super::*;

fn refused(text: &str) -> String {
    format!("{:#}", filter(text).expect_err(text))
}

#[test]
fn levels_and_filters_by_module_are_taken() {
    for text in ["info", "WARN", "off", "info,storage=debug", "info, broker::net=trace,levada=error"] {
        assert!(filter(text).is_ok(), "{text}");
    }
}

#[test]
fn a_word_that_is_no_level_is_refused_and_not_taken_for_a_module() {
    assert!(refused("loud").contains("`loud` is no level; levels are off, error"), "{}", refused("loud"));
    assert!(refused("inf").contains("did you mean `info`?"), "{}", refused("inf"));
    assert!(refused("storage").contains("`storage` is no level"), "{}", refused("storage"));
    assert!(refused("storage=loud").contains("`loud` is no level"), "{}", refused("storage=loud"));
}

#[test]
fn a_module_that_is_not_ours_is_refused() {
    let said = refused("info,storag=debug");
    assert!(said.contains("no module is called `storag`; did you mean `storage`?"), "{said}");
}

/// A crate that is added logs under its name: the list must have it.
#[test]
fn every_crate_that_the_binary_is_made_of_can_be_named() {
    let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("crates/");
    for name in crates.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")) {
        // This crate logs under the binary's name; the simulation is no part of it.
        assert!(MODULES.contains(&name.as_str()) || ["app", "sim"].contains(&name.as_str()), "{name}");
    }
}
