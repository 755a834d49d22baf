//! Shaking hands with a broker that has a certificate for `kafka.test`, made for these tests.

use std::path::Path;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::Properties;

const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBjDCCATKgAwIBAgIUeigXQOH76TR54BUcCaHHMZzAHyQwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEVGVzdDAgFw0yNjExMjYwNjQwMDdaGA8yMTI2MTEwMjA2NDAw
N1owDzENMAsGA1UEAwwEVGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJ4U
8cCHNFPzHBZb04+11vVvsCbrIcV0AKyHFzbIG9a9slNbzOL5Eg6t58OLBs/YbYoW
+a72JlI30DoGp50CUyejajBoMB0GA1UdDgQWBBRpq8XuE2f30o386hSv3suuFoTj
jjAfBgNVHSMEGDAWgBRpq8XuE2f30o386hSv3suuFoTjjjAPBgNVHRMBAf8EBTAD
AQH/MBUGA1UdEQQOMAyCCmthZmthLnRlc3QwCgYIKoZIzj0EAwIDSAAwRQIgKPMD
q4tRXwwrgd9M2REPLs8VPTx6F0ZDAz+VqrTwwLQCIQDzZjAr/sLGCM5gxiSL8duI
y4+AlZkrULbzCLHVMz/aUg==
-----END CERTIFICATE-----
";

const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgqdZ79XE17nbTA2Yy
E9eJou2wPgsYWufBOd2NdnLAoFGhRANCAASeFPHAhzRT8xwWW9OPtdb1b7Am6yHF
dACshxc2yBvWvbJTW8zi+RIOrefDiwbP2G2KFvmu9iZSN9A6BqedAlMn
-----END PRIVATE KEY-----
";

/// The same key, with a password.
const ENCRYPTED_KEY: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAj05CAeysN04AICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEEHCnCqVhyHATBpk4sXRtYgEgZA5
L+TOVNdBAkwJsozrYvu3/W6fGFwYWm5DPxVuq8R/hRpUPDqE37G9zs2Z79chkF2s
WYvpNbnTLT0qvH1MwBwm6Q0/oXqHQPF6boBHyuKMX5BHyz34Ly+8Xi0i8opZuLHn
um6uNnYxatW/2QBakU2R7wIXHTDI5SH5ZeUZYL8/Ck6qT1fPegI3MHdg/hR5svs=
-----END ENCRYPTED PRIVATE KEY-----
";

/// Of somebody else.
const OTHER: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIUDWfBFdTM6WRUFQrn2Gm6+MS7vHQwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFT3RoZXIwIBcNMjYxMTI2MDY0MDQ4WhgPMjEyNjExMDIwNjQw
NDhaMBAxDjAMBgNVBAMMBU90aGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
WQPb0ZvdKH6mZewrMysCCNt5SIRzKsFHgCevvT2L49V2kEQmhZOP5ax48qJqElij
GAh9SCiaIkHmTadvsGJtBqNTMFEwHQYDVR0OBBYEFG69lqLcnU07hITbgewnEO3m
Ssw+MB8GA1UdIwQYMBaAFG69lqLcnU07hITbgewnEO3mSsw+MA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgaisrbCr6WWIRKjhESqDpJgJhcu/30x58
q8bCFdeZ2fACIQCiZbIWc4bPS+jhuuA3XylhgjSDNNEqPt5VxJyhY2PGYw==
-----END CERTIFICATE-----
";

fn security(text: &str) -> Result<Security, String> {
    let file = |path: &Path| match path.to_str() {
        Some("ca.pem") => Ok(CERTIFICATE.as_bytes().to_vec()),
        Some("other.pem") => Ok(OTHER.as_bytes().to_vec()),
        Some("both.pem") => Ok([CERTIFICATE, KEY].concat().into_bytes()),
        Some("encrypted.pem") => Ok([CERTIFICATE, ENCRYPTED_KEY].concat().into_bytes()),
        _ => Err(ErrorKind::NotFound.into()),
    };
    Properties::parse(&format!("security.protocol=SSL\n{text}"), &file).map(|properties| properties.security)
}

/// What comes of shaking hands with a broker that is called `name`.
async fn shake(client: &str, name: &str, wants_certificate: bool) -> Result<(), AskError> {
    let security = security(client).expect("good properties");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let chain = pem::certificates("", CERTIFICATE.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let config = match wants_certificate {
        true => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
        false => config.with_no_client_auth(),
    };
    let config = config.with_single_cert(chain, pem::private_key("", KEY.as_bytes()).unwrap()).unwrap();
    serve(
        async move |stream| {
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
            let _ = stream.write_all(b"kafka").await;
            let _ = stream.shutdown().await;
        },
        async |stream, port| {
            let mut stream = security.open(stream, &format!("{name}:{port}")).await?;
            let mut heard = String::new();
            // Under TLS 1.3 a client hears only here that its certificate is not taken.
            stream.from.read_to_string(&mut heard).await.map_err(|error| security.broken(error))?;
            assert_eq!(heard, "kafka");
            Ok(())
        },
    )
    .await
}

async fn serve<T>(server: impl AsyncFnOnce(TcpStream), client: impl AsyncFnOnce(TcpStream, u16) -> T) -> T {
    let listener = env::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        server(stream).await;
    };
    let asking = async { client(TcpStream::connect(address).await.unwrap(), address.port()).await };
    tokio::join!(serving, asking).1
}

fn denied(outcome: Result<(), AskError>) -> String {
    match outcome {
        Err(AskError::Denied(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_broker_that_is_trusted_is_spoken_to() {
    shake("ssl.truststore.location=ca.pem", "kafka.test", false).await.unwrap();
    let inline = CERTIFICATE.replace('\n', " \\\n");
    shake(&format!("ssl.truststore.type=PEM\nssl.truststore.certificates={inline}"), "kafka.test", false)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_broker_that_nobody_vouches_for_is_not() {
    let why = denied(shake("ssl.truststore.location=other.pem", "kafka.test", false).await);
    assert!(why.contains("ssl.truststore.location"), "{why}");
}

#[tokio::test]
async fn a_certificate_is_good_for_its_own_name_only_unless_names_are_not_compared() {
    for name in ["kafka.other", "127.0.0.1", "[::1]"] {
        let why = denied(shake("ssl.truststore.location=ca.pem", name, false).await);
        assert!(why.contains("kafka.test") && why.contains("subjectAltName"), "{why}");
    }
    let any = "ssl.truststore.location=ca.pem\nssl.endpoint.identification.algorithm=";
    shake(any, "127.0.0.1", false).await.unwrap();
    // Not comparing names is not trusting anybody.
    let any = "ssl.truststore.location=other.pem\nssl.endpoint.identification.algorithm=";
    denied(shake(any, "127.0.0.1", false).await);
}

#[tokio::test]
async fn a_broker_may_want_to_see_a_certificate_too() {
    let trust = "ssl.truststore.location=ca.pem";
    let why = denied(shake(trust, "kafka.test", true).await);
    assert!(why.contains("ssl.keystore.location"), "{why}");
    // rustls has no patience with a certificate that is an authority's: that it was shown is what counts here.
    let why = denied(shake(&format!("{trust}\nssl.keystore.location=both.pem"), "kafka.test", true).await);
    assert!(!why.contains("CertificateRequired"), "{why}");
}

#[test]
fn an_encrypted_key_is_refused_with_the_way_out() {
    let why = security("ssl.truststore.location=ca.pem\nssl.keystore.location=encrypted.pem").unwrap_err();
    assert!(why.contains("ssl.keystore.location: the key is encrypted"), "{why}");
    assert!(why.contains("openssl pkey"), "{why}");
}

#[tokio::test]
async fn a_port_without_tls_is_told() {
    let security = security("ssl.truststore.location=ca.pem").unwrap();
    let answered = serve(
        async |mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request").await;
            let _ = stream.read(&mut [0; 1024]).await;
        },
        async |stream, _| security.open(stream, "kafka.test:1").await.map(|_| ()),
    );
    let why = denied(answered.await);
    assert!(why.contains("security.protocol to PLAINTEXT"), "{why}");
    // So does a broker at its end, too: it may be back.
    let closed = serve(
        async |mut stream| {
            let _ = stream.read(&mut [0; 1024]).await;
        },
        async |stream, _| security.open(stream, "kafka.test:1").await.map(|_| ()),
    );
    let error = closed.await.unwrap_err();
    assert!(error.is_lost() && error.to_string().contains("security.protocol"), "{error}");
}
