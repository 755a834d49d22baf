//! The manual page of all settings, `docs/configuration.md`, made of the tables.

use std::fmt::Write;

use crate::broker;
use crate::group;
use crate::overrides::OwnSetting;
use crate::topic;
use crate::{Effect, Setting, Update};

const HEAD: &str = "\
# Configuration

<!-- Written by `levada docs configuration` from the tables in crates/settings; a test fails when it is out of date. -->

Levada runs without any configuration. What can be set is set under Kafka's names where Kafka has one, in four places;
each wins over those before it:

1. the default, in the tables below;
2. a file in TOML: `--config levada.toml`, or the variable `LEVADA_CONFIG`, or `levada.toml` in the working directory;
3. environment variables: `num.partitions` is `LEVADA_NUM_PARTITIONS`, `levada.wal.bytes.max` is
   `LEVADA_WAL_BYTES_MAX`; flags have theirs too: `LEVADA_DATA_DIR`, `LEVADA_KAFKA_ADDR`, `LEVADA_HTTP_ADDR`,
   `LEVADA_ADVERTISED`, `LEVADA_ALLOW_INSECURE_LISTEN`;
4. flags: `--set num.partitions=8`; the commonest have a flag of their own (`levada serve --help`).

A name that does not exist is an error that says which one was probably meant; so is a value out of range. Variables
are more lenient, since others may use the prefix: one that looks like no setting is only warned of, and what Kubernetes
injects for a Service named `levada` (`LEVADA_SERVICE_HOST`, `LEVADA_PORT=tcp://…`, `LEVADA_PORT_9092_TCP…`) is passed
over.

```toml
# levada.toml
num.partitions = 8
log.retention.hours = 24
levada.wal.bytes.max = 1_073_741_824
```

Settings marked *dynamic* can also be changed while the broker runs, for one broker or for all, by any Kafka tool
(IncrementalAlterConfigs); such a value wins over all four. Settings marked *no effect* are accepted, checked and shown,
so that files and tools written for Kafka work, and do nothing else.
";

const TOPIC_HEAD: &str = "
## Topic settings

Set on one topic: `levada topic create orders --set retention.ms=86400000`, `levada topic alter`, or any Kafka tool.
Where a topic does not set it, the broker setting named beside it counts.
";

const GROUP_HEAD: &str = "
## Group settings

Set on one consumer group of the newer protocol (KIP-848), whether it exists yet or not: `levada config set --group
billing consumer.session.timeout.ms=60000`, or any Kafka tool. A value must lie within the broker's bounds,
`group.consumer.min.…` and `group.consumer.max.…`; one that no longer does, because they were changed, counts as the
nearest that does. Kafka's settings of share groups and of streams groups are unknown here, as those groups are.
";

/// The whole page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let (own, kafka): (Vec<&Setting>, Vec<&Setting>) =
        broker::table().iter().partition(|setting| setting.name.starts_with("levada."));
    section(&mut page, "Broker settings of Levada's own", &own);
    section(&mut page, "Broker settings under Kafka's names", &kafka);
    page.push_str(TOPIC_HEAD);
    own_settings(&mut page, topic::table());
    page.push_str(GROUP_HEAD);
    own_settings(&mut page, group::table());
    page
}

fn own_settings(page: &mut String, lines: &[OwnSetting]) {
    for line in lines {
        let default = match line.synonym {
            Some(synonym) => format!("default: `{synonym}`"),
            None => format!("default: {}", shown(line.setting.default)),
        };
        entry(page, &line.setting, &default, None);
    }
}

fn section(page: &mut String, title: &str, settings: &[&Setting]) {
    let _ = writeln!(page, "\n## {title}");
    for setting in settings {
        let update = (setting.update == Update::Dynamic).then_some("dynamic");
        entry(page, setting, &format!("default: {}", shown(setting.default)), update);
    }
}

fn entry(page: &mut String, setting: &Setting, default: &str, update: Option<&str>) {
    let kind = setting.kind.config_type().name().to_lowercase();
    let effect = (setting.effect == Effect::Accepted).then_some("no effect");
    let marks: Vec<String> =
        [update, effect].into_iter().flatten().map(|mark| format!(" · *{mark}*")).collect();
    let _ = write!(
        page,
        "\n### `{}`\n\n{kind} · {} · {default}{}\n\n{}\n",
        setting.name,
        setting.kind.range(),
        marks.concat(),
        setting.documentation()
    );
}

fn shown(default: Option<&str>) -> String {
    match default {
        None => "not set".to_owned(),
        Some("") => "empty".to_owned(),
        Some(value) => format!("`{value}`"),
    }
}
