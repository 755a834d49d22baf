//! The commands of the event store.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{BrokerArgs, Format};

/// How commands reach an instance of the event store.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// The HTTP door of any instance. Without it, an instance is found from --bootstrap: its address stands in its
    /// group's memberships, or it answers at the broker's host on port 8080 [default, with neither: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = settings::load::URL_VARIABLE)]
    pub url: Option<String>,
    #[command(flatten)]
    pub broker: BrokerArgs,
}

#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// List categories
    #[command(after_help = "Examples:
  levada events list")]
    List {
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Create a category with its own number of partitions
    #[command(after_help = "Examples:
  levada events create orders --partitions 32

Appending to a category that is not there creates it, too.")]
    Create {
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// For ever [default: levada.events.partitions of the instance]
        #[arg(long, value_name = "N")]
        partitions: Option<i32>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Append one event to a stream
    #[command(after_help = "Examples:
  levada events append orders order-1 --type OrderPlaced --data '{\"total\": 12.5}' --expected none
  generate | levada events append orders order-1 --type OrderPaid --expected 1 --tag customer:7")]
    Append(AppendArgs),
    /// Print the events of a stream, one JSON object a line
    #[command(after_help = "Examples:
  levada events read orders order-1
  levada events read orders order-1 --backward --count 1
  levada events read orders order-1 --archived")]
    Read {
        #[arg(value_name = "CATEGORY")]
        category: String,
        #[arg(value_name = "STREAM")]
        stream: String,
        /// The first version [default: 1, or the newest with --backward]
        #[arg(long, value_name = "VERSION")]
        from: Option<u64>,
        /// The newest first
        #[arg(long)]
        backward: bool,
        /// At most so many events
        #[arg(short = 'n', long, value_name = "N")]
        count: Option<usize>,
        /// What was truncated and archived
        #[arg(long, conflicts_with = "backward")]
        archived: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print the events of a category as they come, one JSON object a line
    #[command(after_help = "Examples:
  levada events tail orders
  levada events tail orders --after beginning --tag customer:7 --type OrderPlaced --until-end")]
    Tail(TailArgs),
    /// Stop reading a stream's events below a version
    #[command(after_help = "Examples:
  levada events truncate orders order-1 --before 500 --archive

The stream's version goes on counting. The log keeps the events until `levada events trim`.")]
    Truncate {
        #[arg(value_name = "CATEGORY")]
        category: String,
        #[arg(value_name = "STREAM")]
        stream: String,
        /// The first version that is still read
        #[arg(long, value_name = "VERSION")]
        before: u64,
        /// Copy the events into the topic CATEGORY.archive first
        #[arg(long)]
        archive: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Free a category's log of truncated events, up to the first record that is still needed
    #[command(after_help = "Examples:
  levada events trim orders")]
    Trim {
        #[arg(value_name = "CATEGORY")]
        category: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show what somebody has to look at, and do something about it
    #[command(after_help = "Examples:
  levada events repair
  levada events repair orders --pass-over 3.17 --reason 'written by a test'
  levada events repair orders --adopt 3.17 --type OrderPlaced
  levada events repair orders --take-back
  levada events repair --table lv.upcasters --restore

A partition with a record that no owner wrote is read up to it, and takes no appends; the others go on. The log is never \
rewritten: what is decided stands in the topic lv.repairs, and every instance reads by it.")]
    Repair(RepairArgs),
    /// Make a new key with which instances prove to each other that they are of one system
    #[command(after_help = "Examples:
  levada events rotate-peer-key

It takes the place of those before at once. Rotate it when somebody could read the topic lv.peers who should not.")]
    RotatePeerKey {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete a category
    Category {
        #[command(subcommand)]
        command: CategoryCommand,
    },
    /// Keep, read and remove snapshots of streams
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Say how events of older schema versions are read
    Upcaster {
        #[command(subcommand)]
        command: UpcasterCommand,
    },
    /// Erase a subject's personal data, and show what was erased
    Erasure {
        #[command(subcommand)]
        command: ErasureCommand,
    },
    /// Look after competing consumers
    Subscription {
        #[command(subcommand)]
        command: SubscriptionCommand,
    },
}

#[derive(Debug, Args)]
pub struct RepairArgs {
    /// [default: all, to be shown]
    #[arg(value_name = "CATEGORY")]
    pub category: Option<String>,
    /// Read as if the record were not there
    #[arg(long, value_name = "PARTITION.OFFSET", group = "action")]
    pub pass_over: Option<String>,
    /// Take the record as an event, with the next version of its stream
    #[arg(long, value_name = "PARTITION.OFFSET", group = "action")]
    pub adopt: Option<String>,
    /// Give up what was deleted at the beginning of the partition's log
    #[arg(long, value_name = "PARTITION", group = "action")]
    pub accept_loss: Option<i32>,
    /// Take the topic that there is as the category's
    #[arg(long, group = "action")]
    pub take_back: bool,
    /// Forget the category; its topics stay
    #[arg(long, group = "action")]
    pub give_up: bool,
    /// One of the store's own topics, which was deleted or replaced
    #[arg(long, value_name = "TOPIC", conflicts_with = "category")]
    pub table: Option<String>,
    /// With --table: write what this instance knows of the topic into the new one
    #[arg(long, group = "action", requires = "table")]
    pub restore: bool,
    /// With --table: go on with the topic as it is now
    #[arg(long, group = "action", requires = "table")]
    pub accept: bool,
    /// With --pass-over: go on at this offset [default: the next one]
    #[arg(long, value_name = "OFFSET", requires = "pass_over")]
    pub until: Option<i64>,
    /// With --adopt: of this stream [default: the record's key]
    #[arg(long, value_name = "STREAM", requires = "adopt")]
    pub stream: Option<String>,
    /// With --adopt: of this type [default: the record's ce_type]
    #[arg(long = "type", value_name = "TYPE", requires = "adopt")]
    pub kind: Option<String>,
    /// For whoever asks later
    #[arg(long, value_name = "TEXT", requires = "action")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Subcommand)]
pub enum CategoryCommand {
    /// Delete a category: its events, snapshots, archive, subscriptions and indexes
    #[command(after_help = "Examples:
  levada events category delete orders
  levada events category delete orders --yes

It asks first, and without a terminal to ask on it needs --yes. Who appends to a category that is not there makes a new \
one: stop its writers first. Certificates of erasure and subjects' keys stay.")]
    Delete {
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Print the snapshot of a stream, as one JSON object
    #[command(after_help = "Examples:
  levada events snapshot get orders order-1
  levada events snapshot get orders order-1 --schema-version 2")]
    Get {
        #[arg(value_name = "CATEGORY")]
        category: String,
        #[arg(value_name = "STREAM")]
        stream: String,
        /// Only one of this schema version
        #[arg(long, value_name = "N")]
        schema_version: Option<u32>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Keep a snapshot of a stream, in place of the one that there is
    #[command(after_help = "Examples:
  levada events snapshot put orders order-1 --version 2 --data '{\"total\": 12.5}'
  make-snapshot | levada events snapshot put orders order-1 --version 2 --schema-version 3")]
    Put {
        #[arg(value_name = "CATEGORY")]
        category: String,
        #[arg(value_name = "STREAM")]
        stream: String,
        /// Of the last event that it rests on
        #[arg(long, value_name = "VERSION")]
        version: u64,
        /// Of the code that made it [default: 1]
        #[arg(long, value_name = "N")]
        schema_version: Option<u32>,
        /// JSON [default: standard input]
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
        /// Whose data it has: they are encrypted, and can be erased
        #[arg(long, value_name = "SUBJECT")]
        subject: Option<String>,
        /// A JSON pointer to what is personal in the data; may be repeated [default: all]
        #[arg(long, value_name = "POINTER", requires = "subject")]
        personal: Vec<String>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Remove the snapshot of a stream
    Delete {
        #[arg(value_name = "CATEGORY")]
        category: String,
        #[arg(value_name = "STREAM")]
        stream: String,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum UpcasterCommand {
    /// List upcasters
    List {
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Lift events of a type and schema version to the next one, whenever they are read
    #[command(after_help = "Examples:
  levada events upcaster put OrderPlaced 1 --patch '[{\"op\":\"move\",\"from\":\"/sum\",\"path\":\"/total\"}]' \
      --defaults '{\"currency\":\"EUR\"}' --example '{\"sum\":12.5}'
  levada events upcaster put Placed 2 --new-type OrderPlaced

The log is not rewritten. What it makes of --example is printed; where it cannot be applied to it nothing is set.")]
    Put {
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The schema version that it lifts
        #[arg(value_name = "VERSION")]
        from: u32,
        /// JSON Patch (RFC 6902)
        #[arg(long, value_name = "JSON", required_unless_present_any = ["defaults", "new_type"])]
        patch: Option<String>,
        /// An object whose members are added where they are absent
        #[arg(long, value_name = "JSON")]
        defaults: Option<String>,
        /// The type that the event has afterwards
        #[arg(long, value_name = "TYPE")]
        new_type: Option<String>,
        /// Data of an event to try it on
        #[arg(long, value_name = "JSON")]
        example: Option<String>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Remove an upcaster
    Delete {
        #[arg(value_name = "TYPE")]
        kind: String,
        #[arg(value_name = "VERSION")]
        from: u32,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum ErasureCommand {
    /// List the certificates of all erasures, one JSON object a line
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print the certificates of a subject's erasures, one JSON object a line
    Show {
        #[arg(value_name = "SUBJECT")]
        subject: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Destroy a subject's keys: what was encrypted with them is read as null from then on
    #[command(after_help = "Examples:
  levada events erasure create customer:7 --reason 'request 4711'

It asks first, and without a terminal to ask on it needs --yes. The reason is kept for ever: let it name nobody.")]
    Create {
        #[arg(value_name = "SUBJECT")]
        subject: String,
        /// Why, for the certificate
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// A subscription.
#[derive(Debug, Args)]
pub struct Named {
    #[arg(value_name = "CATEGORY")]
    pub category: String,
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Subcommand)]
pub enum SubscriptionCommand {
    /// List subscriptions
    List {
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Create a subscription, or change its settings
    #[command(after_help = "Examples:
  levada events subscription create orders mailer --type OrderPlaced --from end
  levada events subscription create orders audit --unordered --in-flight 1000")]
    Create {
        #[command(flatten)]
        named: Named,
        /// `beginning`, `end` or a position; counts only for a new one [default: beginning]
        #[arg(long, value_name = "POSITION")]
        from: Option<String>,
        /// Whoever has not acknowledged an event in this time has lost it [default: 30s]
        #[arg(long, value_name = "TIME")]
        ack_timeout: Option<String>,
        /// How often an event is handed out before it is parked [default: 10]
        #[arg(long, value_name = "N")]
        attempts: Option<u32>,
        /// Events that may be in flight [default: 256]
        #[arg(long, value_name = "N")]
        in_flight: Option<usize>,
        /// Several events of one stream at a time
        #[arg(long)]
        unordered: bool,
        /// Only events of one of these types; may be repeated
        #[arg(long = "type", value_name = "TYPE")]
        kind: Vec<String>,
        /// Only events with all of these tags; may be repeated
        #[arg(long, value_name = "TAG")]
        tag: Vec<String>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show how far a subscription is
    Describe {
        #[command(flatten)]
        named: Named,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete a subscription, and what it has parked
    Delete {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Begin a subscription anew; what it has parked is forgotten
    Reset {
        #[command(flatten)]
        named: Named,
        /// `beginning`, `end` or a position
        #[arg(long, value_name = "POSITION")]
        from: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print parked events, one JSON object a line
    Parked {
        #[command(flatten)]
        named: Named,
        /// At most so many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        count: usize,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Hand parked events out again
    Replay {
        #[command(flatten)]
        named: Named,
        /// Which one, such as 6.41; may be repeated [default: all]
        #[arg(long, value_name = "PLACE")]
        place: Vec<String>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Give parked events up
    Discard {
        #[command(flatten)]
        named: Named,
        /// Which one, such as 6.41; may be repeated [default: all]
        #[arg(long, value_name = "PLACE")]
        place: Vec<String>,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Args)]
pub struct AppendArgs {
    #[arg(value_name = "CATEGORY")]
    pub category: String,
    #[arg(value_name = "STREAM")]
    pub stream: String,
    /// What happened, such as OrderPlaced
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// JSON [default: standard input]
    #[arg(long, value_name = "JSON")]
    pub data: Option<String>,
    /// The version that the stream must have, or any, none, exists
    #[arg(long, value_name = "VERSION", default_value = "any")]
    pub expected: String,
    /// Used once: the same event again is not appended a second time [default: a new one]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// What it is about; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct TailArgs {
    #[arg(value_name = "CATEGORY")]
    pub category: String,
    /// `end`, `beginning`, or a position
    #[arg(long, value_name = "POSITION", default_value = "end")]
    pub after: String,
    /// Only events with all of these tags; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only events of one of these types; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Vec<String>,
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// Stop at what is there now
    #[arg(long)]
    pub until_end: bool,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What `levada verify` can look at beside a data directory.
#[derive(Debug, Subcommand)]
pub enum VerifyCommand {
    /// Check the event store's topics: versions without gaps, ids used once, one owner at a time
    #[command(after_help = "Examples:
  levada verify events
  levada verify events orders --index-dir /var/lib/levada/patterns/events

Reads the topics from their beginning, as any consumer could, up to where they end now. With --index-dir, which no \
running process may use, events in the index are compared with the log.")]
    Events {
        /// [default: all]
        #[arg(value_name = "CATEGORY")]
        categories: Vec<String>,
        /// Compare these indexes, too
        #[arg(long, value_name = "DIR")]
        index_dir: Option<PathBuf>,
        /// Show partitions that are sound, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
}
