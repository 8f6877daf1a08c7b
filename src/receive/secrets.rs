//! Proofs that are no signatures: secrets that the sender presents as they are.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;

use super::{Admission, Arrival, Gate, GateError};
use crate::auth::bearer::token_of;
use crate::query;
use crate::secret::Secret;
use crate::signature::Refusal;

/// A secret in the query of one's own webhook URL, for providers that sign nothing (TrueLayer's Data API v1,
/// Yodlee). Compared in constant time.
///
/// The parameter must occur exactly once. Its value is decoded as forms are: `%2B` is a plus, and `+` a space.
/// [`SecretParameter::put`](crate::provider::truelayer::SecretParameter::put) writes one that is read back.
///
/// URLs end up in access logs on the way, so this proves less than a signature does. Fetch what the message
/// is about from the provider's API before acting on it.
///
/// ```
/// use ringback::receive::UrlSecret;
/// use ringback::secret::Secret;
///
/// // For https://example.com/hook?token=hunter2, and the URL before that.
/// let gate = UrlSecret::new("token", Secret::from("hunter2")).or(Secret::from("hunter1"));
/// ```
#[derive(Debug, Clone)]
pub struct UrlSecret {
    parameter: String,
    secrets: Vec<Secret>,
}

impl UrlSecret {
    /// The secret is the value of that query parameter. An empty one lets nothing in.
    pub fn new(parameter: impl Into<String>, secret: Secret) -> Self {
        Self {
            parameter: parameter.into(),
            secrets: vec![secret],
        }
    }

    /// Takes this one too, while URLs are being changed.
    #[must_use]
    pub fn or(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }
}

#[async_trait]
impl Gate for UrlSecret {
    async fn admit(&self, arrival: &Arrival<'_>, _now: DateTime<Utc>) -> Result<Admission, GateError> {
        let query = arrival.head.uri.query().unwrap_or_default();
        query::sole(query, &self.parameter)
            .filter(|value| Secret::one_of(&self.secrets, value.as_bytes()))
            .map(|_| Admission::default())
            .ok_or(GateError::Refused(Refusal::WrongSecret))
    }
}

/// A token in `Authorization: Bearer`, compared in constant time.
///
/// # Tokens of users
///
/// Powens sends, unless told otherwise, the permanent token of the user that the body is about. A gate of one's own
/// reads which user that is, looks the token up, and leaves the rest to this one:
///
/// ```
/// use async_trait::async_trait;
/// use chrono::{DateTime, Utc};
/// use ringback::receive::{Admission, Arrival, BearerToken, Gate, GateError};
/// use ringback::secret::Secret;
/// use ringback::signature::Refusal;
/// use serde_json::Value;
///
/// #[derive(Debug)]
/// struct UserTokens;
///
/// impl UserTokens {
///     async fn token_of(&self, user: i64) -> Result<Option<Secret>, std::io::Error> {
///         Ok((user == 20).then(|| Secret::from("hunter2"))) // an application would ask its database
///     }
/// }
///
/// #[async_trait]
/// impl Gate for UserTokens {
///     async fn admit(&self, arrival: &Arrival<'_>, now: DateTime<Utc>) -> Result<Admission, GateError> {
///         // Not JSON: compressed, perhaps. After a mismatch, the gate is asked again with the body inflated.
///         let body: Value = serde_json::from_slice(arrival.body).map_err(|_| Refusal::Mismatch)?;
///         let user = ["/user/id", "/id_user", "/connection/id_user"]
///             .into_iter()
///             .find_map(|place| body.pointer(place)?.as_i64());
///         let token = self.token_of(user.ok_or(Refusal::UnknownKey)?).await.map_err(GateError::unavailable)?;
///         BearerToken::new(token.ok_or(Refusal::UnknownKey)?).admit(arrival, now).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut request = http::Request::post("/powens").body(r#"{"user":{"id":20}}"#).unwrap();
/// request.headers_mut().insert("authorization", "Bearer hunter2".parse().unwrap());
/// let (mut head, body) = request.into_parts();
/// let now = DateTime::UNIX_EPOCH;
/// assert!(UserTokens.admit(&Arrival::new(&head, body.as_bytes()), now).await.is_ok());
/// head.headers.insert("authorization", "Bearer hunter3".parse().unwrap());
/// let refused = UserTokens.admit(&Arrival::new(&head, body.as_bytes()), now).await;
/// assert!(matches!(refused, Err(GateError::Refused(Refusal::WrongSecret))));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BearerToken {
    secrets: Vec<Secret>,
}

impl BearerToken {
    /// Lets in what carries this token. An empty one lets nothing in.
    pub fn new(token: Secret) -> Self {
        Self { secrets: vec![token] }
    }

    /// Takes this one too, while tokens are being changed.
    #[must_use]
    pub fn or(mut self, token: Secret) -> Self {
        self.secrets.push(token);
        self
    }
}

#[async_trait]
impl Gate for BearerToken {
    async fn admit(&self, arrival: &Arrival<'_>, _now: DateTime<Utc>) -> Result<Admission, GateError> {
        let token = token_of(arrival.message().sole_header(&AUTHORIZATION)?).ok_or(Refusal::WrongSecret)?;
        if Secret::one_of(&self.secrets, token) {
            Ok(Admission::default())
        } else {
            Err(Refusal::WrongSecret.into())
        }
    }
}
