//! Names of things: opaque, cheap to clone, never parsed.
//!
//! Ids that come from other systems are kept as the text they arrived in. TrueLayer's own example of a
//! `task_id` is not a valid UUID, Truv's webhook ids come in two formats, and Yodlee's notification ids in
//! three, so nothing here assumes a shape.
//!
//! ```
//! use ringback::id::{EventId, Scope};
//!
//! let scope = Scope::new("tenant-7");
//! assert_eq!(scope.as_str(), "tenant-7");
//! assert_eq!(EventId::from("order-1/paid").to_string(), "order-1/paid");
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text, exactly as given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &self.0)
            }
        }
    };
}

text_id! {
    /// A tenant or environment. An event reaches only webhooks of its own scope.
    Scope
}
text_id! {
    /// The user an event is about, as the application names them.
    Subject
}
text_id! {
    /// The caller's own id of an event, unique within its [`Scope`]: enqueueing it twice sends it once.
    EventId
}
text_id! {
    /// The type of an event, such as `task-status-updated` or `CONNECTION_SYNCED`.
    EventType
}
text_id! {
    /// A webhook registration.
    WebhookId
}
text_id! {
    /// A record that says how deliveries prove themselves ([`auth`](crate::auth)).
    AuthId
}
text_id! {
    /// The name of a [`Profile`](crate::delivery::Profile), which says how a provider sends.
    ProfileName
}
#[cfg(all(feature = "engine", feature = "metrics"))]
impl ProfileName {
    /// The text, for a label that keeps it.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

text_id! {
    /// One asynchronous call.
    TaskId
}
text_id! {
    /// A process or task that holds leases; for people who read the tables, never compared for safety.
    HolderName
}

/// One event on its way to one webhook. Assigned by the store, rising in the order of enqueueing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub i64);

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that rises each time a delivery or task is claimed. Whoever writes back with an older one has
/// lost the lease, and is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub i64);

impl Fence {
    /// Before the first claim.
    pub const UNCLAIMED: Self = Self(0);

    /// The fence of the next claim.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
