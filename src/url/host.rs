//! Names and literal addresses, each in one spelling.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::UrlError;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        let numeric = "127.1 127.0.1 2130706433 2130706433. 0x7f000001 0x7f.1 0x7f.0.0.1 0177.0.0.1 127.0.0.01 \
                       127.0.0.1. 1.2.3.4.5 256.1.1.1 0x a.0x a.1";
        for host in numeric.split_whitespace() {
            assert_eq!(Host::parse(host), Err(UrlError::NumericHost), "{host}");
        }
        let bracketed = "[::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [0:0:0:0:0:0:0:1] [::0001] \
                         [fe80::1%25eth0] [fe80::1%eth0] [] [127.0.0.1] [1::2::3] [::1]a";
        for host in bracketed.split_whitespace() {
            assert_eq!(Host::parse(host), Err(UrlError::Ipv6Host), "{host}");
        }
    }
}
