use super::*;

#[test]
fn an_instance_that_serves_on_every_network_is_looked_for_where_its_brokers_are() {
    let hosts = ["kafka-1", "[::1]"];
    assert_eq!(reachable("http://10.0.0.7:8080", &hosts), ["http://10.0.0.7:8080"]);
    assert_eq!(reachable("http://0.0.0.0:81", &hosts), ["http://kafka-1:81", "http://[::1]:81"]);
    assert_eq!(reachable("http://[::]:81", &hosts), ["http://kafka-1:81", "http://[::1]:81"]);
    assert_eq!(host("[::1]:9092"), "[::1]");
    assert_eq!(host("kafka-1:9092"), "kafka-1");
}

#[test]
fn an_address_that_cannot_be_used_is_told_why() {
    for (url, said) in [
        ("https://levada.internal", "do not speak TLS"),
        ("127.0.0.1:8080", "write http://HOST:PORT"),
        ("http://", "write http://HOST:PORT"),
        ("http://127.0.0.1:8080/v1", "without /v1"),
    ] {
        let told = checked(url).unwrap_err().to_string();
        assert!(told.contains(said), "{told}");
    }
    assert_eq!(checked("http://127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080");
}
