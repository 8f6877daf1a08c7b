use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::Secret;

/// A URL as the text another system wrote, unchecked.
///
/// `Debug` leaves out the query, the fragment and the user info, where secrets travel.
///
/// ```
/// use ringback::json::UrlText;
///
/// let url = UrlText::from("https://user:pw@hooks.example.net/tl?k=hunter2");
/// assert_eq!(url.as_str(), "https://user:pw@hooks.example.net/tl?k=hunter2");
/// assert_eq!(format!("{url:?}"), "UrlText(https://..@hooks.example.net/tl..)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UrlText(String);

impl UrlText {
    /// The text, exactly as given. It may hold secrets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for UrlText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for UrlText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.find(['?', '#']).unwrap_or(self.0.len());
        let (shown, hidden) = self.0.split_at(end);
        f.write_str("UrlText(")?;
        match shown.rfind('@') {
            // Readers differ on where the user info begins and ends, so all is left out that any takes for it.
            Some(at) => write!(f, "{}..{}", scheme_and_slashes(shown), &shown[at..])?,
            None => f.write_str(shown)?,
        }
        f.write_str(if hidden.is_empty() { ")" } else { "..)" })
    }
}

/// What a URL begins with, up to where an authority could begin.
fn scheme_and_slashes(url: &str) -> &str {
    let is_slash = |character: char| matches!(character, '/' | '\\');
    let scheme = url
        .find(|character: char| !character.is_ascii_alphanumeric())
        .filter(|colon| {
            url[*colon..]
                .strip_prefix(':')
                .is_some_and(|rest| rest.starts_with(is_slash))
        })
        .map_or(0, |colon| colon + 1);
    let authority = url[scheme..].find(|character| !is_slash(character));
    &url[..authority.map_or(url.len(), |authority| scheme + authority)]
}

/// A secret that travels in a payload, such as a key that is shown once when it is made. It is written to
/// JSON, which is what it is for, and nowhere else.
///
/// ```
/// use ringback::json::SecretText;
///
/// let key = SecretText::from("hunter2");
/// assert_eq!(format!("{key:?}"), "SecretText(..)");
/// assert_eq!(key.secret().expose(), b"hunter2");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Secret);

impl SecretText {
    /// The secret: the text's UTF-8 bytes.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(Secret::from(text))
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Secret::from(text))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_str().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
