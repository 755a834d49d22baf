//! The commands of the event store.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{BrokerArgs, Format, number};

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
    /// List categories (the same as `category list`)
    #[command(hide = true)]
    List {
        /// Form of the output
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Create a category (the same as `category create`)
    #[command(hide = true)]
    Create {
        /// Name of the category
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// For ever [default: levada.events.partitions of the instance]
        #[arg(long, value_name = "N", value_parser = number::<i32>)]
        partitions: Option<i32>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Append one event to a stream
    #[command(after_help = "Examples:
  levada events append orders order-1 --type OrderPlaced --data '{\"total\": 12.5}' --expected none
  generate | levada events append orders order-1 --type OrderPaid --expected 1 --tag customer:7
  levada events append orders order-1 --type Addressed --data '{\"name\": \"Ada\"}' --subject customer:7 --personal /name")]
    Append(AppendArgs),
    /// Print the events of a stream, one JSON object a line
    #[command(after_help = "Examples:
  levada events read orders order-1
  levada events read orders order-1 --backward --count 1
  levada events read orders order-1 --archived
  levada events read orders order-1 --from snapshot      the snapshot, and the events after it

What cannot be read until somebody repairs it is told at the end, with status 1.")]
    Read {
        /// Name of the category
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// Id of the stream
        #[arg(value_name = "STREAM")]
        stream: String,
        /// The first version, or `snapshot` [default: 1, or the newest with --backward]
        #[arg(long, value_name = "VERSION", value_parser = ReadFrom::parse)]
        from: Option<ReadFrom>,
        /// The newest first
        #[arg(long)]
        backward: bool,
        /// At most so many events
        #[arg(short = 'n', long, value_name = "N", value_parser = number::<usize>)]
        count: Option<usize>,
        /// What was truncated and archived
        #[arg(long, conflicts_with = "backward")]
        archived: bool,
        /// Events as they are recorded, whatever upcasters there are
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print the events of a category as they come, one JSON object a line
    #[command(after_help = "Examples:
  levada events tail orders
  levada events tail orders --after beginning --tag customer:7 --type OrderPlaced --until-end

Each line has the `position` behind its event: --after with it goes on there, as do subscriptions --from it.")]
    Tail(TailArgs),
    /// Stop reading a stream's events below a version
    #[command(after_help = "Examples:
  levada events truncate orders order-1 --before 500 --archive

Without --archive it asks first, and without a terminal to ask on it needs --yes. The stream's version goes on counting. The log keeps the events until `levada events trim`.")]
    Truncate {
        /// Name of the category
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// Id of the stream
        #[arg(value_name = "STREAM")]
        stream: String,
        /// The first version that is still read
        #[arg(long, value_name = "VERSION", value_parser = number::<u64>)]
        before: u64,
        /// Copy the events into the topic CATEGORY.archive first
        #[arg(long)]
        archive: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Free a category's log of truncated events, up to the first record that is still needed
    #[command(after_help = "Examples:
  levada events trim orders")]
    Trim {
        /// Name of the category
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
    /// List, create and delete categories
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
    /// Name of the category [default: all, to be shown]
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
    /// List categories
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  levada events category list
  levada events category list --format json"
    )]
    List {
        /// Form of the output
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Create a category with its own number of partitions
    #[command(after_help = "Examples:
  levada events category create orders --partitions 32

Appending to a category that is not there creates it, too.")]
    Create {
        /// Name of the category
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// For ever [default: levada.events.partitions of the instance]
        #[arg(long, value_name = "N", value_parser = number::<i32>)]
        partitions: Option<i32>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete a category: its events, snapshots, archive, subscriptions and indexes
    #[command(after_help = "Examples:
  levada events category delete orders
  levada events category delete orders --yes

It asks first, and without a terminal to ask on it needs --yes. Who appends to a category that is not there makes a new \
one: stop its writers first. Certificates of erasure and subjects' keys stay.")]
    Delete {
        /// Name of the category
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
        /// Name of the category
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// Id of the stream
        #[arg(value_name = "STREAM")]
        stream: String,
        /// Only one of this schema version
        #[arg(long, value_name = "N", value_parser = number::<u32>)]
        schema_version: Option<u32>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Keep a snapshot of a stream, in place of the one that there is
    #[command(after_help = "Examples:
  levada events snapshot put orders order-1 --version 2 --data '{\"total\": 12.5}'
  make-snapshot | levada events snapshot put orders order-1 --version 2 --schema-version 3")]
    Put {
        /// Name of the category
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// Id of the stream
        #[arg(value_name = "STREAM")]
        stream: String,
        /// Of the last event that it rests on
        #[arg(long, value_name = "VERSION", value_parser = number::<u64>)]
        version: u64,
        /// Of the code that made it [default: 1]
        #[arg(long, value_name = "N", value_parser = number::<u32>)]
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
    #[command(after_help = "Examples:
  levada events snapshot delete orders order-1 --yes

It asks first, and without a terminal to ask on it needs --yes.")]
    Delete {
        /// Name of the category
        #[arg(value_name = "CATEGORY")]
        category: String,
        /// Id of the stream
        #[arg(value_name = "STREAM")]
        stream: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum UpcasterCommand {
    /// List upcasters
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  levada events upcaster list"
    )]
    List {
        /// Form of the output
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Lift events of a type and schema version to the next one, whenever they are read
    #[command(
        group = clap::ArgGroup::new("lift").args(["patch", "defaults", "new_type"]).multiple(true).required(true),
        after_help = "Examples:
  levada events upcaster put OrderPlaced 1 --patch '[{\"op\":\"move\",\"from\":\"/sum\",\"path\":\"/total\"}]' \\
      --defaults '{\"currency\":\"EUR\"}' --example '{\"sum\":12.5}'
  levada events upcaster put Placed 2 --new-type OrderPlaced

The log is not rewritten. What it makes of --example is printed; where it cannot be applied to it nothing is set.")]
    Put {
        /// Type of the events
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The schema version that it lifts
        #[arg(value_name = "VERSION", value_parser = number::<u32>)]
        from: u32,
        /// JSON Patch (RFC 6902)
        #[arg(long, value_name = "JSON")]
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
    #[command(after_help = "Examples:
  levada events upcaster delete OrderPlaced 1 --yes

It asks first, and without a terminal to ask on it needs --yes.")]
    Delete {
        /// Type of the events
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The schema version
        #[arg(value_name = "VERSION", value_parser = number::<u32>)]
        from: u32,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum ErasureCommand {
    /// List the certificates of all erasures, one JSON object a line
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  levada events erasure list"
    )]
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print the certificates of a subject's erasures, one JSON object a line
    #[command(after_help = "Examples:
  levada events erasure show customer:7")]
    Show {
        /// Whose data
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
        /// Whose data
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
    /// Name of the category
    #[arg(value_name = "CATEGORY")]
    pub category: String,
    /// Name of the subscription
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Subcommand)]
pub enum SubscriptionCommand {
    /// List subscriptions, and which events they are for
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  levada events subscription list
  levada events subscription list --format json"
    )]
    List {
        /// Form of the output
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Create a subscription
    #[command(after_help = "Examples:
  levada events subscription create orders mailer --type OrderPlaced --from end
  levada events subscription create orders audit --unordered --in-flight 1000")]
    Create {
        #[command(flatten)]
        named: Named,
        /// Where it begins: `beginning`, `end`, or a position, as each line of `events tail` has one [default: beginning]
        #[arg(long, value_name = "POSITION", value_parser = place)]
        from: Option<String>,
        #[command(flatten)]
        settings: SubscriptionArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Change settings of a subscription; those that are not named stay as they are
    #[command(after_help = "Examples:
  levada events subscription alter orders mailer --ack-timeout 2m
  levada events subscription alter orders mailer --type OrderPlaced --type OrderPaid
  levada events subscription alter orders mailer --all-events

It goes on where it is. --type and --tag take the place of all that it was for before.")]
    Alter {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        settings: SubscriptionArgs,
        /// Each stream's events one after the other
        #[arg(long, conflicts_with = "unordered")]
        ordered: bool,
        /// All events, whatever types and tags
        #[arg(long, conflicts_with_all = ["kind", "tag", "correlation"])]
        all_events: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show how far a subscription is
    #[command(after_help = "Examples:
  levada events subscription describe orders mailer")]
    Describe {
        #[command(flatten)]
        named: Named,
        /// Form of the output
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete a subscription, and what it has parked
    #[command(after_help = "Examples:
  levada events subscription delete orders mailer --yes

It asks first, and without a terminal to ask on it needs --yes.")]
    Delete {
        #[command(flatten)]
        named: Named,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Begin a subscription anew; what it has parked is forgotten
    #[command(after_help = "Examples:
  levada events subscription reset orders mailer --from beginning --yes

It asks first, and without a terminal to ask on it needs --yes.")]
    Reset {
        #[command(flatten)]
        named: Named,
        /// `beginning`, `end`, or a position, as each line of `events tail` has one
        #[arg(long, value_name = "POSITION", value_parser = place)]
        from: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print parked events, one JSON object a line
    #[command(after_help = "Examples:
  levada events subscription parked orders mailer")]
    Parked {
        #[command(flatten)]
        named: Named,
        /// At most so many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
            value_parser = clap::value_parser!(u64).range(1..=1000))]
        count: u64,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Hand parked events out again
    #[command(after_help = "Examples:
  levada events subscription replay orders mailer
  levada events subscription replay orders mailer --place 6.41")]
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
    #[command(after_help = "Examples:
  levada events subscription discard orders mailer --place 6.41 --yes

It asks first, and without a terminal to ask on it needs --yes.")]
    Discard {
        #[command(flatten)]
        named: Named,
        /// Which one, such as 6.41; may be repeated [default: all]
        #[arg(long, value_name = "PLACE")]
        place: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// How a subscription is to be.
#[derive(Debug, Default, Args)]
pub struct SubscriptionArgs {
    /// Whoever has not acknowledged an event in this time has lost it, such as 500ms, 30s, 5m or 1h [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub ack_timeout: Option<String>,
    /// How often an event is handed out before it is parked [default: 10]
    #[arg(long, value_name = "N", value_parser = number::<u32>)]
    pub attempts: Option<u32>,
    /// How long a refused event rests [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub retry_delay: Option<String>,
    /// Events that may be in flight [default: 256]
    #[arg(long, value_name = "N", value_parser = number::<usize>)]
    pub in_flight: Option<usize>,
    /// Several events of one stream at a time
    #[arg(long)]
    pub unordered: bool,
    /// Only events of one of these types; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Vec<String>,
    /// Only events with all of these tags; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only events with this correlation id
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
}

/// Where a stream is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    Version(u64),
    Snapshot,
}

impl ReadFrom {
    fn parse(text: &str) -> Result<ReadFrom, String> {
        match text {
            "snapshot" => Ok(ReadFrom::Snapshot),
            text => text
                .parse()
                .map(ReadFrom::Version)
                .map_err(|_| format!("`{text}` is neither a version nor `snapshot`")),
        }
    }
}

/// Days are for whoever writes them: the store takes hours.
fn time(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is no time: write 500ms, 30s, 5m, 1h or 2d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    match &text[digits..] {
        "ms" | "s" | "m" | "h" => Ok(text.to_owned()),
        "d" => number.checked_mul(24).map(|hours| format!("{hours}h")).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

fn place(text: &str) -> Result<String, String> {
    let is_position = || text.parse::<::client::Position>().is_ok();
    match text {
        "beginning" | "end" => Ok(text.to_owned()),
        text if is_position() => Ok(text.to_owned()),
        text => Err(format!(
            "`{text}` is no place: `beginning`, `end`, or a position, as each line of `levada events tail` has one"
        )),
    }
}

#[derive(Debug, Args)]
pub struct AppendArgs {
    /// Name of the category
    #[arg(value_name = "CATEGORY")]
    pub category: String,
    /// Id of the stream
    #[arg(value_name = "STREAM")]
    pub stream: String,
    /// What happened, such as OrderPlaced
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// JSON, or what --content-type says [default: standard input]
    #[arg(long, value_name = "DATA")]
    pub data: Option<String>,
    /// The version that the stream must have, or any, none (as 0), exists
    #[arg(long, value_name = "VERSION", default_value = "any")]
    pub expected: String,
    /// Used once: the same event again is not appended a second time [default: a new one]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// What it is about; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// What it belongs together with: the same id for all that one cause has led to
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// The id of the event or command that led to it
    #[arg(long, value_name = "ID")]
    pub causation: Option<String>,
    /// Of the data's shape: what upcasters lift when it is read [default: 1]
    #[arg(long, value_name = "N", value_parser = number::<u32>)]
    pub schema_version: Option<u32>,
    /// Whose data it has: they are encrypted, and can be erased
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// A JSON pointer to what is personal in the data; may be repeated [default: all]
    #[arg(long, value_name = "POINTER", requires = "subject")]
    pub personal: Vec<String>,
    /// Anything else to be kept with it
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<String>,
    /// What the data are, where they are no JSON
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct TailArgs {
    /// Name of the category
    #[arg(value_name = "CATEGORY")]
    pub category: String,
    /// `end`, `beginning`, or the `position` of an event that was printed
    #[arg(long, value_name = "POSITION", default_value = "end", value_parser = place)]
    pub after: String,
    /// Only events with all of these tags; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only events of one of these types; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Vec<String>,
    /// Only events with this correlation id
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// Events as they are recorded, whatever upcasters there are
    #[arg(long)]
    pub raw: bool,
    /// Stop after so many events
    #[arg(short = 'n', long, value_name = "N", value_parser = number::<u64>)]
    pub count: Option<u64>,
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
        /// Names of categories [default: all]
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
