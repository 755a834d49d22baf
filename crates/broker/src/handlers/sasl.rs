//! SaslHandshake and SaslAuthenticate: there is nothing to authenticate with, which clients that try are told, so that they
//! give up with a reason. A closed connection they would try again for ever.

use wire::{
    ErrorCode, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

pub async fn handshake(_: SaslHandshakeRequest) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: ErrorCode::IllegalSaslState.into(), ..Default::default() }
}

pub async fn authenticate(_: SaslAuthenticateRequest) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.into(),
        error_message: Some(
            "the listener is PLAINTEXT: set security.protocol=PLAINTEXT, without SASL".into(),
        ),
        ..Default::default()
    }
}
