//! UpdateFeatures (KIP-584): the features' levels are those of the binary; they can be confirmed, not changed.

use wire::update_features::{FeatureUpdateKey, UpdatableFeatureResult};
use wire::{ErrorCode, UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::api_versions::FEATURES;
use crate::error::Refusal;
use crate::request::Caller;

/// From here on there is one result for all.
const ONE_RESULT: i16 = 2;

pub async fn handle(request: UpdateFeaturesRequest, caller: &Caller) -> UpdateFeaturesResponse {
    let updates = request.feature_updates.iter().map(|update| (update, check(update)));
    let results: Vec<_> = updates.collect();
    if caller.version >= ONE_RESULT {
        let refusal = results.into_iter().find_map(|(_, result)| result.err());
        return UpdateFeaturesResponse {
            error_code: crate::request::code(refusal.as_ref().map(|refusal| refusal.code)),
            error_message: refusal.and_then(|refusal| refusal.text()),
            ..Default::default()
        };
    }
    let result = |(update, result): (&FeatureUpdateKey, Result<(), Refusal>)| UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_code: crate::request::code(result.as_ref().err().map(|refusal| refusal.code)),
        error_message: result.err().and_then(|refusal| refusal.text()),
        ..Default::default()
    };
    UpdateFeaturesResponse { results: results.into_iter().map(result).collect(), ..Default::default() }
}

fn check(update: &FeatureUpdateKey) -> Result<(), Refusal> {
    let known = FEATURES.iter().find(|(name, ..)| *update.feature == **name);
    match known {
        Some((_, _, level)) if *level == update.max_version_level => Ok(()),
        Some((name, _, level)) => Err(Refusal::new(
            ErrorCode::InvalidUpdateVersion,
            format!("{name} is at {level}, the level of this version of the broker, and stays there"),
        )),
        None => Err(Refusal::new(
            ErrorCode::InvalidUpdateVersion,
            format!("there is no feature {} here", update.feature),
        )),
    }
}
