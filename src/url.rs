//! URLs that everyone reads the same way.
//!
//! A URL is parsed more than once on its way: at registration, by the code that signs its path, by the HTTP
//! client, and by whoever guards the network. Where two of them disagree, a path is signed that is not the path
//! sent, or an address is dialled that is not the address checked. RFC 3986 (which [`http::Uri`] follows) and
//! the WHATWG URL standard (which browsers and reqwest follow) disagree on much: dot segments, backslashes,
//! quotes, `127.1`. So a [`WebhookUrl`] takes only what both read alike, and refuses the rest at registration.
//!
//! | refused | because |
//! |---|---|
//! | dot segments, also as `%2e` | one parser resolves them, the other sends them |
//! | `\` `{` `}` `"` `<` `>` `^` `\|` backtick, `'` in the query, space, control and non-ASCII characters | one parser re-encodes them or takes them for something else |
//! | `%` without two hexadecimal digits | kept, re-encoded or refused, depending on the parser |
//! | user info, fragments | not part of a request; the first would travel in a header |
//! | `127.1`, `0x7f.1`, `2130706433`, `0177.0.0.1`, `[0:0::1]`, `[::ffff:127.0.0.1]`, `[fe80::1%25eth0]` | other spellings of an address that has a canonical one |
//!
//! ```
//! use ringback::url::{UrlError, WebhookUrl};
//!
//! let url = WebhookUrl::parse("https://Example.com/hook?token=t0p")?;
//! assert_eq!(url.expose(), "https://example.com/hook?token=t0p");
//! assert_eq!(url.uri().path(), "/hook");
//! assert_eq!(url.origin(), "https://example.com:443");
//! assert_eq!(url.to_string(), "https://example.com/hook");
//!
//! assert_eq!(WebhookUrl::parse("https://example.com/a/%2E./b"), Err(UrlError::DotSegment));
//! # Ok::<(), UrlError>(())
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use serde::{Deserialize, Serialize};

/// The longest URL taken, in bytes. What providers, proxies and servers accept in a request line varies, and
/// 2048 is about the least of it.
pub const MAX_LENGTH: usize = 2048;

/// An absolute `http` or `https` URL that every parser reads the same way.
///
/// Parsing lowers the scheme and host, drops the scheme's own default port, and writes an absent path as `/`.
/// The path and query are never changed. Two URLs are equal if their texts are, after that.
///
/// A host with an internationalised label must be written in its `xn--` form. That form is not decoded here; a
/// parser that does decode it may still refuse it, but will not read it as another host.
///
/// A URL often carries a token in its query, so `Display` and `Debug` leave the query out;
/// [`expose`](Self::expose) and serialisation give the whole text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl {
    text: Arc<str>,
    uri: Uri,
}

/// The host of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A name to be resolved, in lower case.
    Name(&'a str),
    /// A literal IPv4 address.
    V4(Ipv4Addr),
    /// A literal IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

/// Why a text is not a [`WebhookUrl`].
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

impl WebhookUrl {
    /// Reads a URL, and refuses it if two parsers could read it differently.
    ///
    /// # Errors
    ///
    /// The first reason found, as a [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        check_characters(text)?;
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NotAbsolute)?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = default_port(&scheme).ok_or(UrlError::Scheme)?;

        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(authority_end);
        let authority = authority.to_ascii_lowercase();
        let (host, port) = split_authority(&authority)?;
        Host::parse(host)?;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        check_path(path)?;
        check_query(query.unwrap_or_default())?;

        let mut canonical = format!("{scheme}://{host}");
        if let Some(port) = port.filter(|port| *port != default_port) {
            canonical.push_str(&format!(":{port}"));
        }
        if path.is_empty() {
            canonical.push('/');
        }
        canonical.push_str(path_and_query);
        let uri = canonical.parse().map_err(|_| UrlError::Unreadable)?;
        Ok(Self {
            text: canonical.into(),
            uri,
        })
    }

    /// The same URL for an HTTP request. Its `path_and_query` is what goes into the request line, byte for byte.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The whole text, query included. The query may hold a secret: keep it out of logs and errors.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// `scheme://host:port`, the port always written: what tells one receiving server from another.
    pub fn origin(&self) -> String {
        let scheme = if self.is_https() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host_text(), self.port())
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&http::uri::Scheme::HTTPS)
    }

    /// The host, told apart into names and literal addresses.
    pub fn host(&self) -> Host<'_> {
        // A constructed URL has a host that reads, so the name is only for the compiler.
        Host::parse(self.host_text()).unwrap_or(Host::Name(self.host_text()))
    }

    /// The port, the scheme's own if none is written: 443 for https, 80 for http.
    pub fn port(&self) -> u16 {
        let default = if self.is_https() { HTTPS_PORT } else { HTTP_PORT };
        self.uri.port_u16().unwrap_or(default)
    }

    fn host_text(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }
}

impl<'a> Host<'a> {
    /// Reads a lower-case host, brackets included where it is IPv6.
    pub(crate) fn parse(text: &'a str) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Err(UrlError::EmptyHost);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let inner = rest.strip_suffix(']').ok_or(UrlError::Ipv6Host)?;
            return match inner.parse::<Ipv6Addr>() {
                Ok(address) if address.to_string() == inner && address.to_ipv4_mapped().is_none() => {
                    Ok(Self::V6(address))
                }
                _ => Err(UrlError::Ipv6Host),
            };
        }
        if !text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
        {
            return Err(UrlError::HostCharacter);
        }
        if ends_in_number(text) {
            // The standard library reads four plain decimal numbers without leading zeros, and nothing else.
            return text.parse().map(Self::V4).map_err(|_| UrlError::NumericHost);
        }
        if text.len() > 253 || text.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err(UrlError::HostLabel);
        }
        Ok(Self::Name(text))
    }
}

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(HTTP_PORT),
        "https" => Some(HTTPS_PORT),
        _ => None,
    }
}

/// What must not stand anywhere in a URL.
fn check_characters(text: &str) -> Result<(), UrlError> {
    if text.len() > MAX_LENGTH {
        return Err(UrlError::TooLong);
    }
    for byte in text.bytes() {
        match byte {
            0x00..=0x1f | 0x7f => return Err(UrlError::ControlCharacter),
            0x80.. => return Err(UrlError::NonAscii),
            b' ' => return Err(UrlError::Space),
            b'\\' => return Err(UrlError::Backslash),
            b'{' | b'}' | b'"' | b'<' | b'>' | b'^' | b'|' | b'`' => {
                return Err(UrlError::UnencodedCharacter);
            }
            b'#' => return Err(UrlError::Fragment),
            _ => {}
        }
    }
    Ok(())
}

/// Splits `host:port`, without judging the host.
fn split_authority(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[after_brackets..].find(':') {
        None => Ok((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(after_brackets + colon);
            Ok((host, Some(parse_port(&port[1..])?)))
        }
    }
}

fn parse_port(text: &str) -> Result<u16, UrlError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(port) if canonical => Ok(port),
        _ => Err(UrlError::Port),
    }
}

/// Whether the WHATWG standard would read the host as an IPv4 address, or fail in trying: its last label, a
/// trailing dot aside, is decimal or `0x` with hexadecimal digits.
fn ends_in_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or(host);
    match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn check_path(path: &str) -> Result<(), UrlError> {
    check_percent_encoding(path)?;
    if path.split('/').any(is_dot_segment) {
        Err(UrlError::DotSegment)
    } else {
        Ok(())
    }
}

fn check_query(query: &str) -> Result<(), UrlError> {
    check_percent_encoding(query)?;
    if query.contains('\'') {
        Err(UrlError::Apostrophe)
    } else {
        Ok(())
    }
}

fn check_percent_encoding(text: &str) -> Result<(), UrlError> {
    let complete = text.split('%').skip(1).all(
        |after| matches!(after.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
    );
    if complete {
        Ok(())
    } else {
        Err(UrlError::PercentEncoding)
    }
}

/// `.` or `..`, each dot plain or as `%2e`.
fn is_dot_segment(segment: &str) -> bool {
    let strip_dot = |text: &str| -> Option<usize> {
        if text.starts_with('.') {
            Some(1)
        } else {
            text.get(..3)
                .filter(|head| head.eq_ignore_ascii_case("%2e"))
                .map(str::len)
        }
    };
    let Some(first) = strip_dot(segment) else {
        return false;
    };
    let rest = &segment[first..];
    rest.is_empty() || strip_dot(rest) == Some(rest.len())
}

impl FromStr for WebhookUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for WebhookUrl {
    type Error = UrlError;

    fn try_from(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        Self::parse(&text)
    }
}

impl From<WebhookUrl> for String {
    /// The whole text, query included.
    fn from(url: WebhookUrl) -> Self {
        url.expose().to_owned()
    }
}

impl PartialEq for WebhookUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for WebhookUrl {}

impl PartialOrd for WebhookUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WebhookUrl {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for WebhookUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for WebhookUrl {
    /// Everything but the query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> UrlError {
        WebhookUrl::parse(text).expect_err(text)
    }

    #[test]
    fn scheme_host_and_port_get_one_spelling_and_the_rest_is_kept() {
        for (given, canonical) in [
            ("https://example.com", "https://example.com/"),
            (
                "HTTPS://EXAMPLE.com:443/A%2fb?x=Y&z=[1]",
                "https://example.com/A%2fb?x=Y&z=[1]",
            ),
            ("http://example.com:80?", "http://example.com/?"),
            (
                "http://example.com:443//a/;b/...//",
                "http://example.com:443//a/;b/...//",
            ),
            ("http://127.0.0.1:8080/'", "http://127.0.0.1:8080/'"),
            (
                "http://[2001:DB8::1]:1/.a/b./..c",
                "http://[2001:db8::1]:1/.a/b./..c",
            ),
            ("http://a_b.x-1.0xyz/%2e%2ea?..", "http://a_b.x-1.0xyz/%2e%2ea?.."),
        ] {
            assert_eq!(WebhookUrl::parse(given).unwrap().expose(), canonical);
        }
    }

    #[test]
    fn each_kind_of_ambiguity_is_refused_by_name() {
        use UrlError::*;
        for (text, why) in [
            ("", NotAbsolute),
            ("/hook", NotAbsolute),
            ("https:/example.com/", NotAbsolute),
            ("ftp://example.com/", Scheme),
            (" https://example.com/", Space),
            ("https://example.com/a b", Space),
            ("https://example.com/\ta", ControlCharacter),
            ("https://exa\nmple.com/", ControlCharacter),
            ("https://example.com/\u{7f}", ControlCharacter),
            ("https://example.com/\u{e9}", NonAscii),
            ("https://example\u{3002}com/", NonAscii),
            ("https://example.com\\@evil.com/", Backslash),
            ("https://example.com/hook/{id}", UnencodedCharacter),
            ("https://example.com/?a|b", UnencodedCharacter),
            ("https://example.com/^", UnencodedCharacter),
            ("https://example.com/`", UnencodedCharacter),
            ("https://example.com/\"", UnencodedCharacter),
            ("https://example.com/<a>", UnencodedCharacter),
            ("https://example.com/?it's", Apostrophe),
            ("https://example.com/%", PercentEncoding),
            ("https://example.com/%4", PercentEncoding),
            ("https://example.com/?%zz", PercentEncoding),
            ("https://example.com/#top", Fragment),
            ("https://me@example.com/", UserInfo),
            ("https://me:pw@example.com/", UserInfo),
            ("https://@example.com/", UserInfo),
            ("https:///hook", EmptyHost),
            ("https://:443/", EmptyHost),
            ("https://?x", EmptyHost),
            ("https://exa%6dple.com/", HostCharacter),
            ("https://exa!mple.com/", HostCharacter),
            ("https://example..com/", HostLabel),
            ("https://.example.com/", HostLabel),
            ("https://example.com./", HostLabel),
            ("https://example.com:/", Port),
            ("https://example.com:0/", Port),
            ("https://example.com:0443/", Port),
            ("https://example.com:+443/", Port),
            ("https://example.com:65536/", Port),
            ("https://example.com:1:2/", Port),
            ("https://::1/", Port),
            ("https://[::1/", Port),
        ] {
            assert_eq!(refusal(text), why, "{text:?}");
        }
        assert_eq!(refusal(&format!("https://{}.com/", "a".repeat(64))), HostLabel);
        assert_eq!(refusal(&format!("https://{}com/", "a.".repeat(126))), HostLabel);
        assert_eq!(
            refusal(&format!("https://example.com/{}", "a".repeat(MAX_LENGTH))),
            TooLong
        );
    }

    #[test]
    fn dot_segments_are_found_in_every_disguise() {
        let dots = [".", "%2e", "%2E"];
        for first in dots {
            assert_eq!(refusal(&format!("https://h/a/{first}/b")), UrlError::DotSegment);
            assert_eq!(refusal(&format!("https://h/{first}?q")), UrlError::DotSegment);
            for second in dots {
                assert_eq!(
                    refusal(&format!("https://h/a/{first}{second}/b")),
                    UrlError::DotSegment
                );
                assert_eq!(
                    refusal(&format!("https://h/{first}{second}")),
                    UrlError::DotSegment
                );
            }
        }
    }

    #[test]
    fn an_address_has_one_spelling() {
        for host in [
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "1.2.3.4.5",
            "256.1.1.1",
            "0x",
            "a.0x",
            "a.1",
            "2130706433.",
            "0X7F.0.0.1",
        ] {
            assert_eq!(
                refusal(&format!("http://{host}/")),
                UrlError::NumericHost,
                "{host}"
            );
        }
        for host in [
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:0:0:1]",
            "[::0001]",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[]",
            "[127.0.0.1]",
            "[::127.0.0.1]",
            "[1::2::3]",
            "[::1]a",
        ] {
            assert_eq!(refusal(&format!("http://{host}/")), UrlError::Ipv6Host, "{host}");
        }
    }

    #[test]
    fn parts_are_told_apart() {
        let url = WebhookUrl::parse("http://[::1]:8080/a?b").unwrap();
        assert_eq!(url.host(), Host::V6(Ipv6Addr::LOCALHOST));
        assert_eq!((url.port(), url.is_https()), (8080, false));
        assert_eq!(url.origin(), "http://[::1]:8080");

        let url = WebhookUrl::parse("https://hooks.example.com").unwrap();
        assert_eq!(url.host(), Host::Name("hooks.example.com"));
        assert_eq!((url.port(), url.is_https()), (443, true));
        assert_eq!(url.origin(), "https://hooks.example.com:443");
    }

    #[test]
    fn the_query_is_stored_but_not_shown() {
        let url = WebhookUrl::parse("https://example.com/hook?token=t0p").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "https://example.com/hook WebhookUrl(https://example.com/hook)"
        );
        let stored = serde_json::to_string(&url).unwrap();
        assert_eq!(stored, r#""https://example.com/hook?token=t0p""#);
        assert_eq!(serde_json::from_str::<WebhookUrl>(&stored).unwrap(), url);
        assert!(serde_json::from_str::<WebhookUrl>(r#""https://example.com/a/../b""#).is_err());
    }
}
