//! Bearer tokens in the `authorization` header.

use http::HeaderValue;

use crate::secret::Secret;

/// `Bearer` and the token (RFC 6750, section 2.1), marked as sensitive. `None` for a token that is empty or has
/// characters other than visible ASCII: it could not be read back as one.
pub(super) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let token = token.expose();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The token in an `authorization` header, if its scheme is `Bearer`, whose name may be in any case (RFC 9110,
/// section 11.1).
pub(crate) fn token_of(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_read_back_is_a_token() {
        let value = bearer(&Secret::from("mF_9.B5f-4.1JqM==")).unwrap();
        assert_eq!(value, "Bearer mF_9.B5f-4.1JqM==");
        assert_eq!(format!("{value:?}"), "Sensitive");
        for bad in [
            "",
            " ",
            "a b",
            "a\r\nx-injected: 1",
            "a\0",
            "\u{e9}",
            "a\t",
            "\u{7f}",
        ] {
            assert!(bearer(&Secret::from(bad)).is_none(), "{bad:?}");
        }
    }
}
