//! Where instances can be asked, found from outside: memberships' places in their groups say so.

use wire::{DescribeGroupsRequest, ListGroupsRequest};

use crate::membership::PROTOCOL_TYPE;
use crate::{AskError, Cluster, check};

/// So many groups are looked at.
const GROUPS_MAX: usize = 10_000;

/// How an instance's address begins; no other client's `group.instance.id` does.
const SCHEMES: [&str; 2] = ["http://", "https://"];

/// The addresses of all that take part in groups of [`crate::Membership`], whichever the groups are, each once.
pub async fn instances(cluster: &Cluster) -> Result<Vec<String>, AskError> {
    let mut found = Vec::new();
    for id in cluster.brokers().await? {
        let connection = cluster.node(id).await?;
        let listed = connection.ask(&ListGroupsRequest::default()).await?;
        check(listed.error_code, None)?;
        let groups = listed.groups.into_iter().filter(|group| &*group.protocol_type == PROTOCOL_TYPE);
        // The broker that lists a group is its coordinator.
        let groups = groups.map(|group| group.group_id).take(GROUPS_MAX).collect();
        let answer = connection.ask(&DescribeGroupsRequest { groups, ..Default::default() }).await?;
        // One that is gone by now has no members.
        let members = answer.groups.into_iter().flat_map(|group| group.members);
        let addresses = members.filter_map(|member| Some(member.group_instance_id?.to_string()));
        found.extend(addresses.filter(|url| SCHEMES.iter().any(|scheme| url.starts_with(scheme))));
    }
    found.sort();
    found.dedup();
    Ok(found)
}
