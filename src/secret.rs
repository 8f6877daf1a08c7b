//! Bytes that must not be seen.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// A secret: wiped when dropped, compared in constant time, and never printed.
///
/// There is no `Display`, no `Serialize` and no `Deref`; the one way to the bytes says what it does.
///
/// ```
/// use ringback::secret::Secret;
///
/// let secret = Secret::from("hunter2");
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert_eq!(secret.expose(), b"hunter2");
/// assert!(secret == Secret::from("hunter2"));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves. Keep them out of logs, errors and anything that prints.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, where they are UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether there is nothing in it. An empty secret protects nothing, so keys refuse it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the bytes are one of the secrets, an empty one of which is none. Compares with all of them, each in
    /// constant time.
    pub(crate) fn one_of(secrets: &[Self], bytes: &[u8]) -> bool {
        let found = secrets
            .iter()
            .filter(|secret| !secret.is_empty())
            .fold(Choice::from(0), |found, secret| found | secret.0.ct_eq(bytes));
        found.into()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl PartialEq for Secret {
    /// Takes the same time wherever the two differ; the lengths are not hidden.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Shows how much there is of something that may be personal or secret, in place of the thing: for `Debug` of
/// bodies and of URLs that came as text.
pub(crate) struct Hidden<T>(pub(crate) T);

impl<T: AsRef<[u8]>> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.as_ref().len())
    }
}
