use model::Timestamp;
use model::batch::{BatchBuilder, NewRecord};
use model::compression::Compression;

use super::*;

fn line(format: &str) -> String {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(model::Offset(41));
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"b", None)];
    builder.push(NewRecord {
        timestamp: Timestamp(1_700_000_000_000),
        key: Some(b"k"),
        value: Some(b"v w"),
        headers: &headers,
    });
    let batch = builder.build();
    let records = batch.records(1 << 20).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    let placed = Placed { topic: "orders", partition: 3, records: &records, record: &record };
    Shape::parse(format).unwrap().line(&placed, None)
}

#[test]
fn placeholders_stand_for_the_parts_of_a_record() {
    assert_eq!(line("%t/%p@%o %T %k=%s [%h]"), "orders/3@41 1700000000000 k=v w [a=1,b=null]");
    assert_eq!(line(r"100%%\t%s\\"), "100%\tv w\\");
}

#[test]
fn a_format_that_ends_its_line_itself_gives_no_empty_lines() {
    assert_eq!(line(r"%k\n"), "k");
    assert_eq!(line(r"%k\n%s"), "k\nv w");
}

#[test]
fn an_unknown_placeholder_is_refused_and_so_is_a_word_without_any() {
    assert!(Shape::parse("%x").unwrap_err().contains("no placeholder %x"));
    assert!(Shape::parse("50%").unwrap_err().contains("no placeholder %;"));
    assert!(Shape::parse("jsn").unwrap_err().contains("text, json"));
    assert_eq!(Shape::parse("json"), Ok(Shape::Json));
}
