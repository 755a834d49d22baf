//! File, environment, flags: who wins and what is refused.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};

use super::*;
use crate::Listener;
use crate::load::{LoadError, Loaded, Sources, load, variable_of_setting};

fn try_load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<BrokerSettings, LoadError> {
    load_all(file, environment, flags).map(|loaded| loaded.settings)
}

fn load_all(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, LoadError> {
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let flags: Vec<(String, String, String)> =
        flags.iter().map(|(name, value)| ("--set".to_owned(), name.to_string(), value.to_string())).collect();
    load(&Sources { file: Some(("levada.toml", file)), environment: &environment, flags: &flags })
}

fn partitions(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> i32 {
    try_load(file, environment, flags).expect("loads").options().num_partitions
}

fn check_refused(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], why: Expect) {
    why.assert_eq(&try_load(file, environment, flags).expect_err("refused").to_string());
}

#[test]
fn flags_win_over_the_environment_over_the_file() {
    let file = "num.partitions = 5";
    assert_eq!(partitions("", &[], &[]), 4);
    assert_eq!(partitions(file, &[], &[]), 5);
    assert_eq!(partitions(file, &[("LEVADA_NUM_PARTITIONS", "6"), ("PATH", "x")], &[]), 6);
    assert_eq!(partitions(file, &[("LEVADA_NUM_PARTITIONS", "6")], &[("num.partitions", "7")]), 7);
    assert_eq!(
        partitions(file, &[], &[("num.partitions", "7"), ("num.partitions", "8")]),
        8,
        "the last flag wins"
    );
}

#[test]
fn a_file_may_write_names_whole_or_in_tables() {
    let settings = try_load(
        "\"max.connections\" = 10\n\"max.connections.per.ip\" = 3\nlog.cleanup.policy = ['compact', 'delete']\n\
         [log.retention]\nms = -1\n[levada]\nwal.bytes.max = 1_073_741_824\n",
        &[("LEVADA_STORAGE_SHARDS", "2"), ("LEVADA_CONFIG", "elsewhere.toml")],
        &[],
    )
    .unwrap();
    let options = settings.options();
    assert_eq!((options.connections_max, options.connections_per_ip_max), (10, 3));
    assert_eq!(options.wal_bytes_max, 1 << 30);
    assert_eq!(options.storage_shards, 2);
    assert_eq!(TopicConfig::new(&TopicOverrides::default(), &settings).retention, None);
}

#[test]
fn mistakes_are_named_with_their_place_and_the_nearest_name() {
    check_refused(
        "log.retention.hour = 3",
        &[],
        &[],
        expect!["levada.toml: unknown setting `log.retention.hour`; did you mean `log.retention.hours`?"],
    );
    check_refused(
        "",
        &[("LEVADA_NUM_PARTITION", "3")],
        &[],
        expect![
            "environment: unknown variable `LEVADA_NUM_PARTITION`; did you mean `LEVADA_NUM_PARTITIONS`?"
        ],
    );
    check_refused(
        "",
        &[],
        &[("num.partions", "3")],
        expect!["--set: unknown setting `num.partions`; did you mean `num.partitions`?"],
    );
    check_refused("", &[], &[("zzz", "3")], expect!["--set: unknown setting `zzz`"]);
    check_refused(
        "num.partitions = 0",
        &[],
        &[],
        expect!["levada.toml: Invalid value 0 for configuration num.partitions: Value must be at least 1"],
    );
    check_refused(
        "",
        &[],
        &[("group.min.session.timeout.ms", "9"), ("group.max.session.timeout.ms", "8")],
        expect![
            "settings: group.min.session.timeout.ms (9) must not be above group.max.session.timeout.ms (8)"
        ],
    );
    check_refused(
        "",
        &[],
        &[("log.retention.hours", "0")],
        expect!["settings: log.retention.hours must be unlimited (-1) or, equal or greater than 1"],
    );
    check_refused(
        "",
        &[],
        &[("listeners", "SSL://host:9092")],
        expect!["--set: `SSL://host:9092`: SSL is not available yet, only PLAINTEXT"],
    );
    let broken =
        try_load("max.connections = 1\nmax.connections.per.ip = 2", &[], &[]).expect_err("TOML").to_string();
    assert!(broken.starts_with("levada.toml: ") && broken.contains("put both in quotes"), "{broken}");
}

/// The variables that are warned of.
fn foreign(environment: &[(&str, &str)]) -> Vec<String> {
    load_all("", environment, &[]).expect("starts").foreign_variables
}

#[test]
fn what_kubernetes_injects_for_a_service_named_levada_is_passed_over() {
    let injected = [
        ("LEVADA_SERVICE_HOST", "10.96.0.7"),
        ("LEVADA_SERVICE_PORT", "9092"),
        ("LEVADA_SERVICE_PORT_KAFKA", "9092"),
        ("LEVADA_PORT", "tcp://10.96.0.7:9092"),
        ("LEVADA_PORT_9092_TCP", "tcp://10.96.0.7:9092"),
        ("LEVADA_PORT_9092_TCP_PROTO", "tcp"),
        ("LEVADA_PORT_9092_TCP_PORT", "9092"),
        ("LEVADA_PORT_9092_TCP_ADDR", "10.96.0.7"),
        ("LEVADA_HEADLESS_SERVICE_HOST", "10.96.0.8"),
        ("LEVADA_HEADLESS_PORT", "udp://10.96.0.8:53"),
    ];
    assert_eq!(foreign(&injected), [""; 0]);
}

#[test]
fn a_variable_of_somebody_else_is_told_and_does_not_stop_the_broker() {
    for variable in ["LEVADA_OWNER", "LEVADA_VERSION", "LEVADA_HOME", "LEVADA_IMAGE", "LEVADA_PASSWORD"] {
        assert_eq!(foreign(&[(variable, "x")]), [variable]);
    }
    let of_commands = [("LEVADA_BOOTSTRAP", "levada:9092"), ("LEVADA_URL", "http://levada:8080")];
    assert_eq!(foreign(&of_commands), [""; 0], "the commands read these");
}

#[test]
fn the_flags_of_serve_are_variables_too() {
    let variables =
        [("LEVADA_DATA_DIR", "d"), ("LEVADA_KAFKA_ADDR", "127.0.0.1:1"), ("LEVADA_HTTP_ADDR", "127.0.0.1:2")];
    let options = try_load("", &variables, &[]).unwrap().options();
    assert_eq!((options.data_dir.as_str(), options.http_listen.as_str()), ("d", "127.0.0.1:2"));
    assert_eq!(options.listener.address(), "127.0.0.1:1");
    check_refused(
        "",
        &[("LEVADA_DATA_DIR", "d"), ("LEVADA_LOG_DIRS", "e")],
        &[],
        expect![
            "environment: `LEVADA_DATA_DIR` and `LEVADA_LOG_DIRS` are one setting, log.dirs: give only one"
        ],
    );
    check_refused(
        "",
        &[("LEVADA_DATA_DIRS", "d")],
        &[],
        expect!["environment: unknown variable `LEVADA_DATA_DIRS`; did you mean `LEVADA_DATA_DIR`?"],
    );
}

#[test]
fn the_hint_at_quotes_stands_only_where_quotes_help() {
    let is_hinted = |file| {
        let refused = try_load(file, &[], &[]).expect_err("TOML").to_string();
        refused.contains("put both in quotes")
    };
    assert!(is_hinted("max.connections = 1\nmax.connections.per.ip = 2"));
    assert!(is_hinted("max.connections.per.ip = 2\nmax.connections = 1"));
    assert!(is_hinted("max.connections = 1\n[max.connections]\nper.ip = 3"));
    assert!(!is_hinted("num.partitions = 1\nnum.partitions = 2"));
    assert!(!is_hinted("num.partitions"));
    assert!(!is_hinted("= 3"));
}

#[test]
fn every_setting_has_a_variable_of_its_own() {
    let variables: BTreeSet<String> =
        broker::table().iter().map(|setting| variable_of_setting(setting.name)).collect();
    assert_eq!(variables.len(), broker::table().len());
    assert!(!variables.contains(crate::load::CONFIG_FILE_VARIABLE));
}

#[test]
fn addresses() {
    let parse =
        |text: &str| Listener::parse(text).map(|listener| (listener.address(), listener.is_loopback()));
    assert_eq!(parse("PLAINTEXT://127.0.0.1:9092"), Ok(("127.0.0.1:9092".to_owned(), true)));
    assert_eq!(parse("localhost:0"), Ok(("localhost:0".to_owned(), true)));
    assert_eq!(parse("[::1]:9092"), Ok(("[::1]:9092".to_owned(), true)));
    assert_eq!(parse(":9092"), Ok(("0.0.0.0:9092".to_owned(), false)));
    assert_eq!(parse("kafka.example:9092"), Ok(("kafka.example:9092".to_owned(), false)));
    assert!(parse("9092").is_err());
    assert!(parse("host:99999").is_err());
}
