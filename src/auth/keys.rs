//! Shared secrets, and when each of them signs.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::time::after;

/// The most keys that sign together. Rotations that follow each other faster than their overlaps end cost the oldest key,
/// not the room in the header.
const MOST_KEYS: usize = 4;

/// A signature made with a shared secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacAuth {
    /// Which bytes are signed, and which headers carry the result.
    pub scheme: HmacScheme,
    /// The keys, the newest first. Of those whose time it is, all sign where the scheme has room for several signatures
    /// ([`HmacScheme::signs_with_all`]), and else the first.
    pub keys: Vec<TimedKey>,
}

/// A key, and when it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedKey {
    /// The key.
    pub secret: Secret,
    /// From when on; `None`: it always did.
    pub from: Option<DateTime<Utc>>,
    /// Until when; `None`: no end is set.
    pub until: Option<DateTime<Utc>>,
}

impl HmacAuth {
    /// That scheme with one key.
    pub fn new(scheme: HmacScheme, key: impl Into<Secret>) -> Self {
        Self {
            scheme,
            keys: vec![key.into().into()],
        }
    }

    /// Goes over to a new key, so that receivers have the time of the overlap to change theirs. Says when the overlap
    /// ends.
    ///
    /// - Where the scheme has room for several signatures, the new key signs from now on, and beside it the old ones go on
    ///   until the overlap ends: receivers install the new key within it, and notice nothing.
    /// - Where there is room for one, the old key signs until the overlap ends, and from that very instant the new one:
    ///   receivers install the new key beside the old one within it.
    ///
    /// Without an overlap the new key takes over at once. Keys whose time is over are forgotten.
    pub fn rotate(&mut self, key: impl Into<Secret>, overlap: Duration, now: DateTime<Utc>) -> DateTime<Utc> {
        let ends = after(now, overlap);
        for old in &mut self.keys {
            old.until = Some(old.until.map_or(ends, |until| until.min(ends)));
        }
        self.keys.retain(|old| old.signs_after(now));
        let from = if self.scheme.signs_with_all() { now } else { ends };
        self.keys.insert(
            0,
            TimedKey {
                secret: key.into(),
                from: Some(from),
                until: None,
            },
        );
        if self.scheme.signs_with_all() {
            self.keys.truncate(MOST_KEYS);
        }
        ends
    }

    /// The keys that sign then, the newest first.
    pub fn signing_at(&self, now: DateTime<Utc>) -> impl Iterator<Item = &TimedKey> {
        let most = if self.scheme.signs_with_all() {
            MOST_KEYS
        } else {
            1
        };
        self.keys.iter().filter(move |key| key.signs_at(now)).take(most)
    }
}

impl TimedKey {
    /// Whether it is time for it to sign.
    pub fn signs_at(&self, now: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }

    /// Whether it will sign from then on, now or later.
    fn signs_after(&self, now: DateTime<Utc>) -> bool {
        let start = self.from.map_or(now, |from| from.max(now));
        self.until.is_none_or(|until| start < until)
    }
}

impl From<Secret> for TimedKey {
    /// A key that always signs.
    fn from(secret: Secret) -> Self {
        Self {
            secret,
            from: None,
            until: None,
        }
    }
}

/// The schemes that sign with a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HmacScheme {
    /// Powens: `BI-Signature` over method, path, date and body.
    BiSignature,
    /// The same with the query under the signature too.
    BiSignatureWithQuery,
    /// Truv: `X-WEBHOOK-SIGN` over the body.
    Truv,
    /// Standard Webhooks `v1`: `webhook-signature` over id, time and body.
    StandardWebhooks,
}

impl HmacScheme {
    /// Whether it has room for the signatures of several keys.
    pub fn signs_with_all(self) -> bool {
        self == Self::StandardWebhooks
    }

    /// A key made of these random bytes, as receivers of this scheme are used to see one: `whsec_` and base64 for
    /// Standard Webhooks; 64 hexadecimal digits for the others, whose keys are the text itself.
    pub fn key(self, random: &[u8; 32]) -> GeneratedKey {
        GeneratedKey(Secret::from(match self {
            Self::StandardWebhooks => format!("whsec_{}", STANDARD.encode(random)),
            _ => random.iter().map(|byte| format!("{byte:02x}")).collect(),
        }))
    }
}

/// A key that was just made: to be shown to whoever will verify with it, once. Nothing gives it out again.
///
/// ```
/// use ringback::auth::HmacScheme;
///
/// let key = HmacScheme::Truv.key(&[0xab; 32]);
/// assert_eq!(key.expose(), "ab".repeat(32));
/// assert_eq!(format!("{key:?}"), "GeneratedKey(..)");
/// ```
#[must_use = "it is shown only once"]
pub struct GeneratedKey(Secret);

impl GeneratedKey {
    /// The key as its receiver is to enter it. Keep it out of logs.
    pub fn expose(&self) -> &str {
        self.0.expose_str().unwrap_or_default()
    }
}

impl From<&GeneratedKey> for Secret {
    fn from(key: &GeneratedKey) -> Self {
        key.0.clone()
    }
}

impl fmt::Debug for GeneratedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GeneratedKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn at(seconds: u64) -> DateTime<Utc> {
        after(START, Duration::from_secs(seconds))
    }

    fn hour() -> Duration {
        Duration::from_secs(3_600)
    }

    fn signing(auth: &HmacAuth, seconds: u64) -> Vec<&str> {
        let keys = auth.signing_at(at(seconds));
        keys.map(|key| key.secret.expose_str().unwrap()).collect()
    }

    #[test]
    fn where_there_is_room_both_sign_until_the_overlap_ends() {
        let mut auth = HmacAuth::new(HmacScheme::StandardWebhooks, "old");
        assert_eq!(auth.rotate("new", hour(), at(100)), at(3_700));
        assert_eq!(signing(&auth, 100), ["new", "old"]);
        assert_eq!(signing(&auth, 3_699), ["new", "old"]);
        assert_eq!(signing(&auth, 3_700), ["new"]);
        let _ = auth.rotate("newer", hour(), at(4_000));
        assert_eq!(auth.keys.len(), 2, "what is over is forgotten");
        assert_eq!(signing(&auth, 4_000), ["newer", "new"]);
    }

    #[test]
    fn where_there_is_none_the_new_one_takes_over_as_the_overlap_ends() {
        let mut auth = HmacAuth::new(HmacScheme::BiSignature, "old");
        assert_eq!(auth.rotate("new", hour(), at(100)), at(3_700));
        assert_eq!(signing(&auth, 3_699), ["old"]);
        assert_eq!(signing(&auth, 3_700), ["new"]);
        assert_eq!(signing(&auth, 1_000_000), ["new"]);
    }

    #[test]
    fn a_rotation_during_another_leaves_no_gap() {
        for scheme in [HmacScheme::Truv, HmacScheme::StandardWebhooks] {
            for second in [0, 60, 7_200] {
                let mut auth = HmacAuth::new(scheme, "first");
                let _ = auth.rotate("second", hour(), at(0));
                let _ = auth.rotate("third", Duration::from_secs(second), at(10));
                for now in [10, 60, 70, 3_599, 3_600, 7_199, 7_210, 100_000] {
                    assert!(!signing(&auth, now).is_empty(), "{scheme:?} {second} {now}");
                }
                assert_eq!(signing(&auth, 100_000), ["third"]);
            }
        }
    }

    #[test]
    fn without_an_overlap_the_new_key_takes_over_at_once() {
        for scheme in [HmacScheme::Truv, HmacScheme::StandardWebhooks] {
            let mut auth = HmacAuth::new(scheme, "old");
            let _ = auth.rotate("new", Duration::ZERO, at(5));
            assert_eq!(signing(&auth, 5), ["new"]);
            assert_eq!(auth.keys.len(), 1);
        }
    }

    #[test]
    fn keys_do_not_pile_up() {
        let mut auth = HmacAuth::new(HmacScheme::StandardWebhooks, "0");
        for n in 1..50 {
            let _ = auth.rotate(n.to_string(), hour(), at(n));
        }
        assert_eq!(signing(&auth, 50), ["49", "48", "47", "46"]);
    }

    #[test]
    fn keys_have_the_form_of_their_scheme() {
        use crate::signature::HmacKey;

        let key = HmacScheme::StandardWebhooks.key(&[7; 32]);
        assert!(HmacKey::from_whsec(key.expose()).is_ok());
        let key = HmacScheme::BiSignature.key(&[7; 32]);
        assert_eq!(key.expose(), "07".repeat(32));
    }
}
