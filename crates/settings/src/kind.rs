//! Types and ranges: what text a setting takes, how it is written in one way, and Kafka's words when it is wrong.

/// The type and the range of a setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Boolean,
    Short {
        min: i64,
    },
    Int {
        min: i64,
        max: i64,
    },
    /// A range, or one value outside it that means "the codec's own default".
    IntOr {
        min: i64,
        max: i64,
        or: i64,
    },
    Long {
        min: i64,
        max: i64,
    },
    Double {
        min: f64,
        max: f64,
    },
    Text,
    OneOf(&'static [&'static str]),
    List,
    ListOf(&'static [&'static str]),
    /// `*`, or `partition:broker` pairs (KIP-73).
    ThrottledReplicas,
    /// Never shown.
    Password,
}

/// The protocol's number for a type (DescribeConfigs, KIP-226 and KIP-569).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl ConfigType {
    pub fn code(self) -> i8 {
        self as i8
    }

    /// Kafka's name for it, which also stands in its error messages.
    pub fn name(self) -> &'static str {
        match self {
            ConfigType::Boolean => "BOOLEAN",
            ConfigType::Text => "STRING",
            ConfigType::Int => "INT",
            ConfigType::Short => "SHORT",
            ConfigType::Long => "LONG",
            ConfigType::Double => "DOUBLE",
            ConfigType::List => "LIST",
            ConfigType::Class => "CLASS",
            ConfigType::Password => "PASSWORD",
        }
    }
}

pub const fn int(min: i64) -> Kind {
    Kind::Int { min, max: i32::MAX as i64 }
}

pub const fn int_between(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

pub const fn long(min: i64) -> Kind {
    Kind::Long { min, max: i64::MAX }
}

impl Kind {
    pub fn config_type(self) -> ConfigType {
        match self {
            Kind::Boolean => ConfigType::Boolean,
            Kind::Short { .. } => ConfigType::Short,
            Kind::Int { .. } | Kind::IntOr { .. } => ConfigType::Int,
            Kind::Long { .. } => ConfigType::Long,
            Kind::Double { .. } => ConfigType::Double,
            Kind::Text | Kind::OneOf(_) => ConfigType::Text,
            Kind::List | Kind::ListOf(_) | Kind::ThrottledReplicas => ConfigType::List,
            Kind::Password => ConfigType::Password,
        }
    }

    pub fn is_list(self) -> bool {
        self.config_type() == ConfigType::List
    }

    /// Checks `text` and writes it the one way in which values are stored and shown: `" 5 "` is `5`, `TRUE` is `true`,
    /// `delete, compact` is `delete,compact`. Refuses in Kafka's words.
    pub fn normalise(self, name: &str, text: &str) -> Result<String, String> {
        let wrong = |value: &str, why: &str| format!("Invalid value {value} for configuration {name}: {why}");
        let trimmed = text.trim();
        match self {
            Kind::Boolean => match trimmed.to_ascii_lowercase().as_str() {
                value @ ("true" | "false") => Ok(value.to_owned()),
                _ => Err(wrong(text, "Expected value to be either true or false")),
            },
            Kind::Short { .. } | Kind::Int { .. } | Kind::IntOr { .. } | Kind::Long { .. } => {
                let type_name = self.config_type().name();
                let widest = match self.config_type() {
                    ConfigType::Short => i64::from(i16::MAX),
                    ConfigType::Int => i64::from(i32::MAX),
                    _ => i64::MAX,
                };
                let value = trimmed
                    .parse::<i64>()
                    .ok()
                    .filter(|value| (-widest - 1..=widest).contains(value))
                    .ok_or_else(|| wrong(text, &format!("Not a number of type {type_name}")))?;
                self.check_range(value).map_err(|why| wrong(&value.to_string(), &why))?;
                Ok(value.to_string())
            }
            Kind::Double { min, max } => {
                let value: f64 = trimmed
                    .parse()
                    .ok()
                    .filter(|value: &f64| value.is_finite())
                    .ok_or_else(|| wrong(text, "Not a number of type DOUBLE"))?;
                let shown = format!("{value:?}").replace('e', "E");
                if value < min {
                    return Err(wrong(&shown, &format!("Value must be at least {min}")));
                }
                if value > max {
                    return Err(wrong(&shown, &format!("Value must be no more than {max}")));
                }
                Ok(shown)
            }
            Kind::Text | Kind::Password => Ok(trimmed.to_owned()),
            Kind::OneOf(allowed) => {
                if allowed.contains(&trimmed) {
                    Ok(trimmed.to_owned())
                } else {
                    Err(wrong(text, &format!("String must be one of: {}", allowed.join(", "))))
                }
            }
            Kind::List => Ok(items(text).join(",")),
            Kind::ListOf(allowed) => {
                let items = items(text);
                match items.iter().find(|item| !allowed.contains(&item.as_str())) {
                    Some(stranger) => {
                        Err(wrong(stranger, &format!("String must be one of: {}", allowed.join(", "))))
                    }
                    None => Ok(items.join(",")),
                }
            }
            Kind::ThrottledReplicas => {
                let items = items(text);
                let pair = |item: &String| {
                    item.split_once(':').is_some_and(|(partition, broker)| {
                        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
                    })
                };
                if items.is_empty() || items == ["*"] || items.iter().all(pair) {
                    Ok(items.join(","))
                } else {
                    Err(wrong(
                        &format!("[{}]", items.join(", ")),
                        &format!(
                            "{name} must be the literal '*' or a list of replicas in the following format: \
                             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                        ),
                    ))
                }
            }
        }
    }

    fn check_range(self, value: i64) -> Result<(), String> {
        let (min, max) = match self {
            Kind::Short { min } => (min, i64::MAX),
            Kind::Int { min, max } | Kind::Long { min, max } => (min, max),
            Kind::IntOr { min, max, or } => {
                return if value == or || (min..=max).contains(&value) {
                    Ok(())
                } else {
                    Err(format!("Value must be between {min} and {max} or equal to {or}"))
                };
            }
            _ => return Ok(()),
        };
        if value < min {
            return Err(format!("Value must be at least {min}"));
        }
        if value > max {
            return Err(format!("Value must be no more than {max}"));
        }
        Ok(())
    }

    /// The range in words, for the manual.
    pub fn range(self) -> String {
        let number = |min: i64, max: i64, least: i64, most: i64| match (min > least, max < most) {
            (true, true) => format!("{min} to {max}"),
            (true, false) => format!("{min} or more"),
            (false, true) => format!("{max} or less"),
            (false, false) => "any".to_owned(),
        };
        match self {
            Kind::Boolean => "`true`, `false`".to_owned(),
            Kind::Short { min } => number(min, i64::MAX, i64::from(i16::MIN), i64::MAX),
            Kind::Int { min, max } => number(min, max, i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::IntOr { min, max, or } => format!("{min} to {max}, or {or}"),
            Kind::Long { min, max } => number(min, max, i64::MIN, i64::MAX),
            Kind::Double { min, max } if max == f64::MAX => format!("{min} or more"),
            Kind::Double { min, max } => format!("{min} to {max}"),
            Kind::Text | Kind::List | Kind::Password => "any".to_owned(),
            Kind::OneOf(allowed) | Kind::ListOf(allowed) => {
                allowed.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
            }
            Kind::ThrottledReplicas => "`*`, or pairs `partition:broker`".to_owned(),
        }
    }
}

/// The items of a list, each once, in order, as Kafka reads it.
pub(crate) fn items(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        if !items.iter().any(|known| known == item) {
            items.push(item.to_owned());
        }
    }
    items
}
