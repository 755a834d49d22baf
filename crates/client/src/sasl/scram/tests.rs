use super::*;

/// RFC 7677, 3.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const SERVER_LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

const PROOF_512: &str =
    "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
const SIGNATURE_512: &str =
    "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";

fn first() -> First {
    First::new(Hash::Sha256, "user", "pencil", NONCE.to_owned())
}

#[test]
fn the_conversation_of_rfc_7677_is_had_word_by_word() {
    let first = first();
    assert_eq!(first.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let last = first.prove(SERVER_FIRST).unwrap();
    assert_eq!(
        last.message(),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert_eq!(last.verify(SERVER_LAST), Ok(()));
}

/// There is no vector for SHA-512 in an RFC: this one was computed with Python's hashlib and hmac.
#[test]
fn sha_512_makes_the_proof_that_others_make() {
    let first = First::new(Hash::Sha512, "user", "pencil", NONCE.to_owned());
    let last = first.prove(SERVER_FIRST).unwrap();
    let (_, proof) = last.message().split_once(",p=").unwrap();
    assert_eq!(proof, PROOF_512);
    assert_eq!(last.verify(&format!("v={SIGNATURE_512}")), Ok(()));
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    let last = first().prove(SERVER_FIRST).unwrap();
    let foreign = "v=AAriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    assert_eq!(last.verify(foreign), Err(ScramError::ForeignServer));
    assert_eq!(last.verify("v="), Err(ScramError::ForeignServer));
    assert_eq!(last.verify(""), Err(ScramError::Malformed("no v=")));
    assert_eq!(last.verify("e=invalid-proof"), Err(ScramError::Refused("invalid-proof".to_owned())));
}

#[test]
fn a_challenge_that_is_not_an_answer_to_this_client_is_refused() {
    let prove = |text: &str| first().prove(text).map(|_| ()).unwrap_err();
    assert_eq!(prove("r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), ScramError::ForeignNonce);
    // The server adds nothing of its own.
    let echoed = format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    assert_eq!(prove(&echoed), ScramError::ForeignNonce);
    let with = |rest: &str| format!("r={NONCE}x,{rest}");
    assert_eq!(prove(&with("s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1")), ScramError::Iterations(1));
    assert_eq!(prove(&with("s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0")), ScramError::Iterations(0));
    assert_eq!(prove(&with("s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000")), ScramError::Iterations(2_000_000));
    assert_eq!(prove(&with("s=W22ZaJ0SNY7soEsUEjb6gQ==")), ScramError::Malformed("no i="));
    assert_eq!(prove(&with("s=?,i=4096")), ScramError::Malformed("s= is not Base64"));
    assert_eq!(prove("m=must,r=x,s=,i=4096"), ScramError::Malformed("no r="));
    assert_eq!(prove("e=unknown-user"), ScramError::Refused("unknown-user".to_owned()));
}

#[test]
fn a_name_may_hold_what_separates_fields() {
    let first = First::new(Hash::Sha256, "a=b,c", "", "n".to_owned());
    assert_eq!(first.message(), "n,,n=a=3Db=2Cc,r=n");
}
