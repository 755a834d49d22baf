//! DescribeUserScramCredentials (KIP-554): there are no users. Whoever is asked for by name does not exist.

use std::collections::HashMap;

use wire::describe_user_scram_credentials::DescribeUserScramCredentialsResult;
use wire::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, ErrorCode};

pub async fn handle(request: DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse {
    let mut results: Vec<DescribeUserScramCredentialsResult> = Vec::new();
    let mut places = HashMap::new();
    for user in request.users.into_iter().flatten() {
        let place = *places.entry(user.name.clone()).or_insert(results.len());
        let (code, why) = match place < results.len() {
            false => (
                ErrorCode::ResourceNotFound,
                format!("Attempt to describe a user credential that does not exist: {}", user.name),
            ),
            true => (
                ErrorCode::DuplicateResource,
                format!(
                    "Cannot describe SCRAM credentials for the same user twice in a single request: {}",
                    user.name
                ),
            ),
        };
        let told = DescribeUserScramCredentialsResult {
            user: user.name,
            error_code: code.into(),
            error_message: Some(why.into()),
            ..Default::default()
        };
        match results.get_mut(place) {
            Some(result) => *result = told,
            None => results.push(told),
        }
    }
    DescribeUserScramCredentialsResponse { error_message: Some("".into()), results, ..Default::default() }
}
