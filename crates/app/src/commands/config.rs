//! `levada config`: settings of a running broker, and of consumer groups.

use anyhow::{Context, anyhow, bail};
use serde_json::json;
use settings::Operation;
use wire::describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult};
use wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::{DescribeConfigsRequest, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::cli::{ConfigCommand, Format};
use crate::client::{self, Cluster, check};
use crate::output;

/// The protocol's number for "this resource is a broker".
const BROKER_RESOURCE: i8 = 4;
/// The protocol's number for "this resource is a consumer group".
const GROUP_RESOURCE: i8 = 32;
/// The name of the resource that is all brokers.
const ALL_BROKERS: &str = "";
/// The protocol's number for "nobody has set this".
const DEFAULT: i8 = 5;

pub fn run(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Get { names, all, broker_id, group, format, broker } => {
            client::run(broker, async |cluster| {
                let (kind, resource) = match (group, broker_id) {
                    (Some(group), _) => (GROUP_RESOURCE, group.clone()),
                    (None, Some(id)) => (BROKER_RESOURCE, id.to_string()),
                    (None, None) => (BROKER_RESOURCE, first_broker(&cluster).await?.to_string()),
                };
                get(&cluster, kind, &resource, names, *all, *format).await
            })
        }
        ConfigCommand::Set { set, unset, broker_id, group, broker } => {
            let changes: Vec<AlterableConfig> = (set.iter())
                .map(|(name, value)| change(name, Operation::Set, Some(value)))
                .chain(unset.iter().map(|name| change(name, Operation::Delete, None)))
                .collect();
            let (kind, resource) = match group {
                Some(group) => (GROUP_RESOURCE, group.clone()),
                None => (BROKER_RESOURCE, broker_id.map_or(ALL_BROKERS.to_owned(), |id| id.to_string())),
            };
            client::run(broker, async |cluster| alter(&cluster, kind, &resource, changes).await)
        }
    }
}

async fn first_broker(cluster: &Cluster) -> anyhow::Result<i32> {
    let overview = cluster.overview().await?;
    overview.brokers.keys().next().copied().context("the cluster names no broker")
}

async fn get(
    cluster: &Cluster,
    kind: i8,
    resource: &str,
    names: &[String],
    all: bool,
    format: Format,
) -> anyhow::Result<()> {
    let settings = configs(cluster, kind, resource).await?;
    let unknown: Vec<String> =
        names.iter().filter(|name| !settings.iter().any(|it| is_named(name, &it.name))).cloned().collect();
    check_known(unknown.iter().map(String::as_str), &settings)
        .map_err(|error| hinted(error, kind, &unknown))?;
    let is_shown = |setting: &&DescribeConfigsResourceResult| match names.is_empty() {
        true => all || setting.config_source != DEFAULT,
        false => names.iter().any(|name| is_named(name, &setting.name)),
    };
    if format == Format::Text && !settings.iter().any(|setting| is_shown(&setting)) {
        output::note("all settings are at their defaults; --all shows them");
    }
    for setting in settings.iter().filter(is_shown) {
        let value = setting.value.as_deref();
        let source = source(setting.config_source);
        output::line(&match format {
            Format::Text if setting.is_sensitive => format!("{}=(hidden)  # {source}", setting.name),
            Format::Text => match value {
                Some(value) => format!("{}={value}  # {source}", setting.name),
                None => format!("# {} is not set ({source})", setting.name),
            },
            Format::Json => json!({
                "name": &*setting.name, "value": value, "source": source, "read_only": setting.read_only,
            })
            .to_string(),
        })?;
    }
    Ok(())
}

/// Whether a setting is one of those that are asked for; * stands for anything.
fn is_named(asked: &str, name: &str) -> bool {
    match asked.split_once('*') {
        None => asked == name,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|behind| {
            (0..=behind.len())
                .filter(|at| behind.is_char_boundary(*at))
                .any(|at| is_named(rest, &behind[at..]))
        }),
    }
}

/// Where a value comes from, by the protocol's number.
fn source(code: i8) -> &'static str {
    match code {
        1 => "topic",
        2 => "set for this broker",
        3 => "set for all brokers",
        4 => "file, variable or flag",
        8 => "set for this group",
        DEFAULT => "default",
        _ => "elsewhere",
    }
}

async fn alter(
    cluster: &Cluster,
    kind: i8,
    resource_name: &str,
    configs: Vec<AlterableConfig>,
) -> anyhow::Result<()> {
    let names: Vec<String> = configs.iter().map(|config| config.name.to_string()).collect();
    let is_unset = |change: &&AlterableConfig| change.config_operation == Operation::Delete.code();
    if configs.iter().any(|change| is_unset(&change)) {
        // Brokers take any name that is put back to its default.
        let of = match resource_name {
            ALL_BROKERS if kind == BROKER_RESOURCE => first_broker(cluster).await?.to_string(),
            name => name.to_owned(),
        };
        let known = self::configs(cluster, kind, &of).await?;
        check_known(configs.iter().filter(is_unset).map(|change| &*change.name), &known)
            .map_err(|error| hinted(error, kind, &names))?;
    }
    let answer = ask_to_alter(cluster, kind, resource_name, configs).await?;
    for result in answer.responses {
        let checked = check(result.error_code, result.error_message.as_deref());
        checked.context("cannot change the settings").map_err(|error| hinted(error, kind, &names))?;
    }
    output::line(&match resource_name {
        group if kind == GROUP_RESOURCE => format!("changed the settings of group {group}"),
        ALL_BROKERS => "changed the settings of all brokers".to_owned(),
        id => format!("changed the settings of broker {id}"),
    })
}

/// The same failure, and where the right place is for a setting that was looked for in the wrong one.
pub fn hinted(error: anyhow::Error, kind: i8, names: &[String]) -> anyhow::Error {
    let said = format!("{error:#}");
    // The broker has said so itself, or knows a better way.
    let is_said = |hint: &String| {
        hint.contains("restart it") && (said.contains("restart") || said.contains("while the broker runs"))
    };
    let hints: Vec<String> =
        names.iter().filter_map(|name| hint(kind, name)).filter(|hint| !is_said(hint)).collect();
    match hints.is_empty() {
        true => error,
        false => anyhow!("{}. {}", without_guess(&format!("{error:#}")), hints.join(". ")),
    }
}

/// A guess at what was meant says something else than what is known here.
fn without_guess(told: &str) -> String {
    match told.split_once("; did you mean ") {
        Some((before, guess)) => {
            format!("{before}{}", guess.split_once('?').map_or("", |(_, behind)| behind))
        }
        None => told.to_owned(),
    }
}

fn hint(kind: i8, name: &str) -> Option<String> {
    use settings::{Update, broker, group, topic};
    let of_topic = topic::find(name);
    let of_group = group::table().iter().find(|own| own.setting.name == name);
    let of_broker = broker::find(name);
    let group_hint = || format!("{name} is a setting of groups: add --group GROUP");
    match kind {
        BROKER_RESOURCE => match (of_broker, of_topic, of_group) {
            (Some(found), ..) if found.update == Update::ReadOnly => Some(format!(
                "{name} counts from a start on: set it in the broker's levada.toml, its variables or its flags, and \
                 restart it"
            )),
            (None, Some(own), _) => {
                let behind = own
                    .synonym
                    .map(|behind| format!("; {behind} is what counts for topics that set nothing"));
                Some(format!(
                    "{name} is a setting of topics: `levada topic describe TOPIC --all` shows it, `levada topic alter \
                     TOPIC --set {name}=VALUE` changes it{}",
                    behind.unwrap_or_default()
                ))
            }
            (None, None, Some(_)) => Some(group_hint()),
            _ => None,
        },
        GROUP_RESOURCE => match (of_group, of_broker) {
            (None, Some(_)) => Some(format!("{name} is a setting of the broker: leave --group out")),
            _ => None,
        },
        // A topic.
        _ => match (of_topic, topic::table().iter().find(|own| own.synonym == Some(name)), of_group) {
            (None, Some(own), _) => Some(format!(
                "{name} is a setting of the broker, for topics that set nothing (`levada config set`): a topic's own is {}",
                own.setting.name
            )),
            (None, None, Some(_)) => {
                Some(format!("{name} is a setting of groups: `levada config set --group GROUP {name}=VALUE`"))
            }
            _ => None,
        },
    }
}

/// Asks the broker to change settings of a resource.
pub async fn ask_to_alter(
    cluster: &Cluster,
    resource_type: i8,
    name: &str,
    configs: Vec<AlterableConfig>,
) -> anyhow::Result<IncrementalAlterConfigsResponse> {
    let resource = AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs,
        ..AlterConfigsResource::default()
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        ..IncrementalAlterConfigsRequest::default()
    };
    Ok(cluster.ask(&request).await?)
}

/// The settings of a resource, by name.
pub async fn configs(
    cluster: &Cluster,
    resource_type: i8,
    name: &str,
) -> anyhow::Result<Vec<DescribeConfigsResourceResult>> {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: None,
        ..DescribeConfigsResource::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let answer = match resource_type {
        // Only a broker itself knows its settings.
        BROKER_RESOURCE => cluster.broker(name.parse()?).await?.ask(&request).await?,
        _ => cluster.ask(&request).await?,
    };
    let result: DescribeConfigsResult =
        answer.results.into_iter().next().context("the broker left it out of its answer")?;
    check(result.error_code, result.error_message.as_deref())?;
    let mut configs = result.configs;
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(configs)
}

/// Whether the broker has settings of these names.
pub fn check_known<'a>(
    mut names: impl Iterator<Item = &'a str>,
    known: &[DescribeConfigsResourceResult],
) -> anyhow::Result<()> {
    match names.find(|name| known.iter().all(|config| &*config.name != *name)) {
        None => Ok(()),
        Some(unknown) => match settings::nearest(unknown, known.iter().map(|config| &*config.name)) {
            Some(near) => bail!("there is no setting {unknown}; did you mean {near}?"),
            None => bail!("there is no setting {unknown}"),
        },
    }
}

pub fn change(name: &str, operation: Operation, value: Option<&String>) -> AlterableConfig {
    AlterableConfig {
        name: name.into(),
        config_operation: operation.code(),
        value: value.map(|value| value.as_str().into()),
        ..AlterableConfig::default()
    }
}

#[cfg(test)]
mod tests;
