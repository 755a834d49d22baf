//! Keeps `crates/wire/schemas` equal to the message definitions that Kafka's jars carry as JSON.
//!
//! Only facts that shape bytes or Rust types are taken: names, types, versions, defaults, tags. The texts
//! stay where they are.

#[path = "../../crates/wire/build/schema.rs"]
#[allow(dead_code)]
pub mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use schema::{Field, Message, Role, Schema, Type, Versions};

/// Where Kafka's definitions and classes come from.
pub const CLIENTS: &str = "org.apache.kafka:kafka-clients:4.4.0";
pub const GROUPS: &str = "org.apache.kafka:kafka-group-coordinator:4.3.1";
pub const TRANSACTIONS: &str = "org.apache.kafka:kafka-transaction-coordinator:4.3.1";
pub const METADATA: &str = "org.apache.kafka:kafka-metadata:4.3.1";

/// The APIs that clients use, and WriteTxnMarkers, which the admin client uses too.
const APIS: &str = "Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup \
    Heartbeat LeaveGroup SyncGroup DescribeGroups ListGroups SaslHandshake ApiVersions CreateTopics \
    DeleteTopics DeleteRecords InitProducerId OffsetForLeaderEpoch AddPartitionsToTxn AddOffsetsToTxn \
    EndTxn WriteTxnMarkers TxnOffsetCommit DescribeAcls CreateAcls DeleteAcls DescribeConfigs \
    AlterConfigs AlterReplicaLogDirs DescribeLogDirs SaslAuthenticate CreatePartitions \
    CreateDelegationToken RenewDelegationToken ExpireDelegationToken DescribeDelegationToken \
    DeleteGroups ElectLeaders IncrementalAlterConfigs AlterPartitionReassignments \
    ListPartitionReassignments OffsetDelete DescribeClientQuotas AlterClientQuotas \
    DescribeUserScramCredentials AlterUserScramCredentials DescribeQuorum UpdateFeatures \
    DescribeCluster DescribeProducers UnregisterBroker DescribeTransactions ListTransactions \
    ConsumerGroupHeartbeat ConsumerGroupDescribe GetTelemetrySubscriptions PushTelemetry \
    ListConfigResources DescribeTopicPartitions ShareGroupHeartbeat ShareGroupDescribe ShareFetch \
    ShareAcknowledge AddRaftVoter RemoveRaftVoter StreamsGroupHeartbeat StreamsGroupDescribe \
    DescribeShareGroupOffsets AlterShareGroupOffsets DeleteShareGroupOffsets \
    StreamsGroupTopologyDescriptionUpdate UnregisterController";

/// Files with several messages that are no API: module, artifact, folder in the jar, messages.
const FILES: [(&str, &str, &str, &str); 6] = [
    ("headers", CLIENTS, "common/message", "RequestHeader ResponseHeader"),
    (
        "consumer_protocol",
        CLIENTS,
        "common/message",
        "ConsumerProtocolSubscription ConsumerProtocolAssignment",
    ),
    (
        "control_records",
        CLIENTS,
        "common/message",
        "ControlRecordTypeSchema EndTxnMarker LeaderChangeMessage",
    ),
    (
        "group_records",
        GROUPS,
        "common/message",
        "LegacyOffsetCommitKey OffsetCommitKey OffsetCommitValue GroupMetadataKey GroupMetadataValue \
         ConsumerGroupMetadataKey ConsumerGroupMetadataValue ConsumerGroupPartitionMetadataKey \
         ConsumerGroupPartitionMetadataValue ConsumerGroupMemberMetadataKey \
         ConsumerGroupMemberMetadataValue ConsumerGroupTargetAssignmentMetadataKey \
         ConsumerGroupTargetAssignmentMetadataValue ConsumerGroupTargetAssignmentMemberKey \
         ConsumerGroupTargetAssignmentMemberValue ConsumerGroupCurrentMemberAssignmentKey \
         ConsumerGroupCurrentMemberAssignmentValue ConsumerGroupRegularExpressionKey \
         ConsumerGroupRegularExpressionValue",
    ),
    ("transaction_records", TRANSACTIONS, "common/message", "TransactionLogKey TransactionLogValue"),
    (
        "metadata_records",
        METADATA,
        "common/metadata",
        "TopicRecord PartitionRecord ConfigRecord RemoveTopicRecord ProducerIdsRecord FeatureLevelRecord",
    ),
];

/// Writes every schema file anew.
pub fn import() -> Result<()> {
    let directory = directory();
    for schema in originals()? {
        let path = directory.join(format!("{}.schema", schema.module));
        std::fs::write(&path, render(&schema)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Fails with a list of the differences when our files say something else than Kafka's.
pub fn check() -> Result<()> {
    let ours: BTreeMap<String, Schema> =
        schema::load(&directory()).into_iter().map(|s| (s.module.clone(), s)).collect();
    let theirs: BTreeMap<String, Schema> = originals()?.into_iter().map(|s| (s.module.clone(), s)).collect();
    let mut wrong = vec![];
    for module in ours.keys().filter(|m| !theirs.contains_key(*m)) {
        wrong.push(format!("{module}: not among Kafka's"));
    }
    let mut fields = 0;
    for (module, theirs) in &theirs {
        match ours.get(module) {
            None => wrong.push(format!("{module}: missing")),
            Some(ours) => fields += compare(ours, theirs, &mut wrong),
        }
    }
    ensure!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    let messages: usize = ours.values().map(|s| s.messages.len()).sum();
    println!("{} files, {messages} messages, {fields} fields: the same as Kafka's", ours.len());
    Ok(())
}

/// Compares two files and returns how many fields were looked at.
fn compare(ours: &Schema, theirs: &Schema, wrong: &mut Vec<String>) -> usize {
    let module = &ours.module;
    if ours.api != theirs.api {
        wrong.push(format!("{module}: ours is API {:?}, theirs {:?}", ours.api, theirs.api));
    }
    let names = |s: &Schema| s.messages.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
    if names(ours) != names(theirs) {
        wrong.push(format!("{module}: ours has {:?}, theirs {:?}", names(ours), names(theirs)));
        return 0;
    }
    let mut fields = 0;
    for (a, b) in ours.messages.iter().zip(&theirs.messages) {
        let facts = |m: &Message| (m.role, m.versions, m.flexible, m.unstable, m.id);
        if facts(a) != facts(b) {
            wrong.push(format!("{module} {}: ours {:?}, theirs {:?}", a.name, facts(a), facts(b)));
        }
        fields += compare_fields(&a.name, &a.fields, &b.fields, wrong);
    }
    let names = |s: &Schema| s.structs.keys().cloned().collect::<Vec<_>>();
    if names(ours) != names(theirs) {
        wrong.push(format!("{module}: ours has {:?}, theirs {:?}", names(ours), names(theirs)));
        return fields;
    }
    for (name, theirs) in &theirs.structs {
        fields +=
            compare_fields(&format!("{module} {name}"), &ours.structs[name].fields, &theirs.fields, wrong);
    }
    fields
}

fn compare_fields(place: &str, ours: &[Field], theirs: &[Field], wrong: &mut Vec<String>) -> usize {
    let names = |fields: &[Field]| fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    if names(ours) != names(theirs) {
        wrong.push(format!("{place}: ours has {:?}, theirs {:?}", names(ours), names(theirs)));
        return 0;
    }
    for (a, b) in ours.iter().zip(theirs) {
        if a != b {
            wrong.push(format!("{place}: ours  {}\n{place}: theirs {}", render_field(a), render_field(b)));
        }
    }
    theirs.len()
}

/// Where our files are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/wire/schemas")
}

/// Kafka's definitions in our form.
fn originals() -> Result<Vec<Schema>> {
    let mut schemas = vec![];
    let clients = unpack(CLIENTS)?;
    for name in APIS.split_whitespace() {
        schemas.push(api(&clients.join("common/message"), name).with_context(|| name.to_string())?);
    }
    for (module, artifact, folder, names) in FILES {
        let folder = unpack(artifact)?.join(folder);
        let mut schema =
            Schema { module: module.to_string(), api: None, messages: vec![], structs: BTreeMap::new() };
        for name in names.split_whitespace() {
            let json = read(&folder, name)?;
            add(&mut schema, &json, Role::Plain, &|struct_name| qualify(names, name, struct_name))
                .with_context(|| name.to_string())?;
        }
        schemas.push(schema);
    }
    Ok(schemas)
}

/// Several records in one file: a struct's name gets its record's name in front.
fn qualify(_all: &str, record: &str, name: &str) -> String {
    let stem = record.trim_end_matches("Value").trim_end_matches("Key");
    if name.starts_with(stem) { name.to_string() } else { format!("{stem}{name}") }
}

fn api(folder: &Path, name: &str) -> Result<Schema> {
    let request = read(folder, &format!("{name}Request"))?;
    let response = read(folder, &format!("{name}Response"))?;
    let key = request["apiKey"].as_i64().context("no apiKey")? as i16;
    let mut schema = Schema {
        module: snake(name),
        api: Some((key, name.to_string())),
        messages: vec![],
        structs: BTreeMap::new(),
    };
    let (in_request, in_response) = (struct_names(&request), struct_names(&response));
    let rename = |side: &'static str| {
        let both: Vec<String> = in_request.iter().filter(|n| in_response.contains(n)).cloned().collect();
        move |n: &str| if both.iter().any(|b| b == n) { format!("{side}{n}") } else { n.to_string() }
    };
    add(&mut schema, &request, Role::Request, &rename("Request"))?;
    add(&mut schema, &response, Role::Response, &rename("Response"))?;
    Ok(schema)
}

/// The names of all structs that a definition declares.
fn struct_names(json: &Value) -> Vec<String> {
    fn walk(fields: &Value, names: &mut Vec<String>) {
        for field in fields.as_array().into_iter().flatten() {
            if field["fields"].is_array() {
                names.push(field["type"].as_str().unwrap_or_default().trim_start_matches("[]").to_string());
                walk(&field["fields"], names);
            }
        }
    }
    let mut names = vec![];
    walk(&json["fields"], &mut names);
    for common in json["commonStructs"].as_array().into_iter().flatten() {
        names.push(common["name"].as_str().unwrap_or_default().to_string());
        walk(&common["fields"], &mut names);
    }
    names
}

fn add(schema: &mut Schema, json: &Value, role: Role, rename: &dyn Fn(&str) -> String) -> Result<()> {
    let flexible = versions(json, "flexibleVersions")?.unwrap_or(Versions::NONE);
    let message = Message {
        name: text(json, "name")?.to_string(),
        role,
        versions: versions(json, "validVersions")?.context("no validVersions")?,
        flexible,
        unstable: json["latestVersionUnstable"].as_bool().unwrap_or(false),
        id: if role == Role::Plain { json["apiKey"].as_i64().map(|id| id as i16) } else { None },
        fields: fields(schema, &json["fields"], rename)?,
    };
    schema.messages.push(message);
    for common in json["commonStructs"].as_array().into_iter().flatten() {
        let name = rename(text(common, "name")?);
        let fields = fields(schema, &common["fields"], rename)?;
        define(schema, name, fields)?;
    }
    Ok(())
}

fn fields(schema: &mut Schema, json: &Value, rename: &dyn Fn(&str) -> String) -> Result<Vec<Field>> {
    let mut fields = vec![];
    for field in json.as_array().into_iter().flatten() {
        let name = text(field, "name")?;
        let kind = kind(text(field, "type")?, rename);
        if field["fields"].is_array() {
            let nested = self::fields(schema, &field["fields"], rename)?;
            define(schema, kind.struct_name().context("fields of a scalar")?.to_string(), nested)?;
        }
        let tag = field["tag"].as_u64().map(|tag| tag as u32);
        let tagged = self::versions(field, "taggedVersions")?;
        let versions = self::versions(field, "versions")?.or(tagged);
        let versions = versions.with_context(|| format!("{name}: no versions"))?;
        ensure!(
            tag.is_none() && tagged.is_none() || tagged == Some(versions),
            "{name}: tagged in some versions only; our format has no word for that"
        );
        let inflexible = match field["flexibleVersions"].as_str() {
            None => false,
            Some("none") => true,
            Some(other) => bail!("{name}: flexible {other}; our format has no word for that"),
        };
        fields.push(Field {
            name: snake(name),
            default: default(&field["default"], &kind),
            kind,
            versions,
            nullable: self::versions(field, "nullableVersions")?.unwrap_or(Versions::NONE),
            tag,
            ignorable: field["ignorable"].as_bool().unwrap_or(false),
            inflexible,
        });
    }
    Ok(fields)
}

fn kind(text: &str, rename: &dyn Fn(&str) -> String) -> Type {
    match text.strip_prefix("[]") {
        Some(inner) => Type::Array(Box::new(kind(inner, rename))),
        None => match Type::parse(text) {
            Type::Struct(name) => Type::Struct(rename(&name)),
            scalar => scalar,
        },
    }
}

/// The default in decimal; nothing where it is the type's own zero.
fn default(json: &Value, kind: &Type) -> Option<String> {
    let text = match json {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = match text.strip_prefix("0x").and_then(|hex| i64::from_str_radix(hex, 16).ok()) {
        Some(number) => number.to_string(),
        None => text,
    };
    let zero = match kind {
        Type::Bool => "false",
        Type::String => "",
        _ => "0",
    };
    (text != zero).then_some(text)
}

fn define(schema: &mut Schema, name: String, fields: Vec<Field>) -> Result<()> {
    let new = schema::Struct { name: name.clone(), fields };
    match schema.structs.insert(name.clone(), new.clone()) {
        Some(old) if old != new => bail!("{name} is defined twice, differently"),
        _ => Ok(()),
    }
}

fn text<'a>(json: &'a Value, name: &str) -> Result<&'a str> {
    json[name].as_str().with_context(|| format!("no {name}"))
}

fn versions(json: &Value, name: &str) -> Result<Option<Versions>> {
    match json[name].as_str() {
        None => Ok(None),
        Some(text) => Versions::parse(text).map(Some).with_context(|| format!("bad {name}: {text}")),
    }
}

/// `ThrottleTimeMs` → `throttle_time_ms`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn read(folder: &Path, name: &str) -> Result<Value> {
    let path = folder.join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    serde_json::from_str(&lines.join("\n")).with_context(|| path.display().to_string())
}

/// Fetches an artifact with Maven and unpacks its definitions below the target directory.
fn unpack(artifact: &str) -> Result<PathBuf> {
    let jar = jar(artifact)?;
    let folder = jar.with_extension("");
    if !folder.is_dir() {
        std::fs::create_dir_all(&folder)?;
        run(Command::new("jar").current_dir(&folder).arg("xf").arg(&jar).arg("common"))?;
    }
    Ok(folder)
}

/// The path of an artifact's jar, fetched on first use.
pub fn jar(artifact: &str) -> Result<PathBuf> {
    let [_, name, version] = artifact.split(':').collect::<Vec<_>>()[..] else {
        bail!("{artifact} is not group:name:version");
    };
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let folder = target.join("kafka-jars");
    let path = folder.join(format!("{name}-{version}.jar"));
    if !path.is_file() {
        run(Command::new("mvn")
            .arg("-q")
            .arg("dependency:copy")
            .arg(format!("-Dartifact={artifact}"))
            .arg(format!("-DoutputDirectory={}", folder.display())))?;
    }
    Ok(path)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn render(schema: &Schema) -> String {
    let mut out = String::new();
    if let Some((key, name)) = &schema.api {
        out += &format!("api {key} {name}\n");
    }
    let uses = uses(schema);
    for message in &schema.messages {
        let head = match message.role {
            Role::Request => "request".to_string(),
            Role::Response => "response".to_string(),
            Role::Plain => format!("message {}", message.name),
        };
        let mut line = format!("{head} {} flexible {}", message.versions, message.flexible);
        if message.unstable {
            line += " unstable";
        }
        if let Some(id) = message.id {
            line += &format!(" id {id}");
        }
        out += &format!("{}{line}\n", if out.is_empty() { "" } else { "\n" });
        render_fields(schema, &message.fields, &uses, 1, &mut out);
    }
    for (name, structure) in schema.structs.iter().filter(|(name, _)| uses[*name] > 1) {
        out += &format!("\nstruct {name}\n");
        render_fields(schema, &structure.fields, &uses, 1, &mut out);
    }
    out
}

/// How many fields have each struct as their type.
fn uses(schema: &Schema) -> BTreeMap<String, usize> {
    let mut uses = BTreeMap::new();
    let of_messages = schema.messages.iter().map(|m| &m.fields);
    for fields in of_messages.chain(schema.structs.values().map(|s| &s.fields)) {
        for name in fields.iter().filter_map(|f| f.kind.struct_name()) {
            *uses.entry(name.to_string()).or_default() += 1;
        }
    }
    uses
}

fn render_fields(
    schema: &Schema,
    fields: &[Field],
    uses: &BTreeMap<String, usize>,
    depth: usize,
    out: &mut String,
) {
    for field in fields {
        *out += &format!("{}{}\n", "  ".repeat(depth), render_field(field));
        if let Some(name) = field.kind.struct_name().filter(|name| uses[*name] == 1) {
            render_fields(schema, &schema.structs[name].fields, uses, depth + 1, out);
        }
    }
}

fn render_field(field: &Field) -> String {
    let mut line = format!("{}: {} {}", field.name, field.kind, field.versions);
    if !field.nullable.is_empty() {
        line += &format!(" null {}", field.nullable);
    }
    if let Some(default) = &field.default {
        line += &format!(" default {default}");
    }
    if let Some(tag) = field.tag {
        line += &format!(" tag {tag}");
    }
    if field.ignorable {
        line += " ignorable";
    }
    if field.inflexible {
        line += " inflexible";
    }
    line
}
