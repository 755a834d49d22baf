//! What groups set themselves, as the committed metadata says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordinators::metadata::Metadata;
use parking_lot::RwLock;
use settings::{BrokerSettings, GroupConfig, GroupOverrides};
use tracing::warn;

pub struct GroupConfigs {
    /// For groups that set nothing.
    default: GroupConfig,
    groups: RwLock<BTreeMap<String, Arc<Configured>>>,
}

struct Configured {
    overrides: GroupOverrides,
    config: GroupConfig,
}

impl GroupConfigs {
    pub(super) fn new(settings: &BrokerSettings) -> GroupConfigs {
        let default = GroupConfig::new(&GroupOverrides::default(), settings);
        GroupConfigs { default, groups: RwLock::default() }
    }

    /// What counts for groups that set nothing.
    pub fn default(&self) -> &GroupConfig {
        &self.default
    }

    /// What counts for a group.
    pub fn config(&self, group: &str) -> GroupConfig {
        self.groups.read().get(group).map_or_else(|| self.default.clone(), |known| known.config.clone())
    }

    /// What a group sets itself.
    pub fn overrides(&self, group: &str) -> GroupOverrides {
        self.groups.read().get(group).map(|known| known.overrides.clone()).unwrap_or_default()
    }

    /// The groups that set anything, in the order of names.
    pub fn names(&self) -> Vec<String> {
        self.groups.read().keys().cloned().collect()
    }

    /// The session timeouts of the groups that set anything.
    pub fn session_timeouts(&self) -> BTreeMap<String, Duration> {
        let groups = self.groups.read();
        groups.iter().map(|(name, known)| (name.clone(), known.config.consumer_session_timeout)).collect()
    }

    pub(super) fn follow_all(&self, state: &Metadata, settings: &BrokerSettings) {
        self.groups.write().clear();
        state.group_configs().keys().for_each(|name| self.follow(name, state, settings));
    }

    pub(super) fn follow(&self, name: &str, state: &Metadata, settings: &BrokerSettings) {
        let Some(stored) = state.group_configs().get(name) else {
            self.groups.write().remove(name);
            return;
        };
        let stored = stored.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (overrides, problems) = GroupOverrides::restore(stored);
        for problem in problems {
            warn!(group = name, problem, "a stored group config is not used");
        }
        let config = GroupConfig::new(&overrides, settings);
        self.groups.write().insert(name.to_string(), Arc::new(Configured { overrides, config }));
    }
}
