//! Generates the messages from `schemas/`.

#[path = "build/generate.rs"]
mod generate;
#[path = "build/schema.rs"]
#[allow(dead_code)]
mod schema;

use std::path::Path;

#[allow(clippy::disallowed_methods)] // a build step, not the broker: there is no `env` here
fn main() {
    println!("cargo::rerun-if-changed=schemas");
    println!("cargo::rerun-if-changed=build");
    let code = generate::generate(&schema::load(Path::new("schemas")));
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&out).join("messages.rs"), code).expect("OUT_DIR can be written");
}
