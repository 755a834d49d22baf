//! Whether what the tables say of a setting's effect is true.

use std::path::Path;

use super::*;
use crate::{Effect, group};

/// The code that could act on a setting, tests left out.
fn code() -> String {
    fn gather(folder: &Path, code: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "tests" {
                gather(&path, code);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                code.push_str(&std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    let mut code = String::new();
    for part in ["app", "broker", "coordinators", "storage"] {
        gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(part).join("src"), &mut code);
    }
    code
}

#[test]
fn a_setting_is_said_to_have_an_effect_where_something_reads_it_and_only_there() {
    let code = code();
    for (field, effect) in broker::FIELDS.iter().chain(topic::FIELDS).chain(group::FIELDS) {
        let is_read = code.match_indices(&format!(".{field}")).any(|(at, found)| {
            let next = code[at + found.len()..].chars().next();
            next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
        });
        let said = *effect == Effect::Honoured;
        assert_eq!(
            is_read, said,
            "`{field}`: read by code: {is_read}; the table (not_yet or not) says: {said}"
        );
    }
}

#[test]
fn a_default_has_an_effect_where_the_setting_that_it_is_the_default_of_has_one() {
    for line in topic::table().iter().chain(group::table()) {
        let Some(behind) = line.synonym.and_then(broker::find) else { continue };
        assert_eq!(behind.effect, line.setting.effect, "{} and {}", line.setting.name, behind.name);
    }
}
