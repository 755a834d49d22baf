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
    let mac = hmac::sign(&key(), &request(&ASKED, at));
    let holds = |asked: &Asked<'_>, at| hmac::verify(&key(), &request(asked, at), mac.as_ref()).is_ok();
    assert!(holds(&ASKED, at));
    assert!(!holds(&Asked { to: "http://10.0.0.2:8080", ..ASKED }, at));
    assert!(!holds(&Asked { method: "PUT", ..ASKED }, at));
    assert!(!holds(&Asked { path: "/v1/categories/d/append", ..ASKED }, at));
    assert!(!holds(&Asked { body: b"{ }", ..ASKED }, at));
    assert!(!holds(&ASKED, Timestamp(1001)));
}

#[test]
fn a_proof_is_read_as_it_was_written_and_nothing_else_is_one() {
    let proof = Proof { key: "k-1".to_owned(), at: Timestamp(17), mac: vec![1, 2, 3] };
    assert_eq!(proof.to_string().parse(), Ok(proof));
    for text in ["", "1", "1 k 17", "2 k 17 AQID", "1 k soon AQID", "1 k 17 AQID more", "1 k 17 *"] {
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
