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

mod error;
mod host;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use serde::{Deserialize, Serialize};

pub use self::error::UrlError;
pub use self::host::Host;

/// The longest URL taken, in bytes, once it is in its canonical spelling. What providers, proxies and servers accept in a
/// request line varies, and 2048 is about the least of it.
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
        if canonical.len() > MAX_LENGTH {
            return Err(UrlError::TooLong);
        }
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
    use std::net::Ipv6Addr;

    fn assert_refused(why: UrlError, texts: &[&str]) {
        for text in texts {
            assert_eq!(WebhookUrl::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn scheme_host_and_port_get_one_spelling_and_the_rest_is_kept() {
        for (given, canonical) in [
            ("https://h", "https://h/"),
            ("HTTPS://Host:443/A%2fb?x=Y&z=[1]", "https://host/A%2fb?x=Y&z=[1]"),
            ("http://h:80?", "http://h/?"),
            ("http://h:443//a/;b/...//", "http://h:443//a/;b/...//"),
            ("http://127.0.0.1:8080/'", "http://127.0.0.1:8080/'"),
            ("http://[2001:DB8::1]:1/.a/..c", "http://[2001:db8::1]:1/.a/..c"),
            ("http://a_b.x-1.0xyz/%2e%2ea?..", "http://a_b.x-1.0xyz/%2e%2ea?.."),
        ] {
            assert_eq!(WebhookUrl::parse(given).unwrap().expose(), canonical);
        }
    }

    #[test]
    fn each_kind_of_ambiguity_is_refused_by_name() {
        assert_refused(UrlError::NotAbsolute, &["", "/hook", "https:/h/", "h.example/a"]);
        assert_refused(UrlError::Scheme, &["ftp://h/", "://h/", "https+x://h/"]);
        assert_refused(UrlError::Space, &[" https://h/", "https://h/a b", "https://h "]);
        assert_refused(
            UrlError::ControlCharacter,
            &["https://h/\ta", "https://h\n.com/", "https://h/\u{7f}"],
        );
        assert_refused(
            UrlError::NonAscii,
            &["https://h/\u{e9}", "https://example\u{3002}com/"],
        );
        assert_refused(
            UrlError::Backslash,
            &["https://h\\@evil.example/", "https:\\\\h/", "https://h/a\\b"],
        );
        for character in ["{", "}", "\"", "<", ">", "^", "|", "`"] {
            let everywhere =
                ["https://h/a", "https://h/?a", "https://h"].map(|url| format!("{url}{character}"));
            assert_refused(
                UrlError::UnencodedCharacter,
                &everywhere.each_ref().map(String::as_str),
            );
        }
        assert_refused(UrlError::Apostrophe, &["https://h/?it's"]);
        assert_refused(
            UrlError::PercentEncoding,
            &["https://h/%", "https://h/%4", "https://h/?%zz", "https://h/%%20"],
        );
        assert_refused(UrlError::Fragment, &["https://h/#top", "https://h#"]);
        assert_refused(
            UrlError::UserInfo,
            &["https://me@h/", "https://me:pw@h/", "https://@h/"],
        );
        assert_refused(
            UrlError::EmptyHost,
            &["https:///hook", "https://:443/", "https://?x", "https://"],
        );
        assert_refused(
            UrlError::HostCharacter,
            &["https://exa%6dple.com/", "https://exa!mple.com/", "https://a,b/"],
        );
        assert_refused(
            UrlError::HostLabel,
            &["https://a..b/", "https://.a/", "https://example.com./"],
        );
        assert_refused(
            UrlError::HostLabel,
            &[&format!("https://{}.com/", "a".repeat(64))],
        );
        assert_refused(
            UrlError::HostLabel,
            &[&format!("https://{}com/", "a.".repeat(126))],
        );
        assert_refused(
            UrlError::Port,
            &[
                "https://h:/",
                "https://h:0/",
                "https://h:0443/",
                "https://h:+443/",
            ],
        );
        assert_refused(
            UrlError::Port,
            &[
                "https://h:65536/",
                "https://h:1:2/",
                "https://::1/",
                "https://[::1/",
            ],
        );
    }

    #[test]
    fn the_text_kept_is_within_the_limit_so_that_it_can_be_read_again() {
        let longest = format!("https://h/{}", "a".repeat(MAX_LENGTH - 10));
        assert_eq!(WebhookUrl::parse(&longest).unwrap().expose().len(), MAX_LENGTH);
        let slash_is_added = format!("https://h?{}", "a".repeat(MAX_LENGTH - 10));
        assert_refused(UrlError::TooLong, &[&format!("{longest}a"), &slash_is_added]);
    }

    #[test]
    fn dot_segments_are_found_in_every_disguise() {
        let dots = [".", "%2e", "%2E"];
        let pairs = dots
            .iter()
            .flat_map(|first| dots.map(|second| format!("{first}{second}")));
        for segment in pairs.chain(dots.map(String::from)) {
            for path in [
                format!("a/{segment}/b"),
                format!("{segment}?q"),
                format!("a/{segment}"),
            ] {
                assert_refused(UrlError::DotSegment, &[&format!("https://h/{path}")]);
            }
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
