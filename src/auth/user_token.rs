//! The token of the user that an event is about.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;

use super::bearer::bearer;
use super::{AuthContext, AuthError, AuthErrorKind, AuthProvider};
use crate::id::{Scope, Subject};
use crate::provider::powens::EventName;
use crate::secret::Secret;

/// Finds the token of a user, in the application's own tables.
///
/// # Contract
///
/// It is asked at every attempt, so a token that was replaced takes effect at once. `None`: the user has none, or
/// there is no such user. A token is visible ASCII, without spaces.
///
/// # Errors
///
/// An [`AuthError`], usually [`Unavailable`](AuthErrorKind::Unavailable): the delivery waits.
///
/// # Cancellation
///
/// The engine drops the future at the authentication's deadline.
///
/// ```
/// use std::collections::HashMap;
/// use async_trait::async_trait;
/// use ringback::auth::{AuthError, TokenLookup};
/// use ringback::id::{Scope, Subject};
/// use ringback::secret::Secret;
///
/// #[derive(Debug)]
/// struct Users(HashMap<(Scope, Subject), Secret>);
///
/// #[async_trait]
/// impl TokenLookup for Users {
///     async fn token(&self, scope: &Scope, subject: &Subject) -> Result<Option<Secret>, AuthError> {
///         Ok(self.0.get(&(scope.clone(), subject.clone())).cloned())
///     }
/// }
/// ```
#[async_trait]
pub trait TokenLookup: Debug + Send + Sync + 'static {
    /// The token of that user of that scope.
    async fn token(&self, scope: &Scope, subject: &Subject) -> Result<Option<Secret>, AuthError>;
}

/// Makes a look-up of a closure, which takes over the [contract](TokenLookup#contract).
///
/// ```
/// use ringback::auth::{UserToken, token_lookup_fn};
/// use ringback::secret::Secret;
///
/// let auth = UserToken::new(token_lookup_fn(|_scope, subject| async move {
///     Ok((subject.as_str() == "user-3").then(|| Secret::from("t0ken")))
/// }));
/// ```
pub fn token_lookup_fn<F, Fut>(token: F) -> impl TokenLookup
where
    F: Fn(Scope, Subject) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<Secret>, AuthError>> + Send,
{
    TokenLookupFn(token)
}

struct TokenLookupFn<F>(F);

#[async_trait]
impl<F, Fut> TokenLookup for TokenLookupFn<F>
where
    F: Fn(Scope, Subject) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<Secret>, AuthError>> + Send,
{
    async fn token(&self, scope: &Scope, subject: &Subject) -> Result<Option<Secret>, AuthError> {
        (self.0)(scope.clone(), subject.clone()).await
    }
}

impl<F> Debug for TokenLookupFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenLookupFn(..)")
    }
}

/// Sends the token of the user that the event is about, as `authorization: Bearer …`: what Powens does unless told
/// otherwise. A receiver compares it with the token it has on record for that user.
///
/// Events about no user are [refused](AuthErrorKind::NotApplicable): those without a
/// [subject](crate::delivery::Event::subject), and Powens' `PAYMENT_STATE_UPDATED`, whatever its subject. That is a failed
/// attempt, and a [`Flusher`](crate::retry::Flusher) would try them again in each run for ever, so have a webhook with a
/// user's token [ask for](crate::delivery::Webhook::events) other types of event.
///
/// It needs the application's look-up, and so is given to the engine by id
/// (`EngineBuilder::auth`) rather than kept in a store.
#[derive(Debug)]
pub struct UserToken(Box<dyn TokenLookup>);

impl UserToken {
    /// Takes the tokens from there.
    pub fn new(lookup: impl TokenLookup) -> Self {
        Self(Box::new(lookup))
    }
}

/// Why there is no user's token for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UserTokenError {
    /// The event is about no user.
    #[error("the event is about no user")]
    NoUser,
    /// The application has no token of that user.
    #[error("the user has no token")]
    NoToken,
    /// The token is empty, or has characters that a token cannot have.
    #[error("the user's token cannot be sent")]
    Unusable,
}

impl From<UserTokenError> for AuthError {
    fn from(error: UserTokenError) -> Self {
        let kind = match error {
            UserTokenError::NoUser | UserTokenError::NoToken => AuthErrorKind::NotApplicable,
            UserTokenError::Unusable => AuthErrorKind::Misconfigured,
        };
        Self::with_source(kind, error)
    }
}

#[async_trait]
impl AuthProvider for UserToken {
    async fn authenticate(
        &self,
        request: &mut Request<Bytes>,
        context: &AuthContext<'_>,
    ) -> Result<(), AuthError> {
        let event = context.event;
        let of_payments = event.kind().as_str() == EventName::PaymentStateUpdated.as_str();
        let subject = event.subject().filter(|_| !of_payments);
        let subject = subject.ok_or(UserTokenError::NoUser)?;
        let token = self.0.token(event.scope(), subject).await?;
        let value = bearer(&token.ok_or(UserTokenError::NoToken)?).ok_or(UserTokenError::Unusable)?;
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }
}
