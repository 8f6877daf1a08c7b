//! The token of the user that an event is about.

use chrono::DateTime;
use ringback::auth::{AuthError, AuthErrorKind, TokenLookup, UserToken, UserTokenError, token_lookup_fn};
use ringback::secret::Secret;
use ringback::testing::conformance;

use super::{SECRET, authorization, event, shown};

fn lookup() -> impl TokenLookup {
    token_lookup_fn(|scope, subject| async move {
        assert_eq!(scope.as_str(), "scope");
        match subject.as_str() {
            "subject" => Ok(Some(Secret::from("user-s3cret"))),
            "broken" => Ok(Some(Secret::from("s3cret\r\nx-injected: 1"))),
            "down" => Err(AuthError::new(AuthErrorKind::Unavailable)),
            _ => Ok(None),
        }
    })
}

async fn of(kind: &str, subject: Option<&str>) -> Result<String, AuthError> {
    let provider = UserToken::new(lookup());
    assert!(!format!("{provider:?}").contains(SECRET));
    authorization(&provider, &event(kind, subject), DateTime::UNIX_EPOCH).await
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let report = conformance::auth::run_all(&UserToken::new(lookup())).await;
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test]
async fn it_is_that_of_the_events_user() {
    assert_eq!(
        of("USER_CREATED", Some("subject")).await.unwrap(),
        "Bearer user-s3cret"
    );
}

#[tokio::test]
async fn without_a_user_there_is_none() {
    for (kind, subject, expected) in [
        ("USER_CREATED", None, UserTokenError::NoUser),
        ("PAYMENT_STATE_UPDATED", Some("subject"), UserTokenError::NoUser),
        ("USER_CREATED", Some("unknown"), UserTokenError::NoToken),
    ] {
        let error = of(kind, subject).await.unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::NotApplicable);
        assert!(shown(&error).contains(&expected.to_string()), "{error:?}");
    }
}

#[tokio::test]
async fn one_that_cannot_be_sent_or_found_is_an_error_that_does_not_show_it() {
    let error = of("USER_CREATED", Some("broken")).await.unwrap_err();
    assert_eq!(error.kind(), AuthErrorKind::Misconfigured);
    shown(&error);
    let error = of("USER_CREATED", Some("down")).await.unwrap_err();
    assert_eq!(error.kind(), AuthErrorKind::Unavailable);
}
