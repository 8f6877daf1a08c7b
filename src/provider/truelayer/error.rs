use super::Callback;
use crate::json::{Maybe, RawJson, UrlText, wire_enum, wire_object};

wire_enum! {
    /// An error code of the Data API v1 \[TL21\]. The set is open: the documents' own list has grown, and its
    /// end is cut off.
    pub enum ErrorCode {
        /// 400: a parameter is missing or wrong.
        ValidationError = "validation_error",
        /// 400: the range of dates is not one the bank serves.
        InvalidDateRange = "invalid_date_range",
        /// 400: the provider is no longer served.
        DeprecatedProvider = "deprecated_provider",
        /// 400: the consent has ended; the user must connect again.
        InvalidGrant = "invalid_grant",
        /// 400: the client's credentials are wrong.
        InvalidClient = "invalid_client",
        /// 400: the code is older than five minutes, wrong, or used.
        InvalidAuthorizationCode = "invalid_authorization_code",
        /// 401: the token is missing or has expired; renew it.
        Unauthorized = "unauthorized",
        /// 401: the client may not do this.
        UnauthorizedClient = "unauthorized_client",
        /// 401: the token is not valid; renew it.
        InvalidToken = "invalid_token",
        /// 403: the bank refuses; the user must connect again.
        AccessDenied = "access_denied",
        /// 403: the credentials' key is not valid.
        InvalidCredentialsKey = "invalid_credentials_key",
        /// 403: this endpoint needs the user's presence; others still work.
        ScaExceeded = "sca_exceeded",
        /// 404: there is no such account.
        AccountNotFound = "account_not_found",
        /// 429: the bank limits requests.
        ProviderTooManyRequests = "provider_too_many_requests",
    }
}

/// What the documents say about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryHelps {
    /// The same request may succeed later.
    Yes,
    /// A corrected request may succeed.
    AfterFixing,
    /// It will not succeed without something else first: a new token, a new connection, another account.
    No,
    /// They do not say.
    Unstated,
}

impl ErrorCode {
    /// The code of a callback, if it has one.
    pub fn of(callback: &Callback) -> Option<Self> {
        callback.error.value().map(|code| Self::from(code.as_str()))
    }

    /// Whether it helps to try again, as the documents have it.
    pub fn retry_helps(&self) -> RetryHelps {
        match self {
            Self::ProviderTooManyRequests => RetryHelps::Yes,
            Self::ValidationError => RetryHelps::AfterFixing,
            Self::InvalidDateRange
            | Self::DeprecatedProvider
            | Self::InvalidGrant
            | Self::InvalidClient
            | Self::InvalidAuthorizationCode
            | Self::Unauthorized
            | Self::UnauthorizedClient
            | Self::InvalidToken
            | Self::AccessDenied
            | Self::ScaExceeded
            | Self::AccountNotFound => RetryHelps::No,
            Self::InvalidCredentialsKey | Self::Other(_) => RetryHelps::Unstated,
        }
    }
}

wire_object! {
    /// An error of the Data API v3: a problem body by RFC 7807 \[TL7\].
    pub struct Problem {
        /// What kind of problem it is, as a URI. It, not the status, says whether a retry helps.
        kind: Maybe<UrlText> = "type",
        /// The kind for people, such as `Provider Error`.
        title: Maybe<String>,
        /// The HTTP status.
        status: Maybe<i64>,
        /// More about it, for people.
        detail: Maybe<String>,
        /// What to name when asking TrueLayer about it.
        trace_id: Maybe<String>,
        /// The parameters that are wrong.
        errors: Maybe<RawJson>,
    }
}

impl Problem {
    /// Whether it helps to try again, as the documents have it. Of the two problems with status 502, only the
    /// provider's own error is worth it; they differ in their title.
    pub fn retry_helps(&self) -> RetryHelps {
        match self.title.value().map(String::as_str) {
            Some("Provider Error" | "Unknown Error") => RetryHelps::Yes,
            Some("Feature Not Supported") => RetryHelps::No,
            _ => RetryHelps::Unstated,
        }
    }
}
