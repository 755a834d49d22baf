//! The ways that groups with members may go between the two group protocols.

use crate::typed::Typed;

/// `group.consumer.migration.policy` (KIP-848).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupMigration {
    Disabled,
    Upgrade,
    Downgrade,
    Bidirectional,
}

impl Typed for GroupMigration {
    fn read(name: &str, text: &str) -> Self {
        match text {
            "disabled" => GroupMigration::Disabled,
            "upgrade" => GroupMigration::Upgrade,
            "downgrade" => GroupMigration::Downgrade,
            "bidirectional" => GroupMigration::Bidirectional,
            _ => panic!("{name}: the table let `{text}` through"),
        }
    }
}
