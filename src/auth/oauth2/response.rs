//! What the token endpoint answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::auth::bearer::bearer;
use crate::auth::{AuthError, AuthErrorKind};
use crate::secret::Secret;
use crate::transport::SendErrorKind;

/// Why there is no access token. Says nothing of what the answer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token endpoint was not reached, or its answer not read.
    #[error("the token endpoint gave no answer: {0}")]
    NoAnswer(SendErrorKind),
    /// The token endpoint took too long.
    #[error("the token endpoint took too long")]
    TimedOut,
    /// The sender panicked.
    #[error("the sender panicked")]
    Panicked,
    /// The token endpoint fails, or has too much to do: 5xx, 408 or 429.
    #[error("the token endpoint fails with {0}")]
    Failing(StatusCode),
    /// The token endpoint refuses: any other status that is not 2xx.
    #[error("the token endpoint refuses with {status}{}", .code.map_or("", RefusalCode::in_brackets))]
    Refused {
        /// The status it answered with.
        status: StatusCode,
        /// Why, if it says so in one of the words of RFC 6749.
        code: Option<RefusalCode>,
    },
    /// The answer is not JSON, not an object, or has a mandatory parameter that is not a string.
    #[error("the token endpoint's answer cannot be read")]
    Unreadable,
    /// The answer has no `access_token`.
    #[error("the token endpoint's answer has no `access_token`")]
    NoAccessToken,
    /// The answer has no `token_type`.
    #[error("the token endpoint's answer has no `token_type`")]
    NoTokenType,
    /// The `token_type` is not `bearer`, in any case.
    #[error("the token is not a bearer token")]
    NotBearer,
    /// The `access_token` is empty, or cannot stand in a header.
    #[error("the token cannot be sent")]
    UnusableToken,
    /// `expires_in` is negative, or not a number.
    #[error("`expires_in` is not a lifetime")]
    UnusableLifetime,
}

/// Why a token endpoint refuses (RFC 6749, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalCode {
    /// The request is malformed.
    InvalidRequest,
    /// The client is unknown, or its secret is wrong.
    InvalidClient,
    /// The refresh token is invalid, has expired, or was revoked.
    InvalidGrant,
    /// The client may not use this grant.
    UnauthorizedClient,
    /// The server does not know this grant.
    UnsupportedGrantType,
    /// The scope is unknown, or more than the client may have.
    InvalidScope,
}

impl RefusalCode {
    fn in_brackets(self) -> &'static str {
        match self {
            Self::InvalidRequest => " (invalid_request)",
            Self::InvalidClient => " (invalid_client)",
            Self::InvalidGrant => " (invalid_grant)",
            Self::UnauthorizedClient => " (unauthorized_client)",
            Self::UnsupportedGrantType => " (unsupported_grant_type)",
            Self::InvalidScope => " (invalid_scope)",
        }
    }
}

impl TokenError {
    /// What it means for a delivery that waits for the token.
    pub fn kind(self) -> AuthErrorKind {
        match self {
            Self::NoAnswer(
                SendErrorKind::NotAllowed | SendErrorKind::HttpsUnsupported | SendErrorKind::UrlChanged,
            ) => AuthErrorKind::Misconfigured,
            Self::Refused { .. } => AuthErrorKind::Refused,
            _ => AuthErrorKind::Unavailable,
        }
    }
}

impl From<TokenError> for AuthError {
    fn from(error: TokenError) -> Self {
        Self::with_source(error.kind(), error)
    }
}

/// What was granted.
#[derive(Debug)]
pub(super) struct Granted {
    /// The header that shows it.
    pub(super) authorization: HeaderValue,
    /// How long it is good for, if that is said.
    pub(super) lifetime: Option<Duration>,
    /// What to ask for the next one with.
    pub(super) refresh_token: Option<Secret>,
}

/// Reads an answer.
///
/// The success parameters are those of RFC 6749, section 5.1; others are ignored. A fraction of `expires_in` is
/// taken, and so is a string of digits, since servers are known to send either.
pub(super) fn read(response: &Response<Bytes>) -> Result<Granted, TokenError> {
    let status = response.status();
    if !status.is_success() {
        return Err(refusal(status, response.body()));
    }
    // serde_json's errors quote what they could not read, so they are not kept.
    let answer: Answer = serde_json::from_slice(response.body()).map_err(|_| TokenError::Unreadable)?;
    let token = Secret::from(answer.access_token.ok_or(TokenError::NoAccessToken)?);
    let token_type = answer.token_type.ok_or(TokenError::NoTokenType)?;
    if !token_type.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::NotBearer);
    }
    Ok(Granted {
        authorization: bearer(&token).ok_or(TokenError::UnusableToken)?,
        lifetime: lifetime(&answer.expires_in)?,
        refresh_token: answer
            .refresh_token
            .map(Secret::from)
            .filter(|token| !token.is_empty()),
    })
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Value,
    refresh_token: Option<String>,
}

/// `None` if nothing is said. What is too large for a [`Duration`] is the longest there is.
fn lifetime(expires_in: &Value) -> Result<Option<Duration>, TokenError> {
    let seconds = match expires_in {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds >= 0.0 => Ok(Some(
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        )),
        _ => Err(TokenError::UnusableLifetime),
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> TokenError {
    #[derive(Deserialize)]
    struct Refusal {
        error: RefusalCode,
    }
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => TokenError::Failing(status),
        _ if status.is_server_error() => TokenError::Failing(status),
        _ => TokenError::Refused {
            status,
            code: serde_json::from_slice(body)
                .ok()
                .map(|refusal: Refusal| refusal.error),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: impl Into<Bytes>) -> Result<Granted, TokenError> {
        read(&Response::builder().status(status).body(body.into()).unwrap())
    }

    fn why(status: u16, body: &'static str) -> TokenError {
        answer(status, body).unwrap_err()
    }

    #[test]
    fn a_whole_answer_is_read() {
        let granted = answer(
            200,
            r#"{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"BEARER","expires_in":3600,
                "refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA","example_parameter":{"a":[1]}}"#,
        )
        .unwrap();
        assert_eq!(granted.authorization, "Bearer 2YotnFZFEjr1zCsicMWpAA");
        assert!(granted.authorization.is_sensitive());
        assert_eq!(granted.lifetime, Some(Duration::from_secs(3600)));
        assert_eq!(
            granted.refresh_token,
            Some(Secret::from("tGzv3JOkF0XG5Qx2TlKWIA"))
        );

        let least = answer(
            201,
            r#"{"token_type":"bearer","access_token":"t","refresh_token":""}"#,
        )
        .unwrap();
        assert_eq!((least.lifetime, least.refresh_token), (None, None));
    }

    #[test]
    fn every_malformed_answer_has_an_error_of_its_own() {
        for body in [
            "",
            "access_token=t&token_type=bearer",
            "[]",
            "null",
            r#"{"access_token":"#,
            r#"{"access_token":7,"token_type":"bearer"}"#,
            r#"{"access_token":"a","access_token":"b","token_type":"bearer"}"#,
        ] {
            assert_eq!(why(200, body), TokenError::Unreadable, "{body}");
        }
        for (body, error) in [
            (r#"{"token_type":"bearer"}"#, TokenError::NoAccessToken),
            (
                r#"{"access_token":null,"token_type":"bearer"}"#,
                TokenError::NoAccessToken,
            ),
            (r#"{"access_token":"t"}"#, TokenError::NoTokenType),
            (
                r#"{"access_token":"t","token_type":"mac"}"#,
                TokenError::NotBearer,
            ),
            (r#"{"access_token":"t","token_type":""}"#, TokenError::NotBearer),
            (
                r#"{"access_token":"","token_type":"bearer"}"#,
                TokenError::UnusableToken,
            ),
            (
                r#"{"access_token":"a\r\nb: c","token_type":"bearer"}"#,
                TokenError::UnusableToken,
            ),
        ] {
            assert_eq!(why(200, body), error, "{body}");
        }
    }

    #[test]
    fn lifetimes_are_read_as_they_are_sent() {
        let lifetime = |text: &str| {
            let body = format!(r#"{{"access_token":"t","token_type":"bearer","expires_in":{text}}}"#);
            answer(200, body).map(|granted| granted.lifetime)
        };
        for (text, seconds) in [("0", 0.0), ("3599.5", 3599.5), ("1e2", 100.0), (r#""60""#, 60.0)] {
            assert_eq!(
                lifetime(text),
                Ok(Some(Duration::from_secs_f64(seconds))),
                "{text}"
            );
        }
        for huge in [
            "1e300",
            "99999999999999999999999999",
            r#""99999999999999999999999999""#,
        ] {
            assert_eq!(lifetime(huge), Ok(Some(Duration::MAX)), "{huge}");
        }
        assert_eq!(lifetime("null"), Ok(None));
        for bad in [
            "-1",
            "-0.5",
            "true",
            r#""soon""#,
            r#""""#,
            r#""-5""#,
            r#""1e3""#,
            "[]",
        ] {
            assert_eq!(lifetime(bad), Err(TokenError::UnusableLifetime), "{bad}");
        }
        assert_eq!(lifetime("1e999"), Err(TokenError::Unreadable));
    }

    #[test]
    fn refusals_keep_the_word_and_nothing_else() {
        let refused = |status, code| TokenError::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            code,
        };
        let invalid_client = r#"{"error":"invalid_client","error_description":"s3cret"}"#;
        let error = why(401, invalid_client);
        assert_eq!(error, refused(401, Some(RefusalCode::InvalidClient)));
        assert_eq!(
            error.to_string(),
            "the token endpoint refuses with 401 Unauthorized (invalid_client)"
        );
        assert_eq!(why(400, r#"{"error":"s3cret"}"#), refused(400, None));
        assert_eq!(why(302, "s3cret"), refused(302, None));
        for status in [500, 503, 429, 408] {
            let error = why(status, invalid_client);
            assert_eq!(error, TokenError::Failing(StatusCode::from_u16(status).unwrap()));
            assert_eq!(error.kind(), AuthErrorKind::Unavailable);
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(status in 100u16..1000, body: Vec<u8>) {
            let _ = answer(status, body);
        }

        #[test]
        fn no_field_panics(field in "access_token|token_type|expires_in|refresh_token|error", value in ".{0,20}") {
            let _ = answer(200, format!(r#"{{"access_token":"t","token_type":"bearer","{field}":{value}}}"#));
        }
    }
}
