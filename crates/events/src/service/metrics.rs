//! What `/metrics` shows of the event store.

use std::fmt::Write;

use super::Handle;

impl Handle {
    /// Lines of OpenMetrics text, without the end mark.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, help: &str, samples: Vec<(String, u64)>| {
            let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} gauge");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        };
        let open: Vec<_> = self.0.open.lock().values().cloned().collect();
        let count = |state: &str, is: fn(&super::OpenPartition) -> bool| -> Vec<(String, u64)> {
            let one = |category: &std::sync::Arc<super::OpenCategory>| {
                let labels = format!("category=\"{}\",state=\"{state}\"", category.category);
                (labels, category.partitions.iter().filter(|partition| is(partition)).count() as u64)
            };
            open.iter().map(one).collect()
        };
        let mut states = count("owned", |partition| partition.standing.borrow().is_some());
        states.extend(count("halted", |partition| partition.replica.halted().is_some()));
        family(
            "levada_events_partitions",
            "Partitions that this instance owns and takes appends for, and those that take none until somebody looks at them",
            states,
        );
        let behind = |category: &std::sync::Arc<super::OpenCategory>| {
            let behind = category.partitions.iter().map(|partition| {
                let acknowledged = partition.standing.borrow().map(|standing| standing.acknowledged.0);
                u64::try_from(acknowledged.unwrap_or(0) - partition.replica.next().0).unwrap_or(0)
            });
            (format!("category=\"{}\"", category.category), behind.sum())
        };
        family(
            "levada_events_index_behind_records",
            "Records that this instance has acknowledged and not indexed yet",
            open.iter().map(behind).collect(),
        );
        let statuses: Vec<_> = self
            .hosts()
            .into_iter()
            .filter_map(|host| {
                let of = host.subscription();
                let labels = format!("category=\"{}\",subscription=\"{}\"", of.category, of.name);
                Some((labels, host.status().ok()?))
            })
            .collect();
        let of = |value: fn(&crate::consumers::Status) -> u64| {
            statuses.iter().map(|(labels, status)| (labels.clone(), value(status))).collect()
        };
        family(
            "levada_events_subscription_in_flight",
            "Events that consumers have and have not acknowledged",
            of(|status| status.counts.in_flight as u64),
        );
        family(
            "levada_events_subscription_parked",
            "Events that wait for somebody to look at them",
            of(|status| status.counts.parked as u64),
        );
        family(
            "levada_events_subscription_behind_records",
            "Records after the first one that is not settled, whether they are for the subscription or not",
            of(|status| status.behind),
        );
        text
    }
}
