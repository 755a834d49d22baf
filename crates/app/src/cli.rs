//! The command line, as a user sees it in `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const ABOUT: &str = "An event backbone in one binary: a Kafka broker that keeps what it has acknowledged";

const EXAMPLES: &str = "\
Examples:
  levada                                       serve on 127.0.0.1:9092, data in ./data
  levada serve --data-dir /var/lib/levada --set log.retention.hours=72
  levada topic create orders --partitions 8
  echo 'hello' | levada produce orders
  levada consume orders --from beginning

Any Kafka client works as well, in any language: bootstrap.servers=127.0.0.1:9092.

Ports: 9092 Kafka, 8080 HTTP (/metrics, /healthz, /readyz); both on loopback unless moved.

Settings have Kafka's names. The last of these that sets one wins: default, levada.toml, LEVADA_* variables, flags.
docs/configuration.md lists them all.";

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
    Serve(ServeArgs),
    /// Create, list, describe, delete and alter topics of a running broker
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Send lines of standard input or of a file as records
    Produce(ProduceArgs),
    /// Print the records of a topic
    Consume(ConsumeArgs),
    /// Check the data of a broker that is not running
    Verify(VerifyArgs),
    /// Make damaged partitions writable again, giving up what cannot be read
    Repair(RepairArgs),
    #[command(hide = true, subcommand)]
    Docs(DocsCommand),
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
    /// The broker: Levada, or any other that speaks Kafka's protocol
    #[arg(short, long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// Give up after so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
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
    Create {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Number of partitions [default: the broker's num.partitions]
        #[arg(short, long)]
        partitions: Option<i32>,
        /// Number of copies [default: the broker's]
        #[arg(long)]
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
    /// List topics
    List {
        /// Also those that brokers keep for themselves
        #[arg(long)]
        internal: bool,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Show a topic's partitions, offsets and settings
    Describe {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// All settings, also those at their defaults
        #[arg(long)]
        all: bool,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Delete topics and all of their records
    Delete {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Be content with a topic that is not there
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Change a topic's settings, or give it more partitions
    Alter {
        #[arg(value_name = "TOPIC")]
        topic: String,
        /// More partitions than it has now
        #[arg(short, long)]
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
  levada produce orders --file orders.jsonl --compression zstd")]
pub struct ProduceArgs {
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
    /// The partition of every record [default: by key as Kafka's clients do, else one after the other]
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// Send an empty line as a record without a value (a tombstone)
    #[arg(long)]
    pub empty_is_null: bool,
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub compression: Codec,
    /// all, 1 or 0: wait for the acknowledgement, or do not
    #[arg(long, default_value = "all", value_parser = ["all", "-1", "1", "0"])]
    pub acks: String,
    #[command(flatten)]
    pub broker: BrokerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  levada consume orders                         what comes in from now on
  levada consume orders --from beginning        everything, and then what comes in
  levada consume orders --from beginning --until-end
  levada consume orders --from 2026-01-31T12:00:00Z --count 10 --format json")]
pub struct ConsumeArgs {
    pub topic: String,
    /// beginning, end, an offset, -N for the last N of each partition, or a time (2026-01-31T12:00:00Z)
    #[arg(long, default_value = "end", allow_hyphen_values = true)]
    pub from: String,
    /// Only this partition; may be repeated
    #[arg(short, long)]
    pub partition: Vec<i32>,
    /// Stop after so many records
    #[arg(short = 'n', long)]
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
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
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
pub struct VerifyArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Show empty partitions too
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct RepairArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Say that you know: records that cannot be read are given up
    #[arg(long)]
    pub accept_loss: bool,
}

#[derive(Debug, Subcommand)]
pub enum DocsCommand {
    /// Print docs/configuration.md
    Configuration,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.to_owned()))
}
