//! How a provider sends.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::HeaderMap;

use super::Event;
use crate::id::ProfileName;
use crate::retry::{Classification, Flusher, Schedule};

/// How a provider sends: when it tries again, how long it waits for an answer, what it takes for a success,
/// and which ids it writes into the body.
///
/// # Contract
///
/// A profile is pure: same arguments, same results; no I/O, no clock. `name`, `schedule` and `flusher` never change.
/// `render` runs once, when the event is enqueued, and the bytes it returns are what every attempt sends.
/// `headers` runs at every attempt, before the authentication, and must add the same each time, since
/// receivers tell a retry from a new message by them.
///
/// ```
/// use ringback::delivery::Profile;
/// use ringback::id::ProfileName;
/// use ringback::retry::Schedule;
///
/// /// Everything as usual, but a failed delivery is not tried again.
/// #[derive(Debug)]
/// struct Once(Schedule);
///
/// impl Profile for Once {
///     fn name(&self) -> ProfileName {
///         "once".into()
///     }
///     fn schedule(&self) -> &Schedule {
///         &self.0
///     }
/// }
/// ```
pub trait Profile: Debug + Send + Sync + 'static {
    /// What registrations call it by.
    fn name(&self) -> ProfileName;

    /// When a failed delivery is tried again.
    fn schedule(&self) -> &Schedule;

    /// Whether failed deliveries are tried again in regular runs, and not by the schedule. Default: no. Only Powens'
    /// profile does. A registration may say otherwise.
    fn flusher(&self) -> Option<Flusher> {
        None
    }

    /// How long an attempt may take from its first byte to the end of the answer. Default: 15 seconds, since
    /// no provider but Truv (10 seconds) publishes one.
    fn deadline(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// What counts as accepted. Default: any 2xx, and nothing else.
    fn classification(&self) -> Classification {
        Classification::default()
    }

    /// Whether a webhook may be disabled by the engine, where its registration asks for that. Default: yes.
    fn may_be_disabled(&self) -> bool {
        true
    }

    /// Whether [`render`](Self::render) needs [`Ids::number`]. Default: no, which saves asking the store.
    fn is_numbered(&self) -> bool {
        false
    }

    /// The body to send, with the provider's ids in it. Default: the event's own, unchanged.
    ///
    /// # Errors
    ///
    /// [`RenderError`] if the ids have no place in such a body. Nothing is enqueued then. Where nobody is there any more to hear
    /// of it, nothing goes out as it is either: what was submitted is set aside, a digest waits, a task ends without its
    /// callback.
    fn render(&self, event: &Event, ids: &Ids, at: DateTime<Utc>) -> Result<Bytes, RenderError> {
        let _ = (ids, at);
        Ok(event.body().clone())
    }

    /// Adds the provider's own headers. Default: none.
    fn headers(&self, event: &Event, headers: &mut HeaderMap) {
        let _ = (event, headers);
    }
}

/// A profile put together from its parts, for one's own webhooks: bodies go out as they are.
///
/// ```
/// use std::time::Duration;
/// use ringback::delivery::{PlainProfile, Profile};
/// use ringback::retry::Schedule;
///
/// let profile = PlainProfile::new("hasty", Schedule::truv()).with_deadline(Duration::from_secs(3));
/// assert_eq!(profile.deadline().as_secs(), 3);
/// ```
#[derive(Debug, Clone)]
pub struct PlainProfile {
    name: ProfileName,
    schedule: Schedule,
    deadline: Duration,
    classification: Classification,
    flusher: Option<Flusher>,
}

impl PlainProfile {
    /// A profile of that name and schedule, with the defaults of [`Profile`] for everything else.
    pub fn new(name: impl Into<ProfileName>, schedule: Schedule) -> Self {
        let classification = Classification::default();
        Self {
            name: name.into(),
            schedule,
            deadline: Duration::from_secs(15),
            classification,
            flusher: None,
        }
    }

    /// How long an attempt may take.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// What counts as accepted.
    #[must_use]
    pub fn with_classification(self, classification: Classification) -> Self {
        Self {
            classification,
            ..self
        }
    }

    /// In which runs failed deliveries are tried again; with `None`, which is the default, by the schedule.
    #[must_use]
    pub fn with_flusher(self, flusher: impl Into<Option<Flusher>>) -> Self {
        Self {
            flusher: flusher.into(),
            ..self
        }
    }
}

impl Profile for PlainProfile {
    fn name(&self) -> ProfileName {
        self.name.clone()
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn classification(&self) -> Classification {
        self.classification
    }

    fn flusher(&self) -> Option<Flusher> {
        self.flusher
    }
}

/// Ids for a profile to put into a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// A number that no other delivery of this store has; zero where the profile did not ask for one.
    pub number: i64,
    /// 128 random bits, as a version 4 UUID.
    pub unique: [u8; 16],
}

impl Ids {
    /// The random bits as 32 lower-case hexadecimal digits, as Truv writes ids.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(32);
        for byte in self.unique {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        text
    }

    /// The random bits as a hyphenated UUID.
    pub fn uuid(&self) -> String {
        let mut text = self.hex();
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
        text
    }
}

/// Why a profile cannot send an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The body must be a JSON object for the ids to be put into.
    #[error("the body must be a JSON object, since the profile puts an id into it")]
    NotAnObject,
    /// The body holds, under the same key, something that is not the id.
    #[error("the body already has the key that the profile writes its id under")]
    KeyTaken,
    /// The event's id cannot stand where the profile puts it.
    #[error("the event's id cannot stand where the profile puts it")]
    UnsendableId,
    /// The event's type is none that the profile can send.
    #[error("the profile cannot send events of this type")]
    Unsupported,
}

/// The profiles an engine knows, by name.
#[derive(Debug, Clone, Default)]
pub struct Profiles(BTreeMap<ProfileName, Arc<dyn Profile>>);

impl Profiles {
    /// No profiles.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds one, in place of any other of that name.
    #[must_use]
    pub fn with(mut self, profile: impl Profile) -> Self {
        self.0.insert(profile.name(), Arc::new(profile));
        self
    }

    /// Adds all of these, each in place of any other of its name.
    #[must_use]
    pub fn and(mut self, others: Profiles) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The names of all.
    #[cfg(feature = "engine")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &ProfileName> {
        self.0.keys()
    }

    /// The profile of that name.
    pub fn find(&self, name: &ProfileName) -> Option<&Arc<dyn Profile>> {
        self.0.get(name)
    }

    /// The longest deadline of any of them.
    pub fn longest_deadline(&self) -> Duration {
        self.0
            .values()
            .map(|profile| profile.deadline())
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_both_ways() {
        let ids = Ids {
            number: 7,
            unique: [0x1f; 16],
        };
        assert_eq!(ids.hex(), "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f");
        assert_eq!(ids.uuid(), "1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f");
    }
}
