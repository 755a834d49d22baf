use model::batch::batches;
use model::{ProducerEpoch, ProducerId};

use super::*;

fn only(batch: &BatchBuilder) -> Entry {
    let batch = batches(batch.build().into_bytes()).next().unwrap().unwrap();
    let records = batch.records(1 << 20).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    read(&record, Bytes::copy_from_slice)
}

fn event() -> NewEvent {
    NewEvent {
        id: "e-1".to_owned(),
        facts: Facts {
            kind: "OrderPlaced".to_owned(),
            content_type: "application/json".to_owned(),
            tags: vec!["customer:7, the second".to_owned(), "grün".to_owned()],
            correlation: Some("c".to_owned()),
            causation: Some("b".to_owned()),
            metadata: Some("{\"user\":1}".to_owned()),
            schema_version: Some(3),
            sealed: Some(Sealed {
                subject: "customer:7".to_owned(),
                personal: vec!["/name".to_owned(), "/\"".to_owned()],
                key: Some("k".to_owned()),
            }),
        },
        data: Bytes::from_static(b"{}"),
    }
}

#[test]
fn an_event_is_read_as_it_was_written() {
    let event = event();
    let mut batch = BatchBuilder::new(model::Compression::None);
    let at = At { time: Timestamp(1_700_000_000_123), text: "2023-11-14T22:13:20.123Z" };
    let (stream, writer) = ("order-1", writer(ProducerId(9), ProducerEpoch(2)));
    let placed = Placed {
        category: "orders",
        stream,
        version: 3,
        event: &event,
        boundary: Some("customer-7"),
        writer: &writer,
        at,
    };
    push(&mut batch, &placed);
    let expected = Entry::Event {
        stream: stream.to_owned(),
        version: 3,
        id: event.id,
        facts: event.facts,
        data: event.data,
        boundary: Some("customer-7".to_owned()),
        writer: "9:2".to_owned(),
    };
    assert_eq!(only(&batch), expected);
}

#[test]
fn a_claim_is_told_from_an_event() {
    let batch = claim("orders", "id", "9:3", Timestamp(0));
    assert_eq!(only(&batch), Entry::Claim { writer: "9:3".to_owned() });
}

#[test]
fn what_says_that_another_producer_wrote_it_is_foreign() {
    let batch = claim("orders", "id", "9:3", Timestamp(0));
    let batch = batches(batch.build().into_bytes()).next().unwrap().unwrap();
    let records = batch.records(1 << 20).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    let by = |id, epoch| read_of(&record, Bytes::copy_from_slice, (ProducerId(id), ProducerEpoch(epoch)));
    assert_eq!(by(9, 3), Entry::Claim { writer: "9:3".to_owned() });
    for other in [by(9, 2), by(-1, -1), by(8, 3)] {
        assert!(matches!(other, Entry::Foreign { .. }), "{other:?}");
    }
}

#[test]
fn what_no_owner_wrote_is_told() {
    let mut batch = BatchBuilder::new(model::Compression::None);
    batch.push(NewRecord { key: Some(b"k"), value: Some(b"v"), ..NewRecord::default() });
    assert!(matches!(only(&batch), Entry::Foreign { .. }));
}

#[test]
fn times_are_written_as_others_read_them() {
    assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00Z");
    assert_eq!(rfc3339(Timestamp(1_709_210_096_007)), "2024-02-29T12:34:56.007Z");
}

fn adopted(
    headers: &[(&[u8], Option<&[u8]>)],
    stream: Option<&str>,
    kind: Option<&str>,
) -> Result<Entry, String> {
    let mut batch = BatchBuilder::new(model::Compression::None);
    batch.push(NewRecord { key: Some(b"k"), value: Some(b"{}"), headers, ..NewRecord::default() });
    let batch = batches(batch.build().into_bytes()).next().unwrap().unwrap();
    let records = batch.records(1 << 20).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    adopt(&record, (3, model::Offset(17)), stream, kind)
}

#[test]
fn a_record_is_adopted_with_what_it_says_and_what_somebody_says_in_its_place() {
    let Ok(Entry::Adopted { stream, version, id, facts, data }) = adopted(&[], None, Some("T")) else {
        panic!("it has all that is needed");
    };
    assert_eq!((stream.as_str(), version, id.as_str()), ("k", None, "levada.adopted:3.17"));
    assert_eq!((facts.kind.as_str(), facts.content_type.as_str()), ("T", "application/json"));
    assert_eq!(data, Bytes::from_static(b"{}"));
    let own: [(&[u8], Option<&[u8]>); 3] =
        [(b"ce_id", Some(b"its")), (b"ce_type", Some(b"Its")), (b"content-type", Some(b"text/plain"))];
    let Ok(Entry::Adopted { stream, id, facts, .. }) = adopted(&own, Some("other"), None) else {
        panic!("it has all that is needed");
    };
    assert_eq!((stream.as_str(), id.as_str(), facts.kind.as_str()), ("other", "its", "Its"));
    assert_eq!(facts.content_type, "text/plain");
}

#[test]
fn what_nobody_can_say_of_a_record_is_not_guessed() {
    assert!(adopted(&[], None, None).unwrap_err().contains("which type"));
    assert!(adopted(&[(b"ce_type", Some(b"levada.claim.v1"))], None, None).unwrap_err().contains("own"));
    assert!(adopted(&[], Some("levada.s"), Some("T")).unwrap_err().contains("which stream"));
}
