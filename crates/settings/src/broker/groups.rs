//! The lines of the table behind the settings of groups (see [`crate::group`]): their defaults, and their bounds.

use crate::kind::int;
use crate::{Effect, Setting, Update};

pub(super) fn lines() -> Vec<Setting> {
    let line = |name, least, default, doc| Setting {
        name,
        kind: int(least),
        default: Some(default),
        update: Update::ReadOnly,
        effect: Effect::Honoured,
        doc,
    };
    vec![
        line(
            "group.consumer.session.timeout.ms",
            1,
            "45000",
            "Session timeout of members under the newer group protocol (KIP-848). Default of the group setting \
             `consumer.session.timeout.ms`.",
        ),
        line(
            "group.consumer.heartbeat.interval.ms",
            1,
            "5000",
            "Heartbeat interval that the broker gives to members under the newer group protocol. Default of the group \
             setting `consumer.heartbeat.interval.ms`.",
        ),
        line(
            "group.consumer.min.session.timeout.ms",
            1,
            "45000",
            "Lower bound of a group's own `consumer.session.timeout.ms`.",
        ),
        line(
            "group.consumer.max.session.timeout.ms",
            1,
            "60000",
            "Upper bound of a group's own `consumer.session.timeout.ms`.",
        ),
        line(
            "group.consumer.min.heartbeat.interval.ms",
            1,
            "5000",
            "Lower bound of a group's own `consumer.heartbeat.interval.ms`.",
        ),
        line(
            "group.consumer.max.heartbeat.interval.ms",
            1,
            "15000",
            "Upper bound of a group's own `consumer.heartbeat.interval.ms`.",
        ),
        line(
            "group.consumer.min.assignment.interval.ms",
            0,
            "0",
            "Lower bound of a group's own `consumer.assignment.interval.ms`.",
        ),
        line(
            "group.consumer.max.assignment.interval.ms",
            0,
            "15000",
            "Upper bound of a group's own `consumer.assignment.interval.ms`.",
        ),
    ]
}
