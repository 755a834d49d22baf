//! What one resource sets itself, over what the broker sets for all of its kind.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::broker::BrokerSettings;
use crate::describe::{Described, Source, Synonym};
use crate::typed::Typed;
use crate::{Setting, nearest};

/// One line of the table of a kind of resource.
#[derive(Debug)]
pub struct OwnSetting {
    /// Its `default` is only given where no broker setting stands behind it.
    pub setting: Setting,
    /// The broker setting that gives the value where the resource does not.
    pub synonym: Option<&'static str>,
}

/// A kind of resource that has settings of its own.
pub trait Resource: Debug + Clone + Default + PartialEq + Eq + 'static {
    /// As Kafka's messages call it.
    const NOUN: &'static str;
    /// Where a value of its own is said to come from.
    const SOURCE: Source;

    /// All its settings, sorted by name.
    fn table() -> &'static [OwnSetting];

    /// What no single value can tell, in Kafka's words.
    fn check_together(own: &Overrides<Self>, broker: &BrokerSettings) -> Result<(), String>;

    /// The line of the table for `name`.
    fn find(name: &str) -> Option<&'static OwnSetting> {
        let table = Self::table();
        table.binary_search_by(|line| line.setting.name.cmp(name)).ok().map(|at| &table[at])
    }

    /// The known name that looks most like `wrong`.
    fn suggest(wrong: &str) -> Option<&'static str> {
        nearest(wrong, Self::table().iter().map(|line| line.setting.name))
    }
}

/// What one resource sets itself, checked and in the one form in which values are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides<R> {
    pub(crate) values: BTreeMap<&'static str, String>,
    of: std::marker::PhantomData<R>,
}

impl<R: Resource> Overrides<R> {
    pub(crate) fn new(values: BTreeMap<&'static str, String>) -> Self {
        Overrides { values, of: std::marker::PhantomData }
    }

    /// Takes stored values back. Names and values that this version does not take are left out and named in the
    /// second answer, so that they can be logged: they must not keep a topic from being served.
    pub fn restore<'a>(stored: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Self, Vec<String>) {
        let mut refused = Vec::new();
        let mut values = BTreeMap::new();
        for (name, value) in stored {
            let checked = R::find(name)
                .ok_or_else(|| format!("Unknown {} config name: {name}", R::NOUN))
                .and_then(|line| Ok((line.setting.name, line.setting.kind.normalise(name, value)?)));
            match checked {
                Ok((name, value)) => drop(values.insert(name, value)),
                Err(why) => refused.push(why),
            }
        }
        (Overrides::new(values), refused)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The answer to DescribeConfigs for the resource: every setting.
    pub fn describe(&self, broker: &BrokerSettings) -> Vec<Described> {
        R::table()
            .iter()
            .map(|line| {
                let setting = &line.setting;
                let own = self.value(setting.name).map(|value| Synonym {
                    name: setting.name,
                    value: Some(value.to_owned()),
                    source: R::SOURCE,
                });
                let inherited = line.synonym.map(|name| broker.synonyms(name)).unwrap_or_default();
                let value = Some(line.effective(self, broker));
                let synonyms = own.into_iter().chain(inherited).collect();
                Described::new(setting.name, setting.kind, false, value, synonyms, setting.documentation())
            })
            .collect()
    }
}

impl OwnSetting {
    /// The value that counts, as text and in the setting's own unit.
    pub(crate) fn effective<R: Resource>(&self, own: &Overrides<R>, broker: &BrokerSettings) -> String {
        if let Some(own) = own.value(self.setting.name) {
            return own.to_owned();
        }
        let inherited = self.synonym.and_then(|name| broker.synonyms(name).into_iter().next());
        match inherited.and_then(|synonym| Some((synonym.name, synonym.value?))) {
            Some((name, value)) => in_milliseconds(name, value),
            None => self
                .setting
                .default
                .expect("a resource's setting has a default or a synonym with one")
                .to_owned(),
        }
    }
}

/// Broker settings in minutes and hours stand behind topic settings in milliseconds; below zero is "no limit".
fn in_milliseconds(name: &str, value: String) -> String {
    let factor: i64 = match name.rsplit('.').next() {
        Some("minutes") => 60 * 1000,
        Some("hours") => 60 * 60 * 1000,
        _ => return value,
    };
    match i64::read(name, &value) {
        ..0 => "-1".to_owned(),
        count => (count * factor).to_string(),
    }
}
