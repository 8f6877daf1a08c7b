//! How requests are answered.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::{RunNowError, TaskError};

/// Why a request is not answered with what it asks for.
pub(super) enum Refused {
    Unauthorised,
    NotFound,
    Gone,
    Invalid(String),
    TooLarge,
    MethodNotAllowed {
        can_cancel: bool,
    },
    /// A synchronous call came to nothing.
    AtOnce(RunNowError),
    Internal,
    Unavailable,
}

impl Refused {
    pub(super) fn response(self) -> Response<Bytes> {
        match self {
            Self::Unauthorised => with(
                error(
                    StatusCode::UNAUTHORIZED,
                    "unauthorized",
                    "there is no valid token",
                ),
                WWW_AUTHENTICATE,
                "Bearer",
            ),
            Self::NotFound => error(StatusCode::NOT_FOUND, "not_found", "there is no such task"),
            Self::Gone => error(StatusCode::GONE, "expired", "the results are no longer kept"),
            Self::Invalid(why) => error(StatusCode::BAD_REQUEST, "validation_error", &why),
            Self::TooLarge => error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "validation_error",
                "the body is too large",
            ),
            Self::MethodNotAllowed { can_cancel } => with(
                error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", ""),
                ALLOW,
                if can_cancel { "GET, DELETE" } else { "GET" },
            ),
            Self::AtOnce(RunNowError::Busy) => {
                later("too many calls are under way; try again, or with async=true")
            }
            Self::AtOnce(RunNowError::Failed(why)) => error(why.status(), why.code(), why.description()),
            Self::Internal => error(StatusCode::INTERNAL_SERVER_ERROR, TaskError::INTERNAL, ""),
            Self::Unavailable => later(""),
        }
    }
}

/// The shape of every error, whose two names are those of the callback.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    error_description: &'a str,
}

fn error(status: StatusCode, error: &str, error_description: &str) -> Response<Bytes> {
    let body = ErrorBody {
        error,
        error_description,
    };
    json_answer(status, &body)
}

fn later(description: &str) -> Response<Bytes> {
    let refused = error(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        description,
    );
    with(refused, RETRY_AFTER, "1")
}

fn with(mut response: Response<Bytes>, name: HeaderName, value: &'static str) -> Response<Bytes> {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    response
}

pub(super) fn json_answer(status: StatusCode, body: &impl Serialize) -> Response<Bytes> {
    // Nothing that is written here can fail to be: names are text, and there is no I/O.
    let body = serde_json::to_vec(body).unwrap_or_default();
    answer(
        status,
        HeaderValue::from_static("application/json"),
        Bytes::from(body),
    )
}

pub(super) fn answer(status: StatusCode, media_type: HeaderValue, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    // A status changes, and results are somebody's own.
    with(response, CACHE_CONTROL, "no-store")
}
