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
