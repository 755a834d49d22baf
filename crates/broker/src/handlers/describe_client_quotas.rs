//! DescribeClientQuotas (KIP-546): nobody has a quota, since none can be set. Filters are looked at all the same.

use std::collections::HashSet;

use wire::{DescribeClientQuotasRequest, DescribeClientQuotasResponse, ErrorCode};

use crate::error::Refusal;

/// Kafka's numbers of ways to match.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

pub async fn handle(request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    match check(&request) {
        Ok(()) => DescribeClientQuotasResponse {
            error_message: Some("".into()),
            entries: Some(Vec::new()),
            ..Default::default()
        },
        Err(refusal) => DescribeClientQuotasResponse {
            error_code: refusal.code(),
            error_message: refusal.text(),
            entries: None,
            ..Default::default()
        },
    }
}

/// Kafka's rules in its order, and mostly its words.
fn check(request: &DescribeClientQuotasRequest) -> Result<(), Refusal> {
    let wrong = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let mut seen = HashSet::new();
    for component in &request.components {
        let kind = &*component.entity_type;
        if kind.is_empty() {
            return wrong("Invalid empty entity type.".into());
        }
        if seen.contains(kind) {
            return wrong(format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        if !["user", "client-id", "ip"].contains(&kind) {
            return Err(Refusal::new(
                ErrorCode::UnsupportedVersion,
                format!("Unsupported entity type {kind}"),
            ));
        }
        match (component.match_type, &component.match_) {
            (EXACT, None) => {
                return wrong("Request specified MATCH_TYPE_EXACT, but set match string to null.".into());
            }
            (DEFAULT, Some(_)) => {
                let why = "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.";
                return wrong(why.into());
            }
            (ANY, Some(_)) => {
                let why = "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.";
                return wrong(why.into());
            }
            (EXACT | DEFAULT | ANY, _) => {}
            (other, _) => return wrong(format!("Unknown match type {other}")),
        }
        seen.insert(kind);
    }
    if seen.contains("ip") && seen.len() > 1 {
        let why = "Invalid entity filter component combination. IP filter component should not be used with user or \
                   clientId filter component.";
        return wrong(why.into());
    }
    Ok(())
}
