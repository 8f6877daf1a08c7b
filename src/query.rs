//! Query strings: read and added to, with the rest left exactly as it is.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;

/// Why parameters cannot be added to a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddError<'a> {
    /// It has the parameter of that name already.
    Present(&'a str),
    /// It is an authority alone, as for CONNECT.
    NoPath,
    /// It would be longer than a URI can be.
    TooLong,
}

/// Adds parameters to a URI, whose own path and query stay exactly as they are. None of the names may be
/// there already, not even those without a value, which are not added.
pub(crate) fn add<'a>(uri: &Uri, parameters: &[(&'a str, Option<&str>)]) -> Result<Uri, AddError<'a>> {
    let mut parts = uri.clone().into_parts();
    let path_and_query = parts.path_and_query.ok_or(AddError::NoPath)?;
    let mut query = path_and_query.query().unwrap_or_default().to_owned();
    for (parameter, _) in parameters {
        if pairs(&query).any(|(name, _)| name == *parameter) {
            return Err(AddError::Present(parameter));
        }
    }
    for (name, value) in parameters {
        if let Some(value) = value {
            append(&mut query, name, value);
        }
    }
    let text = format!("{}?{query}", path_and_query.path());
    parts.path_and_query = Some(PathAndQuery::try_from(text).map_err(|_| AddError::TooLong)?);
    Uri::from_parts(parts).map_err(|_| AddError::NoPath)
}

/// The parameters of a query, in order, names and values decoded.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// A query without the parameters of those names, the rest as it is.
pub(crate) fn without(query: &str, names: &[&str]) -> String {
    let kept = query.split('&').filter(|pair| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        !names.contains(&&*decode(name))
    });
    kept.collect::<Vec<_>>().join("&")
}

/// The value of a parameter, decoded, if it occurs exactly once. Of two, one is never taken: a proxy in between may
/// have read the other.
pub(crate) fn sole<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut values = pairs(query)
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value);
    let sole = values.next()?;
    values.next().is_none().then_some(sole)
}

/// Adds `name=value` to a query, both encoded.
pub(crate) fn append(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() && !query.ends_with('&') {
        query.push('&');
    }
    encode_into(query, name);
    query.push('=');
    encode_into(query, value);
}

/// Percent-encodes every byte but the unreserved ones of RFC 3986, section 2.3.
pub(crate) fn encode_into(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Decodes `%XX` and, as form encoding has it, `+`. What is no valid escape stands for itself, and bytes that
/// are not UTF-8 become replacement characters.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match (byte, tail) {
            (b'+', _) => (b' ', tail),
            (b'%', [high, low, after @ ..]) => {
                hex_pair(*high, *low).map_or((b'%', tail), |byte| (byte, after))
            }
            _ => (byte, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broken_escapes_stand_for_themselves() {
        for (text, decoded) in [
            ("a%2", "a%2"),
            ("%", "%"),
            ("%zz", "%zz"),
            ("%2525", "%25"),
            ("a+b%20c", "a b c"),
            ("%+1", "% 1"),
        ] {
            assert_eq!(decode(text), decoded, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_added_is_read_back(before in "[a-z=&%]{0,20}", name: String, value: String) {
            let mut query = before.clone();
            append(&mut query, &name, &value);
            prop_assert!(query.starts_with(&before));
            let last = pairs(&query).last().unwrap();
            prop_assert_eq!(last, (Cow::from(name), Cow::from(value)));
        }
    }
}
