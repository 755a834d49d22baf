//! What DescribeConfigs answers, whatever the resource.

use crate::{ConfigType, Kind};

/// Where a value comes from; the numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    Group = 8,
}

impl Source {
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// One setting of one resource, as described to a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    pub name: &'static str,
    /// `None` where there is none, and always for a password.
    pub value: Option<String>,
    pub source: Source,
    pub config_type: ConfigType,
    pub read_only: bool,
    pub sensitive: bool,
    /// Everything that could give the value, the winner first.
    pub synonyms: Vec<Synonym>,
    pub documentation: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Synonym {
    pub name: &'static str,
    pub value: Option<String>,
    pub source: Source,
}

impl Described {
    /// Builds the entry from its synonyms, ordered by rank; `value` is the effective one.
    pub(crate) fn new(
        name: &'static str,
        kind: Kind,
        read_only: bool,
        value: Option<String>,
        mut synonyms: Vec<Synonym>,
        documentation: String,
    ) -> Described {
        let sensitive = kind == Kind::Password;
        let value = if sensitive { None } else { value };
        if sensitive {
            synonyms.iter_mut().for_each(|synonym| synonym.value = None);
        }
        let source = synonyms.first().map_or(Source::Default, |synonym| synonym.source);
        let config_type = kind.config_type();
        Described { name, value, source, config_type, read_only, sensitive, synonyms, documentation }
    }
}
