//! ApiVersions (KIP-35, KIP-511, KIP-584): what is served, in which versions.

use wire::api_versions::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use wire::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, ErrorCode};

use crate::node::Node;
use crate::request::{Caller, advertised};

/// Features with their lowest and highest level; the highest is in force. A feature is listed only with its APIs.
pub const FEATURES: &[(&str, i16, i16)] = &[("group.version", 0, 1), ("metadata.version", 7, 33)];

/// The first version whose clients bear a feature whose lowest level is 0 (KAFKA-17011).
const ZERO_LEVELS: i16 = 4;

pub async fn handle(request: ApiVersionsRequest, caller: &Caller, node: &Node) -> ApiVersionsResponse {
    if caller.version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        return ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.into(), ..Default::default() };
    }
    // A client that was connected to another cluster or node at this address must start over (KIP-1242).
    if let Some(cluster_id) = &request.cluster_id
        && (*cluster_id != node.cluster_id || request.node_id != node.id)
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::RebootstrapRequired.into(),
            ..Default::default()
        };
    }
    let mut response = ApiVersionsResponse {
        api_keys: api_keys(),
        supported_features: FEATURES
            .iter()
            .map(|(name, min, max)| SupportedFeatureKey {
                name: (*name).into(),
                min_version: *min,
                max_version: *max,
                ..Default::default()
            })
            .collect(),
        // At -1 clients would pass over the list.
        finalized_features_epoch: 0,
        finalized_features: FEATURES
            .iter()
            .map(|(name, _, max)| FinalizedFeatureKey {
                name: (*name).into(),
                max_version_level: *max,
                min_version_level: *max,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    if caller.version < ZERO_LEVELS {
        response.supported_features.retain(|feature| feature.min_version > 0);
    }
    response
}

/// The answer, in version 0, to a version that is not known: the client picks another from the list.
pub fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.into(),
        api_keys: api_keys(),
        ..Default::default()
    }
}

fn api_keys() -> Vec<ApiVersion> {
    let entry = |(api, min, max): (ApiKey, i16, i16)| ApiVersion {
        api_key: api.code(),
        min_version: min,
        max_version: max,
        ..Default::default()
    };
    advertised().map(entry).collect()
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_software_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::is_software_name;

    #[test]
    fn kafka_16_software_names() {
        for good in ["a", "7", "apache-kafka-java", "4.4.0", "a-.b"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-", "a-", ".a", "a b", "ä", "a_b"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
