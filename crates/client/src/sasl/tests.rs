//! The conversation, with a broker of few words.

use std::collections::VecDeque;

use bytes::Bytes;
use env::SeededRandom;

use super::jaas::Secret;
use super::*;

#[derive(Default)]
struct Broker {
    handshake: SaslHandshakeResponse,
    answers: VecDeque<SaslAuthenticateResponse>,
    heard: Vec<String>,
}

impl Conversation for Broker {
    async fn handshake(&mut self, request: SaslHandshakeRequest) -> Result<SaslHandshakeResponse, AskError> {
        self.heard.push(request.mechanism.to_string());
        Ok(self.handshake.clone())
    }

    async fn step(&mut self, request: SaslAuthenticateRequest) -> Result<SaslAuthenticateResponse, AskError> {
        self.heard.push(String::from_utf8(request.auth_bytes.to_vec()).expect("text"));
        self.answers.pop_front().ok_or_else(|| AskError::Lost("it closed the connection".to_owned()))
    }
}

fn sasl(mechanism: Mechanism) -> Sasl {
    let password = Secret("hush".to_owned());
    Sasl { mechanism, login: Login { username: "alice".to_owned(), password } }
}

async fn talk(broker: &mut Broker, mechanism: Mechanism) -> Result<Option<Duration>, AskError> {
    sasl(mechanism).authenticate(broker, &SeededRandom::new(1)).await
}

fn denied(outcome: Result<Option<Duration>, AskError>) -> String {
    match outcome {
        Err(AskError::Denied(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn plain_says_name_and_password_and_hears_how_long_that_holds() {
    let answer = SaslAuthenticateResponse { session_lifetime_ms: 60_000, ..Default::default() };
    let mut broker = Broker { answers: [answer, Default::default()].into(), ..Broker::default() };
    assert_eq!(talk(&mut broker, Mechanism::Plain).await.unwrap(), Some(Duration::from_secs(60)));
    assert_eq!(broker.heard, ["PLAIN", "\0alice\0hush"]);
    assert_eq!(talk(&mut broker, Mechanism::Plain).await.unwrap(), None);
}

#[tokio::test]
async fn a_wrong_password_is_final_and_says_where_it_stands() {
    let answer = SaslAuthenticateResponse {
        error_code: ErrorCode::SaslAuthenticationFailed.code(),
        error_message: Some("invalid credentials".into()),
        ..Default::default()
    };
    let mut broker = Broker { answers: [answer].into(), ..Broker::default() };
    let why = denied(talk(&mut broker, Mechanism::Plain).await);
    assert!(why.contains("`alice`") && why.contains("sasl.jaas.config"), "{why}");
    assert!(why.contains("invalid credentials (SASL_AUTHENTICATION_FAILED)"), "{why}");
    assert!(!why.contains("hush"), "{why}");
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_told_with_those_that_are() {
    let handshake = SaslHandshakeResponse {
        error_code: ErrorCode::UnsupportedSaslMechanism.code(),
        mechanisms: vec!["SCRAM-SHA-512".into(), "GSSAPI".into()],
        ..Default::default()
    };
    let mut broker = Broker { handshake, ..Broker::default() };
    let why = denied(talk(&mut broker, Mechanism::Plain).await);
    assert!(why.contains("PLAIN") && why.contains("SCRAM-SHA-512, GSSAPI"), "{why}");
    assert!(why.contains("sasl.mechanism"), "{why}");
    // The password was not sent.
    assert_eq!(broker.heard, ["PLAIN"]);
}

#[tokio::test]
async fn a_port_without_sasl_is_told() {
    let handshake =
        SaslHandshakeResponse { error_code: ErrorCode::IllegalSaslState.code(), ..Default::default() };
    let mut broker = Broker { handshake, ..Broker::default() };
    let why = denied(talk(&mut broker, Mechanism::Scram(Hash::Sha256)).await);
    assert!(why.contains("security.protocol"), "{why}");
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_is_not_talked_to() {
    let challenge = |nonce: &str| SaslAuthenticateResponse {
        auth_bytes: Bytes::from(format!("r={nonce}more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")),
        ..Default::default()
    };
    let mechanism = Mechanism::Scram(Hash::Sha512);
    let mut broker = Broker { answers: [challenge("foreign")].into(), ..Broker::default() };
    let why = denied(talk(&mut broker, mechanism).await);
    assert!(why.contains("another nonce"), "{why}");
    // The same seed, the same nonce.
    let (_, nonce) = broker.heard[1].split_once("n,,n=alice,r=").expect("the first message");
    let last = SaslAuthenticateResponse { auth_bytes: Bytes::from_static(b"v=AAAA"), ..Default::default() };
    let mut broker = Broker { answers: [challenge(nonce), last].into(), ..Broker::default() };
    let why = denied(talk(&mut broker, mechanism).await);
    assert!(why.contains("does not know the password"), "{why}");
    assert!(broker.heard[2].starts_with("c=biws,r="), "{:?}", broker.heard);
}

#[tokio::test]
async fn a_broker_that_goes_away_meanwhile_may_be_asked_again() {
    let outcome = talk(&mut Broker::default(), Mechanism::Plain).await;
    assert!(outcome.is_err_and(|error| error.is_lost()));
}
