//! Settings of topics, as a pattern needs them to be.

use std::collections::BTreeMap;

use tracing::warn;
use wire::describe_configs::DescribeConfigsResource;
use wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::{AskError, Cluster, check};

/// Kafka's number for "the resource is a topic".
const TOPIC_RESOURCE: i8 = 2;

/// Kafka's number for "the setting gets this value".
const SET: i8 = 0;

/// Of each topic, by name: its settings.
pub type TopicConfigs = BTreeMap<String, BTreeMap<String, String>>;

impl Cluster {
    /// What these settings are, of each of these topics. A topic that is not there is left out, and a setting that is not
    /// known.
    pub async fn topic_configs(&self, topics: &[&str], settings: &[&str]) -> Result<TopicConfigs, AskError> {
        let resource = |topic: &&str| DescribeConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: (*topic).into(),
            configuration_keys: Some(settings.iter().map(|name| (*name).into()).collect()),
            ..DescribeConfigsResource::default()
        };
        let request = DescribeConfigsRequest {
            resources: topics.iter().map(resource).collect(),
            ..DescribeConfigsRequest::default()
        };
        let answer = self.ask(&request).await?;
        let mut found = TopicConfigs::new();
        for result in answer.results {
            match check(result.error_code, result.error_message.as_deref()).map_err(AskError::from) {
                Ok(()) => {}
                Err(error) if error.is_missing_topic() => continue,
                Err(error) => return Err(error.about(result.resource_name.to_string())),
            }
            let configs = result
                .configs
                .into_iter()
                .filter_map(|config| Some((config.name.to_string(), config.value?.to_string())))
                .collect();
            found.insert(result.resource_name.to_string(), configs);
        }
        Ok(found)
    }

    /// Sets what is otherwise: whoever else has made the topic, or the broker for somebody who asked for it, knew nothing
    /// of what it is for.
    pub async fn hold_configs(&self, topic: &str, wanted: &[(&str, &str)]) -> Result<(), AskError> {
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        let is = self.topic_configs(&[topic], &names).await?.remove(topic).unwrap_or_default();
        let others: Vec<&(&str, &str)> =
            wanted.iter().filter(|(name, value)| is.get(*name).is_some_and(|is| is != value)).collect();
        if others.is_empty() {
            return Ok(());
        }
        let config = |(name, value): &&(&str, &str)| AlterableConfig {
            name: (*name).into(),
            config_operation: SET,
            value: Some((*value).into()),
            ..AlterableConfig::default()
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: TOPIC_RESOURCE,
                resource_name: topic.into(),
                configs: others.iter().map(config).collect(),
                ..AlterConfigsResource::default()
            }],
            ..IncrementalAlterConfigsRequest::default()
        };
        let answer = self.ask(&request).await?;
        for result in answer.responses {
            check(result.error_code, result.error_message.as_deref())
                .map_err(|refused| AskError::from(refused).about(topic))?;
        }
        warn!(topic, ?others, "a topic was there already, made by somebody else: it has these settings now");
        Ok(())
    }
}
