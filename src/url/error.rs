//! Why a text is no webhook URL.

use super::MAX_LENGTH;

/// Why a text is not a [`WebhookUrl`](super::WebhookUrl).
///
/// None of it repeats any of the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Longer than [`MAX_LENGTH`].
    #[error("the URL is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// No `scheme://` at the beginning.
    #[error("the URL is not absolute")]
    NotAbsolute,
    /// A scheme other than `http` and `https`.
    #[error("the URL's scheme is neither http nor https")]
    Scheme,
    /// A control character, tabs and line breaks included.
    #[error("the URL contains a control character")]
    ControlCharacter,
    /// A space.
    #[error("the URL contains a space")]
    Space,
    /// A character outside ASCII, which must be percent-encoded (or, in a host, written as `xn--`).
    #[error("the URL contains a character outside ASCII")]
    NonAscii,
    /// A backslash, which some parsers take for a slash.
    #[error("the URL contains a backslash")]
    Backslash,
    /// One of `{` `}` `"` `<` `>` `^` `|` or a backtick, which must be percent-encoded.
    #[error("the URL contains a character that must be percent-encoded")]
    UnencodedCharacter,
    /// A `'` in the query, which some parsers send as `%27`.
    #[error("the URL's query contains an apostrophe that must be percent-encoded")]
    Apostrophe,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the URL contains an incomplete percent-encoding")]
    PercentEncoding,
    /// A fragment, which is never sent.
    #[error("the URL has a fragment")]
    Fragment,
    /// A user name or password before the host.
    #[error("the URL contains user information")]
    UserInfo,
    /// A path segment `.` or `..`, plain or percent-encoded.
    #[error("the URL's path contains a dot segment")]
    DotSegment,
    /// No host.
    #[error("the URL has no host")]
    EmptyHost,
    /// A character in the host other than letters, digits, `-`, `.` and `_`.
    #[error("the URL's host contains a character that host names do not have")]
    HostCharacter,
    /// A host label that is empty (so also a trailing dot) or over 63 bytes, or a host name over 253 bytes.
    #[error("the URL's host has an empty or overlong label")]
    HostLabel,
    /// A host whose last label is a number, but which is not an IPv4 address of four plain decimal numbers.
    #[error("the URL's host is a number other than a canonical IPv4 address")]
    NumericHost,
    /// A bracketed host that is not an IPv6 address in its canonical spelling (RFC 5952) without a zone. An IPv4
    /// address mapped into IPv6 has its own canonical spelling, and is refused too.
    #[error("the URL's host is not a canonical IPv6 address")]
    Ipv6Host,
    /// A port that is empty, zero, over 65535, or not plain decimal digits.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// Refused by [`http::Uri`] for a reason of its own.
    #[error("the URL cannot be read")]
    Unreadable,
}
