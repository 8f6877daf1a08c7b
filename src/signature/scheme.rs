//! What a message is, and the seam that says how one is signed.

use std::fmt::{self, Debug};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, Method, Request};

use super::{Refusal, SignError, Signatures, SignedDate};

/// What is signed or verified: one HTTP request, as it is on the wire.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query exactly as in the request line, such as `/hooks/powens?tenant=a`.
    pub target: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body's bytes, as received.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The path: the target up to its query.
    pub fn path(&self) -> &'a str {
        let end = self.target.bytes().position(|byte| byte == b'?');
        &self.target[..end.unwrap_or(self.target.len())]
    }

    /// The bytes of a header that must occur exactly once.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingHeader`] and [`Refusal::RepeatedHeader`]. Of two headers one is never taken: a proxy in
    /// between may have read the other.
    pub fn sole_header(&self, name: &HeaderName) -> Result<&'a [u8], Refusal> {
        // A dozen names are compared sooner than one is hashed.
        let mut held = self.headers.iter().filter(|(held, _)| *held == name);
        match (held.next(), held.next()) {
            (Some((_, value)), None) => Ok(value.as_bytes()),
            (None, _) => Err(Refusal::MissingHeader(name.clone())),
            (Some(_), Some(_)) => Err(Refusal::RepeatedHeader(name.clone())),
        }
    }
}

/// Shows the method and the path alone: headers and queries hold tokens, and the body is somebody's own.
impl Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("method", &self.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl<'a, B: AsRef<[u8]>> From<&'a Request<B>> for Message<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            target: request
                .uri()
                .path_and_query()
                .map_or("", |target| target.as_str()),
            headers: request.headers(),
            body: request.body().as_ref(),
        }
    }
}

/// Says what a signature covers and where it travels. Knows nothing of keys.
///
/// # Contract
///
/// - [`canonical`](Self::canonical) is a function of the message alone, and writes the same bytes when signing
///   (after [`stamp`](Self::stamp)) and when verifying. It never reads the signature itself.
/// - The date it returns is among the bytes it writes, and is read by others only once the signature held.
/// - [`signatures`](Self::signatures) decodes strictly: a text that differs in one bit decodes to another value
///   or not at all. It never panics, whatever the headers hold.
/// - [`stamp`](Self::stamp) and [`attach`](Self::attach) replace what an earlier attempt left in the headers.
/// - To keep verification free of allocations, `signatures` and `canonical` should make none.
///
/// # Errors
///
/// Each method's own; [`Refusal`] while reading a message and [`SignError`] while writing one.
///
/// # Examples
///
/// GitHub's: the hexadecimal HMAC of the body, without a date. The numbers are those of its documentation.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use http::{HeaderMap, HeaderName, HeaderValue, Request};
/// use ringback::signature::*;
///
/// static SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
///
/// #[derive(Debug)]
/// struct GitHub;
///
/// impl Scheme for GitHub {
///     fn stamp(&self, _: DateTime<Utc>, _: &mut HeaderMap) -> Result<(), SignError> {
///         Ok(())
///     }
///     fn signatures(&self, message: &Message<'_>, found: &mut Signatures) -> Result<(), Refusal> {
///         let header = message.sole_header(&SIGNATURE)?;
///         let hex = header.strip_prefix(b"sha256=").ok_or(Refusal::MalformedSignature)?;
///         found.push(Signature::hmac_sha256_from_hex(hex)?)
///     }
///     fn canonical<'a>(
///         &self,
///         message: &Message<'a>,
///         sink: &mut dyn FnMut(&[u8]),
///     ) -> Result<Option<SignedDate<'a>>, Refusal> {
///         sink(message.body);
///         Ok(None)
///     }
///     fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError> {
///         let value = format!("sha256={}", signatures.newest_hmac_sha256()?.to_hex());
///         headers.insert(&SIGNATURE, HeaderValue::try_from(value)?);
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = HmacKey::new("It's a Secret to Everybody")?;
/// let mut request = Request::post("/hook").body("Hello, World!")?;
/// Signer::new(GitHub, key.clone()).sign_request(&mut request, DateTime::UNIX_EPOCH)?;
/// assert_eq!(
///     request.headers()["x-hub-signature-256"],
///     "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
/// );
/// let verifier = Verifier::new(GitHub, [key], MaxAge::unlimited());
/// assert_eq!(verifier.verify(&Message::from(&request), DateTime::UNIX_EPOCH)?.signed_at, None);
/// # Ok(())
/// # }
/// ```
///
/// Stripe's: date and signatures share one header, `t=1492774577,v1=…,v1=…`, and a dot joins date and body.
///
/// ```
/// use chrono::{DateTime, TimeDelta, Utc};
/// use http::{HeaderMap, HeaderName, HeaderValue, Request};
/// use ringback::signature::*;
///
/// static SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
///
/// #[derive(Debug)]
/// struct Stripe;
///
/// impl Stripe {
///     /// The header's elements that begin with `name`, without it.
///     fn elements<'a>(header: &'a [u8], name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
///         header.split(|byte| *byte == b',').filter_map(move |element| element.strip_prefix(name))
///     }
/// }
///
/// impl Scheme for Stripe {
///     fn stamp(&self, at: DateTime<Utc>, headers: &mut HeaderMap) -> Result<(), SignError> {
///         headers.insert(&SIGNATURE, HeaderValue::try_from(format!("t={}", at.timestamp()))?);
///         Ok(())
///     }
///     fn signatures(&self, message: &Message<'_>, found: &mut Signatures) -> Result<(), Refusal> {
///         for hex in Self::elements(message.sole_header(&SIGNATURE)?, b"v1=") {
///             found.push(Signature::hmac_sha256_from_hex(hex)?)?;
///         }
///         Ok(())
///     }
///     fn canonical<'a>(
///         &self,
///         message: &Message<'a>,
///         sink: &mut dyn FnMut(&[u8]),
///     ) -> Result<Option<SignedDate<'a>>, Refusal> {
///         let header = message.sole_header(&SIGNATURE)?;
///         let date = Self::elements(header, b"t=").next().ok_or(Refusal::MalformedSignature)?;
///         [date, b".", message.body].into_iter().for_each(sink);
///         Ok(Some(SignedDate::unix_seconds(date)))
///     }
///     fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError> {
///         let mut value = headers[&SIGNATURE].to_str().unwrap_or_default().to_owned();
///         for signature in signatures.iter() {
///             value += &format!(",v1={}", signature.to_hex());
///         }
///         headers.insert(&SIGNATURE, HeaderValue::try_from(value)?);
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let at = DateTime::from_timestamp(1_492_774_577, 0).unwrap();
/// let (newest, older) = (HmacKey::new("whsec_new")?, HmacKey::new("whsec_old")?);
/// let mut request = Request::post("/hook").body(r#"{"id":"evt_1"}"#)?;
/// Signer::new(Stripe, newest).also(older.clone()).sign_request(&mut request, at)?;
///
/// // A receiver that has not heard of the new key yet.
/// let verifier = Verifier::new(Stripe, [older], MaxAge::minutes(5));
/// assert_eq!(verifier.verify(&Message::from(&request), at)?.signed_at, Some(at));
/// let late = at + TimeDelta::minutes(6);
/// assert_eq!(verifier.verify(&Message::from(&request), late), Err(Refusal::Stale));
/// # Ok(())
/// # }
/// ```
pub trait Scheme: Debug + Send + Sync + 'static {
    /// Puts in place what the signature covers and the scheme itself supplies, such as a date header. Comes
    /// before [`canonical`](Self::canonical) when signing.
    ///
    /// # Errors
    ///
    /// [`SignError::HeaderValue`] if a value cannot stand in a header.
    fn stamp(&self, at: DateTime<Utc>, headers: &mut HeaderMap) -> Result<(), SignError>;

    /// Finds and decodes the signatures that the message presents. One that holds is enough.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingHeader`], [`Refusal::RepeatedHeader`], [`Refusal::MalformedSignature`],
    /// [`Refusal::TooManySignatures`].
    fn signatures(&self, message: &Message<'_>, found: &mut Signatures) -> Result<(), Refusal>;

    /// Writes the bytes under the signature, in as many pieces as is convenient, and returns the date that is
    /// among them, unread, if the scheme signs one.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if the message lacks something the signature covers.
    fn canonical<'a>(
        &self,
        message: &Message<'a>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<SignedDate<'a>>, Refusal>;

    /// Puts signatures, newest key first and never none, where the receiver looks for them. A scheme whose
    /// header has room for only one takes the first.
    ///
    /// # Errors
    ///
    /// [`SignError::KeyKind`] if the scheme has no room for signatures by keys of this kind.
    fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError>;
}

impl<S: Scheme + ?Sized> Scheme for Arc<S> {
    fn stamp(&self, at: DateTime<Utc>, headers: &mut HeaderMap) -> Result<(), SignError> {
        (**self).stamp(at, headers)
    }

    fn signatures(&self, message: &Message<'_>, found: &mut Signatures) -> Result<(), Refusal> {
        (**self).signatures(message, found)
    }

    fn canonical<'a>(
        &self,
        message: &Message<'a>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<SignedDate<'a>>, Refusal> {
        (**self).canonical(message, sink)
    }

    fn attach(&self, signatures: &Signatures, headers: &mut HeaderMap) -> Result<(), SignError> {
        (**self).attach(signatures, headers)
    }
}

/// Writes short pieces and the body behind them in a way that suits a hash: the pieces together with what of the body completes
/// a block, and the rest of it from where it lies. Inlined, since a dot of known length is a byte moved, and any other a call.
#[inline(always)]
pub(super) fn write_joined<const N: usize>(head: [&[u8]; N], body: &[u8], sink: &mut dyn FnMut(&[u8])) {
    const BLOCK: usize = 64;
    let mut blocks = [0; 2 * BLOCK];
    let mut room = blocks.as_mut_slice();
    for piece in head {
        let Some((place, left)) = room.split_at_mut_checked(piece.len()) else {
            return head.into_iter().chain([body]).for_each(sink);
        };
        place.copy_from_slice(piece);
        room = left;
    }
    let (completing, rest) = body.split_at(body.len().min(room.len() % BLOCK));
    let (place, left) = room.split_at_mut(completing.len());
    place.copy_from_slice(completing);
    let unused = left.len();
    sink(&blocks[..2 * BLOCK - unused]);
    sink(rest);
}

/// The bytes under a signature, not yet written anywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canonical<'a> {
    pub(super) scheme: &'a dyn Scheme,
    pub(super) message: Message<'a>,
}

impl<'a> Canonical<'a> {
    pub(super) fn write(self, sink: &mut dyn FnMut(&[u8])) -> Result<Option<SignedDate<'a>>, Refusal> {
        self.scheme.canonical(&self.message, sink)
    }

    /// All of the bytes in one piece, for algorithms that read them twice.
    #[cfg(feature = "ed25519")]
    pub(super) fn gather(self) -> Result<(Vec<u8>, Option<SignedDate<'a>>), Refusal> {
        let mut bytes = Vec::with_capacity(self.message.body.len() + 128);
        let date = self.write(&mut |piece| bytes.extend_from_slice(piece))?;
        Ok((bytes, date))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_joined_is_what_it_is_made_of(
            head in prop::array::uniform4(prop::collection::vec(any::<u8>(), 0..60)),
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut written = Vec::new();
            let pieces = head.each_ref().map(Vec::as_slice);
            write_joined(pieces, &body, &mut |piece| written.extend_from_slice(piece));
            prop_assert_eq!(written, [head.concat(), body].concat());
        }
    }
}
