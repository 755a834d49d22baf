use super::*;

fn parse(text: &str) -> Result<Vec<String>, String> {
    Bootstrap::parse(text).map(|bootstrap| bootstrap.0)
}

#[test]
fn an_address_may_leave_out_the_port_name_its_protocol_and_have_company() {
    assert_eq!(parse("kafka").unwrap(), ["kafka:9092"]);
    assert_eq!(parse("kafka:19092").unwrap(), ["kafka:19092"]);
    assert_eq!(parse("PLAINTEXT://kafka:19092").unwrap(), ["kafka:19092"]);
    assert_eq!(parse("plaintext://kafka").unwrap(), ["kafka:9092"]);
    assert_eq!(parse("a:1, b ,PLAINTEXT://c:3").unwrap(), ["a:1", "b:9092", "c:3"]);
    assert_eq!(parse("[::1]:1,[::1],::1").unwrap(), ["[::1]:1", "[::1]:9092", "[::1]:9092"]);
}

#[test]
fn a_bad_address_says_what_is_bad() {
    assert!(parse("kafka:9o92").unwrap_err().contains("`9o92` is not a port"));
    assert!(parse("kafka:70000").unwrap_err().contains("`70000` is not a port"));
    assert!(parse("kafka:0").unwrap_err().contains("port 0"));
    assert!(parse("SASL_SSL://kafka:9092").unwrap_err().contains("security.protocol"));
    assert!(parse(":9092").unwrap_err().contains("no host"));
    assert!(parse(" , ").is_err());
}
