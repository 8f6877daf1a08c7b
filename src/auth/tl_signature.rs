//! Signing as TrueLayer signs its webhooks.

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;

use super::{AuthContext, AuthError, AuthErrorKind, AuthProvider};
use crate::provider::truelayer::TlSigner;

/// Dates and signs each attempt anew.
#[async_trait]
impl AuthProvider for TlSigner {
    async fn authenticate(
        &self,
        request: &mut Request<Bytes>,
        context: &AuthContext<'_>,
    ) -> Result<(), AuthError> {
        self.sign_request(request, context.now)
            .map_err(|error| AuthError::with_source(AuthErrorKind::NotApplicable, error))
    }
}
