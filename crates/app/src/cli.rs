//! The command line, as a user sees it in `--help`.

pub mod events;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::Bootstrap;
use crate::commands::consume::Shape;

const ABOUT: &str = "An event backbone in one binary: a Kafka broker that keeps what it has acknowledged";

const EXAMPLES: &str = "\
Examples:
  levada                                       serve on 127.0.0.1:9092, data in ./data
  levada serve --data-dir /var/lib/levada --set log.retention.hours=72
  levada topic create orders --partitions 8
  echo 'hello' | levada produce orders
  levada consume orders --from beginning

Any Kafka client works as well, in any language: bootstrap.servers=127.0.0.1:9092.

Ports: 9092 Kafka, 8080 HTTP (/docs, /metrics, /healthz, /readyz); both on loopback unless moved.

Settings have Kafka's names. The last of these that sets one wins: default, levada.toml, LEVADA_* variables, flags. \
docs/configuration.md (`levada docs configuration`) lists them all.";

const SERVE_EXAMPLES: &str = "\
Examples:
  levada serve --data-dir /var/lib/levada
  levada serve --set log.retention.hours=72 --set num.partitions=8
  levada serve --kafka kafka-1:9092,kafka-2:9092
  levada serve --kafka-config client.properties
  levada serve --kafka-addr 0.0.0.0:9092 --advertised kafka.internal:9092 --allow-insecure-listen
  levada serve --log-format json --log-level info,storage=debug

Flags that are short forms of settings have a variable too: LEVADA_DATA_DIR, LEVADA_KAFKA_ADDR, LEVADA_HTTP_ADDR, LEVADA_KAFKA, LEVADA_KAFKA_CONFIG, \
LEVADA_ADVERTISED, LEVADA_ALLOW_INSECURE_LISTEN, LEVADA_LOG_FORMAT, LEVADA_LOG_LEVEL.";

/// The whole command line; without a command it is `serve`.
#[derive(Debug, Parser)]
#[command(name = "levada", version, about = ABOUT, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the broker (what `levada` alone does)
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Create, list, describe, delete and alter topics of a running broker
    #[command(subcommand)]
    Topic(TopicCommand),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Show the cluster: its brokers, and how much is in it
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show and change the settings of a running broker
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Send lines of standard input or of a file as records
    Produce(ProduceArgs),
    /// Print the records of a topic
    Consume(ConsumeArgs),
    /// Append and read events of the event store
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Check the data of a broker that is not running, or the topics of the event store
    Verify(VerifyArgs),
    /// Make damaged partitions writable again, giving up what cannot be read
    Repair(RepairArgs),
    /// Print manual pages
    #[command(subcommand)]
    Docs(DocsCommand),
    /// Print which version of Levada this is
    Version,
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  levada completions bash >~/.local/share/bash-completion/completions/levada
  levada completions zsh >~/.zfunc/_levada
  levada completions fish >~/.config/fish/completions/levada.fish")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

/// Flags are short forms of settings; whatever has none is set by `--set`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Folder for everything that is stored [default: data] (log.dirs)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where to serve Kafka [default: 127.0.0.1:9092] (listeners)
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_addr: Option<String>,
    /// Where to serve HTTP; empty switches it off [default: 127.0.0.1:8080] (levada.http.listen)
    #[arg(long, value_name = "HOST:PORT")]
    pub http_addr: Option<String>,
    /// Run on this Kafka cluster instead of the broker in this process (levada.kafka.bootstrap.servers)
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// How that cluster is reached: Kafka's client properties (bootstrap.servers, TLS, SASL)
    /// (levada.kafka.client.properties.file)
    #[arg(long, value_name = "FILE")]
    pub kafka_config: Option<String>,
    /// What clients are told to connect to, where that is not the address they came in on: behind a port map or NAT
    /// (advertised.listeners)
    #[arg(long, value_name = "HOST:PORT")]
    pub advertised: Option<String>,
    /// Settings in TOML [default: levada.toml, if there is one]
    #[arg(long, value_name = "FILE", env = settings::load::CONFIG_FILE_VARIABLE)]
    pub config: Option<PathBuf>,
    /// One setting; may be repeated, wins over everything else
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,
    /// Form of the log lines [default: text] (levada.log.format)
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<String>,
    /// error, warn, info, debug, trace, or a filter such as info,storage=debug [default: info] (levada.log.level)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Listen where other machines can connect, although nothing asks them who they are
    /// (levada.listen.insecure.allow)
    #[arg(long)]
    pub allow_insecure_listen: bool,
}

/// How commands reach a broker.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// The broker (Levada, or any other that speaks Kafka's protocol); several, with commas between them, are tried in
    /// turn. Without a port: 9092 [default: what --command-config names, or 127.0.0.1:9092]
    #[arg(
        short,
        long,
        visible_alias = "bootstrap-server",
        alias = "brokers",
        value_name = "HOST:PORT",
        env = settings::load::BOOTSTRAP_VARIABLE,
        value_parser = Bootstrap::parse
    )]
    pub bootstrap: Option<Bootstrap>,
    /// How it is reached: Kafka's client properties (bootstrap.servers, TLS, SASL)
    #[arg(long, value_name = "FILE", env = settings::load::COMMAND_CONFIG_VARIABLE)]
    pub command_config: Option<PathBuf>,
    /// How long a broker may take to be reached and to answer. It does not limit how long a command runs that waits for
    /// records or for lines [default: request.timeout.ms of --command-config, or 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create topics
    #[command(after_help = "Examples:
  levada topic create orders
  levada topic create orders payments --partitions 8 --set retention.ms=86400000
  levada topic create orders --if-not-exists")]
    Create {
        /// Names of the topics: letters, digits, dots, underscores and hyphens
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Number of partitions; -1 for the broker's num.partitions [default: -1]
        #[arg(short, long, value_name = "NUMBER", value_parser = number::<i32>, allow_negative_numbers = true)]
        partitions: Option<i32>,
        /// Number of copies; -1 for the broker's default [default: -1]. Levada keeps one, whatever is asked for
        #[arg(long, value_name = "NUMBER", value_parser = number::<i16>, allow_negative_numbers = true)]
        replication_factor: Option<i16>,
        /// A topic setting, such as retention.ms=86400000; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        set: Vec<(String, String)>,
        /// Be content with a topic that is there already
        #[arg(long)]
        if_not_exists: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// List topics: their partitions, how much they take on the disk, and what is kept
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  levada topic list
  levada topic list --internal --format json

The size is that of the logs on the disk, of one copy; - where the cluster does not tell. Internal are topics whose names \
begin with two underscores, which brokers keep for themselves, or with lv., which are the event store's."
    )]
    List {
        /// Also those that brokers and the event store keep for themselves
        #[arg(long)]
        internal: bool,
        /// Form of the output
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Show a topic's partitions, offsets and settings
    #[command(after_help = "Examples:
  levada topic describe orders
  levada topic describe orders --all --format json")]
    Describe {
        /// Names of the topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// All settings, also those at their defaults
        #[arg(long)]
        all: bool,
        /// Form of the output
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Delete topics and all of their records
    #[command(after_help = "Examples:
  levada topic delete orders
  levada topic delete orders payments --if-exists --yes

It asks first, and without a terminal to ask on it needs --yes. Those that can be deleted are, also where another one \
cannot; the status is 1 then. What the event store has written goes with `levada events category delete`: its topics, and \
those of the broker, are deleted only with --force.")]
    Delete {
        /// Names of the topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Be content with a topic that is not there
        #[arg(long)]
        if_exists: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Also a topic that the broker or the event store keeps for itself
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Delete the oldest records of a topic, and keep the topic
    #[command(after_help = "Examples:
  levada topic delete-records orders 0=1500 1=1200     what is before these offsets
  levada topic delete-records orders --all --yes       every record there is now

It asks first, and without a terminal to ask on it needs --yes. What is written later continues at the next offset, as if nothing had been deleted.")]
    DeleteRecords {
        /// Name of the topic
        #[arg(value_name = "TOPIC")]
        topic: String,
        /// A partition, and the first of its offsets that stays
        #[arg(value_name = "PARTITION=OFFSET", value_parser = partition_and_offset, required_unless_present = "all")]
        before: Vec<(i32, i64)>,
        /// Every record of every partition
        #[arg(long, conflicts_with = "before")]
        all: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Also a topic that the broker or the event store keeps for itself
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Change a topic's settings, or give it more partitions
    #[command(after_help = "Examples:
  levada topic alter orders --partitions 16
  levada topic alter orders --set retention.ms=3600000 --unset max.message.bytes
  levada topic alter orders --append cleanup.policy=compact")]
    Alter {
        /// Name of the topic
        #[arg(value_name = "TOPIC")]
        topic: String,
        /// More partitions than it has now
        #[arg(short, long, value_name = "NUMBER", value_parser = number::<i32>, allow_negative_numbers = true)]
        partitions: Option<i32>,
        /// Set a setting; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        set: Vec<(String, String)>,
        /// Put a setting back to its default; may be repeated
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
        /// Add to a list, such as cleanup.policy=compact; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        append: Vec<(String, String)>,
        /// Take out of a list; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        subtract: Vec<(String, String)>,
        /// Also a topic that the broker or the event store keeps for itself
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupType {
    /// Members agree among themselves who reads what
    Classic,
    /// The broker assigns (KIP-848)
    Consumer,
}

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups, their types, states and protocols, and how far behind they are
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  levada group list
  levada group list --state empty --type classic
  levada group list --format json

Lag is the sum over all partitions of which the group has committed something; - where that is none."
    )]
    List {
        /// Only groups in this state; may be repeated
        #[arg(long, value_name = "STATE", ignore_case = true, value_parser = [
            "stable", "empty", "PreparingRebalance", "CompletingRebalance", "assigning", "reconciling", "dead",
        ])]
        state: Vec<String>,
        /// Only groups of this type; may be repeated
        #[arg(long = "type", value_enum, value_name = "TYPE")]
        types: Vec<GroupType>,
        /// Form of the output
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Show a group's members, what they read, and how far behind they are
    #[command(after_help = "Examples:
  levada group describe billing
  levada group describe billing shipping --format json

Lag is the number of offsets between what the group has committed and the end of the partition.")]
    Describe {
        /// Names of the groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        /// Form of the output
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Move a group that nobody is in to another place
    #[command(
        group = clap::ArgGroup::new("which").args(["topic", "all_topics"]).required(true).multiple(true),
        group = clap::ArgGroup::new("where").args(["to", "shift"]).required(true),
        after_help = "Examples:
  levada group reset billing --topic orders --to beginning
  levada group reset billing --topic orders -p 0 -p 3 --to 1500
  levada group reset billing --topic orders --to 2026-01-31T12:00:00Z --dry-run
  levada group reset billing --all-topics --to 1h
  levada group reset billing --topic orders --shift -100      over the last hundred again
  levada group reset billing --topic orders --shift 1         past a record that cannot be read
  levada group reset nightly --topic orders --to end --create before its first member comes

A place outside of the partition becomes its beginning or its end. Members would go on where they are, so a group that \
has any is left alone: stop them first. --shift leaves alone what the group has not committed."
    )]
    Reset {
        /// Name of the group
        #[arg(value_name = "GROUP")]
        group: String,
        /// The topic; may be repeated
        #[arg(long, value_name = "TOPIC")]
        topic: Vec<String>,
        /// Every partition that the group has committed
        #[arg(long, conflicts_with_all = ["topic", "partition"])]
        all_topics: bool,
        /// Only this partition; may be repeated
        #[arg(short, long, value_name = "NUMBER", value_parser = number::<i32>, allow_negative_numbers = true)]
        partition: Vec<i32>,
        /// beginning, end, an offset, -N for N before the end, a time (2026-01-31T12:00:00Z), or how long ago (30s, 15m,
        /// 1h, 2d)
        #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
        to: Option<String>,
        /// So many offsets forward, or back (-N), from what is committed
        #[arg(long, value_name = "NUMBER", value_parser = number::<i64>, allow_hyphen_values = true)]
        shift: Option<i64>,
        /// Also where there is no such group: its offsets are committed before anybody is in it
        #[arg(long)]
        create: bool,
        /// Show what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Delete groups that nobody is in, and what they have committed
    #[command(after_help = "Examples:
  levada group delete billing
  levada group delete billing shipping --yes

It asks first, and without a terminal to ask on it needs --yes. Those that can be deleted are, also where another one cannot; the status is 1 then.")]
    Delete {
        /// Names of the groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the cluster's id, its brokers, and how many topics it holds
    #[command(after_help = "Examples:
  levada cluster info
  levada cluster info --bootstrap kafka.internal:9092 --format json")]
    Info {
        /// Form of the output
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show settings, and where their values come from
    #[command(
        alias = "list",
        after_help = "Examples:
  levada config get                                    what somebody has set
  levada config get log.retention.ms num.partitions
  levada config get 'log.retention.*'
  levada config get --all --format json
  levada config get --group billing --all              what counts for a consumer group"
    )]
    Get {
        /// Names of settings; * stands for anything [default: those that are not at their defaults]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// All settings, also those at their defaults
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// The broker whose settings these are [default: the first of the cluster]
        #[arg(long, value_name = "NUMBER", value_parser = number::<i32>)]
        broker_id: Option<i32>,
        /// The settings of this consumer group instead, whether it exists or not
        #[arg(long, value_name = "GROUP", conflicts_with = "broker_id")]
        group: Option<String>,
        /// Form of the output
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Change settings while the broker runs; the change stays over restarts, and wins over file, variables and flags
    #[command(after_help = "Examples:
  levada config set log.retention.ms=86400000
  levada config set --unset log.retention.ms
  levada config set --group billing consumer.session.timeout.ms=60000

Those that docs/configuration.md marks as dynamic can be changed; the others with a restart.")]
    Set {
        /// Settings and their values
        #[arg(value_name = "NAME=VALUE", value_parser = name_and_value, required_unless_present = "unset")]
        set: Vec<(String, String)>,
        /// Put a setting back to what file, variables, flags or the default say; may be repeated
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
        /// Only for this broker [default: for all of the cluster]
        #[arg(long, value_name = "NUMBER", value_parser = number::<i32>)]
        broker_id: Option<i32>,
        /// The settings of this consumer group instead, whether it exists or not
        #[arg(long, value_name = "GROUP", conflicts_with = "broker_id")]
        group: Option<String>,
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo 'hello' | levada produce orders
  printf 'k1:one\\nk2:two\\n' | levada produce orders --key-separator :
  levada produce orders --file orders.jsonl --compression zstd

A line ends with LF. The CR of files with CR LF stays in the record; `tr -d '\\r'` takes it out.")]
pub struct ProduceArgs {
    /// Name of the topic; it is created if it is not there and the broker does that
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Read records from this file instead of standard input; one a line
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// What stands before this in a line is the record's key
    #[arg(short, long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// The key of every record
    #[arg(long, conflicts_with = "key_separator")]
    pub key: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub header: Vec<(String, String)>,
    /// The partition of every record [default: by key as Kafka's clients do; without a key any, and the next one for each
    /// batch of lines that came together]
    #[arg(short, long, value_name = "NUMBER", value_parser = number::<i32>, allow_negative_numbers = true)]
    pub partition: Option<i32>,
    /// Send an empty line as a record without a value (a tombstone)
    #[arg(long)]
    pub empty_is_null: bool,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub compression: Codec,
    /// all (or -1), 1 or 0: wait for the acknowledgement, or do not
    #[arg(long, default_value = "all", value_parser = ["all", "-1", "1", "0"], allow_hyphen_values = true)]
    pub acks: String,
    /// Also into a topic that the broker or the event store keeps for itself
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub broker: BrokerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  levada consume orders                         what comes in from now on
  levada consume orders --from beginning        everything, and then what comes in
  levada consume orders --from beginning --until-end
  levada consume orders --from 2026-01-31T12:00:00Z --count 10 --format json
  levada consume orders --from 1h --format '%p %o %T %k=%s'

Times are in UTC (Z) or carry their offset (+01:00). When the broker goes away, it is waited for as long as --timeout \
says, and reading goes on where it was.

Placeholders of --format: %t topic, %p partition, %o offset, %T timestamp (milliseconds since 1970), %k key, %s value, \
%h headers (name=value,...), %% a percent sign; \\n and \\t as elsewhere. Every record ends its line.")]
pub struct ConsumeArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// beginning, end, an offset, -N for the last N of each partition, a time (2026-01-31T12:00:00Z), or how long ago
    /// (30s, 15m, 1h, 2d)
    #[arg(
        short = 'o',
        long,
        visible_alias = "offset",
        value_name = "PLACE",
        default_value = "end",
        allow_hyphen_values = true
    )]
    pub from: String,
    /// The same as --from beginning
    #[arg(long, conflicts_with = "from")]
    pub from_beginning: bool,
    /// Only this partition; may be repeated
    #[arg(short, long, value_name = "NUMBER", value_parser = number::<i32>, allow_negative_numbers = true)]
    pub partition: Vec<i32>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = number::<u64>)]
    pub count: Option<u64>,
    /// Stop at what is the end when the command starts
    #[arg(long)]
    pub until_end: bool,
    /// Leave out records of aborted and of open transactions
    #[arg(long)]
    pub read_committed: bool,
    /// Print keys before values, with this between them
    #[arg(short, long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// text, json, or a text with placeholders such as '%p %o %k %s' (see below)
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = Shape::parse)]
    pub format: Shape,
    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// Which folder; found as `serve` finds it.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// The folder of a broker that is not running [default: data] (log.dirs)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The broker's settings in TOML [default: levada.toml, if there is one]
    #[arg(long, value_name = "FILE", env = settings::load::CONFIG_FILE_VARIABLE)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:
  levada verify --data-dir /var/lib/levada
  levada verify events",
    args_conflicts_with_subcommands = true
)]
pub struct VerifyArgs {
    #[command(subcommand)]
    pub command: Option<events::VerifyCommand>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Show what is whole, too: every write-ahead log and every partition
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  levada repair --data-dir /var/lib/levada --accept-loss")]
pub struct RepairArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Say that you know: records that cannot be read are given up
    #[arg(long)]
    pub accept_loss: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
#[command(after_help = "Examples:
  levada docs events | less
  levada docs configuration | grep -A 5 retention")]
pub enum DocsCommand {
    /// docs/configuration.md: every setting
    Configuration,
    /// docs/events.md: the event store
    Events,
    /// docs/operations.md: as a service, backup, upgrade, capacity, alerts
    Operations,
    /// docs/damage.md: when the disk damages data
    Damage,
    /// docs/kafka-behaviour.md: what clients may rely on
    Kafka,
    /// docs/glossary.md: what words mean
    Glossary,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

/// Seconds, or a time such as 30s or 5m; a day at most.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let unit = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
    seconds
        .ok_or_else(|| format!("`{text}` is no number of seconds, 1 to 86400 (or a time such as 30s or 5m)"))
}

/// A whole number, which is told in our own words where it is none.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let is_number = text.strip_prefix('-').unwrap_or(text).bytes().all(|it| it.is_ascii_digit());
    text.parse().map_err(|_| match is_number && !text.is_empty() {
        true => format!("{text} is out of range"),
        false => format!("`{text}` is no whole number"),
    })
}

fn partition_and_offset(text: &str) -> Result<(i32, i64), String> {
    let parsed = text.split_once('=').and_then(|(partition, offset)| {
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some((partition.parse().ok()?, offset))
    });
    parsed.ok_or_else(|| format!("`{text}` is not PARTITION=OFFSET, such as 0=1500"))
}

#[cfg(test)]
mod tests;
