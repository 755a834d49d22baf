//! The bytes of `wire` against Kafka's own, and against everything that is not Kafka's.

mod any_bytes;
mod corpus;
mod counting;
mod golden;
mod hostile;
mod interpreter;
mod random;
#[path = "../../build/schema.rs"]
#[allow(dead_code)]
mod schema;

use schema::{Message, Schema};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Our schema files, read anew: the tests interpret them without the generated code.
fn schemas() -> Vec<Schema> {
    schema::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas")))
}

/// A message's schema by its name.
fn find<'a>(schemas: &'a [Schema], name: &str) -> (&'a Schema, &'a Message) {
    let mut all = schemas.iter().flat_map(|s| s.messages.iter().map(move |m| (s, m)));
    all.find(|(_, message)| message.name == name).unwrap_or_else(|| panic!("no schema of {name}"))
}
