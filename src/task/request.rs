use http::Uri;
use thiserror::Error;

use crate::json::UrlText;
use crate::query::{self, AddError};

const ASYNC: &str = "async";
const WEBHOOK_URI: &str = "webhook_uri";

/// The URI that makes a call asynchronous: the given one with `async=true`, and with `webhook_uri` where to be
/// rung back.
///
/// The path and the query it already has stay exactly as they are.
///
/// ```
/// use http::Uri;
/// use ringback::task::asynchronous;
///
/// let call = Uri::from_static("https://api.example.com/data/v1/accounts?from=2026-01-01");
/// let webhook = Uri::from_static("https://hooks.example.net/tl?k=a&b=c");
/// assert_eq!(
///     asynchronous(&call, Some(&webhook))?,
///     "https://api.example.com/data/v1/accounts?from=2026-01-01&async=true\
///      &webhook_uri=https%3A%2F%2Fhooks.example.net%2Ftl%3Fk%3Da%26b%3Dc",
/// );
/// # Ok::<(), ringback::task::AsyncUriError>(())
/// ```
///
/// # Errors
///
/// [`AsyncUriError`] if the URI has one of the two parameters already, since which of two counts is up to the
/// server; if it has no path; if the webhook's is not absolute; or if the result is too long.
pub fn asynchronous(uri: &Uri, webhook_uri: Option<&Uri>) -> Result<Uri, AsyncUriError> {
    if webhook_uri.is_some_and(|webhook| webhook.scheme().is_none() || webhook.authority().is_none()) {
        return Err(AsyncUriError::WebhookNotAbsolute);
    }
    let webhook_uri = webhook_uri.map(Uri::to_string);
    query::add(
        uri,
        &[(ASYNC, Some("true")), (WEBHOOK_URI, webhook_uri.as_deref())],
    )
    .map_err(|error| match error {
        AddError::Present(WEBHOOK_URI) => AsyncUriError::ParameterPresent(WEBHOOK_URI),
        AddError::Present(_) => AsyncUriError::ParameterPresent(ASYNC),
        AddError::NoPath => AsyncUriError::NoPath,
        AddError::TooLong => AsyncUriError::TooLong,
    })
}

/// The other way round: the path and query of a call without the two parameters, as `request_uri` says which call it
/// was. The rest stays exactly as it is.
///
/// ```
/// use http::Uri;
/// use ringback::task::synchronous;
///
/// let called = Uri::from_static("/data/v1/accounts?async=true&from=2026-01-01&webhook_uri=https%3A%2F%2Fa.example");
/// assert_eq!(synchronous(&called), "/data/v1/accounts?from=2026-01-01");
/// ```
pub fn synchronous(uri: &Uri) -> String {
    let query = query::without(uri.query().unwrap_or_default(), &[ASYNC, WEBHOOK_URI]);
    match query.as_str() {
        "" => uri.path().to_owned(),
        query => format!("{}?{query}", uri.path()),
    }
}

/// Why a call cannot be made asynchronous, or its parameters not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AsyncUriError {
    /// The URI has the parameter already, or more than once.
    #[error("the URI has the parameter `{0}` already")]
    ParameterPresent(&'static str),
    /// `async` is neither `true` nor `false`.
    #[error("the parameter `async` is neither true nor false")]
    NotABoolean,
    /// The URI is an authority alone, as for CONNECT.
    #[error("the URI has no path")]
    NoPath,
    /// The webhook's URI has no scheme or no host.
    #[error("the webhook's URI is not absolute")]
    WebhookNotAbsolute,
    /// The result is longer than a URI can be.
    #[error("the URI would be too long")]
    TooLong,
}

/// The other end: what a request asks for.
///
/// ```
/// use http::Uri;
/// use ringback::task::AsyncParameters;
///
/// let uri = Uri::from_static("/data/v1/accounts?async=true&webhook_uri=https%3A%2F%2Fa.example%2Fhook");
/// let asked = AsyncParameters::of(&uri)?;
/// assert!(asked.is_async);
/// assert_eq!(asked.webhook_uri.unwrap().as_str(), "https://a.example/hook");
/// # Ok::<(), ringback::task::AsyncUriError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AsyncParameters {
    /// Whether the call is to be made asynchronously. False where nothing is said.
    pub is_async: bool,
    /// Where to ring back, decoded and otherwise unchecked: whoever sends there checks it first.
    pub webhook_uri: Option<UrlText>,
}

impl AsyncParameters {
    /// Reads them from the URI of a request.
    ///
    /// # Errors
    ///
    /// [`AsyncUriError`] if a parameter occurs twice, or `async` is neither `true` nor `false`.
    pub fn of(uri: &Uri) -> Result<Self, AsyncUriError> {
        let (mut is_async, mut webhook_uri) = (None, None);
        for (name, value) in query::pairs(uri.query().unwrap_or_default()) {
            let (parameter, place) = match &*name {
                ASYNC => (ASYNC, &mut is_async),
                WEBHOOK_URI => (WEBHOOK_URI, &mut webhook_uri),
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(AsyncUriError::ParameterPresent(parameter));
            }
        }
        let is_async = match is_async.as_deref() {
            Some("true") => true,
            Some("false") | None => false,
            Some(_) => return Err(AsyncUriError::NotABoolean),
        };
        Ok(Self {
            is_async,
            webhook_uri: webhook_uri.map(UrlText::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn the_rest_of_the_uri_stays_as_it_is() {
        for (before, after) in [
            ("https://a.example", "https://a.example/?async=true"),
            ("https://a.example/x?", "https://a.example/x?async=true"),
            ("https://a.example/x?y&", "https://a.example/x?y&async=true"),
            (
                "https://A.example:8443/%2e/x//?q=%7e+%zz",
                "https://A.example:8443/%2e/x//?q=%7e+%zz&async=true",
            ),
            ("/x?y=1", "/x?y=1&async=true"),
        ] {
            assert_eq!(asynchronous(&uri(before), None).unwrap().to_string(), after);
        }
    }

    #[test]
    fn parameters_already_there_are_refused_however_spelt() {
        for (text, parameter) in [
            ("/x?async=true", ASYNC),
            ("/x?async", ASYNC),
            ("/x?%61sync=false", ASYNC),
            ("/x?y=1&webhook%5Furi=z", WEBHOOK_URI),
        ] {
            assert_eq!(
                asynchronous(&uri(text), None),
                Err(AsyncUriError::ParameterPresent(parameter))
            );
        }
        assert!(asynchronous(&uri("/x?asynchronous=1"), None).is_ok());
        assert_eq!(
            asynchronous(&uri("a.example:443"), None),
            Err(AsyncUriError::NoPath)
        );
        assert_eq!(
            asynchronous(&uri("/x"), Some(&uri("/hook"))),
            Err(AsyncUriError::WebhookNotAbsolute)
        );
        let long = uri(&format!("/{}", "x".repeat(65_500)));
        assert_eq!(
            asynchronous(&long, Some(&uri("https://a.example/hook"))),
            Err(AsyncUriError::TooLong)
        );
    }

    #[test]
    fn doubtful_requests_are_refused() {
        for text in [
            "/?async=true&async=false",
            "/?webhook_uri=a&webhook_uri=b",
            "/?async=TRUE",
            "/?async=",
        ] {
            assert!(AsyncParameters::of(&uri(text)).is_err(), "{text}");
        }
        assert_eq!(
            AsyncParameters::of(&uri("/?async=false")),
            Ok(AsyncParameters::default())
        );
    }

    proptest! {
        #[test]
        fn the_other_end_reads_what_was_asked(path in "/[a-z%/]{0,20}(\\?[a-z=&+%]{0,20})?", hook in "https://h.example/[ -~&&[^<>\"`^{|}\\\\ #]]{0,30}") {
            let (Ok(call), Ok(hook)) = (path.parse::<Uri>(), hook.parse::<Uri>()) else { return Ok(()) };
            if let Ok(asked) = asynchronous(&call, Some(&hook)) {
                let read = AsyncParameters::of(&asked).unwrap();
                prop_assert!(read.is_async);
                prop_assert_eq!(read.webhook_uri, Some(UrlText::from(hook.to_string())));
                let before = call.path_and_query().map_or("", |text| text.as_str());
                let before = before.strip_suffix('&').unwrap_or(before);
                prop_assert_eq!(synchronous(&asked), before.strip_suffix('?').unwrap_or(before));
            }
        }
    }
}
