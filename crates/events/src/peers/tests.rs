//! What is signed, without a cluster.

use super::*;

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &[7; KEY_BYTES])
}

const ASKED: Asked<'_> =
    Asked { to: "http://10.0.0.1:8080", method: "POST", path: "/v1/categories/c/append", body: b"{}" };

#[test]
fn a_signature_is_of_this_request_to_this_instance_at_this_time_only() {
    let at = Timestamp(1000);
    let mac = hmac::sign(&key(), &request(&ASKED, at, "n"));
    let verified =
        |asked: &Asked<'_>, at, nonce| hmac::verify(&key(), &request(asked, at, nonce), mac.as_ref()).is_ok();
    let holds = |asked: &Asked<'_>, at| verified(asked, at, "n");
    assert!(holds(&ASKED, at));
    assert!(!verified(&ASKED, at, "m"));
    assert!(!holds(&Asked { to: "http://10.0.0.2:8080", ..ASKED }, at));
    assert!(!holds(&Asked { method: "PUT", ..ASKED }, at));
    assert!(!holds(&Asked { path: "/v1/categories/d/append", ..ASKED }, at));
    assert!(!holds(&Asked { body: b"{ }", ..ASKED }, at));
    assert!(!holds(&ASKED, Timestamp(1001)));
}

fn proof(number: u8, at: i64) -> Proof {
    Proof { key: "k-1".to_owned(), at: Timestamp(at), nonce: "n".to_owned(), mac: vec![number; 32] }
}

#[test]
fn a_request_is_taken_once_for_as_long_as_its_time_is_believed() {
    let mut taken = Taken::default();
    let (span, at) = (REMEMBERED_FOR.as_millis() as i64, 1_000_000_000);
    assert_eq!(taken.take(&proof(1, at), Timestamp(at)), Ok(()));
    for later in [at, at + span - 1, at + span] {
        assert_eq!(taken.take(&proof(1, at), Timestamp(later)), Err(NotProven::Again), "{later}");
    }
    assert_eq!(taken.take(&proof(2, at), Timestamp(at + span)), Ok(()));
    // Of the span before last nothing is needed: its time is not believed any more.
    assert_eq!(taken.take(&proof(3, at), Timestamp(at + 2 * span)), Ok(()));
    assert_eq!((taken.now.len(), taken.before.len()), (1, 1));
    let short = Proof { mac: vec![1], ..proof(1, at) };
    assert_eq!(taken.take(&short, Timestamp(at)), Err(NotProven::Malformed));
}

#[test]
fn a_proof_is_read_as_it_was_written_and_nothing_else_is_one() {
    let proof = proof(1, 17);
    assert_eq!(proof.to_string().parse(), Ok(proof));
    for text in ["", "2", "2 k 17 n", "1 k 17 n AQID", "2 k soon n AQID", "2 k 17 n AQID more", "2 k 17 n *"]
    {
        assert_eq!(text.parse::<Proof>(), Err(NotProven::Malformed), "{text}");
    }
}

#[test]
fn a_record_that_is_no_key_is_passed_over() {
    let kept = Kept { format: FORMAT, key: BASE64_STANDARD.encode([7; KEY_BYTES]), made_at: 5 };
    assert!(read("a", &serde_json::to_vec(&kept).unwrap()).is_some());
    let short = Kept { key: BASE64_STANDARD.encode([7; 8]), ..kept };
    assert!(read("a", &serde_json::to_vec(&short).unwrap()).is_none());
    assert!(read("a", b"garbage").is_none());
}
