use super::*;

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";

/// Only these files are there.
fn parse_with(text: &str, files: &[(&str, &[u8])]) -> Result<Properties, String> {
    Properties::parse(text, &|path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

fn parse(text: &str) -> Result<Properties, String> {
    parse_with(text, &[])
}

fn refused(text: &str) -> String {
    parse(text).map(|properties| format!("{properties:?}")).expect_err("refused")
}

#[test]
fn a_file_says_how_a_cluster_is_reached() {
    let properties = parse(&format!(
        "bootstrap.servers=kafka-1:9093, kafka-2\n\
         client.id=orders\n\
         security.protocol=SASL_PLAINTEXT\n\
         sasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config={SCRAM} required \\\n  username=\"alice\" \\\n  password=\"hush\";\n\
         request.timeout.ms=7000\n\
         replication.factor=3\n"
    ))
    .unwrap();
    assert_eq!(properties.bootstrap.clone().unwrap().0, ["kafka-1:9093", "kafka-2:9092"]);
    assert_eq!(properties.client_id.as_deref(), Some("orders"));
    assert_eq!(properties.security.protocol(), "SASL_PLAINTEXT");
    let sasl = properties.security.sasl().unwrap();
    assert_eq!((sasl.mechanism.name(), sasl.login.username.as_str()), ("SCRAM-SHA-512", "alice"));
    assert_eq!(properties.request_timeout, Some(Duration::from_secs(7)));
    assert_eq!(properties.replication_factor, Some(3));
    assert!(properties.warnings.is_empty(), "{:?}", properties.warnings);
    assert!(!format!("{properties:?}").contains("hush"));
}

#[test]
fn what_is_not_said_has_kafkas_default() {
    let properties = parse("# nothing\nclient.id=\nreplication.factor=-1").unwrap();
    assert_eq!(properties.security.protocol(), "PLAINTEXT");
    assert!(properties.bootstrap.is_none() && properties.client_id.is_none());
    assert!(properties.request_timeout.is_none() && properties.replication_factor.is_none());
}

#[test]
fn what_kafka_knows_is_passed_over_and_what_nobody_knows_is_told() {
    let properties = parse("linger.ms=5\nsecurity.protocoll=SSL\nzzz=1\nssl.truststore.password=x").unwrap();
    let [misspelt, foreign] = &properties.warnings[..] else { panic!("{:?}", properties.warnings) };
    assert!(misspelt.contains("`security.protocoll`"), "{misspelt}");
    assert!(misspelt.ends_with("did you mean `security.protocol`?"), "{misspelt}");
    assert!(foreign.contains("`zzz`") && !foreign.contains("did you mean"), "{foreign}");
}

#[test]
fn a_wrong_value_says_what_would_be_right() {
    let wrong = |text: &str, told: &str| {
        let why = refused(text);
        assert!(why.contains(told) && !why.contains("hush"), "{text}: {why}");
    };
    wrong("security.protocol=TLS", "SASL_SSL");
    wrong("bootstrap.servers=kafka:port", "bootstrap.servers: ");
    wrong("request.timeout.ms=soon", "milliseconds");
    wrong("replication.factor=0", "replication.factor: `0`");
    wrong("config.providers=file", "config.providers");
    wrong("security.protocol=SASL_PLAINTEXT", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512");
    wrong("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=GSSAPI", "`GSSAPI` is not available");
    wrong("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN", "PlainLoginModule required");
    let login = format!("sasl.jaas.config={SCRAM} required username=\"alice\" password=\"hush\";");
    wrong(&format!("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n{login}"), PLAIN);
    wrong("security.protocol=SSL\nssl.endpoint.identification.algorithm=ldaps", "neither https nor empty");
}

#[test]
fn javas_own_stores_are_refused_with_the_way_to_pem() {
    let refused = |store: &str, kind: Option<&str>, bytes: &[u8]| {
        let kind = kind.map_or(String::new(), |kind| format!("ssl.{store}.type={kind}\n"));
        let text = format!("security.protocol=SSL\nssl.{store}.location=/etc/s\n{kind}");
        parse_with(&text, &[("/etc/s", bytes)]).expect_err("refused")
    };
    const JKS: &[u8] = &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
    const PKCS12: &[u8] = &[0x30, 0x82, 0x05, 0x00];
    for why in [refused("truststore", Some("JKS"), b""), refused("truststore", None, JKS)] {
        assert!(why.contains("JKS stores are not read"), "{why}");
        assert!(why.contains("`keytool -list -rfc -keystore /etc/s >ca.pem`"), "{why}");
        assert!(why.contains("ssl.truststore.type=PEM"), "{why}");
    }
    let why = refused("keystore", None, JKS);
    assert!(why.contains("keytool -importkeystore") && why.contains("openssl pkcs12"), "{why}");
    for why in [refused("keystore", Some("pkcs12"), b""), refused("keystore", Some("PEM"), PKCS12)] {
        assert!(why.contains("`openssl pkcs12 -in /etc/s -nodes -out client.pem`"), "{why}");
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_told_by_the_propertys_name() {
    let refused = |text: &str, bytes: &[u8]| {
        parse_with(&format!("security.protocol=SSL\n{text}"), &[("f", bytes)]).expect_err("refused")
    };
    let why = refused("ssl.truststore.location=missing", b"");
    assert!(why.starts_with("ssl.truststore.location: cannot read missing"), "{why}");
    let why = refused("ssl.truststore.location=f", b"hello");
    assert!(why.starts_with("ssl.truststore.location: there is no certificate"), "{why}");
    let why = refused("ssl.keystore.certificate.chain=x", b"");
    assert!(why.contains("belong together"), "{why}");
    let why = refused("ssl.truststore.location=f\nssl.truststore.certificates=x", b"");
    assert!(why.contains("give only one"), "{why}");
}
