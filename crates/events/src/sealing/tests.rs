use env::SeededRandom;
use serde_json::Value;

use super::*;

const PLACE: Place<'static> = Place { stream: "s", id: "a" };

fn key(byte: u8) -> Key {
    Key::new(&[byte; KEY_BYTES])
}

fn all(pointers: &[&str]) -> Vec<String> {
    pointers.iter().map(|pointer| (*pointer).to_owned()).collect()
}

fn sealed(personal: &[&str], content_type: &str, data: &str) -> Result<(String, Bytes), String> {
    let data = Bytes::from(data.to_owned());
    seal(&key(1), &SeededRandom::new(7), PLACE, &all(personal), content_type, &data)
}

const JSON: &str = "application/json";

#[test]
fn what_is_personal_is_encrypted_and_all_else_stays_byte_for_byte() {
    let data = r#"{"n": 1.00000000000000000000001, "name": "Ada", "at": [{"street":  "A"}, "~/"], "z~/": 1}"#;
    let personal = ["/name", "/at/0/street", "/z~0~1"];
    let (content_type, bytes) = sealed(&personal, JSON, data).unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.starts_with(r#"{"n":1.00000000000000000000001,"name":{"levada.encrypted":""#), "{text}");
    assert!(!text.contains("Ada"), "{text}");
    let json: Value = serde_json::from_str(text).unwrap();
    assert!(json["at"][0]["street"]["levada.encrypted"].is_string());
    let (_, plain) = unseal(Some(&key(1)), PLACE, &all(&personal), &content_type, &bytes).unwrap();
    let expected = r#"{"n":1.00000000000000000000001,"name":"Ada","at":[{"street":"A"},"~/"],"z~/":1}"#;
    assert_eq!(plain, expected);
    let (_, erased) = unseal(None, PLACE, &all(&personal), &content_type, &bytes).unwrap();
    let expected = r#"{"n":1.00000000000000000000001,"name":null,"at":[{"street":null},"~/"],"z~/":null}"#;
    assert_eq!(erased, expected);
}

#[test]
fn all_of_the_data_may_be_personal_also_where_they_are_no_json() {
    for content_type in [JSON, "image/png"] {
        let (written, bytes) = sealed(&[""], content_type, "[ 1,2 ]").unwrap();
        assert_eq!(written, JSON);
        assert!(serde_json::from_slice::<Value>(&bytes).unwrap()["levada.encrypted"].is_string());
        let plain = unseal(Some(&key(1)), PLACE, &all(&[""]), &written, &bytes).unwrap();
        assert_eq!(plain, (content_type.to_owned(), Bytes::from_static(b"[ 1,2 ]")));
        let erased = unseal(None, PLACE, &all(&[""]), &written, &bytes).unwrap();
        assert_eq!(erased.1, "null");
    }
}

#[test]
fn a_value_is_bound_to_its_key_stream_event_and_place() {
    let (_, bytes) = sealed(&["/a"], JSON, r#"{"a":1,"b":2}"#).unwrap();
    let open = |key: &Key, place, personal: &[&str], bytes: &Bytes| {
        unseal(Some(key), place, &all(personal), JSON, bytes).map(|(_, plain)| plain)
    };
    assert_eq!(open(&key(1), PLACE, &["/a"], &bytes).unwrap(), r#"{"a":1,"b":2}"#);
    assert_eq!(open(&key(2), PLACE, &["/a"], &bytes), Err(Unsealable));
    assert_eq!(open(&key(1), Place { stream: "t", id: "a" }, &["/a"], &bytes), Err(Unsealable));
    assert_eq!(open(&key(1), Place { stream: "s", id: "b" }, &["/a"], &bytes), Err(Unsealable));
    let moved =
        String::from_utf8(bytes.to_vec()).unwrap().replace("\"a\":", "\"c\":").replace("\"b\":", "\"a\":");
    assert_eq!(open(&key(1), PLACE, &["/c"], &Bytes::from(moved)), Err(Unsealable));
}

#[test]
fn nonces_are_not_used_twice() {
    let random = SeededRandom::new(7);
    let (one, two) = (key(1).encrypt(&random, b"", b"x"), key(1).encrypt(&random, b"", b"x"));
    assert_ne!(one[..NONCE_LEN], two[..NONCE_LEN]);
}

#[test]
fn pointers_that_lead_nowhere_are_refused() {
    let why = |personal: &[&str], data| sealed(personal, JSON, data).unwrap_err();
    assert!(why(&["/b"], r#"{"a":1}"#).contains("no `b`"));
    assert!(why(&["/a/b"], r#"{"a":1}"#).contains("no `b`"));
    assert!(why(&["/2"], "[1]").contains("no `2`"));
    assert!(why(&["a"], "{}").contains("no JSON pointer"));
    assert!(sealed(&["/a"], "image/png", "x").unwrap_err().contains("none"));
    assert_eq!(check(&all(&["/a", "/ab", "/b/c"])), Ok(()));
    assert!(check(&all(&["/a", "/a/b"])).is_err());
    assert!(check(&all(&["", "/a"])).is_err());
    assert!(check(&all(&["/a", "/a"])).is_err());
}

#[test]
fn a_member_that_is_there_twice_is_refused_where_it_is_personal() {
    for (pointer, data) in [
        ("/name", r#"{"name":"Ada","n":1,"name":"Bob"}"#),
        ("/a/name", r#"{"a":{"name":"Ada"},"a":{"name":"Bob"}}"#),
        ("/0/name", r#"[{"name":"Ada","na\u006de":"Bob"}]"#),
    ] {
        let refused = sealed(&[pointer], JSON, data).unwrap_err();
        assert!(refused.contains("more than once"), "{refused}");
    }
    assert!(sealed(&["/name"], JSON, r#"{"name":"Ada","n":1,"n":2}"#).is_ok());
}
