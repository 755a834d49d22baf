//! From the command line to settings.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn parse(line: &str) -> ServeArgs {
    let cli = Cli::try_parse_from(line.split(' ')).expect("a good command line");
    match cli.command {
        None => cli.serve,
        Some(Command::Serve(arguments)) => arguments,
        Some(other) => panic!("{other:?}"),
    }
}

fn options(line: &str, environment: &[(&str, &str)]) -> BrokerOptions {
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    read_settings(&parse(line), environment).expect("good settings").0.settings.options()
}

#[test]
fn without_a_command_it_serves() {
    let flags = "--data-dir d --kafka-addr 127.0.0.1:1 --http-addr 127.0.0.1:2 --advertised kafka:3 --log-format json";
    for line in [format!("levada {flags}"), format!("levada serve {flags}")] {
        let options = options(&line, &[]);
        assert_eq!(options.data_dir, "d");
        assert_eq!(options.listener.to_string(), "PLAINTEXT://127.0.0.1:1");
        assert_eq!(options.http_listen, "127.0.0.1:2");
        assert_eq!(options.advertised_listener.unwrap().address(), "kafka:3");
        assert_eq!(options.log_format, "json");
    }
}

#[test]
fn flags_win_over_variables() {
    let variables = [("LEVADA_NUM_PARTITIONS", "7"), ("LEVADA_HTTP_LISTEN", "127.0.0.1:5")];
    let options = options("levada --set num.partitions=9", &variables);
    assert_eq!((options.num_partitions, options.http_listen.as_str()), (9, "127.0.0.1:5"));
}

#[test]
fn a_file_can_say_where_kafka_is() {
    let by_flag = options("levada serve --kafka-config client.properties", &[]);
    let by_variable = options("levada", &[("LEVADA_KAFKA_CONFIG", "client.properties")]);
    assert_eq!(by_flag.kafka_properties, "client.properties");
    assert_eq!(by_variable.kafka_properties, "client.properties");
    // How commands reach a broker is no setting.
    assert_eq!(options("levada", &[("LEVADA_COMMAND_CONFIG", "client.properties")]).kafka_properties, "");
}

#[test]
fn the_log_says_where_the_data_are_from_wherever_it_is_read() {
    let data = whole(Path::new("data"));
    assert!(data.is_absolute() && data.ends_with("data"), "{}", data.display());
}

#[test]
fn listening_to_strangers_must_be_meant() {
    let refused =
        check_listen(&options("levada --kafka-addr 0.0.0.0:9092", &[])).expect_err("refused").to_string();
    assert!(refused.contains("0.0.0.0:9092") && refused.contains("--allow-insecure-listen"), "{refused}");
    let refused = check_listen(&options("levada --http-addr [::]:80", &[])).expect_err("refused").to_string();
    assert!(refused.contains("sees the metrics") && !refused.contains("writes"), "{refused}");
    assert!(check_listen(&options("levada --kafka-addr 0.0.0.0:9092 --allow-insecure-listen", &[])).is_ok());
    assert!(check_listen(&options("levada", &[])).is_ok());
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn the_manual_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("docs/configuration.md");
    assert!(
        page == settings::manual::page(),
        "docs/configuration.md is out of date: cargo run --bin levada -- docs configuration > docs/configuration.md"
    );
}

#[tokio::test]
async fn signals_that_come_together_are_one_order_and_a_later_one_is_a_second() {
    use rustix::process::{Signal, getpid, kill_process};
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut stop = Stop::listen().unwrap();
        kill_process(getpid(), signal).unwrap();
        stop.told().await;
        kill_process(getpid(), signal).unwrap();
        let mut again = std::pin::pin!(stop.told_again());
        let soon = tokio::time::timeout(ONE_ORDER / 2, &mut again).await;
        assert!(soon.is_err(), "{signal:?} sent twice is one order");
        tokio::time::sleep(ONE_ORDER).await;
        kill_process(getpid(), signal).unwrap();
        again.await;
    }
}

#[test]
fn connections_leave_files_for_the_log() {
    assert_eq!(wiring::connections_max(None), usize::MAX);
    assert_eq!(wiring::connections_max(Some(1024)), 512);
    assert_eq!(wiring::connections_max(Some(1 << 20)), (1 << 20) - 16384);
}
